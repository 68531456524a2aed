"""What was judged in part, and which decoder said what. Frozen: a change is a new revision beside this one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; nobody knows of older rows."""
    op.add_column("contents", sa.Column("total", sa.Integer()))
    op.add_column("contents", sa.Column("partly", sa.Text()))
    op.add_column("contents", sa.Column("decoder", sa.Text()))
    op.add_column("objects", sa.Column("decoder", sa.Text()))
