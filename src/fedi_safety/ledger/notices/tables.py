"""What the operator is told, as the ledger keeps it: tables of its schema."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Double, Index, Integer, Table, Text, UniqueConstraint

from fedi_safety.ledger.schema import Id, metadata

# What the operator is told, a row for each channel: written with the change that it tells of.
notices = Table(
    "notices",
    metadata,
    Column("id", Id, primary_key=True),
    Column("channel", Text, nullable=False),  # where it is; never a secret
    Column("transition", Text, nullable=False),  # see `Transition`
    Column("about", Text, nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("rules", Text, nullable=False),  # how many by each rule
    Column("detail", Text, nullable=False),
    Column("state", Text, nullable=False),  # see `NoticeState`
    Column("created_at", Double, nullable=False),
    Column("due_at", Double, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("lost", Integer, nullable=False),  # attempts of which nobody knows whether they arrived
    Column("tried_at", Double),  # when it was first tried
    Column("ended_at", Double),
    Column("error", Text, nullable=False),
    Index(None, "channel", "state", "due_at"),
)

# Who sends a channel's notices now, and how that goes.
notice_channels = Table(
    "notice_channels",
    metadata,
    Column("name", Text, primary_key=True),
    Column("holder", Text),
    Column("held_until", Double),
    Column("failures", Integer, nullable=False),
    Column("failing_since", Double),
    Column("retry_at", Double),
    Column("error", Text, nullable=False),
)

# What is so until it is well again, and which sealed copies' end was told: what tells that it was told before.
conditions = Table(
    "conditions",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Text, nullable=False),  # see `Condition`
    Column("about", Text, nullable=False),
    Column("since", Double, nullable=False),
    Column("detail", Text, nullable=False),
    UniqueConstraint("name", "about"),
)
