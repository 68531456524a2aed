"""What contents are found again by. Frozen: a change is a new revision beside this one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the table; what was judged before counts as not hashed."""
    op.create_table(
        "hashes",
        sa.Column("content_id", _Id, autoincrement=False, nullable=False),
        sa.Column("sha1", sa.LargeBinary(20), nullable=False),
        sa.Column("md5", sa.LargeBinary(16), nullable=False),
        sa.Column("pictures", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["content_id"], ["contents.id"], name=op.f("fk_hashes_content_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("content_id", name=op.f("pk_hashes")),
    )
