"""Scores and reasons as they lie in the ledger: numbers without their names, reasons made when somebody looks."""
