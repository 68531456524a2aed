"""The figures of a report: totals, coverage, plans, acts, runs, histograms and counts by day. Reads only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, RowMapping, func, select

from fedi_safety.core.enums import PlanState, Reason
from fedi_safety.core.ledger.records import BINS, Figures, StoreActs, StoreCounts, StoreFigures
from fedi_safety.ledger import codec
from fedi_safety.ledger.compact.vocabulary import Vocabulary
from fedi_safety.ledger.counts import groups, tallies
from fedi_safety.ledger.counts.groups import IMPORTED_LABEL, Group
from fedi_safety.ledger.counts.tallies import What
from fedi_safety.ledger.database.base import Database
from fedi_safety.ledger.events import Kind
from fedi_safety.ledger.followup import app_actions
from fedi_safety.ledger.followup.history import day_text
from fedi_safety.ledger.schema import State, acts, contents, dismissals, events, objects, plans, runs, stores

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_RUNS = 10
_PAGE_ROWS = 5_000  # short rows, read by the million


def figures(database: Database, store: str | None = None, *, histograms: bool = True) -> Figures:
    """Return the figures of one store, or of all. `histograms` reads every score, which takes the longest."""
    with database.read() as connection:
        found = Figures()
        standing = list(groups.every(connection))
        for store_id, url, breaker in connection.execute(select(stores.c.id, stores.c.url, stores.c.breaker)):
            if store is None or store == url:
                own = [(group, count) for _, group, count in standing if group.store_id == store_id]
                found.stores.append(_store_figures(connection, store_id, url, breaker, own))
        found.plans = tallies.by_name(connection, What.PLANS, store)
        found.acts = tallies.by_name(connection, What.ACTS, store)
        undone = select(func.count()).select_from(dismissals).where(dismissals.c.undone_at.is_(None))
        found.dismissed = connection.execute(undone).scalar_one()
        found.runs = _last_runs(connection, store)
        found.judged_by_day = _by_day(connection, What.JUDGED, "", store)
        found.removed_by_day = _by_day(connection, What.ACTS, PlanState.DONE.value, store)
    if histograms:
        found.histograms = _histograms(database, store)
    return found


def store_counts(database: Database, store: str) -> StoreCounts:
    """Count a store's judged and unscanned media, and its open plans."""
    with database.read() as connection:
        store_id = connection.execute(select(stores.c.id).where(stores.c.url == store)).scalar_one_or_none()
        states = Counter[str]()
        for _, group, count in groups.every(connection):
            if group.store_id == store_id and not (group.reason and Reason(group.reason).skipped):
                states[group.state] += count
        waiting = tallies.by_name(connection, What.PLANS, store)
    removals = sum(waiting[state.value] for state in PlanState if state.open)
    return StoreCounts(states[State.JUDGED] + states[State.TRUSTED], states[State.UNSCANNED], removals)


def removed_since(database: Database, store: str, after: float) -> int:
    """Count what was removed from a store since then, or since a person last let its breaker go."""
    with database.read() as connection:
        a = acts.c
        query = (
            select(func.count())
            .select_from(acts)
            .join(plans, plans.c.id == a.plan_id)
            .join(objects, objects.c.id == plans.c.object_id)
            .join(stores, stores.c.id == objects.c.store_id)
            .where(stores.c.url == store, a.outcome == PlanState.DONE.value)
            .where(a.closed_at > let_go(connection, store, after))
        )
        return connection.execute(query).scalar_one()


def judged_since(database: Database, store: str, after: float) -> int:
    """Count the objects of a store that were judged since then, or since a person last let its breaker go."""
    with database.read() as connection:
        o = objects.c
        query = select(func.count()).select_from(objects).join(stores, stores.c.id == o.store_id)
        since = let_go(connection, store, after)
        return connection.execute(query.where(stores.c.url == store, o.judged_at > since)).scalar_one()


