"""Stored scores by the page, in columns: what is decided anew by the million is not taken apart one by one.

Reads only. A page's signals may be replaced by ones computed from kept embeddings (`rescored`); nothing is written.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, func, or_, select

from fedi_safety.core.ledger_ports import Rescorer
from fedi_safety.core.types import Judgement, Match, Scores, Signal
from fedi_safety.ledger import embeddings
from fedi_safety.ledger.codec import dumps, further, judgement_from, matches_from
from fedi_safety.ledger.schema import State, contents, detector_sets, objects

PAGE_ROWS = 4000
"""Enough that arithmetic on the whole page costs less than reading it."""

FRAMES_AT_ONCE = 8192
"""How many embeddings are held at once: 40 MB of ViT-L-14's."""

_c = contents.c


@dataclass(slots=True)
class Page:
    """Some contents and their scores. `values` and `frames` are (contents, names); NaN was not measured."""

    cells: Mapping[str, Sequence[Any]]  # by column of the table, a value for each content
    names: list[str]
    values: NDArray[np.float64]
    frames: NDArray[np.int32]
    detectors: list[Mapping[str, str]]  # of each content; equal ones are one object
    altered: NDArray[np.bool_]  # whether a content's scores are other than the ledger has them
    where: Mapping[int, Mapping[int, str]]  # by place on the page and frame: what the frame is, if that says something
    matches: Mapping[int, Mapping[str, tuple[Match, ...]]]  # by place on the page and signal
    computed: int = 0  # of how many contents signals were computed from embeddings

    def __len__(self) -> int:
        """Return how many contents these are."""
        return len(self.detectors)

    def scores(self, at: int) -> Scores:
        """Return one content's scores as the core knows them."""
        values, frames, where = self.values[at].tolist(), self.frames[at].tolist(), self.where.get(at, {})
        matches = self.matches.get(at, {})
        signals = {
            name: Signal(value, frame, where.get(frame, ""), matches.get(name, ()))
            for name, value, frame in zip(self.names, values, frames, strict=True)
            if value == value
        }
        return Scores(signals, self.detectors[at])

    def judgement(self, at: int) -> Judgement:
        """Return one content's judgement in force."""
        cells = self.cells
        return judgement_from(cells["verdict"][at], cells["policy"][at], cells["labels"][at], cells["reasons"][at])

    def columns(self, places: Sequence[int]) -> Iterator[tuple[str, str]]:
        """Yield signals and detectors of these contents as `codec` writes them."""
        order = sorted(range(len(self.names)), key=self.names.__getitem__)
        heads = [f"{dumps(self.names[i])}:[" for i in order]
        bodies: dict[int, str] = {}
        values, frames = self.values[np.ix_(places, order)].tolist(), self.frames[np.ix_(places, order)].tolist()
        for at, row, numbers in zip(places, values, frames, strict=True):
            cells = zip(order, heads, row, numbers, strict=True)
            found = [f"{head}{v!r},{n}{self._further(at, i, n)}]" for i, head, v, n in cells if v == v]
            detectors = self.detectors[at]
            if id(detectors) not in bodies:
                bodies[id(detectors)] = dumps(dict(detectors))
            yield f"{{{','.join(found)}}}", bodies[id(detectors)]

    def _further(self, at: int, name: int, frame: int) -> str:
        where, matches = self.where.get(at), self.matches.get(at)
        if where is None and matches is None:
            return ""
        cell = further((where or {}).get(frame, ""), (matches or {}).get(self.names[name], ()))
        return "".join(f",{dumps(item)}" for item in cell)

    @property
    def was_clear(self) -> Iterator[bool]:
        """Yield for each content whether it stands clear, without a label or a reason."""
        cells = self.cells
        for verdict, labels, reasons in zip(cells["verdict"], cells["labels"], cells["reasons"], strict=True):
            yield verdict == "clear" and labels == "[]" and reasons == "[]"


def read_page(connection: Connection, after: int, policy: str | None, *, count_objects: bool = False) -> Page | None:
    """Return the next contents that nobody dismissed, behind the one numbered `after`; None at the end.

    With `policy` only contents that were judged under another one, or stand undecided. With `count_objects` the
    cells also have `objects`: how many judged objects have the content.
    """
    columns: list[Any] = [
        _c.id, _c.sha256, _c.frames, _c.signals, _c.verdict, _c.policy, _c.labels, _c.reasons, _c.decided,
        _c.detectors_id,
    ]  # fmt: skip
    if count_objects:
        o = objects.c
        those = select(func.count()).select_from(objects).where(o.content_id == _c.id, o.state == State.JUDGED.value)
        columns.append(those.scalar_subquery().label("objects"))
    query = select(*columns).where(_c.id > after, _c.dismissed_at.is_(None)).order_by(_c.id).limit(PAGE_ROWS)
    if policy is not None:
        query = query.where(or_(_c.policy != policy, _c.decided.is_(False)))
    result = connection.execute(query)
    keys, rows = list(result.keys()), result.all()
    if not rows:
        return None
    cells = dict(zip(keys, zip(*rows, strict=True), strict=True))
    names, values, frames, where, matches = _columns(cells["signals"])
    sets = _detectors(connection, set(cells["detectors_id"]))
    detectors = [sets[row] for row in cells["detectors_id"]]
    return Page(cells, names, values, frames, detectors, np.zeros(len(rows), bool), where, matches)


