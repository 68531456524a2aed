"""Sealed copies of what was removed. Frozen: a change is a new revision beside it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0016"
branch_labels = None
depends_on = None

_Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the table; before it nothing was sealed."""
    op.create_table(
        "seals",
        sa.Column("id", _Id, nullable=False),
        sa.Column("plan_id", _Id, nullable=False),
        sa.Column("sha256", sa.LargeBinary(length=32), nullable=False),
        sa.Column("store_id", _Id, nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("vault", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger()),
        sa.Column("digest", sa.LargeBinary(length=32)),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("made_at", sa.Double()),
        sa.Column("expires_at", sa.Double()),
        sa.Column("held", sa.Text()),
        sa.Column("authority", sa.Text()),
        sa.Column("reference", sa.Text()),
        sa.Column("filed_at", sa.Double()),
        sa.Column("restored_at", sa.Double()),
        sa.Column("ended_at", sa.Double()),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("event_seq", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_seals")),
        sa.ForeignKeyConstraint(["plan_id"], ["plans.id"], name=op.f("fk_seals_plan_id_plans")),
        sa.ForeignKeyConstraint(["store_id"], ["stores.id"], name=op.f("fk_seals_store_id_stores")),
        sa.UniqueConstraint("name", name=op.f("uq_seals_name")),
    )
    op.create_index(op.f("ix_seals_plan_id"), "seals", ["plan_id"])
    op.create_index(op.f("ix_seals_sha256"), "seals", ["sha256"])
    op.create_index(op.f("ix_seals_state_expires_at"), "seals", ["state", "expires_at"])
