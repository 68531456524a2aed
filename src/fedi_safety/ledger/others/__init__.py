"""Other ledgers than the one in use: those in other places, and copies."""
