"""Stored scores by the page, in columns: what is decided anew by the million is not taken apart one by one.

Reads only. A page's signals may be replaced by ones computed from kept embeddings (`rescored`); nothing is written.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from operator import itemgetter
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Integer, Select, Text, bindparam, case, func, literal_column, or_, select

from fedi_safety.core.enums import Verdict
from fedi_safety.core.errors import LedgerError
from fedi_safety.core.frames.scores import FrameScores
from fedi_safety.core.ledger.stored_scores import WHOLE, Rescorer, Share
from fedi_safety.core.policy import PERSONS_WORD
from fedi_safety.core.testcard import TEST_CARD_SHA256
from fedi_safety.core.types import Judgement, Match, Scores, Signal
from fedi_safety.core.wording.hints import hint
from fedi_safety.ledger import embeddings
from fedi_safety.ledger.codec import detectors_from, frames_from, stored
from fedi_safety.ledger.compact import arrays, joined
from fedi_safety.ledger.compact.vocabulary import REASONS, SCORES, Vocabulary
from fedi_safety.ledger.counts import groups
from fedi_safety.ledger.database.base import Database, naming
from fedi_safety.ledger.frame_tables import (
    Computed,
    FrameTable,
    Looks,
    looks_of,
    read_tables,
    recompute,
    rewritten,
)
from fedi_safety.ledger.schema import State, contents, detector_sets, objects
from fedi_safety.service.cpus import cpu_count

PAGE_ROWS = 4000
"""How many contents are decided anew in one transaction."""

LOOKED_AT_ROWS = 32_000
"""How many are only looked at together: enough that arithmetic on the whole page costs less than reading it."""

LOOKED_AT_FRAMES = 160_000
"""Of no more frames than so many: as tables of the default detectors they are 12 MB."""

SHARES, LEAST_SHARED = 2, 4 * LOOKED_AT_ROWS
"""Into how many shares they are cut, for a process each, and from how many on: to begin takes as long as some pages."""

READERS = 2
"""How many pages are read at once: the database's work needs no turn of the interpreter's."""

FRAMES_AT_ONCE = 8192
"""How many embeddings are held at once: 40 MB of ViT-L-14's."""

_c = contents.c
_RANKS = {verdict.value: verdict.rank for verdict in Verdict}
_WHEN = " ".join(f"WHEN '{word}' THEN {rank}" for word, rank in _RANKS.items())
_RANK = f"CASE contents.verdict {_WHEN} ELSE -1 END"


