"""What the review pages read and write: queues, the chain by pages, decisions that wait, and sessions.

Every read is bounded: it walks an index from the newest entry on and stops after so many rows, however large a ledger
is. Works in the caller's transaction, but for the side of the ledger at its end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, delete, func, insert, or_, select, update

from fedi_safety.core.enums import ActKind, PlanState, Verdict
from fedi_safety.core.errors import printable
from fedi_safety.core.ledger.records import PastEvent
from fedi_safety.core.ledger.review import (
    Decision,
    DecisionKind,
    DecisionState,
    EventPage,
    Queued,
    QueueFilter,
    QueueKind,
    QueuePage,
    Session,
    score_of,
)
from fedi_safety.core.ports import Clock
from fedi_safety.core.sightings import host_name
from fedi_safety.core.types import RuleHit
from fedi_safety.ledger import codec
from fedi_safety.ledger.compact.vocabulary import REASONS, SCORES, Vocabulary
from fedi_safety.ledger.counts import tallies
from fedi_safety.ledger.counts.tallies import What
from fedi_safety.ledger.database.base import Database
from fedi_safety.ledger.schema import (
    NOT_CLEAR,
    State,
    confirmations,
    contents,
    events,
    objects,
    plans,
    review_decisions,
    review_sessions,
    runs,
    sightings,
    stores,
    traces,
)

_MOST_ROWS = 1_000  # that one page of a queue reads
_MOST_EVENTS = 20_000

_c, _o, _p, _d, _s = contents.c, objects.c, plans.c, review_decisions.c, review_sessions.c
_DECIDABLE = {  # what the verdict must be; anything can be dismissed
    DecisionKind.CONFIRM: (Verdict.BLOCK.value, Verdict.REVIEW.value),
    DecisionKind.REMOVE: (Verdict.BLOCK.value,),
}
_STATES = {QueueKind.PLANNED: PlanState.PLANNED.value, QueueKind.FAILED: PlanState.FAILED.value}


# --- queues


def _place(kind: QueueKind) -> ColumnElement[Any]:
    """Return what says where an entry stands in a queue."""
    return _c.id if kind is QueueKind.REVIEW else _p.id


def _rules_of(wanted: QueueFilter, before: int | None) -> Select[*tuple[Any, ...]]:
    """Return places and reasons of a queue in its order, and no more than is needed for that."""
    columns = (_place(wanted.kind).label("place"), *(_c[name] for name in REASONS))
    if wanted.kind is QueueKind.REVIEW:
        query: Select[*tuple[Any, ...]] = select(*columns).select_from(contents)
        if wanted.store is not None or wanted.since is not None:
            query = _with_object(query, wanted)
    else:
        query = select(*columns).select_from(plans).join(contents, _c.id == _p.content_id)
        if wanted.store is not None:
            query = _with_object(query, wanted)
    return _narrowed(query, wanted, before)


def _rows_of(wanted: QueueFilter, before: int | None) -> Select[*tuple[Any, ...]]:
    """Return all that is shown of the entries of a queue, in its order."""
    told = (_c[name] for name in ("sha256", "media_type", *REASONS, *SCORES))
    columns = (_place(wanted.kind).label("place"), *told, stores.c.url, _o.key)
    if wanted.kind is QueueKind.REVIEW:
        query: Select[*tuple[Any, ...]] = select(*columns, _o.judged_at.label("at")).select_from(contents)
    else:
        query = select(*columns, _p.created_at.label("at"), _p.act, _p.error).select_from(plans)
        query = query.join(contents, _c.id == _p.content_id)
    return _narrowed(_with_object(query, wanted), wanted, before)


def _with_object(query: Select[*tuple[Any, ...]], wanted: QueueFilter) -> Select[*tuple[Any, ...]]:
    """Join the object by which an entry is shown: that of its plan, or the first that has the content."""
    which: Any = _p.object_id
    if wanted.kind is QueueKind.REVIEW:
        here = [_o.content_id == _c.id, _o.state == State.JUDGED.value]
        if wanted.store is not None:
            here.append(_o.store_id.in_(select(stores.c.id).where(stores.c.url == wanted.store)))
        which = select(func.min(_o.id)).where(*here).correlate(contents).scalar_subquery()
    return query.join(objects, _o.id == which).join(stores, stores.c.id == _o.store_id)


def _narrowed(query: Select[*tuple[Any, ...]], wanted: QueueFilter, before: int | None) -> Select[*tuple[Any, ...]]:
    """Put the conditions of a queue, and its order; the rule is looked for in what they bring."""
    place = _place(wanted.kind)
    if wanted.kind is QueueKind.REVIEW:
        query = query.where(_c.verdict == Verdict.REVIEW.value, NOT_CLEAR)
    else:
        query = query.where(_p.open.is_(True), _p.state == _STATES[wanted.kind])
    if wanted.kind is QueueKind.PLANNED:
        query = query.join(runs, runs.c.id == _p.run_id).where(runs.c.dry_run.is_(True))
    if wanted.store is not None and wanted.kind is not QueueKind.REVIEW:
        query = query.where(stores.c.url == wanted.store)
    if wanted.since is not None:
        query = query.where((_o.judged_at if wanted.kind is QueueKind.REVIEW else _p.created_at) >= wanted.since)
    if wanted.source is not None:
        query = query.where(_comes_from(wanted.source))
    if before is not None:
        query = query.where(place < before)
    return query.order_by(place.desc())


def _comes_from(source: str) -> ColumnElement[bool]:
    """Return the condition that a content was seen at a person or an instance, by the index of its traces."""
    t, s = traces.c, sightings.c
    named = or_(s.person == source, s.person_id == source, s.instance == host_name(source))
    return select(t.id).join(sightings, s.trace_id == t.id).where(t.sha256 == _c.sha256, named).exists()


def _entry(
    row: Row[*tuple[Any, ...]], vocabulary: Vocabulary, confirmed: set[bytes], waiting: dict[bytes, Decision]
) -> Queued:
    had = row._mapping
    return Queued(
        row.place, row.sha256, row.url, codec.key_text(row.key), row.media_type,
        _reasons(row, vocabulary), row.at,
        None if had.get("act") is None else ActKind(had["act"]), had.get("error"),
        row.sha256 in confirmed, waiting.get(row.sha256),
    )  # fmt: skip


def _reasons(row: Row[*tuple[Any, ...]], vocabulary: Vocabulary) -> tuple[RuleHit, ...]:
    signals = {} if row.shape_id is None else vocabulary.signals(row.names_id, row.scores, row.signals)
    return vocabulary.reasons(row.shape_id, row.reasons, signals)


def _picked(
    connection: Connection,
    vocabulary: Vocabulary,
    wanted: QueueFilter,
    before: int | None,
    limit: int,
    floor: int | None,
) -> tuple[list[int], int | None]:
    """Return the places of a page that is told by what its entries say, and where the next one begins.

    By score the page begins behind so many entries as `before` says, and not at a place. Nothing below `floor` is read.
    """
    here = [] if floor is None else [_place(wanted.kind) >= floor]
    scored = wanted.by_score or wanted.least is not None
    query = _rules_of(wanted, None if wanted.by_score else before).where(*here)
    read = connection.execute(query.add_columns(*(_c[name] for name in SCORES)) if scored else query).all()
    found: list[tuple[float, int]] = []
    for row in read:
        if wanted.rule is not None and wanted.rule not in vocabulary.rules(row.shape_id, row.reasons):
            continue
        score = score_of(_reasons(row, vocabulary)) if scored else 0.0
        if score >= (wanted.least or 0.0):
            found.append((score, row.place))
    if wanted.by_score:
        found.sort(key=lambda one: (-one[0], -one[1]))
        first = before or 0
        page = [place for _, place in found[first : first + limit]]
        return page, first + limit if len(found) > first + limit else None
    places = [place for _, place in found[:limit]]
    return places, places[-1] if len(found) > limit else floor


def queue(connection: Connection, wanted: QueueFilter, before: int | None, limit: int) -> QueuePage:
    """See `ReviewLedger.queue`."""
    vocabulary = Vocabulary(connection)
    floor = _floor(connection, wanted, None if wanted.by_score else before)
    if wanted.rule is None and wanted.least is None and not wanted.by_score:
        here = [] if floor is None else [_place(wanted.kind) >= floor]
        rows = connection.execute(_rows_of(wanted, before).where(*here).limit(limit + 1)).all()
        older = rows[limit - 1].place if len(rows) > limit else floor
        rows = rows[:limit]
    else:
        places, older = _picked(connection, vocabulary, wanted, before, limit, floor)
        rows = connection.execute(_rows_of(wanted, None).where(_place(wanted.kind).in_(places))).all()
        rows = sorted(rows, key=lambda row: places.index(row.place))
    sha256s = [row.sha256 for row in rows]
    confirmed, waiting = _confirmed(connection, sha256s), _waiting(connection, sha256s)
    return QueuePage(tuple(_entry(row, vocabulary, confirmed, waiting) for row in rows), older)


def _floor(connection: Connection, wanted: QueueFilter, before: int | None) -> int | None:
    """Return how far down one page of a queue that is narrowed looks; None where that is to its end."""
    if wanted == QueueFilter(wanted.kind):
        return None
    every = _rules_of(QueueFilter(wanted.kind), before).with_only_columns(_place(wanted.kind))
    return connection.execute(every.offset(_MOST_ROWS - 1).limit(1)).scalar()


def queue_counts(connection: Connection) -> dict[QueueKind, int]:
    """Return how many entries each queue has."""
    review = select(func.count()).select_from(contents)
    review = review.where(_c.verdict == Verdict.REVIEW.value, NOT_CLEAR)
    of_plans = select(func.count()).select_from(plans).where(_p.open.is_(True))
    planned = (
        of_plans.join(runs, runs.c.id == _p.run_id)
        .where(_p.state == PlanState.PLANNED.value, runs.c.dry_run.is_(True))
    )  # fmt: skip
    failed = of_plans.where(_p.state == PlanState.FAILED.value)
    queries = {QueueKind.REVIEW: review, QueueKind.PLANNED: planned, QueueKind.FAILED: failed}
    return {kind: connection.execute(query).scalar_one() for kind, query in queries.items()}


def queue_rules(connection: Connection, kind: QueueKind) -> dict[str, int]:
    """Return how many of the newest entries each rule has, the most first."""
    counts: Counter[str] = Counter()
    vocabulary = Vocabulary(connection)
    for row in connection.execute(_rules_of(QueueFilter(kind), None).limit(_MOST_ROWS)).all():
        counts.update(set(vocabulary.rules(row.shape_id, row.reasons)))
    return dict(counts.most_common())


def waiting_plans(connection: Connection) -> dict[str, int]:
    """Return how many open plans each store has, by its URL."""
    found: Counter[str] = Counter()
    for url, state, _, count in tallies.every(connection, What.PLANS):
        if PlanState(state).open:
            found[url] += count
    return dict(found)


def _confirmed(connection: Connection, sha256s: Sequence[bytes]) -> set[bytes]:
    k = confirmations.c
    query = select(k.sha256).where(k.sha256.in_(sha256s), k.undone_at.is_(None))
    return set(connection.execute(query).scalars())


def _waiting(connection: Connection, sha256s: Sequence[bytes]) -> dict[bytes, Decision]:
    found: dict[bytes, Decision] = {}
    for part in codec.chunks(sha256s):
        query = select(review_decisions).where(_d.sha256.in_(part), _d.open.is_(True))
        found.update((row.sha256, _decision(row)) for row in connection.execute(query))
    return found


# --- the chain


def event_page(
    connection: Connection, before: int | None, limit: int, kind: str | None, sha256: bytes | None
) -> EventPage:
    """See `ReviewLedger.event_page`."""
    e = events.c
    query = select(e.seq, e.at, e.kind, e.payload).order_by(e.seq.desc()).limit(limit + 1)
    newest = connection.execute(select(func.max(e.seq))).scalar_one() or 0
    top = newest + 1 if before is None else before
    query = query.where(e.seq < top)
    floor = 1
    if sha256 is not None:
        query = query.where(e.sha256 == sha256)
    elif kind is not None:
        floor = max(1, top - _MOST_EVENTS)
        query = query.where(e.kind == kind, e.seq >= floor)
    rows = connection.execute(query).all()
    shown = tuple(PastEvent(seq, at, word, codec.said_from(payload)) for seq, at, word, payload in rows[:limit])
    older = shown[-1].seq if len(rows) > limit else floor if floor > 1 else None
    return EventPage(shown, older)


# --- decisions


def _decision(row: Row[*tuple[Any, ...]]) -> Decision:
    return Decision(
        row.id, row.batch, row.sha256, DecisionKind(row.kind), row.reason, row.by, row.at, row.due_at,
        DecisionState(row.state), row.detail,
    )  # fmt: skip


def decide(
    connection: Connection,
    now: float,
    batch: str,
    kind: DecisionKind,
    sha256s: Sequence[bytes],
    reason: str,
    by: str,
    wait_s: float,
    seen_at: float,
) -> tuple[list[Decision], list[Decision]]:
    """See `ReviewLedger.decide`."""
    wanted = list(dict.fromkeys(sha256s))
    in_the_way: dict[bytes, Decision] = {}
    decidable: set[bytes] = set()
    for part in codec.chunks(wanted):
        of_these = select(review_decisions).where(_d.sha256.in_(part), _d.state != DecisionState.UNDONE.value)
        for row in connection.execute(of_these.where(_d.open.is_(True) | (_d.at > seen_at)).order_by(_d.id)):
            in_the_way[row.sha256] = _decision(row)
        known = select(_c.sha256).where(_c.sha256.in_(part), _c.dismissed_at.is_(None))
        known = known.where(_c.verdict.in_(_DECIDABLE[kind])) if kind in _DECIDABLE else known
        if kind is DecisionKind.TAKE_BACK:
            k = confirmations.c
            known = known.where(select(k.id).where(k.sha256 == _c.sha256, k.undone_at.is_(None)).exists())
        decidable.update(connection.execute(known).scalars())
    rows = [
        {
            "batch": batch, "sha256": sha256, "kind": kind.value, "reason": printable(reason), "by": printable(by),
            "at": now, "due_at": now + wait_s, "state": DecisionState.WAITING.value, "open": True, "detail": "",
        }
        for sha256 in wanted
        if sha256 in decidable and sha256 not in in_the_way
    ]  # fmt: skip
    if rows:
        connection.execute(insert(review_decisions), rows)
    return decisions(connection, batch=batch, limit=len(rows)), list(in_the_way.values())


def undo(connection: Connection, batch: str) -> int:
    """Undo what waits of a batch; return how many that were."""
    waits = (_d.batch == batch, _d.state == DecisionState.WAITING.value)
    undone = update(review_decisions).where(*waits).values(state=DecisionState.UNDONE.value, open=False)
    return len(connection.execute(undone.returning(_d.id)).all())


def take(connection: Connection, now: float, limit: int, lapse_s: float) -> list[Decision]:
    """See `ReviewLedger.take_decisions`."""
    waits = (_d.open.is_(True), _d.state == DecisionState.WAITING.value)
    # What somebody took and never closed as well: that process is gone, and the content must be free for another word.
    late = update(review_decisions).where(_d.open.is_(True), _d.due_at < now - lapse_s)
    connection.execute(late.values(state=DecisionState.LAPSED.value, open=False, detail="nobody was there in its time"))
    due = select(_d.id).where(*waits, _d.due_at <= now).order_by(_d.due_at, _d.id).limit(limit)
    ids = list(connection.execute(due).scalars())
    connection.execute(update(review_decisions).where(_d.id.in_(ids)).values(state=DecisionState.TAKEN.value))
    rows = connection.execute(select(review_decisions).where(_d.id.in_(ids)).order_by(_d.id))
    return [_decision(row) for row in rows]


def decisions(
    connection: Connection, *, sha256: bytes | None = None, batch: str | None = None, limit: int
) -> list[Decision]:
    """Return decisions, newest first."""
    query = select(review_decisions).order_by(_d.id.desc()).limit(limit)
    if sha256 is not None:
        query = query.where(_d.sha256 == sha256)
    if batch is not None:
        query = query.where(_d.batch == batch)
    return [_decision(row) for row in connection.execute(query)]


# --- sessions


def _sessions(connection: Connection, digest: bytes) -> Iterator[Session]:
    for row in connection.execute(select(review_sessions).where(_s.digest == digest)):
        yield Session(row.digest, row.person, row.stamp, row.begun_at, row.seen_at, row.proved_at)


class ReviewSide:
    """The side of a ledger that the review pages use; see `core.ledger.review`."""

    database: Database
    clock: Clock

    def queue(self, wanted: QueueFilter, *, before: int | None = None, limit: int = 50) -> QueuePage:
        """Return a page of a queue."""
        with self.database.read() as connection:
            return queue(connection, wanted, before, limit)

    def queue_counts(self) -> dict[QueueKind, int]:
        """Return how many entries each queue has."""
        with self.database.read() as connection:
            return queue_counts(connection)

    def queue_rules(self, kind: QueueKind) -> dict[str, int]:
        """Return how many of the newest entries of a queue each rule has, the most first."""
        with self.database.read() as connection:
            return queue_rules(connection, kind)

    def waiting_plans(self) -> dict[str, int]:
        """Return how many open plans each store has, by its URL."""
        with self.database.read() as connection:
            return waiting_plans(connection)

    def event_page(
        self, *, before: int | None = None, limit: int = 50, kind: str | None = None, sha256: bytes | None = None
    ) -> EventPage:
        """Return events of the chain, newest first."""
        with self.database.read() as connection:
            return event_page(connection, before, limit, kind, sha256)

    def decide(
        self, kind: DecisionKind, sha256s: Sequence[bytes], reason: str, by: str, wait_s: float, seen_at: float
    ) -> tuple[list[Decision], list[Decision]]:
        """Write decisions down; return those that are written, and those of others that stand in the way."""
        from secrets import token_hex

        now = self.clock.now()
        with self.database.write() as connection:
            return decide(connection, now, token_hex(16), kind, sha256s, reason, by, wait_s, seen_at)

    def undo_decisions(self, batch: str) -> int:
        """Undo what waits of these; return how many that were."""
        with self.database.write() as connection:
            return undo(connection, batch)

    def take_decisions(self, limit: int, lapse_s: float) -> list[Decision]:
        """Return decisions that are due, oldest first, each to one taker alone; what is due for longer lapses."""
        with self.database.write() as connection:
            return take(connection, self.clock.now(), limit, lapse_s)

    def close_decision(self, decision: Decision, state: DecisionState, detail: str) -> None:
        """Record what became of a decision that was taken."""
        ended = {"state": state.value, "open": False, "detail": printable(detail)[:500]}
        with self.database.write() as connection:
            connection.execute(update(review_decisions).where(_d.id == decision.id).values(**ended))

    def decisions(self, *, sha256: bytes | None = None, batch: str | None = None, limit: int = 50) -> list[Decision]:
        """Return decisions, newest first."""
        with self.database.read() as connection:
            return decisions(connection, sha256=sha256, batch=batch, limit=limit)

    def next_due(self) -> float | None:
        """Return when the next waiting decision is due."""
        waits = (_d.open.is_(True), _d.state == DecisionState.WAITING.value)
        with self.database.read() as connection:
            due: float | None = connection.execute(select(func.min(_d.due_at)).where(*waits)).scalar_one()
            return due

    def put_session(self, session: Session) -> None:
        """Write a session down, in the place of an earlier one with this digest."""
        row = {"digest": session.digest, "person": session.person, "stamp": session.stamp,
               "begun_at": session.begun_at, "seen_at": session.seen_at, "proved_at": session.proved_at}  # fmt: skip
        with self.database.write() as connection:
            connection.execute(delete(review_sessions).where(_s.digest == session.digest))
            connection.execute(insert(review_sessions), row)

    def session(self, digest: bytes) -> Session | None:
        """Return a session, None where there is none."""
        with self.database.read() as connection:
            return next(_sessions(connection, digest), None)

    def end_sessions(self, *, digest: bytes | None = None, seen_before: float | None = None) -> int:
        """Forget one session, or all that were last seen before then; return how many."""
        where = _s.digest == digest if digest is not None else _s.seen_at < (seen_before or 0.0)
        with self.database.write() as connection:
            return len(connection.execute(delete(review_sessions).where(where).returning(_s.digest)).all())
