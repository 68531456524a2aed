"""What came with an upload beside its bytes. Frozen: a change is a new revision beside it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; of earlier uploads nothing is known."""
    op.add_column("uploads", sa.Column("told", sa.Text()))
    op.add_column("uploads", sa.Column("record", sa.Text()))
    op.create_index(op.f("ix_uploads_record"), "uploads", ["record"])
