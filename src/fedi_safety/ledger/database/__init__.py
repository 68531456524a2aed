"""The database under the ledger: a protocol, and what is behind it."""
