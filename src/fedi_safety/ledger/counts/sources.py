"""From where condemned contents came, counted as they change: by instance and by person, in each store and in all.

Works in the caller's transaction. A content counts where it stands condemned and nobody dismissed it, once at each
source that a trace found of it, and once among all that have one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Row, Select, delete, func, insert, or_, select, tuple_, update

from fedi_safety.core.enums import Verdict
from fedi_safety.core.sightings import Certainty, Source, SourceKind
from fedi_safety.ledger import codec
from fedi_safety.ledger.counts.tables import source_tallies
from fedi_safety.ledger.schema import NOT_CLEAR, contents, sightings, traces

EVERY_STORE = 0
ANY = ""
"""In the place of a source's name: those that have any, of whatever name."""

_MOST_KEYS = 200  # that one query names
_t, _s, _c, _k = traces.c, sightings.c, contents.c, source_tallies.c
_named = sightings.alias("named").c


class Tally(NamedTuple):
    """What is counted together; `sure` leaves out what is no more than possible."""

    kind: str
    store_id: int
    sure: bool
    name: str


@dataclass(slots=True)
class Count:
    """How many contents, how many of them were seen there as local and as remote, and when one was last traced.

    That is not known where one went of which it was the time; it is looked up then when it is asked for.
    """

    contents: int = 0
    local: int = 0
    remote: int = 0
    last_at: float | None = None


_COUNTED = ("contents", "local", "remote", "last_at")
_who = func.coalesce(
    _s.person,
    # A person whom one attempt knew by the server's id alone is the one whom another found with a name.
    select(func.max(_named.person))
    .where(_named.person_id == _s.person_id, _named.person.is_not(None))
    .correlate(sightings)
    .scalar_subquery(),
    _s.person_id,
)
_NAMES = {SourceKind.INSTANCE: _s.instance, SourceKind.PERSON: _who}
_STANDS = (_c.verdict == Verdict.BLOCK.value, NOT_CLEAR, _c.dismissed_at.is_(None))


def _seen(*columns: Any) -> Select[Any]:
    """Select sightings of contents that count, with their traces."""
    joined = traces.join(contents, _c.sha256 == _t.sha256).join(sightings, _s.trace_id == _t.id)
    return select(*columns).select_from(joined).where(*_STANDS)


_EVERY = _seen(
    _t.sha256, _t.store_id, _t.at, _s.local, _s.certainty, *(name.label(by.value) for by, name in _NAMES.items())
).order_by(_t.sha256)


@contextmanager
def counted(connection: Connection, sha256s: Iterable[bytes]) -> Iterator[None]:
    """Count these contents as they are when this is left, and no more as they were."""
    about = sorted(set(sha256s))
    before = of_contents(connection, about)
    yield
    after = of_contents(connection, about)
    if before != after:
        _move(connection, before, after)


def traced(connection: Connection, sha256s: Sequence[bytes]) -> list[bytes]:
    """Return which of these contents a trace has found in use."""
    found: set[bytes] = set()
    if sha256s and connection.execute(select(_s.id).limit(1)).first() is not None:
        for part in codec.chunks(sha256s):
            query = select(_t.sha256).join(sightings, _s.trace_id == _t.id).where(_t.sha256.in_(part))
            found.update(connection.execute(query).scalars())
    return sorted(found)


def unnamed(connection: Connection, person_ids: Iterable[str]) -> list[bytes]:
    """Return the contents that were traced to people by these ids alone, whom a name may be found for now."""
    found: set[bytes] = set()
    for part in codec.chunks(sorted(set(person_ids))):
        query = select(_t.sha256).join(sightings, _s.trace_id == _t.id)
        query = query.where(_s.person_id.in_(part), _s.person.is_(None), _t.sha256.is_not(None))
        found.update(connection.execute(query).scalars())
    return sorted(found)


