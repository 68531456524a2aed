"""What happened, day by day, from judgements, acts, events and runs; and which objects have a content. Reads only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Executable, func, select

from fedi_safety.core.enums import PlanState, Verdict
from fedi_safety.core.ledger.history import Condemned, Happened, History, LastPass
from fedi_safety.core.policy import dismissal
from fedi_safety.ledger import codec
from fedi_safety.ledger.compact.vocabulary import AS_STORED, REASONS, Vocabulary
from fedi_safety.ledger.counts.tallies import day_number
from fedi_safety.ledger.database.base import Database
from fedi_safety.ledger.events import Kind
from fedi_safety.ledger.schema import NOT_CLEAR, State, acts, contents, events, judgements, objects, plans, runs, stores

_DAY_S = 86_400
_OUTCOMES = {PlanState.DONE.value: "removed", PlanState.GONE.value: "gone", PlanState.FAILED.value: "failed"}
_WORDS = {Kind.DISMISSED.value: "dismissed", Kind.RESTORED.value: "restored"}
_MET = (State.JUDGED.value, State.REMOVED.value, State.GONE.value)
_MOST_CONDEMNED = 2_000
_WAITING = tuple(state.value for state in PlanState if state.open)
_PRESENT = (State.JUDGED.value, State.UNSCANNED.value, State.TRUSTED.value)


def day_text(number: int) -> str:
    """Return such a day as `YYYY-MM-DD`."""
    return datetime.fromtimestamp(number * _DAY_S, UTC).date().isoformat()


def _is_turn() -> ColumnElement[bool]:
    """Return the condition that a judgement says another verdict than the one before it, or is the first.

    What a person said in between is passed over.
    """
    j, earlier = judgements.c, judgements.alias().c
    before = select(earlier.verdict).where(earlier.content_id == j.content_id, earlier.id < j.id)
    before = before.where(earlier.reasons != codec.reasons_text(dismissal("").reasons))
    last = before.order_by(earlier.id.desc()).limit(1).scalar_subquery()
    return func.coalesce(last, "") != j.verdict


def history(connection: Connection, since: float, store: str | None) -> History:
    """See `HistoryReader.history`."""
    found = History(since)
    days: dict[int, Happened] = {}

    def add(day: int, name: str, count: int) -> None:
        on = days.setdefault(int(day), Happened())
        setattr(on, name, getattr(on, name) + count)

    for day, count in connection.execute(_runs(since, store)):
        add(day, "runs", count)
    for day, count in connection.execute(_judged(since, store)):
        add(day, "judged", count)
    vocabulary = Vocabulary(connection)
    for at, reasons, *own in connection.execute(_turned_block(since, store)).all():
        add(int(at) // _DAY_S, "condemned", 1)
        said = vocabulary.said(*own) if reasons == AS_STORED else vocabulary.said(None, reasons)
        found.rules.update({rule for rule, verdict in said if verdict is Verdict.BLOCK})
    for day, outcome, count in connection.execute(_acts(since, store)):
        add(day, _OUTCOMES[outcome], count)
    for at, name, count in _told(connection, since, store):
        add(int(at) // _DAY_S, name, count)
    found.days = {day_text(number): days[number] for number in sorted(days)}
    return found


def _runs(since: float, store: str | None) -> Executable:
    r = runs.c
    day = day_number(r.started_at)
    query = select(day, func.count()).where(r.started_at >= since).group_by(day)
    return query if store is None else query.where(r.store == store)


def _judged(since: float, store: str | None) -> Executable:
    o = objects.c
    day = day_number(o.judged_at)
    query = select(day, func.count()).where(o.judged_at >= since).group_by(day)
    return query if store is None else query.where(o.store_id == _store_id(store))


def _turned_block(since: float, store: str | None) -> Executable:
    """Select the judgements that condemn what was not condemned before; a dismissal in between does not count."""
    j = judgements.c
    query = select(j.at, j.reasons, *(contents.c[name] for name in REASONS))
    query = query.join(contents, contents.c.id == j.content_id)
    query = query.where(j.at >= since, j.verdict == Verdict.BLOCK.value)
    query = query.where(_is_turn()).order_by(j.id)
    return query if store is None else query.where(_lies_in(j.content_id, store))


def _acts(since: float, store: str | None) -> Executable:
    a = acts.c
    day = day_number(a.closed_at)
    query = select(day, a.outcome, func.count()).where(a.closed_at >= since, a.outcome.in_(_OUTCOMES))
    if store is not None:
        joined = acts.join(plans, plans.c.id == a.plan_id).join(objects, objects.c.id == plans.c.object_id)
        query = query.select_from(joined).where(objects.c.store_id == _store_id(store))
    return query.group_by(day, a.outcome)


def _told(connection: Connection, since: float, store: str | None) -> Iterator[tuple[float, str, int]]:
    """Yield what events alone tell: a person's words, and how many objects a pass did not meet any more."""
    e = events.c
    query = select(e.at, e.kind, e.payload).where(e.at >= since, e.kind.in_((*_WORDS, Kind.GONE.value)))
    if store is not None:
        content = select(contents.c.id).where(contents.c.sha256 == e.sha256).correlate(events).scalar_subquery()
        query = query.where((e.kind == Kind.GONE.value) | _lies_in(content, store))
    for at, kind, payload in connection.execute(query.order_by(e.seq)):
        if kind in _WORDS:
            yield at, _WORDS[kind], 1
        elif (said := codec.said_from(payload)) and store in (None, said["store"]):
            yield at, "gone", said["objects"]


