"""What tells a store from another in its place, and which runs met all of it. Frozen: a change is a new revision."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; nothing is known of what was before."""
    op.add_column("stores", sa.Column("identity", sa.Text()))
    op.add_column("runs", sa.Column("complete", sa.Boolean()))
