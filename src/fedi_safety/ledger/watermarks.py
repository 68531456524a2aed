"""How far the daemon has looked at each store, and which failures are due again. It judges and plans nothing."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select, tuple_, update

from fedi_safety.core.enums import Reason
from fedi_safety.core.ledger.records import Retry, Watermark
from fedi_safety.core.types import Object
from fedi_safety.ledger import codec
from fedi_safety.ledger.counts import groups
from fedi_safety.ledger.schema import objects, stores
from fedi_safety.ledger.schema import watermarks as marks

_o, _m = objects.c, marks.c
_TRANSIENT = [reason.value for reason in Reason if reason.transient]


def get(connection: Connection, store: str) -> Watermark | None:
    """Return a store's mark, if it has one."""
    query = select(_m.high_water, _m.swept_at, _m.basis).join(stores, stores.c.id == _m.store_id)
    row = connection.execute(query.where(stores.c.url == store)).one_or_none()
    return None if row is None else Watermark(*row)


def put(connection: Connection, store_id: int, mark: Watermark) -> None:
    """Write a store's mark."""
    values = {"high_water": mark.high_water, "swept_at": mark.swept_at, "basis": mark.basis}
    if not connection.execute(update(marks).where(_m.store_id == store_id).values(values)).rowcount:
        connection.execute(insert(marks), {"store_id": store_id} | values)


def due(connection: Connection, store: str, now: float, after: tuple[float, int], limit: int) -> list[Retry]:
    """Return what is due at `now`, beyond `after`, in order; an object that fails anew gets a later place."""
    store_id = connection.execute(select(stores.c.id).where(stores.c.url == store)).scalar_one_or_none()
    failed = groups.numbers(connection, lambda group: group.store_id == store_id and group.reason in _TRANSIENT)
    query = (
        select(_o.key, _o.size, _o.mtime_ns, _o.tag, _o.retry_at, _o.id)
        .where(_o.group_id.in_(failed))
        .where(_o.retry_at <= now, tuple_(_o.retry_at, _o.id) > after)
        .order_by(_o.retry_at, _o.id)
        .limit(limit)
    )
    return [
        Retry(Object(codec.key_text(key), size, mtime_ns, tag), (retry_at, row))
        for key, size, mtime_ns, tag, retry_at, row in connection.execute(query)
    ]
