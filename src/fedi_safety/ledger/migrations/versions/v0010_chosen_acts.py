"""Which act somebody chose for a run. Frozen: a change is a new revision beside this one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column. It stays empty for older runs: what they did was the default, which nobody chose."""
    op.add_column("runs", sa.Column("act", sa.Text()))
