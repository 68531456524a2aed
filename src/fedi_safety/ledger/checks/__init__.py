"""The parts of which checking a ledger is made; `ledger.verify` is the whole."""