@dataclass(slots=True)
class Page:
    """Some contents and their scores. `values` and `frames` are (contents, names); NaN was not measured.

    `values` are the highest over all frames; `table` has the frames of contents that show several pictures.
    """

    cells: Mapping[str, Any]  # by column of the table, a value for each content
    names: list[str]
    values: NDArray[np.float64]
    frames: NDArray[np.int32]
    detectors: list[Mapping[str, str]]  # of each content; equal ones are one object
    altered: NDArray[np.bool_]  # whether a content's scores are other than the ledger has them
    # By place on the page and frame, what the frame is, where the highest values come from other frames now.
    where: Mapping[int, Mapping[int, str]] = field(default_factory=dict)
    table: FrameTable | None = None
    vocabulary: Vocabulary | None = None
    renewed: frozenset[str] = frozenset()  # signals that are other ones now, where a content is altered
    computed: int = 0  # of how many contents signals were computed from embeddings
    ledger: str = "the ledger"  # that it was read from, as people know it

    @property
    def looks(self) -> Looks:
        """See `ScorePage.looks`."""
        return looks_of(self.cells["frame_scores"], self.cells["frames"], self.values, self.frames, self.table)

    def frame_scores(self, at: int) -> FrameScores | None:
        """Return what each frame of a content was given; None where that was not kept."""
        data = self.cells["frame_scores"][at]
        if data and self.table is not None and self.altered[at]:
            columns = [(i, name) for i, name in enumerate(self.names) if name in self.renewed]
            return rewritten(data, self.table, at, columns)
        return frames_from(self.cells["frames"][at], data)

    def __len__(self) -> int:
        """Return how many contents these are."""
        return len(self.detectors)

    def scores(self, at: int) -> Scores:
        """Return one content's scores as the core knows them. Raises `DamagedError` for what cannot be read."""
        with naming(self.ledger):
            return self._scores(at)

    @stored("scores of a content")
    def _scores(self, at: int) -> Scores:
        values, frames = self.values[at].tolist(), self.frames[at].tolist()
        where, matches = self._further(at)
        signals = {
            name: Signal(value, frame, where.get(frame, ""), matches.get(name, ()))
            for name, value, frame in zip(self.names, values, frames, strict=True)
            if value == value
        }
        return Scores(signals, self.detectors[at], frames=self.frame_scores(at))

    def _further(self, at: int) -> tuple[Mapping[int, str], Mapping[str, tuple[Match, ...]]]:
        """Return what numbers do not say: clips and animations say what a frame is, lists what matched."""
        told = self.cells["signals"][at] if "signals" in self.cells else "{}"
        if told == "{}":
            return self.where.get(at, {}), {}
        assert self.vocabulary is not None
        signals = self.vocabulary.signals(self.cells["names_id"][at], self.cells["scores"][at], told)
        where = {signal.frame: signal.where for signal in signals.values() if signal.where}
        return self.where.get(at, where), {name: signal.matches for name, signal in signals.items() if signal.matches}

    def judgement(self, at: int) -> Judgement:
        """Return one content's judgement in force, of a page that was read with that."""
        assert self.vocabulary is not None
        cells = {name: self.cells[name][at] for name in ("verdict", "policy", "labels", *REASONS, *SCORES)}
        return self.vocabulary.judgement(SimpleNamespace(**cells))

    @property
    def ranks(self) -> NDArray[np.int8]:
        """See `ScorePage.ranks`."""
        if "rank" in self.cells:
            return self.cells["rank"].astype(np.int8)  # type: ignore[no-any-return]
        return np.fromiter(map(_RANKS.__getitem__, self.cells["verdict"]), np.int8, len(self))

    @property
    def was_clear(self) -> list[bool]:
        """Return of each content whether it stands clear, without a label or a reason."""
        cells = zip(*(self.cells[name] for name in ("verdict", "labels", "reasons")), strict=True)
        return [cell == ("clear", "[]", "[]") for cell in cells]


def shares(database: Database) -> int:
    """See `LedgerReader.score_shares`. A ledger on PostgreSQL has one: its address may have a password."""
    if database.opened_by is None or cpu_count() < SHARES:
        return 1
    with database.read() as connection:
        last = connection.execute(select(func.max(_c.id))).scalar_one() or 0
    if last < LEAST_SHARED:
        return 1
    database.dispose()
    return SHARES


def pages(
    database: Database, policy: str | None, rescorer: Rescorer | None, share: Share = WHOLE, *, named: bool = True
) -> Iterator[Page]:
    """See `Ledger.score_pages`. While a page is looked at the next ones are read, each in a transaction and thread.

    Nothing else is held open. Of several shares each has one such thread: others have the further processors.
    """

    looking = LookedAt(database, policy, named=named)

    def read(after: int, upto: int) -> Page | None:
        with database.read() as connection:
            page = looking.page(connection, after, upto)
            return page if page is None or rescorer is None else rescored(connection, page, rescorer)

    most = READERS if share == WHOLE else 1
    with ThreadPoolExecutor(most, "score-pages") as readers:
        coming: deque[Future[Page | None]] = deque()
        try:
            for after, upto in _ranges(database, share):
                coming.append(readers.submit(database.whole, partial(read, after, upto)))
                if len(coming) > most and (page := coming.popleft().result()) is not None:
                    yield page
            while coming:
                if (page := coming.popleft().result()) is not None:
                    yield page
        finally:
            for future in coming:  # somebody has seen enough, or one of them came to nothing
                future.cancel()


def _ranges(database: Database, share: Share = WHOLE) -> Iterator[tuple[int, int]]:
    """Yield bounds of the numbers of contents, the first excluded: of all that there are when they are reached.

    Those of one page have no more frames than can be held. Shares take turns, `LOOKED_AT_ROWS` numbers each.
    """
    number, of = share
    first = select(func.min(_c.id)).where(_c.id > bindparam("after"))
    frames = select(func.sum(_c.frames)).where(_c.id > bindparam("after"), _c.id <= bindparam("upto"))

    def behind(after: int) -> tuple[int, int] | None:
        with database.read() as connection:
            while (begin := connection.execute(first, {"after": after}).scalar_one()) is not None:
                turn, place = divmod(begin - 1, LOOKED_AT_ROWS)
                if turn % of == number:
                    break
                after = (turn + 1) * LOOKED_AT_ROWS
            else:
                return None
            size = LOOKED_AT_ROWS - place if of > 1 else LOOKED_AT_ROWS
            while size > 1:
                bounds = {"after": begin - 1, "upto": begin - 1 + size}
                if (connection.execute(frames, bounds).scalar_one() or 0) <= LOOKED_AT_FRAMES:
                    break
                size //= 2
            return begin - 1, begin - 1 + size

    upto = 0
    while (bounds := database.whole(partial(behind, upto))) is not None:
        yield bounds
        upto = bounds[1]


