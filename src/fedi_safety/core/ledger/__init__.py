"""What the core and all above it say to the ledger: its ports, and the records that pass through them. Pure."""
