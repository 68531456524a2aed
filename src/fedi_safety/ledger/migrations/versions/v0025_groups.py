"""Tables for kept counters. Frozen: a change is a new revision beside this one.

Between this revision and the next one every object gets its group (`ledger.counts.conversion`), page by page.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables, and the column that names an object's group; nothing is counted yet."""
    op.create_table(
        "object_groups",
        sa.Column("id", _ID, nullable=False),
        sa.Column("store_id", _ID, nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("state", "reason", "verdict", "labels")),
        sa.Column("partly", sa.Boolean(), nullable=False),
        sa.Column("objects", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_object_groups"),
        sa.ForeignKeyConstraint(["store_id"], ["stores.id"], name="fk_object_groups_store_id_stores"),
        sa.UniqueConstraint(
            "store_id", "state", "reason", "verdict", "labels", "partly",
            name="uq_object_groups_store_id_state_reason_verdict_labels_partly",
        ),
    )  # fmt: skip
    op.create_table(
        "tallies",
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("store_id", _ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("what", "store_id", "name", "day", name="pk_tallies"),
        sa.ForeignKeyConstraint(["store_id"], ["stores.id"], name="fk_tallies_store_id_stores"),
    )
    op.add_column("objects", sa.Column("group_id", _ID))
    op.create_index("ix_objects_group_id_id", "objects", ["group_id", "id"])
    op.create_index("ix_objects_sha256", "objects", ["sha256"], sqlite_where=sa.text("sha256 IS NOT NULL"))
    op.create_index("ix_plans_state_object_id", "plans", ["state", "object_id"])
