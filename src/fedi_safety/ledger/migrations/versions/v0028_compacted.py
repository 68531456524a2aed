"""Every content has its compact scores. Frozen: a change is a new revision beside this one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Let the index of verdicts have those alone that are looked for by it."""
    op.drop_index("ix_contents_verdict_id", "contents")
    op.create_index("ix_contents_not_clear", "contents", ["verdict", "id"], sqlite_where=sa.text("verdict <> 'clear'"))
