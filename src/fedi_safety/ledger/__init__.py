"""The durable memory: the `Ledger` port on SQLite. `fedi_safety.ledger.ledger` opens it; this file loads nothing."""
