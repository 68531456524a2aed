"""Decisions on the review pages, and who is signed in there. Frozen: a change is a new revision beside it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0019"
branch_labels = None
depends_on = None

_Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the tables; before them nothing was decided on pages."""
    op.create_table(
        "review_decisions",
        sa.Column("id", _Id, nullable=False),
        sa.Column("batch", sa.Text(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(length=32), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("due_at", sa.Double(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("open", sa.Boolean(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_review_decisions")),
    )
    op.create_index(op.f("ix_review_decisions_batch"), "review_decisions", ["batch"])
    op.create_index(op.f("ix_review_decisions_sha256"), "review_decisions", ["sha256"])
    op.create_index(op.f("ix_review_decisions_open_due_at"), "review_decisions", ["open", "due_at"])
    op.create_index(
        "uq_review_decisions_one_open",
        "review_decisions",
        ["sha256"],
        unique=True,
        sqlite_where=sa.text("open"),
        postgresql_where=sa.text("open"),
    )
    op.create_table(
        "review_sessions",
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("stamp", sa.Text(), nullable=False),
        sa.Column("begun_at", sa.Double(), nullable=False),
        sa.Column("seen_at", sa.Double(), nullable=False),
        sa.Column("proved_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_review_sessions")),
    )
    op.create_index(op.f("ix_review_sessions_seen_at"), "review_sessions", ["seen_at"])
