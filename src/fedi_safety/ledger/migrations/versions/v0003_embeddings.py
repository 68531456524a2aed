"""Embeddings kept beside scores. Frozen: a change is a new revision beside this one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "embedding_models",
        sa.Column("id", _Id, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_embedding_models")),
        sa.UniqueConstraint("name", name=op.f("uq_embedding_models_name")),
    )
    op.create_table(
        "embeddings",
        sa.Column("content_id", _Id, autoincrement=False, nullable=False),
        sa.Column("model_id", _Id, autoincrement=False, nullable=False),
        sa.Column("frame", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("encoding", sa.Text(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["content_id"], ["contents.id"], name=op.f("fk_embeddings_content_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["model_id"], ["embedding_models.id"], name=op.f("fk_embeddings_model_id")),
        sa.PrimaryKeyConstraint("content_id", "model_id", "frame", name=op.f("pk_embeddings")),
    )
