"""What the ledger keeps so that contents are found again."""
