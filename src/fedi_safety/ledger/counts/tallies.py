"""Plans by state, attempts by outcome and day, judged objects by day, each by store: counted as they change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Table,
    TextClause,
    and_,
    bindparam,
    cast,
    func,
    select,
    text,
)

from fedi_safety.core.enums import Verdict
from fedi_safety.ledger import codec
from fedi_safety.ledger.counts.spans import spans
from fedi_safety.ledger.counts.tables import run_tallies, tallies
from fedi_safety.ledger.database.bulk import AHEAD
from fedi_safety.ledger.schema import acts, contents, judgements, objects, plans, stores

_DAY_S = 86_400
_RANGE = 20_000
_t, _o, _p, _a = tallies.c, objects.c, plans.c, acts.c


class What(StrEnum):
    """What is counted; the values of `tallies.what`."""

    PLANS = "plans"  # by state
    ACTS = "acts"  # by outcome, `open` where there is none yet, and by the day of their end
    JUDGED = "judged"  # objects, by the day on which they were judged last


class Tally(NamedTuple):
    """What is counted together. Days are since the epoch (UTC), 0 where there is none."""

    what: str
    store_id: int
    name: str = ""
    day: int = 0


def day_number(moment: ColumnElement[Any]) -> ColumnElement[int]:
    """Return the day of a column of epoch seconds, in days since the epoch (UTC)."""
    return cast(moment, BigInteger) // _DAY_S


def day_of(at: float) -> int:
    """Return the day of a moment, as `day_number` has it."""
    return int(at) // _DAY_S


def _adding(table: Table) -> TextClause:
    """Return what counts so many more in a row of a table, made where it is new. Words of all databases."""
    names = [column.name for column in table.columns]
    key = ", ".join(column.name for column in table.primary_key)
    statement = (
        f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({', '.join(f':{name}' for name in names)})"
        f" ON CONFLICT ({key}) DO UPDATE SET count = {table.name}.count + excluded.count"
    )
    cells = [bindparam(column.name, type_=column.type) for column in table.columns]
    return text(statement).bindparams(*cells).execution_options(**AHEAD)


_ADD, _ADD_VERDICTS = _adding(tallies), _adding(run_tallies)


def add(connection: Connection, more: Mapping[Tally, int]) -> None:
    """Count so many more, or fewer."""
    rows = [tally._asdict() | {"count": count} for tally, count in sorted(more.items()) if count]
    if rows:
        connection.execute(_ADD, rows)


@contextmanager
def plans_counted(connection: Connection, ids: Sequence[int]) -> Iterator[None]:
    """Count these plans as they are when this is left, and no more as they were."""
    before = plans_of(connection, ids)
    yield
    after = plans_of(connection, ids)
    after.subtract(before)
    add(connection, after)


@contextmanager
def acts_counted(connection: Connection, ids: Sequence[int]) -> Iterator[None]:
    """Count these attempts as they are when this is left, and no more as they were."""
    before = acts_of(connection, ids)
    yield
    after = acts_of(connection, ids)
    after.subtract(before)
    add(connection, after)


@contextmanager
def judged_counted(connection: Connection, ids: Sequence[int]) -> Iterator[None]:
    """Count these objects as they are when this is left, and no more as they were."""
    before = judged_of(connection, ids)
    yield
    after = judged_of(connection, ids)
    after.subtract(before)
    add(connection, after)


def plans_of(connection: Connection, ids: Sequence[int] | None = None) -> Counter[Tally]:
    """Return what these plans count as; all of them without `ids`."""
    found: Counter[Tally] = Counter()
    query = select(_o.store_id, _p.state, func.count()).select_from(plans).join(objects, _o.id == _p.object_id)
    for part in codec.chunks(ids) if ids is not None else (None,):
        those = query if part is None else query.where(_p.id.in_(part))
        for store_id, state, count in connection.execute(those.group_by(_o.store_id, _p.state)):
            found[Tally(What.PLANS, store_id, state)] += count
    return found


def acts_of(connection: Connection, ids: Sequence[int] | None = None) -> Counter[Tally]:
    """Return what these attempts count as; all of them without `ids`."""
    found: Counter[Tally] = Counter()
    outcome, day = func.coalesce(_a.outcome, "open"), func.coalesce(day_number(_a.closed_at), 0)
    joined = acts.join(plans, _p.id == _a.plan_id).join(objects, _o.id == _p.object_id)
    query = select(_o.store_id, outcome, day, func.count()).select_from(joined)
    for part in codec.chunks(ids) if ids is not None else (None,):
        those = query if part is None else query.where(_a.id.in_(part))
        for store_id, ended, on, count in connection.execute(those.group_by(_o.store_id, outcome, day)):
            found[Tally(What.ACTS, store_id, ended, int(on))] += count
    return found


def judged_of(connection: Connection, ids: Sequence[int] | None = None) -> Counter[Tally]:
    """Return what these objects count as by the day on which they were judged; all of them without `ids`."""
    found: Counter[Tally] = Counter()
    day = day_number(_o.judged_at)
    query = select(_o.store_id, day, func.count()).where(_o.judged_at.is_not(None)).group_by(_o.store_id, day)
    parts = _ranges(connection) if ids is None else (_o.id.in_(part) for part in codec.chunks(ids))
    for part in parts:
        for store_id, on, count in connection.execute(query.where(part)):
            found[Tally(What.JUDGED, store_id, "", int(on))] += count
    return found


def _ranges(connection: Connection) -> Iterator[ColumnElement[bool]]:
    """Yield conditions that go through all objects by their number, so many at once, however far they lie apart.

    A database sorts what it groups, a few at a quarter of what a million in a row cost.
    """
    after = 0
    while True:
        query = select(_o.id).where(_o.id > after).order_by(_o.id).offset(_RANGE - 1).limit(1)
        upto = connection.execute(query).scalar_one_or_none()
        if upto is None:
            yield _o.id > after
            return
        yield and_(_o.id > after, _o.id <= upto)
        after = upto


def add_verdicts(connection: Connection, run: int | None, verdicts: Mapping[str, int]) -> None:
    """Count so many more verdicts that a run gave; what no run gave is counted nowhere."""
    rows = [{"run_id": run, "verdict": verdict, "count": count} for verdict, count in sorted(verdicts.items())]
    if rows and run is not None:
        connection.execute(_ADD_VERDICTS, rows)


def verdicts_of(connection: Connection) -> Counter[tuple[int, str]]:
    """Return what verdicts runs gave, by reading the history, and contents that have none yet."""
    j, c = judgements.c, contents.c
    found: Counter[tuple[int, str]] = Counter()
    told = select(j.run_id, j.verdict, func.count()).where(j.run_id.is_not(None)).group_by(j.run_id, j.verdict)
    first = select(c.run_id, c.verdict, func.count()).where(c.run_id.is_not(None), c.verdict == Verdict.CLEAR.value)
    first = first.where(~select(j.id).where(j.content_id == c.id).exists()).group_by(c.run_id, c.verdict)
    for query, number in ((told, j.id), (first, c.id)):
        for some in spans(connection, number):
            for run, verdict, count in connection.execute(query.where(some)):
                found[run, verdict] += count
    return found


def every(connection: Connection, what: What, store: str | None = None) -> Iterator[tuple[str, str, int, int]]:
    """Yield what was counted: the store's URL, the name, the day, and how many; none of which there are none."""
    query = select(stores.c.url, _t.name, _t.day, _t.count).join(stores, stores.c.id == _t.store_id)
    query = query.where(_t.what == what.value, _t.count != 0)
    if store is not None:
        query = query.where(stores.c.url == store)
    for row in connection.execute(query.order_by(_t.store_id, _t.day, _t.name)):
        yield row.url, row.name, row.day, row[3]


def by_name(connection: Connection, what: What, store: str | None = None) -> Counter[str]:
    """Return what was counted by name, over all days."""
    found: Counter[str] = Counter()
    for _, name, _, count in every(connection, what, store):
        found[name] += count
    return found
