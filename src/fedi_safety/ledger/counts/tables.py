"""The tables of kept counters; they are of the ledger's own metadata. Holds no statements."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Double, ForeignKey, Integer, Table, Text, UniqueConstraint

from fedi_safety.ledger.schema import Id, metadata

# Objects that stand alike, and how many they are: counted in the transaction that changes one (`counts.groups`).
object_groups = Table(
    "object_groups",
    metadata,
    Column("id", Id, primary_key=True),
    Column("store_id", Id, ForeignKey("stores.id"), nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("labels", Text, nullable=False),
    Column("partly", Boolean, nullable=False),
    Column("objects", BigInteger, nullable=False),
    UniqueConstraint("store_id", "state", "reason", "verdict", "labels", "partly"),
)

# Plans, attempts and judged objects, counted likewise; see `counts.tallies.What`.
tallies = Table(
    "tallies",
    metadata,
    Column("what", Text, primary_key=True),
    Column("store_id", Id, ForeignKey("stores.id"), primary_key=True, autoincrement=False),
    Column("name", Text, primary_key=True),
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("count", BigInteger, nullable=False),
)

# Verdicts that each run gave, counted likewise: first ones too, which may have no row in `judgements`.
run_tallies = Table(
    "run_tallies",
    metadata,
    Column("run_id", Id, ForeignKey("runs.id"), primary_key=True, autoincrement=False),
    Column("verdict", Text, primary_key=True),
    Column("count", BigInteger, nullable=False),
)

# From where condemned contents came, counted likewise (`counts.sources`); store 0 is all of them, no name any source.
source_tallies = Table(
    "source_tallies",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("store_id", Id, primary_key=True, autoincrement=False),
    Column("sure", Boolean, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("contents", BigInteger, nullable=False),
    Column("local", BigInteger, nullable=False),
    Column("remote", BigInteger, nullable=False),
    Column("last_at", Double),
)
