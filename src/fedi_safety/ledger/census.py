"""What a pass over a whole store did not meet: counted, and marked gone. Works in the caller's transactions.

A gone object keeps its content, its judgements and its history; one that is met again is judged as it stands then.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, func, select, update

from fedi_safety.core.enums import PlanState, Reason
from fedi_safety.core.ledger.census import Census
from fedi_safety.core.ports import Clock
from fedi_safety.core.types import Object
from fedi_safety.ledger import codec, embeddings, planning
from fedi_safety.ledger.counts import groups
from fedi_safety.ledger.database.base import Database
from fedi_safety.ledger.events import Event, Kind, append_alone
from fedi_safety.ledger.schema import State, objects, plans, stores

_PAGE_ROWS = 5_000
_KNOWN = (State.JUDGED.value, State.UNSCANNED.value)
_READ = tuple(reason.value for reason in Reason if reason.of_decoder)
_TRUSTED = State.TRUSTED.value
_PRESENT = (*_KNOWN, _TRUSTED)
_o = objects.c
_Rows = Sequence[Row[*tuple[Any, ...]]]


def begin(database: Database, store: str) -> Census:
    """Return the census of a store with nothing met yet."""
    with database.read() as connection:
        last = connection.execute(select(func.max(_o.id))).scalar_one() or 0
        counts: Counter[str] = Counter()
        store_id = _store_id(connection, store)
        for _, group, count in groups.every(connection):
            if group.store_id == store_id:
                counts[group.state] += count
    return Census(store, last, sum(counts[state] for state in _KNOWN), counts[_TRUSTED])


def meet(census: Census, rows: Iterable[tuple[int, str]]) -> None:
    """Note that the objects of these rows, with their states, are there."""
    known: list[int] = []
    adopted: list[int] = []
    others: list[int] = []
    for row, state in rows:
        (known if state in _KNOWN else adopted if state == _TRUSTED else others).append(row)
    census.meet(known, adopted, others)


def _store_id(connection: Connection, store: str) -> int:
    """Return a store's row; -1, which none has, where nothing of it was ever recorded."""
    found = connection.execute(select(stores.c.id).where(stores.c.url == store)).scalar_one_or_none()
    return -1 if found is None else found


def hidden(database: Database, census: Census) -> int:
    """Count the known objects that were not met because their directories failed."""
    if not census.closed:
        return 0
    shelter = _Shelter(census)
    pages = _unmet_pages(database, census)
    return sum(row.state in _KNOWN and shelter.covers(row.key) for page in pages for row in page)


def mark_gone(database: Database, clock: Clock, run: int, census: Census) -> int:
    """Mark gone what was not met and does not lie in a directory that failed, by the page; return how many."""
    if census.all_met:
        return 0
    shelter = _Shelter(census)
    total = 0
    for page in _unmet_pages(database, census):
        if found := [row for row in page if not shelter.covers(row.key)]:
            total += database.whole(partial(_marked, database, clock.now(), run, found))
    if total:
        told = Event(Kind.GONE, {"run": run, "store": census.store, "objects": total})
        database.whole(partial(append_alone, database, clock.now(), told))
    return total


def _marked(database: Database, at: float, run: int, rows: _Rows) -> int:
    with database.write() as connection:
        return _mark(connection, at, run, rows)


def _unmet_pages(database: Database, census: Census) -> Iterator[_Rows]:
    with database.read() as connection:
        store_id = _store_id(connection, census.store)
    query = (
        select(_o.id, _o.key, _o.state, _o.content_id)
        .where(_o.store_id == store_id, _o.state.in_(_PRESENT), _o.id <= census.last)
        .order_by(_o.id)
        .limit(_PAGE_ROWS)
    )
    after = 0
    while True:
        page = database.whole(partial(_page, database, query.where(_o.id > after)))
        if not page:
            return
        if found := [row for row in page if not census.has_met(row.id)]:
            yield found
        after = page[-1].id


def _page(database: Database, query: Select[Any]) -> _Rows:
    with database.read() as connection:
        return connection.execute(query).all()


class _Shelter:
    """The directories that failed, as keys are looked up in them."""

    def __init__(self, census: Census) -> None:
        self._prefixes = sorted(codec.key_bytes(key) for key in census.closed)  # none lies within another

    def covers(self, key: bytes) -> bool:
        at = bisect_right(self._prefixes, key)
        return at > 0 and key.startswith(self._prefixes[at - 1])


def _mark(connection: Connection, at: float, run: int, rows: _Rows) -> int:
    """Mark objects gone that are still held as present, and close their waiting plans; return how many."""
    marked: list[int] = []
    for part in codec.chunks([row.id for row in rows]):
        statement = (
            update(objects)
            .where(_o.id.in_(part), _o.state.in_(_PRESENT))
            .values(state=State.GONE.value, retry_at=None)
            .returning(_o.id)
        )
        marked += connection.execute(statement).scalars()
        groups.restate(connection, rows=part)
        planning.close_waiting(connection, at, run, plans.c.object_id.in_(part), PlanState.GONE)
    embeddings.forget_orphans(connection, [row.content_id for row in rows if row.content_id is not None])
    return len(marked)


def known_objects(database: Database, store: str, most: int) -> list[Object]:
    """Return judged objects from the newest to the oldest, evenly spread, at most `most`.

    Those that wait to be removed only where there are no others: they are what somebody else may have removed as well.
    Where none was judged, those whose bytes were read all the same: a store may hold no media yet.
    """
    waiting = select(plans.c.id).where(plans.c.object_id == _o.id, plans.c.open).exists()
    with database.read() as connection:
        here = _o.store_id == _store_id(connection, store)
        judged = (here, _o.state == State.JUDGED.value, _o.reason.is_(None))
        read = (here, _o.state == State.UNSCANNED.value, _o.reason.in_(_READ))
        for where in ((*judged, ~waiting), judged, read):
            if found := _spread(connection, where, most):
                return found
        return []


def _spread(connection: Connection, where: Sequence[ColumnElement[bool]], most: int) -> list[Object]:
    newest = select(_o.id, _o.key, _o.size, _o.mtime_ns, _o.tag).where(*where).order_by(_o.id.desc()).limit(1)
    first = connection.execute(newest).one_or_none()
    if first is None:
        return []
    oldest = connection.execute(select(_o.id).where(*where).order_by(_o.id).limit(1)).scalar_one()
    found = {first.id: first}
    for step in range(1, most):
        point = first.id - (first.id - oldest) * step // max(1, most - 1)
        row = connection.execute(newest.where(_o.id <= point)).one()
        found[row.id] = row
    return [_object(row) for row in found.values()]


def _object(row: Row[*tuple[Any, ...]]) -> Object:
    return Object(codec.key_text(row.key), row.size, row.mtime_ns, row.tag)


def identity(database: Database, store: str) -> str | None:
    """Return what told a store from others when it was last seen to be itself."""
    with database.read() as connection:
        return connection.execute(select(stores.c.identity).where(stores.c.url == store)).scalar_one_or_none()


def set_identity(connection: Connection, store_id: int, told: str) -> None:
    """Remember what tells a store from others in its place."""
    connection.execute(update(stores).where(stores.c.id == store_id).values(identity=told))
