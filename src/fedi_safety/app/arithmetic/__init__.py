"""Stored scores decided by arithmetic on columns: what `core.policy` says of one content, of thousands at once."""
