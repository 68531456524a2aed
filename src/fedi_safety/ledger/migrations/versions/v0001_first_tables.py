"""The first tables of the ledger. Frozen: a change is a new revision beside this one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create every table, and the event chain's first state."""
    op.create_table(
        "chain",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("length", sa.BigInteger(), nullable=False),
        sa.Column("head", sa.LargeBinary(length=32), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_chain")),
    )
    op.create_table(
        "detector_sets",
        sa.Column("id", _Id, nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_detector_sets")),
        sa.UniqueConstraint("body", name=op.f("uq_detector_sets_body")),
    )
    op.create_table(
        "dismissals",
        sa.Column("id", _Id, nullable=False),
        sa.Column("sha256", sa.LargeBinary(length=32), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("undone_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dismissals")),
        sa.UniqueConstraint("sha256", name=op.f("uq_dismissals_sha256")),
    )
    op.create_table(
        "events",
        sa.Column("seq", _Id, autoincrement=False, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(length=32), nullable=True),
        sa.Column("plan_id", _Id, nullable=True),
        sa.Column("prev_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("hash", sa.LargeBinary(length=32), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_events")),
    )
    op.create_index(op.f("ix_events_plan_id"), "events", ["plan_id"], unique=False)
    op.create_index(op.f("ix_events_sha256"), "events", ["sha256"], unique=False)
    op.create_table(
        "runs",
        sa.Column("id", _Id, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("store", sa.Text(), nullable=False),
        sa.Column("dry_run", sa.Boolean(), nullable=False),
        sa.Column("settings", sa.Text(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("ended_at", sa.Double(), nullable=True),
        sa.Column("status", sa.Text(), nullable=True),
        sa.Column("summary", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
    )
    op.create_index(op.f("ix_runs_store_dry_run"), "runs", ["store", "dry_run"], unique=False)
    op.create_table(
        "stores",
        sa.Column("id", _Id, nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("breaker", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stores")),
        sa.UniqueConstraint("url", name=op.f("uq_stores_url")),
    )
    op.create_table(
        "contents",
        sa.Column("id", _Id, nullable=False),
        sa.Column("sha256", sa.LargeBinary(length=32), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("frames", sa.Integer(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("decided", sa.Boolean(), nullable=False),
        sa.Column("dismissed_at", sa.Double(), nullable=True),
        sa.Column("scored_at", sa.Double(), nullable=False),
        sa.Column("detectors_id", _Id, nullable=False),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.Column("reasons", sa.Text(), nullable=False),
        sa.Column("signals", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["detectors_id"], ["detector_sets.id"], name=op.f("fk_contents_detectors_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_contents")),
        sa.UniqueConstraint("sha256", name=op.f("uq_contents_sha256")),
    )
    op.create_index(op.f("ix_contents_verdict_id"), "contents", ["verdict", "id"], unique=False)
    op.create_table(
        "judgements",
        sa.Column("id", _Id, nullable=False),
        sa.Column("content_id", _Id, nullable=False),
        sa.Column("run_id", _Id, nullable=True),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.Column("reasons", sa.Text(), nullable=False),
        sa.Column("signals", sa.Text(), nullable=True),
        sa.Column("detectors_id", _Id, nullable=False),
        sa.Column("event_seq", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["content_id"], ["contents.id"], name=op.f("fk_judgements_content_id")),
        sa.ForeignKeyConstraint(["detectors_id"], ["detector_sets.id"], name=op.f("fk_judgements_detectors_id")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_judgements_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_judgements")),
    )
    op.create_index(op.f("ix_judgements_content_id_id"), "judgements", ["content_id", "id"], unique=False)
    op.create_table(
        "objects",
        sa.Column("id", _Id, nullable=False),
        sa.Column("store_id", _Id, nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("mtime_ns", sa.BigInteger(), nullable=False),
        sa.Column("tag", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("content_id", _Id, nullable=True),
        sa.Column("sha256", sa.LargeBinary(length=32), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("retry_at", sa.Double(), nullable=True),
        sa.Column("first_seen", sa.Double(), nullable=False),
        sa.Column("judged_at", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["content_id"], ["contents.id"], name=op.f("fk_objects_content_id")),
        sa.ForeignKeyConstraint(["store_id"], ["stores.id"], name=op.f("fk_objects_store_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_objects")),
        sa.UniqueConstraint("store_id", "key", name=op.f("uq_objects_store_id_key")),
    )
    op.create_index(op.f("ix_objects_content_id"), "objects", ["content_id"], unique=False)
    op.create_index(op.f("ix_objects_store_id_state_reason"), "objects", ["store_id", "state", "reason"], unique=False)
    op.create_table(
        "plans",
        sa.Column("id", _Id, nullable=False),
        sa.Column("run_id", _Id, nullable=False),
        sa.Column("object_id", _Id, nullable=False),
        sa.Column("content_id", _Id, nullable=False),
        sa.Column("act", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("open", sa.Boolean(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("mtime_ns", sa.BigInteger(), nullable=False),
        sa.Column("tag", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["content_id"], ["contents.id"], name=op.f("fk_plans_content_id")),
        sa.ForeignKeyConstraint(["object_id"], ["objects.id"], name=op.f("fk_plans_object_id")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_plans_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_plans")),
    )
    op.create_index(op.f("ix_plans_content_id"), "plans", ["content_id"], unique=False)
    op.create_index(op.f("ix_plans_object_id"), "plans", ["object_id"], unique=False)
    op.create_index(op.f("ix_plans_open_id"), "plans", ["open", "id"], unique=False)
    op.create_table(
        "acts",
        sa.Column("id", _Id, nullable=False),
        sa.Column("plan_id", _Id, nullable=False),
        sa.Column("run_id", _Id, nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("started_seq", sa.BigInteger(), nullable=False),
        sa.Column("closed_at", sa.Double(), nullable=True),
        sa.Column("closed_seq", sa.BigInteger(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["plan_id"], ["plans.id"], name=op.f("fk_acts_plan_id")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_acts_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_acts")),
    )
    op.create_index(op.f("ix_acts_plan_id"), "acts", ["plan_id"], unique=False)
    op.execute(
        sa.text("INSERT INTO chain (id, length, head) VALUES (1, 0, :head)").bindparams(
            sa.bindparam("head", bytes(32), sa.LargeBinary)
        )
    )
