"""Attempts to find out who put a content there, and the sightings that they found. Works in the caller's transaction.

Attempts are added, never altered: what one found stands although a later one finds less, as after a purge.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, insert, select, update

from fedi_safety.core.errors import printable
from fedi_safety.core.moderation import Intended
from fedi_safety.core.ports import Clock
from fedi_safety.core.sightings import (
    Sighting,
    Source,
    SourceKind,
    TraceRecord,
    host_name,
)
from fedi_safety.ledger import codec, lookup
from fedi_safety.ledger.counts import sources as counts
from fedi_safety.ledger.database.base import Database
from fedi_safety.ledger.events import Event, Kind, append
from fedi_safety.ledger.followup import app_actions
from fedi_safety.ledger.reading import kept
from fedi_safety.ledger.reading.kept import traces_of, traces_where
from fedi_safety.ledger.reading.kept_rows import SIGHTING
from fedi_safety.ledger.reading.kept_rows import sighting_from as sighting_from
from fedi_safety.ledger.reading.through import Through
from fedi_safety.ledger.schema import sightings, stores, traces

_t, _s = traces.c, sightings.c
_VOUCHED = ("plan_id", "sha256", "store_id", "key", "url", "names", "server", "at", "state", "detail")


def add(
    connection: Connection,
    run: int | None,
    records: Sequence[TraceRecord],
    intended: Sequence[Sequence[Intended]] = (),
) -> None:
    """Add attempts with what they found, each with its event; earlier ones at the same are not due any more.

    With each go the actions through the app that it asks for.
    """
    about = [record.subject.sha256 for record in records if record.subject.sha256 is not None]
    people = (s for record in records for s in record.sightings if s.person is not None)
    about += counts.unnamed(connection, [printable(s.person_id) for s in people if s.person_id is not None])
    with counts.counted(connection, about):
        for record, wanted in zip(records, intended or repeat(()), strict=False):
            _add(connection, run, record, wanted)


def _add(connection: Connection, run: int | None, record: TraceRecord, wanted: Sequence[Intended]) -> None:
    subject = record.subject
    store_id = None if subject.store is None else lookup.store_row(connection, subject.store)
    row: dict[str, Any] = {
        "run_id": run,
        "plan_id": record.plan,
        "sha256": subject.sha256,
        "store_id": store_id,
        "key": None if subject.key is None else codec.key_bytes(subject.key),
        "url": None if subject.url is None else printable(subject.url),
        "names": codec.dumps({"aliases": subject.aliases, "origins": subject.origins}),
        "server": printable(record.server),
        "at": record.at,
        "state": record.state.value,
        "detail": printable(record.detail)[:500],
        "retry_at": record.retry_at,
    }
    connection.execute(update(traces).where(_same(row), _t.retry_at.is_not(None)).values(retry_at=None))
    trace = int(connection.execute(insert(traces).returning(_t.id), row).scalar_one())
    found = [cells_of(sighting) for sighting in record.sightings]
    if found:
        connection.execute(insert(sightings), [{"trace_id": trace} | cells for cells in found])
    payload = {"run": run, "trace": trace, "state": row["state"], "digest": digest(row, found)}
    (seq,) = append(connection, record.at, [Event(Kind.TRACED, payload, subject.sha256)])
    connection.execute(update(traces).where(_t.id == trace).values(event_seq=seq))
    if wanted and subject.sha256 is not None and store_id is not None:
        app_actions.plan(connection, record.at, run, trace, subject.sha256, store_id, wanted)


def digest(row: Any, found: Iterable[Any]) -> str:
    """Return the hash over an attempt's columns and its sightings' in order, which its event carries."""
    own = [_plain(row[name]) for name in _VOUCHED]
    body = codec.dumps([own, [[cells[name] for name in SIGHTING] for cells in found]])
    return hashlib.sha256(body.encode("ascii")).hexdigest()


def of_contents(connection: Connection, sha256s: Sequence[bytes]) -> dict[bytes, list[TraceRecord]]:
    """Return the attempts at these contents, oldest first."""
    return traces_of(Through(connection), sha256s)


def due(connection: Connection, now: float, store: str, limit: int) -> list[TraceRecord]:
    """Return attempts at what a store has, or had, that are to be made again by now; the longest due first."""
    where = and_(_t.retry_at <= now, stores.c.url == store)
    ids = select(_t.id).join(stores, stores.c.id == _t.store_id).where(where).order_by(_t.retry_at).limit(limit)
    return traces_where(Through(connection), "traces.id IN :these", list(connection.execute(ids).scalars()))


def sightings_of(connection: Connection, trace_ids: Sequence[int]) -> dict[int, list[Any]]:
    """Return the rows that these attempts found, by attempt, in order."""
    return kept.sightings_of(Through(connection), trace_ids)


def sources(
    connection: Connection, by: SourceKind, store: str | None, *, sure: bool = False, limit: int | None = None
) -> list[Source]:
    """Return from where the condemned contents came that nobody dismissed; see the port `LedgerReader`."""
    store_id = None if store is None else lookup.find_store(connection, store)
    if store is not None and store_id is None:
        return []
    return counts.most(connection, by, store_id, sure=sure, limit=limit)


def _same(row: dict[str, Any]) -> ColumnElement[bool]:
    return and_(*(_t[name].is_not_distinct_from(row[name]) for name in ("plan_id", "sha256", "store_id", "key", "url")))


def cells_of(sighting: Sighting) -> dict[str, Any]:
    """Return a sighting as plain cells, its text on one line."""
    cells = {name: getattr(sighting, name) for name in SIGHTING}
    if sighting.instance is not None:
        cells["instance"] = host_name(sighting.instance)
    return {name: printable(cell) if isinstance(cell, str) else cell for name, cell in cells.items()}


def _plain(cell: Any) -> Any:
    return cell.hex() if isinstance(cell, bytes) else cell


class TraceSide:
    """The side of a ledger that remembers who put contents there; see the port `TraceLedger`."""

    database: Database
    clock: Clock

    def record_traces(
        self, run: int | None, records: Sequence[TraceRecord], intended: Sequence[Sequence[Intended]] = ()
    ) -> None:
        """Write attempts to find out who put contents there, with what they found and ask for, in one transaction."""
        with self.database.write() as connection:
            add(connection, run, records, intended)

    def traces_of(self, sha256s: Sequence[bytes]) -> dict[bytes, list[TraceRecord]]:
        """Return the attempts to trace these contents, oldest first."""
        with self.database.read() as connection:
            return of_contents(connection, sha256s)

    def due_traces(self, store: str, limit: int) -> list[TraceRecord]:
        """Return attempts at what a store has, or had, that are to be made again by now."""
        with self.database.read() as connection:
            return due(connection, self.clock.now(), store, limit)

    def sources(
        self, by: SourceKind, store: str | None = None, *, sure: bool = False, limit: int | None = None
    ) -> list[Source]:
        """Return from where condemned contents came that nobody dismissed, most first."""
        with self.database.read() as connection:
            return sources(connection, by, store, sure=sure, limit=limit)