def let_go(connection: Connection, store: str, after: float) -> float:
    """Return when a person last reset the store's breaker, if that was later."""
    e = events.c
    query = select(e.at, e.payload).where(e.kind == Kind.BREAKER_RESET.value, e.at > after).order_by(e.seq.desc())
    own = (at for at, payload in connection.execute(query) if codec.said_from(payload).get("store") == store)
    return next(own, after)


def acts_by_store(database: Database) -> dict[str, StoreActs]:
    """Return the plans and acts of every store that has any, by its URL."""
    found: dict[str, StoreActs] = {}
    with database.read() as connection:
        for url, state, _, count in tallies.every(connection, What.PLANS):
            found.setdefault(url, StoreActs()).plans[state] += count
        for url, ended, _, count in tallies.every(connection, What.ACTS):
            found.setdefault(url, StoreActs()).acts[ended] += count
    return found


def _store_figures(
    connection: Connection, store_id: int, url: str, breaker: str | None, standing: Sequence[tuple[Group, int]]
) -> StoreFigures:
    found = StoreFigures(url, breaker=breaker)
    found.actions, found.action_breaker = app_actions.figures(connection, store_id)
    for group, count in standing:
        if not count:
            continue
        if group.state == State.UNSCANNED:
            (found.skipped if Reason(group.reason).skipped else found.unscanned)[group.reason] += count
        elif group.state == State.REMOVED:
            found.removed += count
        elif group.state == State.GONE:
            found.gone += count
        elif group.state == State.HISTORY:
            found.history += count
        else:
            found.judged += count
            found.verdicts[group.verdict] += count
            if group.state == State.TRUSTED:
                found.trusted += count
                found.labels[IMPORTED_LABEL] += count
                continue
            found.partly += count if group.partly else 0
            for label in codec.labels_from(group.labels):
                found.labels[label] += count
    return found


def _last_runs(connection: Connection, store: str | None) -> list[dict[str, Any]]:
    r = runs.c
    query = select(r.id, r.kind, r.store, r.dry_run, r.started_at, r.ended_at, r.status, r.summary)
    if store is not None:
        query = query.where(r.store == store)
    rows = connection.execute(query.order_by(r.id.desc()).limit(_RUNS)).mappings()
    return [dict(row) | {"summary": codec.said_from(row["summary"]) if _ended(row) else None} for row in rows]


def _ended(run: RowMapping) -> bool:
    """Whether what is written as a run's summary is that: until it ends it may tell how far it is."""
    return run["ended_at"] is not None and bool(run["summary"])


def _by_day(connection: Connection, what: What, name: str, store: str | None) -> dict[str, int]:
    found: Counter[int] = Counter()
    for _, named, day, count in tallies.every(connection, what, store):
        if named == name:
            found[day] += count
    return {day_text(day): found[day] for day in sorted(found)}


def _histograms(database: Database, store: str | None) -> dict[str, list[int]]:
    import numpy as np

    found: dict[str, Any] = {}
    for names, values in _all_scores(database, store):
        for name, column in zip(names, values.T, strict=True):
            measured = column[~np.isnan(column)]
            bins = np.clip((measured * BINS).astype(np.int64), 0, BINS - 1)
            found[name] = found.get(name, 0) + np.bincount(bins, minlength=BINS)
    return {name: bins.tolist() for name, bins in sorted(found.items())}


def _all_scores(database: Database, store: str | None) -> Iterator[tuple[list[str], NDArray[np.float64]]]:
    """Yield names and values of scores, (contents, names), page by page; NaN was not measured."""
    from fedi_safety.ledger.compact import arrays

    c = contents.c
    query = select(c.id, c.names_id, c.scores).order_by(c.id).limit(_PAGE_ROWS)
    if store is not None:
        there = select(objects.c.id).join(stores, stores.c.id == objects.c.store_id)
        query = query.where(there.where(objects.c.content_id == c.id, stores.c.url == store).exists())
    after = 0
    while True:
        with database.read() as connection:
            page = connection.execute(query.where(c.id > after)).all()
            if not page:
                return
            names, values, _ = arrays.table(Vocabulary(connection), [row[1] for row in page], [row[2] for row in page])
        yield names, values
        after = page[-1].id