class LookedAt:
    """What `read_page` reads, but of each content its scores and verdict alone, and by the bounds of their numbers."""

    def __init__(self, database: Database, policy: str | None, *, named: bool = True) -> None:
        """Put the statements together. What is not `named` says of SHA-256 only which is the test card's."""
        self._name, self._named = database.name, named
        names_of = ("frames", *SCORES, "detectors_id", "frame_scores")
        rank = literal_column(_RANK, Integer).label("rank")
        card = case((_c.sha256 == TEST_CARD_SHA256, literal_column("'card'", Text)), else_=literal_column("''", Text))
        sha256 = _c.sha256 if named else card.label("sha256")
        query = _wanted(select(_c.id, sha256, *(_c[name] for name in names_of), rank), policy)
        query = query.where(_c.id > bindparam("after"), _c.id <= bindparam("upto"))
        self._contents = joined.Columns(database, query, {"signals": "{}", "sha256": ""})
        o = objects.c
        wanted = o.group_id.in_(bindparam("groups", expanding=True))
        of_contents = o.content_id.between(bindparam("first"), bindparam("last"))
        self._objects = select(database.listed(case((wanted, o.content_id)))).where(of_contents)

    def page(self, connection: Connection, after: int, upto: int) -> Page | None:
        """Return the page, the first bound excluded; None where there are no such contents.

        The cells also have `objects`: how many judged objects have the content.
        """
        cells = self._contents.read(connection, after=after, upto=upto)
        if not len(cells["id"]):
            return None
        if not self._named:
            cells["sha256"] = joined.OneOf(TEST_CARD_SHA256, cells["sha256"])
        if (cells["rank"] < 0).any():
            raise LedgerError(self._name, "a content has a verdict that is none", f"see {hint('ledger verify')}")
        words = [verdict.value for verdict in sorted(Verdict, key=lambda verdict: verdict.rank)]
        cells["verdict"] = list(map(words.__getitem__, cells["rank"].tolist()))
        cells["objects"] = self._counted(connection, cells["id"])
        return replace(_page(connection, cells), ledger=self._name)

    def _counted(self, connection: Connection, ids: NDArray[np.int64]) -> NDArray[np.intp]:
        """Return how many judged objects have each of these contents, which are in order: from an index alone.

        All objects of these contents are read, and their groups looked at on the way: asked for those of some groups, a
        database may take the index of groups, and read all of it for each page.
        """
        judged = groups.numbers(connection, lambda group: group.state == State.JUDGED)
        bounds = {"groups": judged, "first": int(ids[0]), "last": int(ids[-1])}
        theirs = joined.numbers(connection.execute(self._objects, bounds).scalar_one())
        places = np.searchsorted(ids, theirs)
        mine = ids[places] == theirs
        return np.bincount(places[mine], minlength=len(ids))


def read_page(connection: Connection, after: int, policy: str | None, most: int = PAGE_ROWS) -> Page | None:
    """Return the next contents that no person spoke of, behind the one numbered `after`; None at the end.

    With `policy` only contents that were judged under another one, or stand undecided.
    """
    names_of = ["id", "sha256", "frames", *SCORES, "verdict", "detectors_id", "frame_scores"]
    names_of += [*REASONS, "policy", "labels", "decided"]
    query = _wanted(select(*(_c[name] for name in names_of)), policy)
    rows = connection.execute(query.where(_c.id > after).order_by(_c.id).limit(most)).all()
    if not rows:
        return None
    cells: dict[str, Any] = dict(zip(names_of, _columns(rows, len(names_of)), strict=True))
    return _page(connection, cells)


def _wanted(query: Select[Any], policy: str | None) -> Select[Any]:
    query = query.where(_c.dismissed_at.is_(None), _c.policy != PERSONS_WORD)
    return query if policy is None else query.where(or_(_c.policy != policy, _c.decided.is_(False)))


