"""A ledger in PostgreSQL: any number of machines may use one. What is particular to that database is in this room."""
