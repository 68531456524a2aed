"""At most one open plan an object. Frozen: a change is a new revision beside this one."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Close all but one of an object's open plans, with their events, and let no second one be opened."""
    _close_further()
    op.create_index(
        "uq_plans_one_open",
        "plans",
        ["object_id"],
        unique=True,
        sqlite_where=sa.text("open"),
        postgresql_where=sa.text("open"),
    )


def _close_further() -> None:
    connection = op.get_bind()
    names = ("id", "object_id", "content_id", "state", "open")
    plans = sa.table("plans", *(sa.column(name) for name in names))
    contents = sa.table("contents", sa.column("id"), sa.column("sha256"))
    p = plans.c
    several = sa.select(p.object_id).where(p.open.is_(True)).group_by(p.object_id).having(sa.func.count() > 1)
    query = (
        sa.select(p.id, p.object_id, p.state, contents.c.sha256)
        .join(contents, contents.c.id == p.content_id)
        .where(p.open.is_(True), p.object_id.in_(several))
        .order_by(p.object_id, (p.state != "started"), p.id)
    )
    kept: set[int] = set()
    further = []
    for row in connection.execute(query):
        if row.object_id in kept:
            further.append(row)
        kept.add(row.object_id)
    if not further:
        return
    closing = sa.update(plans).values(state="superseded", open=False)
    connection.execute(closing.where(p.id.in_([row.id for row in further])))
    _append(connection, [{"run": None, "state": "superseded", "sha256": r.sha256.hex(), "plan": r.id} for r in further])


def _append(connection: sa.Connection, payloads: list[dict[str, Any]]) -> None:
    """Write events of closed plans, as the chain had them when this was written."""
    names = ("seq", "at", "kind", "payload", "sha256", "plan_id", "prev_hash", "hash")
    events = sa.table("events", *(sa.column(name) for name in names))
    chain = sa.table("chain", sa.column("length"), sa.column("head"))
    seq, before = connection.execute(sa.select(chain.c.length, chain.c.head)).one()
    at = connection.execute(sa.select(sa.func.coalesce(sa.func.max(events.c.at), 0.0))).scalar_one()
    kind = "plan.closed"
    for payload in payloads:
        seq += 1
        text = _dumps(payload)
        body = f'{{"at":{_dumps(at)},"kind":{_dumps(kind)},"payload":{text},"seq":{seq}}}'
        own = hashlib.sha256(before + body.encode("ascii")).digest()
        row = {
            "seq": seq,
            "at": at,
            "kind": kind,
            "payload": text,
            "sha256": bytes.fromhex(payload["sha256"]),
            "plan_id": payload["plan"],
            "prev_hash": before,
            "hash": own,
        }
        connection.execute(sa.insert(events), row)
        before = own
    connection.execute(sa.update(chain).values(length=seq, head=before))


def _dumps(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
