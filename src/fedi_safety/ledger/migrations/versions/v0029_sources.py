"""A table of where condemned contents came from. Frozen: a change is a new revision beside this one.

It is filled in the same transaction (`ledger.counts.sources`).
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the table, and indexes by which the sightings of a source are found."""
    op.create_table(
        "source_tallies",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("store_id", _ID, nullable=False),
        sa.Column("sure", sa.Boolean(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in ("contents", "local", "remote")),
        sa.Column("last_at", sa.Double()),
        sa.PrimaryKeyConstraint("kind", "store_id", "sure", "name", name="pk_source_tallies"),
    )
    op.create_index("ix_sightings_instance", "sightings", ["instance"])
    op.create_index("ix_sightings_person", "sightings", ["person"])
    op.create_index("ix_sightings_person_id_person", "sightings", ["person_id", "person"])
