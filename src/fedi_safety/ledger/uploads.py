"""Uploads that the gate refused, or let in without a verdict: the backlog, and how each of them ended.

Works in the caller's transaction. It judges nothing and plans nothing: a waiting upload ends with a judgement that is
recorded elsewhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, case, delete, func, insert, or_, select, update

from fedi_safety.core.enums import Reason, Verdict
from fedi_safety.core.errors import printable
from fedi_safety.core.ledger.uploads import (
    GATE_RUN,
    NOT_FOUND,
    UNTOLD,
    BacklogEntry,
    Likeness,
    Move,
    Stored,
    Told,
    UploadFigures,
    UploadNote,
    UploadState,
)
from fedi_safety.core.ports import Clock
from fedi_safety.core.sightings import Sighting, Subject
from fedi_safety.ledger import codec
from fedi_safety.ledger.counts.tables import run_tallies
from fedi_safety.ledger.database.base import Database
from fedi_safety.ledger.followup import traces
from fedi_safety.ledger.known import stored
from fedi_safety.ledger.schema import State, contents, objects, runs
from fedi_safety.ledger.schema import traces as traced
from fedi_safety.ledger.schema import uploads as table

RETAIN_S = 90 * 86_400.0
"""How long what is refused or settled can be looked up."""

_MOST_SHOWN = 100

_u = table.c
_ENTRIES = select(table, contents.c.verdict).outerjoin(contents, contents.c.sha256 == _u.sha256)
_OPEN_STATES = sorted(state.value for state in UploadState if state.open)
_UNLIKE = _u.told.like('%"why":%')  # in canonical JSON no text has quotation marks of its own


def note(connection: Connection, notes: Sequence[UploadNote]) -> None:
    """Add rows, each upload's once. What is owed and has a verdict by now does not begin as owed."""
    known: set[str] = set()
    for part in codec.chunks([item.upload for item in notes]):
        known.update(connection.execute(select(_u.upload).where(_u.upload.in_(part))).scalars())
    notes = [item for item in {item.upload: item for item in notes}.values() if item.upload not in known]
    if not notes:
        return
    newest = stored.newest(connection) if any(item.told.likeness is not None for item in notes) else 0
    rows = [
        {
            "upload": item.upload,
            "at": item.at,
            "sender": printable(item.sender),
            "state": item.state.value,
            "reason": item.reason,
            "detail": printable(item.detail)[:500],
            "by": printable(item.by),
            "sha256": item.sha256,
            "size": item.size,
            "media_type": item.media_type,
            "url": item.url,
            "tries": 0,
            "decoder": item.decoder,
            "told": _told_text(_after(item.told, newest)),
            "record": item.told.record,
        }
        for item in notes
    ]
    connection.execute(insert(table), rows)
    owed = [item for item in notes if item.state.open and item.sha256 is not None]
    if owed:
        judged(connection, max(item.at for item in owed), [item.sha256 for item in owed if item.sha256 is not None])


def judged(connection: Connection, at: float, sha256s: Sequence[bytes]) -> None:
    """Note that these contents may have a verdict by now. What is condemned stays open until it is removed."""
    if not sha256s or not _any_open(connection):
        return
    block = Verdict.BLOCK.value
    for part in codec.chunks(sha256s):
        verdict = select(contents.c.verdict).where(contents.c.sha256 == _u.sha256).scalar_subquery()
        decided = select(contents.c.sha256).where(contents.c.sha256.in_(part), contents.c.decided)
        connection.execute(
            update(table)
            .where(_u.sha256.in_(decided), _u.state.in_(_OPEN_STATES))
            .values(
                state=case((verdict == block, UploadState.CONDEMNED.value), else_=UploadState.SETTLED.value),
                outcome=verdict,
                settled_at=case((verdict == block, None), else_=at),
            )
        )


def removed(connection: Connection, at: float, sha256s: Sequence[bytes], outcome: str) -> None:
    """Note that objects with these contents were removed from their store, or were gone from it."""
    if not sha256s or not _any_open(connection):
        return
    for part in codec.chunks(sha256s):
        connection.execute(
            update(table)
            .where(_u.sha256.in_(part), _u.state == UploadState.CONDEMNED.value)
            .values(state=UploadState.SETTLED.value, outcome=outcome, settled_at=at)
        )


