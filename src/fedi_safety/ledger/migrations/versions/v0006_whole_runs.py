"""Which runs were passes over all of their store. Frozen: a change is a new revision beside this one."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_PAGE_ROWS = 1000


def upgrade() -> None:
    """Add the column, and fill it from what older runs wrote among their settings."""
    op.add_column("runs", sa.Column("whole", sa.Boolean()))
    runs = sa.table("runs", sa.column("id"), sa.column("settings"), sa.column("whole"))
    fill = sa.update(runs).where(runs.c.id == sa.bindparam("row")).values(whole=sa.bindparam("said"))
    connection = op.get_bind()
    after = 0
    while True:
        query = sa.select(runs.c.id, runs.c.settings).where(runs.c.id > after).order_by(runs.c.id).limit(_PAGE_ROWS)
        page = connection.execute(query).all()
        if not page:
            return
        said = [{"row": row, "said": json.loads(text).get("whole")} for row, text in page]
        if known := [one for one in said if isinstance(one["said"], bool)]:
            connection.execute(fill, known)
        after = page[-1].id