def _columns(
    texts: Sequence[str],
) -> tuple[
    list[str],
    NDArray[np.float64],
    NDArray[np.int32],
    dict[int, dict[int, str]],
    dict[int, dict[str, tuple[Match, ...]]],
]:
    """Parse a page of signals at once. Contents with the same signals, of which there are few sorts, go together."""
    found: list[dict[str, list[Any]]] = json.loads(f"[{','.join(texts)}]")
    where: dict[int, dict[int, str]] = {}
    matches: dict[int, dict[str, tuple[Match, ...]]] = {}
    for i, (text, signals) in enumerate(zip(texts, found, strict=True)):
        if text.count('"') > 2 * len(signals):  # only clips and animations say what a frame is, only lists what matched
            where[i] = {cell[1]: cell[2] for cell in signals.values() if len(cell) > 2 and cell[2]}
            if found_matches := {name: matches_from(cell[3]) for name, cell in signals.items() if len(cell) > 3}:
                matches[i] = found_matches
            found[i] = {name: pair[:2] for name, pair in signals.items()}
    sorts: dict[tuple[str, ...], list[int]] = {}
    for i, signals in enumerate(found):
        sorts.setdefault(tuple(signals), []).append(i)
    names = sorted({name for sort in sorts for name in sort})
    column = {name: i for i, name in enumerate(names)}
    values = np.full((len(found), len(names)), np.nan)
    frames = np.zeros((len(found), len(names)), np.int32)
    for sort, places in sorts.items():
        if sort:
            pairs = np.array([list(found[i].values()) for i in places], np.float64)
            cells = np.ix_(places, [column[name] for name in sort])
            values[cells], frames[cells] = pairs[:, :, 0], pairs[:, :, 1]
    return names, values, frames, where, matches


def _detectors(connection: Connection, ids: set[int]) -> dict[int, Mapping[str, str]]:
    d = detector_sets.c
    query = select(d.id, d.body).where(d.id.in_(sorted(ids)))
    return {row: json.loads(body) for row, body in connection.execute(query)}


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
    for version in {v for v, old in zip(versions, outdated, strict=True) if old and v is not None}:
        gone = [i for i in owned if names[i] not in standing[version]]
        values[np.ix_(np.array([v == version for v in versions]), np.array(gone, np.intp))] = np.nan
    fresh = _computed(connection, page, rescorer, outdated)
    if fresh is not None:
        values[np.ix_(fresh.places, owned)] = np.nan
        where = np.ix_(fresh.places, np.array([names.index(name) for name in rescorer.signals]))
        values[where], frames[where] = fresh.values, fresh.frames
        renewed: dict[int, Mapping[str, str]] = {}
        for i in fresh.places.tolist():
            before = detectors[i]
            detectors[i] = renewed.setdefault(id(before), {**before, rescorer.detector: rescorer.version})
    before_values = np.full_like(values, np.nan)
    before_values[:, : len(page.names)] = page.values
    altered = ~((values == before_values) | (np.isnan(values) & np.isnan(before_values))).all(axis=1)
    if fresh is not None:
        altered[fresh.places] = True
    return replace(
        page,
        names=names,
        values=values,
        frames=frames,
        detectors=detectors,
        altered=altered,
        computed=0 if fresh is None else len(fresh.places),
    )


@dataclass(frozen=True, slots=True)
class _Fresh:
    """Signals that were computed anew, for the contents at these places of a page."""

    places: NDArray[np.intp]
    values: NDArray[np.float32]
    frames: NDArray[np.int32]


def _computed(connection: Connection, page: Page, rescorer: Rescorer, outdated: NDArray[np.bool_]) -> _Fresh | None:
    """Compute the signals of outdated contents whose every frame is kept."""
    model = embeddings.find_model(connection, rescorer.embedding_model)
    if model is None:
        return None
    ids, expected = np.array(page.cells["id"], np.int64), np.array(page.cells["frames"], np.int64)
    # In portions by the number of frames, of which a page of clips may have very many.
    portions = (np.cumsum(np.minimum(expected, embeddings.MAX_FRAMES)) // FRAMES_AT_ONCE) * outdated
    found = [
        part
        for portion in np.unique(portions[outdated])
        if (part := _portion(connection, rescorer, model, ids, expected, outdated & (portions == portion))) is not None
    ]
    if not found:
        return None
    places = np.concatenate([part.places for part in found])
    return _Fresh(
        places, np.concatenate([part.values for part in found]), np.concatenate([part.frames for part in found])
    )


def _portion(
    connection: Connection,
    rescorer: Rescorer,
    model: int,
    ids: NDArray[np.int64],
    expected: NDArray[np.int64],
    wanted: NDArray[np.bool_],
) -> _Fresh | None:
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
    return _Fresh(places, best, frames)
