"""What a store has had for a while, with the hashes of what it shows: for uploads that a server wrote anew.

Works in the caller's transaction, and writes nothing.
"""

from __future__ import annotations

from sqlalchemy import Connection, func, select

from fedi_safety.core.known.packing import unpacked
from fedi_safety.core.ledger.uploads import GONE, REMOVED, Stored
from fedi_safety.ledger import codec, lookup
from fedi_safety.ledger.schema import State, contents, hashes, objects

_MOST = 20_000
"""Objects of one question: of more the first ones are told, which came soonest after an upload."""

_NS = 1_000_000_000
_AWAY = {State.REMOVED.value: REMOVED, State.GONE.value: GONE}
_o, _c = objects.c, contents.c
_ROWS = (
    select(_o.key, _o.mtime_ns, _o.state, _c.sha256, _c.width, _c.height, _c.verdict, _c.decided, hashes.c.pictures)
    .join(contents, _c.id == _o.content_id)
    .join(hashes, hashes.c.content_id == _c.id)
    .order_by(_o.id)
    .limit(_MOST)
)


def newest(connection: Connection) -> int:
    """Return the number of the newest object, 0 where there is none."""
    return int(connection.execute(select(func.coalesce(func.max(_o.id), 0))).scalar_one())


def since(connection: Connection, store: str, after: int, first: float, last: float) -> list[Stored]:
    """Return judged objects that are newer than `after` and were stored between two moments; see `UploadLedger`."""
    store_id = lookup.find_store(connection, store)
    if store_id is None:
        return []
    when = _o.mtime_ns.between(int(first * _NS), int(last * _NS))
    rows = connection.execute(_ROWS.where(_o.store_id == store_id, _o.id > after, when))
    return [
        Stored(
            codec.key_text(row.key),
            row.mtime_ns / _NS,
            row.sha256,
            row.width,
            row.height,
            codec.verdict_from(row.verdict) if row.decided else None,
            unpacked(row.pictures),
            _AWAY.get(row.state, ""),
        )
        for row in rows
    ]
