"""What detectors gave each frame of a content. Frozen: a change is a new revision beside this one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column. What was condemned by values of several frames is undecided until it is decided anew.

    Until now the factors of a rule were joined over all frames of a content, so no plan that came of it may be carried
    out before a rule was seen to hold in one picture. What is clear stays so: rules hold less often now.
    """
    op.add_column("contents", sa.Column("frame_scores", sa.LargeBinary()))
    contents = sa.table(
        "contents", sa.column("frames"), sa.column("verdict"), sa.column("reasons"), sa.column("decided")
    )
    several = sa.and_(contents.c.frames > 1, sa.or_(contents.c.verdict != "clear", contents.c.reasons != "[]"))
    op.execute(contents.update().where(several).values(decided=False))
