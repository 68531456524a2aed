"""The figures of a report: totals, coverage, plans, acts, runs, histograms and counts by day. Reads only."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select

from fedi_safety.core.enums import PlanState, Reason, Verdict
from fedi_safety.core.ledger.records import BINS, Figures, StoreActs, StoreCounts, StoreFigures
from fedi_safety.ledger import codec
from fedi_safety.ledger.database.base import Database
from fedi_safety.ledger.events import Kind
from fedi_safety.ledger.followup import app_actions
from fedi_safety.ledger.followup.history import day_number, day_text
from fedi_safety.ledger.query import IMPORTED_LABEL, is_skipped
from fedi_safety.ledger.schema import State, acts, contents, dismissals, events, objects, plans, runs, stores

_RUNS = 10
_PAGE_ROWS = 5_000  # short rows, read by the million


def figures(database: Database, store: str | None = None, *, histograms: bool = True) -> Figures:
    """Return the figures of one store, or of all. `histograms` reads every score, which takes the longest."""
    with database.read() as connection:
        found = Figures()
        for store_id, url, breaker in connection.execute(select(stores.c.id, stores.c.url, stores.c.breaker)):
            if store is None or store == url:
                found.stores.append(_store_figures(connection, store_id, url, breaker))
        found.plans = Counter(_counts(connection, plans.c.state, store))
        found.acts = Counter(_counts(connection, func.coalesce(acts.c.outcome, "open"), store, of_acts=True))
        standing = select(func.count()).select_from(dismissals).where(dismissals.c.undone_at.is_(None))
        found.dismissed = connection.execute(standing).scalar_one()
        found.runs = _last_runs(connection, store)
        found.judged_by_day = _by_day(connection, objects.c.judged_at, store)
        found.removed_by_day = _removed_by_day(connection, store)
    if histograms:
        found.histograms = _histograms(database, store)
    return found


def store_counts(database: Database, store: str) -> StoreCounts:
    """Count a store's judged and unscanned media, and its open plans."""
    waiting = [state.value for state in PlanState if state.open]
    of_store = select(stores.c.id).where(stores.c.url == store)
    with database.read() as connection:
        by_state = select(objects.c.state, func.count()).where(objects.c.store_id.in_(of_store), ~is_skipped())
        states = Counter({row[0]: row[1] for row in connection.execute(by_state.group_by(objects.c.state))})
        query = select(func.count()).select_from(plans).join(objects, objects.c.id == plans.c.object_id)
        query = query.where(objects.c.store_id.in_(of_store), plans.c.state.in_(waiting))
        removals = connection.execute(query).scalar_one()
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
    own = (at for at, payload in connection.execute(query) if json.loads(payload).get("store") == store)
    return next(own, after)


def acts_by_store(database: Database) -> dict[str, StoreActs]:
    """Return the plans and acts of every store that has any, by its URL."""
    found: dict[str, StoreActs] = {}
    joined = plans.join(objects, objects.c.id == plans.c.object_id).join(stores, stores.c.id == objects.c.store_id)
    outcome = func.coalesce(acts.c.outcome, "open")
    of_plans = select(stores.c.url, plans.c.state, func.count()).select_from(joined)
    of_acts = select(stores.c.url, outcome, func.count()).select_from(acts.join(joined, plans.c.id == acts.c.plan_id))
    with database.read() as connection:
        for url, state, count in connection.execute(of_plans.group_by(stores.c.url, plans.c.state)):
            found.setdefault(url, StoreActs()).plans[state] += count
        for url, ended, count in connection.execute(of_acts.group_by(stores.c.url, outcome)):
            found.setdefault(url, StoreActs()).acts[ended] += count
    return found


