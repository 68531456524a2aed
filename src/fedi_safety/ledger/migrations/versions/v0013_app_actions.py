"""Actions through the app, and a person's word for them. Frozen: a change is a new revision beside it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_ONE = ["sha256", "store_id", "server", "action", "target", "target_id"]


def upgrade() -> None:
    """Create the tables, and the stores' breaker of actions."""
    op.add_column("stores", sa.Column("action_breaker", sa.Text()))
    op.create_table(
        "app_actions",
        sa.Column("id", _Id, nullable=False),
        sa.Column("sha256", sa.LargeBinary(length=32), nullable=False),
        sa.Column("store_id", _Id, nullable=False),
        sa.Column("trace_id", _Id, nullable=False),
        sa.Column("sighting_id", _Id, nullable=False),
        sa.Column("run_id", _Id),
        sa.Column("server", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("target_id", sa.Text(), nullable=False),
        sa.Column("url", sa.Text()),
        sa.Column("about", sa.Text()),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("open", sa.Boolean(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.Column("begun_at", sa.Double()),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("event_seq", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_app_actions")),
        sa.ForeignKeyConstraint(["store_id"], ["stores.id"], name=op.f("fk_app_actions_store_id_stores")),
        sa.ForeignKeyConstraint(["trace_id"], ["traces.id"], name=op.f("fk_app_actions_trace_id_traces")),
        sa.ForeignKeyConstraint(["sighting_id"], ["sightings.id"], name=op.f("fk_app_actions_sighting_id_sightings")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_app_actions_run_id_runs")),
        sa.UniqueConstraint(*_ONE, name=op.f(f"uq_app_actions_{'_'.join(_ONE)}")),
    )
    op.create_index(op.f("ix_app_actions_store_id_open"), "app_actions", ["store_id", "open"])
    op.create_index(op.f("ix_app_actions_store_id_begun_at"), "app_actions", ["store_id", "begun_at"])
    op.create_table(
        "confirmations",
        sa.Column("id", _Id, nullable=False),
        sa.Column("sha256", sa.LargeBinary(length=32), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("undone_at", sa.Double()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_confirmations")),
        sa.UniqueConstraint("sha256", name=op.f("uq_confirmations_sha256")),
    )