def _any_open(connection: Connection) -> bool:
    query = select(_u.id).where(_u.state.in_(_OPEN_STATES)).limit(1)
    return connection.execute(query).first() is not None


def move(connection: Connection, at: float, moves: Sequence[Move]) -> None:
    """Write what became of waiting uploads, by their requests' ids; one that is not open any more stays as it is."""
    for item in moves:
        values: dict[str, Any] = {"tries": _u.tries + 1, "tried_at": at}
        if item.state is not None:
            values["state"] = item.state.value
        if item.state is UploadState.SETTLED:
            values["settled_at"] = at
        for name in ("outcome", "decoder", "sha256", "size"):
            if (value := getattr(item, name)) is not None:
                values[name] = value
        if item.sha256 is not None or item.likeness is not None:
            values["told"] = _learnt(connection, item)
        if item.detail is not None:
            values["detail"] = printable(item.detail)[:500]
        # Somebody else may have judged it meanwhile: then it is not held any more.
        states = [UploadState.OWED.value] if item.state is UploadState.HELD else _OPEN_STATES
        connection.execute(update(table).where(_u.upload == item.upload, _u.state.in_(states)).values(values))


def ask_again(connection: Connection, upload: str) -> bool:
    """See `UploadLedger.ask_upload_again`."""
    waits = (_u.upload == upload, _u.state.in_([UploadState.OWED.value, UploadState.HELD.value]))
    anew = {"state": UploadState.OWED.value, "tries": 0, "tried_at": None}
    return connection.execute(update(table).where(*waits).values(anew)).rowcount > 0


def reopen(connection: Connection, decoder: str) -> int:
    """Owe again what another version could not judge; return how many."""
    of_others = (_u.state == UploadState.HELD.value) & or_(_u.decoder.is_(None), _u.decoder != decoder)
    return connection.execute(update(table).where(of_others).values(state=UploadState.OWED.value)).rowcount


def settle_swept(connection: Connection, at: float, store: str, margin_s: float) -> int:
    """Settle what no complete pass over the store has met, as long as it began well after the upload.

    One that found the store empty, or shorter than it may be, or a directory that failed, was not complete.
    What was met is no "not found": it ends with a verdict that is carried through, whatever a breaker, a dry run or a
    failed act has made of it so far. What was met and cannot be judged by this version is held.
    """
    r = runs.c
    swept = select(func.max(r.started_at)).where(
        r.store == store, r.kind == "scan", r.status == "done", r.whole.is_(True), r.complete.is_not(False)
    )
    began = connection.execute(swept).scalar_one_or_none()
    if began is None:
        return 0
    old = (_u.at < began - margin_s) & _u.sha256.is_not(None)
    waiting = _u.state.in_([UploadState.OWED.value, UploadState.CONDEMNED.value]) & old
    if connection.execute(select(_u.id).where(waiting).limit(1)).first() is None:
        return 0
    o = objects.c
    unread = select(o.sha256).where(o.state == State.UNSCANNED.value, o.sha256.is_not(None))
    for_good = unread.where(o.reason.not_in([reason.value for reason in Reason if reason.transient]))
    owed = (_u.state == UploadState.OWED.value) & old
    connection.execute(update(table).where(owed, _u.sha256.in_(for_good)).values(state=UploadState.HELD.value))
    there = (State.JUDGED.value, State.TRUSTED.value, State.UNSCANNED.value)
    met = (
        select(o.id)
        .join(contents, contents.c.id == o.content_id)
        .where(contents.c.sha256 == _u.sha256, o.state.in_(there))
        .exists()
    )
    outcome = case((_UNLIKE, UNTOLD), else_=NOT_FOUND)
    values = {"state": UploadState.SETTLED.value, "outcome": outcome, "settled_at": at}
    gone = update(table).where(waiting, ~met, _u.sha256.not_in(unread))
    return connection.execute(gone.values(values)).rowcount


def prune(connection: Connection, before: float) -> int:
    """Forget what ended before; return how many."""
    ended = _u.state.in_([UploadState.REFUSED.value, UploadState.SETTLED.value])
    return connection.execute(delete(table).where(ended, func.coalesce(_u.settled_at, _u.at) < before)).rowcount