def _store_id(store: str) -> Any:
    return select(stores.c.id).where(stores.c.url == store).scalar_subquery()


def _lies_in(content_id: ColumnElement[Any], store: str) -> ColumnElement[bool]:
    """Return the condition that a store has, or had, an object with this content."""
    return (
        select(objects.c.id).where(objects.c.content_id == content_id, objects.c.store_id == _store_id(store)).exists()
    )


def condemned(connection: Connection, since: float | None, store: str | None, limit: int) -> list[Condemned]:
    """See `HistoryReader.condemned`. Contents are found by the index of verdicts, from the newest on."""
    c, o, j, p, a = contents.c, objects.c, judgements.c, plans.c, acts.c
    newest = select(c.id).where(c.verdict == Verdict.BLOCK.value, NOT_CLEAR)
    newest = newest.order_by(c.id.desc()).limit(_MOST_CONDEMNED)
    when = (
        select(func.max(j.at))
        .where(j.content_id == c.id, j.verdict == Verdict.BLOCK.value, _is_turn())
        .scalar_subquery()
        .label("condemned_at")
    )
    removed = (
        select(func.max(a.closed_at))
        .select_from(acts.join(plans, p.id == a.plan_id))
        .where(p.object_id == o.id, a.outcome == PlanState.DONE.value)
        .correlate(objects)
        .scalar_subquery()
        .label("removed_at")
    )
    # By state, not `open`: a database may go through the index of all that are open for each object.
    waits = select(func.max(p.state)).where(p.object_id == o.id, p.state.in_(_WAITING)).scalar_subquery().label("waits")
    query = (
        select(stores.c.url, o.key, o.state, c.sha256, *(c[name] for name in REASONS), when, removed, waits)
        .select_from(contents)
        .join(objects, o.content_id == c.id)
        .join(stores, stores.c.id == o.store_id)
        .where(c.id.in_(newest), o.state.in_(_MET))
    )
    if store is not None:
        query = query.where(stores.c.url == store)
    rows = [row for row in connection.execute(query) if since is None or max(_times(row)) >= since]
    rows.sort(key=lambda row: (-max(_times(row)), row.url, row.key))
    vocabulary = Vocabulary(connection)
    return [_condemned_row(row, vocabulary.said(row.shape_id, row.reasons)) for row in rows[:limit]]


def _times(row: Any) -> tuple[float, float]:
    return row.condemned_at or 0.0, row.removed_at or 0.0


def _condemned_row(row: Any, said: Sequence[tuple[str, Verdict | None]]) -> Condemned:
    away = row.state in (State.REMOVED.value, State.GONE.value)
    rules = tuple(rule for rule, verdict in said if verdict is Verdict.BLOCK)
    return Condemned(
        row.url, codec.key_text(row.key), row.sha256, rules, row.condemned_at,
        row.removed_at, row.state if away else row.waits or "",
    )  # fmt: skip


def last_passes(connection: Connection) -> dict[str, LastPass]:
    """See `HistoryReader.last_passes`."""
    r = runs.c
    last = select(func.max(r.id)).where(r.complete.is_(True), r.ended_at.is_not(None)).group_by(r.store)
    rows = connection.execute(select(r.store, r.id, r.started_at, r.ended_at).where(r.id.in_(last)))
    return {row.store: LastPass(row.id, row.started_at, row.ended_at) for row in rows}


class HistorySide:
    """The side of a ledger that tells of the past; see the port `HistoryReader`."""

    database: Database

    def history(self, since: float, store: str | None = None) -> History:
        """Return what happened since then, of all or of one store."""
        with self.database.read() as connection:
            return history(connection, since, store)

    def condemned(self, since: float | None, store: str | None = None, *, limit: int) -> list[Condemned]:
        """Return what stands condemned, the newest first."""
        with self.database.read() as connection:
            return condemned(connection, since, store, limit)

    def last_passes(self) -> dict[str, LastPass]:
        """Return for each store the last pass that met all that it holds."""
        with self.database.read() as connection:
            return last_passes(connection)

    def objects_with(self, sha256s: Sequence[bytes]) -> dict[bytes, list[tuple[str, str]]]:
        """Return by content the objects that are present and have it: store and key, oldest first."""
        o, found = objects.c, dict[bytes, list[tuple[str, str]]]()
        query = (
            select(contents.c.sha256, stores.c.url, o.key)
            .join(objects, o.content_id == contents.c.id)
            .join(stores, stores.c.id == o.store_id)
            .where(o.state.in_(_PRESENT))
            .order_by(o.id)
        )
        with self.database.read() as connection:
            for part in codec.chunks(sha256s):
                for sha256, url, key in connection.execute(query.where(contents.c.sha256.in_(part))):
                    found.setdefault(sha256, []).append((url, codec.key_text(key)))
        return found