@stored("a page of contents")
def _page(connection: Connection, cells: dict[str, Any]) -> Page:
    """Return the page that these cells are of."""
    vocabulary = Vocabulary(connection)
    vocabulary.load()  # it is asked when the transaction has ended, too
    names, values, frames = arrays.table(vocabulary, cells["names_id"], cells["scores"])
    theirs = cells["detectors_id"] if isinstance(cells["detectors_id"], list) else cells["detectors_id"].tolist()
    sets = _detectors(connection, set(theirs))
    detectors = [sets[row] for row in theirs]
    table = read_tables(cells["frame_scores"], names, values)
    altered = np.zeros(len(detectors), bool)
    return Page(cells, names, values, frames, detectors, altered, table=table, vocabulary=vocabulary)


def _columns(rows: Sequence[Any], count: int) -> list[list[Any]]:
    """Return rows by column. `zip` makes an iterator of each row, over all of which the garbage collector then goes."""
    return [list(map(itemgetter(at), rows)) for at in range(count)]


def _detectors(connection: Connection, ids: set[int]) -> dict[int, Mapping[str, str]]:
    d = detector_sets.c
    query = select(d.id, d.body).where(d.id.in_(sorted(ids)))
    return {row: detectors_from(body) for row, body in connection.execute(query)}


def rescored(connection: Connection, page: Page, rescorer: Rescorer) -> Page:
    """Return the page with the rescorer's signals as they are defined now.

    Where embeddings of a content's every frame are kept, its signals are computed from them. Where they are not, what
    was measured under other definitions counts as not measured.
    """
    versions = [detectors.get(rescorer.detector) for detectors in page.detectors]
    standing = {v: rescorer.standing(v) if v is not None else frozenset() for v in set(versions)}
    wanted = frozenset(rescorer.signals)
    outdated = np.array([not wanted <= standing[v] for v in versions])
    if not outdated.any():
        return page
    names = [*page.names, *(name for name in rescorer.signals if name not in page.names)]
    values = np.full((len(page), len(names)), np.nan)
    frames = np.zeros((len(page), len(names)), np.int32)
    values[:, : len(page.names)], frames[:, : len(page.names)] = page.values, page.frames
    detectors = list(page.detectors)
    owned = np.array([i for i, name in enumerate(names) if rescorer.owns(name)])
    table = None if page.table is None else _widened(page.table, len(names))
    for version in {v for v, old in zip(versions, outdated, strict=True) if old and v is not None}:
        gone = np.array([i for i in owned if names[i] not in standing[version]], np.intp)
        theirs = np.array([v == version for v in versions])
        values[np.ix_(theirs, gone)] = np.nan
    given = np.array([names.index(name) for name in rescorer.signals])
    several = _of_several(page)
    fresh = _computed(connection, page, rescorer, outdated & ~several)
    again = (
        [] if table is None else _tables_computed(connection, page, table, rescorer, outdated & several, owned, given)
    )
    places = np.concatenate([part.places for part in (*fresh, *again)]) if fresh or again else np.zeros(0, np.intp)
    for part in (*fresh, *again):
        values[np.ix_(part.places, owned)] = np.nan
        values[np.ix_(part.places, given)], frames[np.ix_(part.places, given)] = part.values, part.frames
    _renew(detectors, places.tolist(), rescorer)
    if table is not None:
        _take_away(table, values, owned)
    altered = _altered(page.values, values)
    altered[places] = True
    return replace(
        page,
        names=names,
        values=values,
        frames=frames,
        detectors=detectors,
        altered=altered,
        where={**page.where, **_places_of(page, again)},
        table=table,
        renewed=frozenset(names[i] for i in owned),
        computed=len(places),
    )


def _of_several(page: Page) -> NDArray[np.bool_]:
    """Return which contents have scores by frame."""
    found = np.zeros(len(page), bool)
    if page.table is not None:
        found[page.table.owners] = True
    return found


