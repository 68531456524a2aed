"""What is done about a verdict, one file per act. An act touches the store; it never touches the ledger."""
