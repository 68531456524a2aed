"""What networks for finding copies make of pictures. Frozen: a change is a new revision beside this one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; what was judged before has none."""
    op.add_column("hashes", sa.Column("descriptor_model", sa.Text()))
    op.add_column("hashes", sa.Column("descriptors", sa.LargeBinary()))
