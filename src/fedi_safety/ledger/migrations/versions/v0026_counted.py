"""Every object has its group. Frozen: a change is a new revision beside this one."""

from __future__ import annotations

from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Drop the index that the groups' own takes the place of, and let that of contents tell the group."""
    op.drop_index("ix_objects_store_id_state_reason", "objects")
    op.drop_index("ix_objects_content_id", "objects")
    op.create_index("ix_objects_content_id_group_id", "objects", ["content_id", "group_id"])
