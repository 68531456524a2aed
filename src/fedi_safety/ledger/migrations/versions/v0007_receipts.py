"""What was learnt while an act was done. Frozen: a change is a new revision beside this one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; older acts have a sentence alone."""
    op.add_column("acts", sa.Column("receipt", sa.Text()))