def _altered(before: NDArray[np.float64], after: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return in which rows something is other than before; what was not measured before has no column there."""
    first = np.full_like(after, np.nan)
    first[:, : before.shape[1]] = before
    altered: NDArray[np.bool_] = ~((after == first) | (np.isnan(after) & np.isnan(first))).all(axis=1)
    return altered


def _renew(detectors: list[Mapping[str, str]], places: Sequence[int], rescorer: Rescorer) -> None:
    """Write down that these contents have the rescorer's version. What rows share stays shared."""
    renewed: dict[int, Mapping[str, str]] = {}
    for i in places:
        before = detectors[i]
        detectors[i] = renewed.setdefault(id(before), {**before, rescorer.detector: rescorer.version})


def _widened(table: FrameTable, columns: int) -> FrameTable:
    values = np.full((len(table.owners), columns), np.nan)
    values[:, : table.values.shape[1]] = table.values
    return replace(table, values=values)


def _take_away(table: FrameTable, values: NDArray[np.float64], owned: NDArray[np.intp]) -> None:
    """Let no frame have a signal that its content has not any more."""
    gone = np.isnan(values[np.ix_(table.owners, owned)])
    table.values[:, owned] = np.where(gone, np.nan, table.values[:, owned])


def _places_of(page: Page, computed: Sequence[Computed]) -> dict[int, Mapping[int, str]]:
    """Return what the frames are, by place, of contents whose highest values come from other ones now."""
    found: dict[int, Mapping[int, str]] = {}
    for place in (place for part in computed for place in part.places.tolist()):
        rows = FrameScores(page.cells["frame_scores"][place]).rows()
        found[place] = {row.frame: row.where for row in rows if row.where}
    return found


def _portions(page: Page, wanted: NDArray[np.bool_]) -> Iterator[NDArray[np.bool_]]:
    """Yield the wanted contents in portions by the number of frames, of which a page of clips may have very many."""
    expected = np.array(page.cells["frames"], np.int64)
    portions = np.cumsum(np.minimum(expected, embeddings.MAX_FRAMES)) // FRAMES_AT_ONCE
    for portion in np.unique(portions[wanted]):
        yield wanted & (portions == portion)


def _computed(connection: Connection, page: Page, rescorer: Rescorer, wanted: NDArray[np.bool_]) -> list[Computed]:
    """Compute the signals of contents whose every frame is kept."""
    model = embeddings.find_model(connection, rescorer.embedding_model)
    if model is None:
        return []
    ids, expected = np.array(page.cells["id"], np.int64), np.array(page.cells["frames"], np.int64)
    parts = (_portion(connection, rescorer, model, ids, expected, portion) for portion in _portions(page, wanted))
    return [part for part in parts if part is not None]


def _tables_computed(
    connection: Connection,
    page: Page,
    table: FrameTable,
    rescorer: Rescorer,
    wanted: NDArray[np.bool_],
    owned: NDArray[np.intp],
    given: NDArray[np.intp],
) -> list[Computed]:
    """Compute the signals of contents with several pictures, frame by frame, as far as these were embedded."""
    model = embeddings.find_model(connection, rescorer.embedding_model)
    if model is None:
        return []
    ids = np.array(page.cells["id"], np.int64)
    found: list[Computed] = []
    for portion in _portions(page, wanted):
        kept = embeddings.page(connection, model, int(ids[portion][0]), int(ids[portion][-1]))
        if kept is None:
            continue
        part = recompute(table, owned, given, kept, ids, rescorer.shares(kept.vectors), portion)
        if part is not None:
            found.append(part)
    return found


def _portion(
    connection: Connection,
    rescorer: Rescorer,
    model: int,
    ids: NDArray[np.int64],
    expected: NDArray[np.int64],
    wanted: NDArray[np.bool_],
) -> Computed | None:
    kept = embeddings.page(connection, model, int(ids[wanted][0]), int(ids[wanted][-1]))
    if kept is None:
        return None
    # Rows of one content stand together, so each content is a run of rows.
    owners, starts, counts = np.unique(kept.content_ids, return_index=True, return_counts=True)
    places = np.searchsorted(ids, owners).clip(max=len(ids) - 1)
    whole = (ids[places] == owners) & wanted[places] & (expected[places] == counts)
    if not whole.any():
        return None
    places, starts, counts = places[whole], starts[whole], counts[whole]
    heads = np.cumsum(counts) - counts
    rows = np.repeat(starts - heads, counts) + np.arange(counts.sum())
    shares, numbers = rescorer.shares(kept.vectors[rows]), kept.frames[rows]
    best = np.maximum.reduceat(shares, heads, axis=0)
    frames = np.repeat(numbers[heads][:, None], best.shape[1], axis=1)
    for i in np.flatnonzero(counts > 1).tolist():
        run = slice(heads[i], heads[i] + counts[i])
        frames[i] = numbers[run][shares[run].argmax(axis=0)]
    return Computed(places, best, frames)
