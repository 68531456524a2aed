"""Views of pictures and their limits are found in the chain without reading it. Frozen: a change is a new revision."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the index; before it there were no such events."""
    of_views = sa.text("kind IN ('viewed', 'view.limit')")
    op.create_index("ix_events_of_views", "events", ["seq"], sqlite_where=of_views, postgresql_where=of_views)
