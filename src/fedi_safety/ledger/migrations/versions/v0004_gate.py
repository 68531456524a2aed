"""Uploads that the gate refused, or accepted without a verdict. Frozen: a change is a new revision beside this one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "uploads",
        sa.Column("id", _Id, nullable=False),
        sa.Column("upload", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(length=32)),
        sa.Column("size", sa.BigInteger()),
        sa.Column("media_type", sa.Text()),
        sa.Column("url", sa.Text()),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("tried_at", sa.Double()),
        sa.Column("decoder", sa.Text()),
        sa.Column("settled_at", sa.Double()),
        sa.Column("outcome", sa.Text()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_uploads")),
        sa.UniqueConstraint("upload", name=op.f("uq_uploads_upload")),
    )
    op.create_index(op.f("ix_uploads_state_id"), "uploads", ["state", "id"])
    op.create_index(op.f("ix_uploads_sha256"), "uploads", ["sha256"])
