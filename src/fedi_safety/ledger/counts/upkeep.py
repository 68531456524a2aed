"""Kept counters made anew from what they count, and held against it. Works in the caller's transaction."""

from __future__ import annotations

from collections import Counter

from sqlalchemy import Connection, delete, func, insert, select, update

from fedi_safety.core.errors import printable
from fedi_safety.ledger.counts import groups, sources, tallies
from fedi_safety.ledger.counts.groups import Group, put_page
from fedi_safety.ledger.counts.tables import object_groups, run_tallies
from fedi_safety.ledger.counts.tables import tallies as table
from fedi_safety.ledger.counts.tallies import Tally
from fedi_safety.ledger.database.base import Database
from fedi_safety.ledger.schema import objects, stores

PAGE_ROWS = 5_000
"""How many objects are put into their groups in one transaction."""

_g = object_groups.c


def begin(connection: Connection) -> int:
    """Return the object behind which putting objects into groups goes on; it may have been cut off."""
    first = select(func.min(objects.c.id)).where(objects.c.group_id.is_(None))
    found = connection.execute(first).scalar_one_or_none()
    if found is None:
        found = (connection.execute(select(func.max(objects.c.id))).scalar_one_or_none() or 0) + 1
    return int(found) - 1


def step(connection: Connection, after: int) -> int | None:
    """Put the next page of objects into their groups; return its last one, None at the end."""
    return put_page(connection, after, PAGE_ROWS)


def finish(connection: Connection) -> None:
    """Count anew, once every object is in its group."""
    own = select(func.count()).where(objects.c.group_id == _g.id).correlate(object_groups).scalar_subquery()
    connection.execute(update(object_groups).values(objects=own))
    connection.execute(delete(table))
    rows = [tally._asdict() | {"count": count} for tally, count in sorted(_tallied(connection).items())]
    if rows:
        connection.execute(insert(table), rows)


def finish_runs(connection: Connection) -> None:
    """Count anew what verdicts runs gave."""
    connection.execute(delete(run_tallies))
    counted = sorted(tallies.verdicts_of(connection).items())
    rows = [{"run_id": run, "verdict": verdict, "count": count} for (run, verdict), count in counted]
    if rows:
        connection.execute(insert(run_tallies), rows)


def _tallied(connection: Connection) -> Counter[Tally]:
    return tallies.plans_of(connection) + tallies.acts_of(connection) + tallies.judged_of(connection)


def wrong(connection: Connection) -> str | None:
    """Return which counter is not what it counts, as people call it; None where all add up. Reads every object."""
    urls = {row.id: row.url for row in connection.execute(select(stores.c.id, stores.c.url))}
    known = {number: (group, count) for number, group, count in groups.every(connection)}
    found: Counter[int] = Counter()
    for number, group, count in groups.told(connection):
        if number is None or known.get(number, (None, 0))[0] != group:
            return f"{_words(group, urls)}: {count:,} objects are counted elsewhere"
        found[number] += count
    for number, (group, count) in sorted(known.items()):
        if count != found[number]:
            return f"{_words(group, urls)}: the ledger has {found[number]:,}, and counted {count:,}"
    query = select(table.c.what, table.c.store_id, table.c.name, table.c.day, table.c.count)
    kept = Counter({Tally(*row[:4]): row[4] for row in connection.execute(query) if row[4]})
    right = _tallied(connection)
    for tally in sorted(kept.keys() | right.keys()):
        if kept[tally] != right[tally]:
            name = " ".join(word for word in (tally.what, tally.name) if word)
            where = urls.get(tally.store_id, f"store {tally.store_id}")
            return f"{name} of {where}: the ledger has {right[tally]:,}, and counted {kept[tally]:,}"
    return _wrong_run(connection) or _wrong_source(connection, urls)


def _wrong_source(connection: Connection, urls: dict[int, str]) -> str | None:
    found = sources.wrong(connection)
    if found is None:
        return None
    tally, has, counted = found
    where = "all stores"
    if tally.store_id != sources.EVERY_STORE:
        where = urls.get(tally.store_id, f"store {tally.store_id}")
    name = printable(tally.name) or f"any {tally.kind}"
    if has == counted:
        return f"condemned contents from {name} of {where}: how they were seen, or when last, is not what is kept"
    return f"condemned contents from {name} of {where}: the ledger has {has:,}, and counted {counted:,}"


def _wrong_run(connection: Connection) -> str | None:
    r = run_tallies.c
    kept = Counter(
        {(row.run_id, row.verdict): row[2] for row in connection.execute(select(r.run_id, r.verdict, r.count))}
    )
    right = tallies.verdicts_of(connection)
    for run, verdict in sorted(kept.keys() | right.keys()):
        has, counted = right[run, verdict], kept[run, verdict]
        if has != counted:
            return f"{verdict} verdicts of run {run}: the ledger has {has:,}, and counted {counted:,}"
    return None


def recount(database: Database) -> int:
    """Put every object into its group, page by page, and count anew; return how many objects there are."""
    place: int | None = 0
    with database.read() as connection:
        query = select(func.count()).select_from(objects)
        total = int(connection.execute(query).scalar_one())
    while place is not None:
        with database.write() as connection:
            place = step(connection, place)
            if place is None:
                finish(connection)
                finish_runs(connection)
                sources.recount(connection)
    return total


def _words(group: Group, urls: dict[int, str]) -> str:
    told = " ".join(word for word in (group.state, group.reason, group.verdict) if word)
    return f"{told} of {urls.get(group.store_id, f'store {group.store_id}')}"
