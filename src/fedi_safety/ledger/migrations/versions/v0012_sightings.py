"""Who put a content there: attempts to find out, and what they found. Frozen: a change is a new revision beside it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "traces",
        sa.Column("id", _Id, nullable=False),
        sa.Column("run_id", _Id),
        sa.Column("plan_id", _Id),
        sa.Column("sha256", sa.LargeBinary(length=32)),
        sa.Column("store_id", _Id),
        sa.Column("key", sa.LargeBinary()),
        sa.Column("url", sa.Text()),
        sa.Column("names", sa.Text(), nullable=False),
        sa.Column("server", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("retry_at", sa.Double()),
        sa.Column("event_seq", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_traces")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_traces_run_id_runs")),
        sa.ForeignKeyConstraint(["plan_id"], ["plans.id"], name=op.f("fk_traces_plan_id_plans")),
        sa.ForeignKeyConstraint(["store_id"], ["stores.id"], name=op.f("fk_traces_store_id_stores")),
    )
    op.create_index(op.f("ix_traces_sha256"), "traces", ["sha256"])
    op.create_index(op.f("ix_traces_retry_at"), "traces", ["retry_at"])
    op.create_table(
        "sightings",
        sa.Column("id", _Id, nullable=False),
        sa.Column("trace_id", _Id, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("way", sa.Text(), nullable=False),
        sa.Column("certainty", sa.Text(), nullable=False),
        sa.Column("url", sa.Text()),
        sa.Column("person", sa.Text()),
        sa.Column("instance", sa.Text()),
        sa.Column("local", sa.Boolean()),
        sa.Column("at", sa.Double()),
        sa.Column("record", sa.Text()),
        sa.Column("post_id", sa.Text()),
        sa.Column("person_id", sa.Text()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sightings")),
        sa.ForeignKeyConstraint(["trace_id"], ["traces.id"], name=op.f("fk_sightings_trace_id_traces")),
    )
    op.create_index(op.f("ix_sightings_trace_id"), "sightings", ["trace_id"])
