"""What people look at one by one, asked in SQL as text: a ledger in a file answers without SQLAlchemy being loaded."""