def of_contents(connection: Connection, sha256s: Sequence[bytes] | None = None) -> dict[Tally, Count]:
    """Return what these contents count as; all of them without `sha256s`, read one after another."""
    counting = _Counting()
    if sha256s is None:
        streaming = {"stream_results": True, "max_row_buffer": 2_000}
        with connection.execute(_EVERY, execution_options=streaming) as rows:
            counting.add(rows)
    elif sha256s and connection.execute(select(_s.id).limit(1)).first() is not None:
        for part in codec.chunks(sha256s):
            counting.add(connection.execute(_EVERY.where(_t.sha256.in_(part))))
    return counting.found


class _Counting:
    """Counts contents by their sightings."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.found: dict[Tally, Count] = {}
        self._at: dict[tuple[Any, ...], tuple[Count, ...]] = {}

    def add(self, rows: Iterable[Row[*tuple[Any, ...]]]) -> None:
        """Count the contents of these sightings, of which those of one content follow each other."""
        for _, own in groupby(rows, key=itemgetter(0)):
            mine = list(own)
            if len(mine) == 1:  # as of most
                for count, at, local in self._met(mine[0]):
                    _bump(count, at, int(local is True), int(local is False))
            else:
                self._several(mine)

    def _several(self, rows: Sequence[Row[*tuple[Any, ...]]]) -> None:
        """Count one content, once at each place."""
        once: dict[int, tuple[Count, float, bool, bool]] = {}
        for row in rows:
            for count, at, local in self._met(row):
                _, last_at, here, elsewhere = once.get(id(count), (count, at, False, False))
                once[id(count)] = count, max(last_at, at), here or local is True, elsewhere or local is False
        for count, at, here, elsewhere in once.values():
            _bump(count, at, int(here), int(elsewhere))

    def _met(self, row: Row[*tuple[Any, ...]]) -> Iterator[tuple[Count, float, bool | None]]:
        """Yield what a sighting counts for; the same more than once, where its names are."""
        _, store_id, at, local, certainty, *names = row
        sure = certainty != Certainty.POSSIBLE.value
        for kind, name in zip(_NAMES, names, strict=True):
            if name:
                key = kind, store_id, name, sure
                counts = self._at.get(key)
                if counts is None:
                    tallies = _tallies(kind, store_id, name, sure=sure)
                    counts = self._at[key] = tuple(self.found.setdefault(tally, Count()) for tally in tallies)
                for count in counts:
                    yield count, at, local


def _tallies(kind: SourceKind, store_id: int | None, name: str, *, sure: bool) -> Iterator[Tally]:
    for store in (EVERY_STORE,) if store_id is None else (EVERY_STORE, store_id):
        for certain in (False, True) if sure else (False,):
            for called in (name, ANY):
                yield Tally(kind.value, store, certain, called)


def _bump(count: Count, at: float, local: int, remote: int) -> None:
    count.contents += 1
    count.local += local
    count.remote += remote
    if count.last_at is None or count.last_at < at:
        count.last_at = at


def _move(connection: Connection, before: Mapping[Tally, Count], after: Mapping[Tally, Count]) -> None:
    """Take away what was, and add what is."""
    changed = sorted(tally for tally in before.keys() | after.keys() if before.get(tally) != after.get(tally))
    known = kept(connection, changed)
    new: list[dict[str, Any]] = []
    for tally in changed:
        was, now, standing = before.get(tally, Count()), after.get(tally, Count()), known.get(tally)
        count = _moved(standing or Count(), was, now)
        cells = {name: getattr(count, name) for name in _COUNTED}
        if standing is None:
            new.append(tally._asdict() | cells)
        else:
            where = [_k[name] == value for name, value in tally._asdict().items()]
            connection.execute(update(source_tallies).where(*where).values(cells))
    if new:
        connection.execute(insert(source_tallies), new)


def _moved(standing: Count, was: Count, now: Count) -> Count:
    others = standing.contents - was.contents
    local, remote = standing.local - was.local + now.local, standing.remote - was.remote + now.remote
    found = Count(others + now.contents, local, remote)
    if not found.contents:
        return found
    if not others:
        found.last_at = now.last_at
    elif standing.last_at is not None:  # the time of one that stays, unless it was that of one that goes
        least = now.last_at if now.last_at is not None else float("-inf")
        gone = standing.last_at == was.last_at and least < standing.last_at
        found.last_at = None if gone else max(standing.last_at, least)
    return found


def kept(connection: Connection, tallies: Sequence[Tally] | None = None) -> dict[Tally, Count]:
    """Return what is counted there; everywhere without `tallies`."""
    columns = [_k[name] for name in (*Tally._fields, *_COUNTED)]
    found: dict[Tally, Count] = {}
    for part in codec.chunks(tallies, _MOST_KEYS) if tallies is not None else (None,):
        query = select(*columns)
        if part is not None:
            query = query.where(tuple_(_k.kind, _k.store_id, _k.sure, _k.name).in_([tuple(tally) for tally in part]))
        for kind, store_id, sure, name, *count in connection.execute(query):
            found[Tally(kind, store_id, bool(sure), name)] = Count(*count)
    return found


def recount(connection: Connection) -> None:
    """Count anew."""
    connection.execute(delete(source_tallies))
    counts = sorted(of_contents(connection).items())
    rows = [tally._asdict() | {name: getattr(count, name) for name in _COUNTED} for tally, count in counts]
    for part in codec.chunks(rows):
        connection.execute(insert(source_tallies), part)


def wrong(connection: Connection) -> tuple[Tally, int, int] | None:
    """Return the first counter that is not what it counts, with how many there are, and how many were counted."""
    right, there = of_contents(connection), kept(connection)
    for tally in sorted(right.keys() | there.keys()):
        has, counted_so = right.get(tally, Count()), there.get(tally, Count())
        if counted_so.last_at is None:
            has.last_at = None
        if has != counted_so:
            return tally, has.contents, counted_so.contents
    return None


def most(
    connection: Connection, by: SourceKind, store_id: int | None, *, sure: bool, limit: int | None
) -> list[Source]:
    """Return the sources of a kind, most first; of one store, or of all."""
    store = EVERY_STORE if store_id is None else store_id
    here = _k.kind == by.value, _k.store_id == store, _k.sure.is_(sure)
    of = connection.execute(select(_k.contents).where(*here, _k.name == ANY)).scalar_one_or_none() or 0
    query = select(_k.name, *(_k[name] for name in _COUNTED)).where(*here, _k.name != ANY, _k.contents > 0)
    found = []
    for name, *cells in connection.execute(query.order_by(_k.contents.desc(), _k.name).limit(limit)).all():
        count = Count(*cells)
        last_at = count.last_at
        if last_at is None:
            last_at = _last_at(connection, Tally(by.value, store, sure, name))
        local = True if count.local else False if count.remote else None
        found.append(Source(name, local, count.contents, of, last_at))
    return found


def _last_at(connection: Connection, tally: Tally) -> float:
    """Return when a content from there was last traced, from the sightings there."""
    query = _seen(func.max(_t.at)).where(_at_source(tally))
    if tally.store_id != EVERY_STORE:
        query = query.where(_t.store_id == tally.store_id)
    if tally.sure:
        query = query.where(_s.certainty != Certainty.POSSIBLE.value)
    return connection.execute(query).scalar_one() or 0.0


def _at_source(tally: Tally) -> ColumnElement[bool]:
    """Return the condition that a sighting is there, in the words of indexes."""
    if tally.kind == SourceKind.INSTANCE.value:
        return _s.instance == tally.name
    ids = select(_named.person_id).where(_named.person == tally.name, _named.person_id.is_not(None))
    maybe = or_(_s.person == tally.name, _s.person_id == tally.name, _s.person_id.in_(ids))
    return maybe & (_who == tally.name)