def untried(connection: Connection, state: UploadState, limit: int) -> list[BacklogEntry]:
    """Return the uploads in this state that were not tried for the longest, those never tried first."""
    query = _ENTRIES.where(_u.state == state.value).order_by(func.coalesce(_u.tried_at, 0.0), _u.id).limit(limit)
    return [_entry(row) for row in connection.execute(query).mappings()]


def _entry(row: Any) -> BacklogEntry:
    known = UploadNote(
        row["upload"],
        row["at"],
        row["sender"],
        UploadState(row["state"]),
        row["reason"],
        row["by"],
        row["sha256"],
        row["size"],
        row["media_type"],
        row["url"],
        row["detail"],
        row["decoder"],
        _told(row["told"]),
    )
    verdict = None if row["verdict"] is None else codec.verdict_from(row["verdict"])
    return BacklogEntry(row["id"], known, row["tries"], row["tried_at"], verdict)


def _told_text(told: Told) -> str | None:
    if told == Told():
        return None
    body: dict[str, Any] = {name: None if text is None else printable(text) for name, text in _texts(told)}
    body["sighting"] = None if told.sighting is None else traces.cells_of(told.sighting)
    body["likeness"] = None if told.likeness is None else _cells(told.likeness)
    body["came_as"] = None if told.came_as is None else told.came_as.hex()
    return codec.dumps({name: value for name, value in body.items() if value is not None})


def _cells(likeness: Likeness) -> dict[str, Any]:
    values = {"pdq": None if likeness.pdq is None else likeness.pdq.hex(), "width": likeness.width,
              "height": likeness.height, "why": likeness.why, "after": likeness.after}  # fmt: skip
    return {name: value for name, value in values.items() if value}


def _after(told: Told, newest: int) -> Told:
    """Note beside a likeness which objects were there already."""
    return told if told.likeness is None else replace(told, likeness=replace(told.likeness, after=newest))


def _learnt(connection: Connection, item: Move) -> str | None:
    """Return what is told of an upload with what was learnt since: its likeness, and that its bytes are others now."""
    query = select(_u.told, _u.sha256).where(_u.upload == item.upload)
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    told = _told(row.told)
    if item.likeness is not None:
        after = 0 if told.likeness is None else told.likeness.after
        told = replace(told, likeness=replace(item.likeness, after=after))
    if item.sha256 is not None and row.sha256 not in (None, item.sha256):
        told = replace(told, came_as=told.came_as or row.sha256)
    return _told_text(told)


def _texts(told: Told) -> tuple[tuple[str, str | None], ...]:
    return (("address", told.address), ("file_name", told.file_name))


def _told(text: str | None) -> Told:
    if text is None:
        return Told()
    body = codec.said_from(text)
    sighting = None if "sighting" not in body else traces.sighting_from(body["sighting"])
    found = body.get("likeness")
    likeness = None if found is None else Likeness(**found | {"pdq": bytes.fromhex(found.get("pdq", "")) or None})
    came_as = bytes.fromhex(body.get("came_as", "")) or None
    return Told(body.get("address"), body.get("file_name"), sighting, likeness, came_as)


def told_of(connection: Connection, sha256: bytes | None, records: Sequence[str]) -> list[Sighting]:
    """Return where hooks said that a content is in use, by its hash or by its record on its server; each once."""
    by_hash = [] if sha256 is None else [_u.sha256 == sha256]
    by_record = [_u.record.in_(list(records))] if records else []  # beside an empty list no index would be asked
    if not by_hash and not by_record:
        return []
    query = select(_u.told).where(or_(*by_hash, *by_record), _u.record.is_not(None)).order_by(_u.id).limit(_MOST_SHOWN)
    found = [_told(text).sighting for text in connection.execute(query).scalars()]
    return list(dict.fromkeys(sighting for sighting in found if sighting is not None))


