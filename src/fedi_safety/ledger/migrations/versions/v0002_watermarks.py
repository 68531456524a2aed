"""How far the daemon has looked at each store. Frozen: a change is a new revision beside this one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "watermarks",
        sa.Column("store_id", _Id, autoincrement=False, nullable=False),
        sa.Column("high_water", sa.Double(), nullable=False),
        sa.Column("swept_at", sa.Double(), nullable=False),
        sa.Column("basis", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["store_id"], ["stores.id"], name=op.f("fk_watermarks_store_id")),
        sa.PrimaryKeyConstraint("store_id", name=op.f("pk_watermarks")),
    )
