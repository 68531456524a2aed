"""`report` and `history`: what the ledger holds, and what happened, for people and for other programs."""
