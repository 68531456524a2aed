"""Columns for compact scores and reasons. Frozen: a change is a new revision beside this one.

Between this revision and the next one every content gets them (`ledger.compact.conversion`), page by page.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables of names and shapes, and of verdicts by run, and the columns; all that there is stays."""
    for name in ("signal_names", "reason_shapes"):
        op.create_table(
            name,
            sa.Column("id", _ID, nullable=False),
            sa.Column("body", sa.Text(), nullable=False),
            sa.PrimaryKeyConstraint("id", name=f"pk_{name}"),
            sa.UniqueConstraint("body", name=f"uq_{name}_body"),
        )
    op.create_table(
        "run_tallies",
        sa.Column("run_id", _ID, nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "verdict", name="pk_run_tallies"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_run_tallies_run_id_runs"),
    )
    for name in ("run_id", "shape_id", "names_id"):
        op.add_column("contents", sa.Column(name, _ID))
    op.add_column("contents", sa.Column("scores", sa.LargeBinary()))
