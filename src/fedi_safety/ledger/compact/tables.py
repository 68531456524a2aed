"""The tables of names and shapes; they are of the ledger's own metadata. Holds no statements."""

from __future__ import annotations

from sqlalchemy import Column, Table, Text

from fedi_safety.ledger.schema import Id, metadata

# The names of scores, a JSON array in order, and what is the same in the reasons of many contents, whatever their
# values: both are long, and the same for millions.
signal_names = Table(
    "signal_names",
    metadata,
    Column("id", Id, primary_key=True),
    Column("body", Text, nullable=False, unique=True),
)
reason_shapes = Table(
    "reason_shapes",
    metadata,
    Column("id", Id, primary_key=True),
    Column("body", Text, nullable=False, unique=True),
)