def untraced(connection: Connection, limit: int) -> list[Subject]:
    """Return the condemned contents that the gate refused, or let in, and that nobody has traced yet; oldest first.

    One content is one subject, by the address at which a hook announced it, if one did. What was dismissed is none.
    """
    c = contents.c
    there = (UploadState.REFUSED.value, UploadState.CONDEMNED.value)
    query = (
        select(_u.sha256, func.max(_u.url).label("url"))
        .join(contents, c.sha256 == _u.sha256)
        .where(_u.state.in_(there), c.verdict == Verdict.BLOCK.value, c.decided, c.dismissed_at.is_(None))
        .where(~select(traced.c.id).where(traced.c.sha256 == _u.sha256).exists())
        .group_by(_u.sha256)
        .order_by(func.min(_u.id))
        .limit(limit)
    )
    return [Subject(sha256=sha256, url=url) for sha256, url in connection.execute(query)]


def figures(database: Database, now: float) -> UploadFigures:
    """Return what the gate has refused and owes."""
    found = UploadFigures()
    with database.read() as connection:
        by_state = select(_u.state, _u.reason, _u.outcome, func.count()).group_by(_u.state, _u.reason, _u.outcome)
        for state, reason, outcome, count in connection.execute(by_state):
            if state == UploadState.REFUSED:
                found.refused[reason] += count
            elif state == UploadState.OWED:
                found.owed[reason] += count
            elif state == UploadState.HELD:
                found.held[reason] += count
            elif state == UploadState.CONDEMNED:
                found.condemned += count
            else:
                found.settled[outcome or "unknown"] += count
        lately = (_u.state == UploadState.REFUSED.value) & (_u.at > now - 86_400)
        found.refused_day = connection.execute(select(func.count()).select_from(table).where(lately)).scalar_one()
        found.unlike = _unlike(connection)
        waiting = _u.state.in_([UploadState.OWED.value, UploadState.CONDEMNED.value])
        found.oldest_at = connection.execute(select(func.min(_u.at)).where(waiting)).scalar_one()
        t = run_tallies.c
        of_gate = select(t.verdict, func.sum(t.count)).join(runs, runs.c.id == t.run_id).where(runs.c.kind == GATE_RUN)
        given = {verdict: int(count) for verdict, count in connection.execute(of_gate.group_by(t.verdict))}
        found.judged, found.blocked = sum(given.values()), given.get(Verdict.BLOCK.value, 0)
    return found


def _unlike(connection: Connection) -> Counter[str]:
    """Count the open uploads that cannot be found again by what they show, by why."""
    told = connection.execute(select(_u.told).where(_u.state.in_(_OPEN_STATES), _UNLIKE)).scalars()
    return Counter(likeness.why for text in told if (likeness := _told(text).likeness) is not None)


class UploadSide:
    """The side of a ledger that remembers what the gate refused and owes; see the port `UploadLedger`."""

    database: Database
    clock: Clock

    def ask_upload_again(self, upload: str) -> bool:
        """Let an upload without a verdict be tried at once."""
        with self.database.write() as connection:
            return ask_again(connection, upload)

    def untried_entries(self, state: UploadState, limit: int) -> list[BacklogEntry]:
        """Return the uploads in this state that were not tried for the longest, those never tried first."""
        with self.database.read() as connection:
            return untried(connection, state, limit)

    def stored_since(self, store: str, after: int, first: float, last: float) -> list[Stored]:
        """Return what was stored between two moments of the store's clock, of objects that are newer than `after`."""
        with self.database.read() as connection:
            return stored.since(connection, store, after, first, last)

    def tend_uploads(self, store: str | None, decoder: str, margin_s: float) -> None:
        """Owe again what another version could not judge, settle what a whole pass did not meet, forget the old."""
        now = self.clock.now()
        with self.database.write() as connection:
            reopen(connection, decoder)
            if store is not None:
                settle_swept(connection, now, store, margin_s)
            prune(connection, now - RETAIN_S)

    def untraced_uploads(self, limit: int) -> list[Subject]:
        """Return condemned contents that the gate refused, or let in, and that nobody has traced yet."""
        with self.database.read() as connection:
            return untraced(connection, limit)

    def told_of(self, sha256: bytes | None, records: Sequence[str]) -> list[Sighting]:
        """Return where servers' hooks said that a content is in use."""
        with self.database.read() as connection:
            return told_of(connection, sha256, records)

    def upload_figures(self, now: float) -> UploadFigures:
        """Return what the gate has refused and owes."""
        return figures(self.database, now)