def _store_figures(connection: Connection, store_id: int, url: str, breaker: str | None) -> StoreFigures:
    o, c = objects.c, contents.c
    found = StoreFigures(url, breaker=breaker)
    found.actions, found.action_breaker = app_actions.figures(connection, store_id)
    states = select(o.state, o.reason, func.count()).where(o.store_id == store_id).group_by(o.state, o.reason)
    for state, reason, count in connection.execute(states):
        if state == State.UNSCANNED:
            (found.skipped if Reason(reason).skipped else found.unscanned)[reason] += count
        elif state == State.REMOVED:
            found.removed += count
        elif state == State.GONE:
            found.gone += count
        elif state == State.HISTORY:
            found.history += count
        else:
            found.judged += count
            if state == State.TRUSTED:
                found.trusted += count
                found.verdicts[Verdict.CLEAR.value] += count
                found.labels[IMPORTED_LABEL] += count
    verdicts = (
        select(c.verdict, c.labels, func.count(), func.count(c.partly))
        .select_from(objects)
        .join(contents, c.id == o.content_id)
        .where(o.store_id == store_id, o.state == State.JUDGED.value)
        .group_by(c.verdict, c.labels)
    )
    for verdict, labels, count, partly in connection.execute(verdicts):
        found.verdicts[verdict] += count
        found.partly += partly
        for label in codec.labels_from(labels):
            found.labels[label] += count
    return found


def _counts(
    connection: Connection, column: ColumnElement[Any], store: str | None, *, of_acts: bool = False
) -> dict[str, int]:
    query = select(column, func.count()).group_by(column)
    if of_acts:
        query = query.select_from(acts)
    if store is not None:
        query = query.join(plans, plans.c.id == acts.c.plan_id) if of_acts else query.select_from(plans)
        query = query.join(objects, objects.c.id == plans.c.object_id)
        query = query.join(stores, stores.c.id == objects.c.store_id).where(stores.c.url == store)
    return {row[0]: row[1] for row in connection.execute(query)}


def _last_runs(connection: Connection, store: str | None) -> list[dict[str, Any]]:
    r = runs.c
    query = select(r.id, r.kind, r.store, r.dry_run, r.started_at, r.ended_at, r.status, r.summary)
    if store is not None:
        query = query.where(r.store == store)
    rows = connection.execute(query.order_by(r.id.desc()).limit(_RUNS)).mappings()
    return [dict(row) | {"summary": json.loads(row["summary"]) if row["summary"] else None} for row in rows]


def _by_day(connection: Connection, moment: ColumnElement[Any], store: str | None) -> dict[str, int]:
    day = day_number(moment)
    query = select(day, func.count()).select_from(objects).where(moment.is_not(None)).group_by(day).order_by(day)
    if store is not None:
        query = query.join(stores, stores.c.id == objects.c.store_id).where(stores.c.url == store)
    return {day_text(number): count for number, count in connection.execute(query)}


def _removed_by_day(connection: Connection, store: str | None) -> dict[str, int]:
    day = day_number(acts.c.closed_at)
    query = (
        select(day, func.count())
        .select_from(acts)
        .join(plans, plans.c.id == acts.c.plan_id)
        .join(objects, objects.c.id == plans.c.object_id)
        .join(stores, stores.c.id == objects.c.store_id)
        .where(acts.c.outcome == "done")
        .group_by(day)
        .order_by(day)
    )
    if store is not None:
        query = query.where(stores.c.url == store)
    return {day_text(number): count for number, count in connection.execute(query)}


def _histograms(database: Database, store: str | None) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for text in _all_signals(database, store):
        for name, (value, *_) in json.loads(text).items():
            bins = found.setdefault(name, [0] * BINS)
            bins[min(BINS - 1, max(0, int(value * BINS)))] += 1
    return dict(sorted(found.items()))


def _all_signals(database: Database, store: str | None) -> Iterator[str]:
    c = contents.c
    query = select(c.id, c.signals).order_by(c.id).limit(_PAGE_ROWS)
    if store is not None:
        there = select(objects.c.id).join(stores, stores.c.id == objects.c.store_id)
        query = query.where(there.where(objects.c.content_id == c.id, stores.c.url == store).exists())
    after = 0
    while True:
        with database.read() as connection:
            page = connection.execute(query.where(c.id > after)).all()
        if not page:
            return
        for _, text in page:
            yield text
        after = page[-1].id
