"""What each frame was given, for a page of contents at once: tables of `core.frame_scores` as arrays. Reads only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedi_safety.core.frames.scores import CLOSED, HEAD, NO_TIME, OLDER, ROW, SECOND, VERSION, FrameScores
from fedi_safety.core.frames.shown import VIEW_BITS
from fedi_safety.ledger import codec
from fedi_safety.ledger.compact.arrays import EMPTY, NOTHING, Blobs
from fedi_safety.ledger.embeddings import Kept

_NUMBERS = [("frame", "<i4"), ("picture", "<i4"), ("stream", "<u2"), ("time_ms", "<i8")]


@dataclass(slots=True)
class Look:
    """See `core.ledger.stored_scores.Look`."""

    starts: NDArray[np.intp] | None
    values: NDArray[np.float64]
    streams: NDArray[np.int64]
    times_ms: NDArray[np.int64]
    partial: NDArray[np.bool_]
    known: NDArray[np.float64]


@dataclass(slots=True)
class Looks:
    """See `core.ledger.stored_scores.Looks`."""

    plain: tuple[NDArray[np.intp], Look]
    once: tuple[NDArray[np.intp], Look]
    twice: tuple[NDArray[np.intp], Look, Look, Look]
    closed: NDArray[np.bool_]


_Pictures = tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]
"""Pictures by their contents' place, in ascending order, with values, streams and times."""


@dataclass(slots=True)
class FrameTable:
    """The judged frames of those contents of a page that show several pictures, or had a second pass.

    Content by content, and of each picture by picture. `owners` are places on the page. `values` are (frames, names) as
    the page's own, NaN where not measured; what a content has by its bytes alone stands at each of its frames.
    `apart` are frames that count otherwise than those of a first pass, or may do so.
    """

    owners: NDArray[np.intp]
    frames: NDArray[np.int32]
    pictures: NDArray[np.int32]
    apart: NDArray[np.bool_]
    streams: NDArray[np.uint16]
    times_ms: NDArray[np.int64]
    values: NDArray[np.float64]

    def of(self, place: int) -> slice:
        """Return which rows are a content's."""
        first, last = np.searchsorted(self.owners, [place, place + 1])
        return slice(int(first), int(last))

    def pictures_of(self, rows: NDArray[np.intp]) -> _Pictures:
        """Return what these frames show, by picture. A signal that one of its frames lacks is not known of it."""
        owners, numbers = self.owners[rows], self.pictures[rows]
        changes = (np.diff(owners) != 0) | (np.diff(numbers) != 0)
        starts = np.concatenate([[0], np.flatnonzero(changes) + 1]) if len(rows) else np.zeros(0, np.intp)
        values = self.values[rows]
        best = np.maximum.reduceat(values, starts, axis=0) if len(starts) else values
        first = rows[starts]
        return owners[starts], best, self.streams[first].astype(np.int64), self.times_ms[first]


_FIRST = np.array([VERSION, OLDER, EMPTY, NOTHING])
_HEAD = np.dtype([("version", "u1"), ("rows", "<u4"), ("names", "<u2"), ("places", "<u4")])


@codec.stored("scores of single frames")
def read_tables(blobs: Sequence[bytes | None], names: Sequence[str], values: NDArray[np.float64]) -> FrameTable | None:
    """Return the tables of a page in the columns `names`, in which `values` has the contents' own; None without any."""
    every = Blobs.of(blobs)
    places = np.flatnonzero(every.lengths > HEAD.size)
    if not np.isin(every.first() & ~CLOSED, _FIRST).all() or ((every.lengths > 0) & (every.lengths < HEAD.size)).any():
        raise ValueError("not tables of frames")
    if not len(places):
        return None
    assert _HEAD.itemsize == HEAD.size, "numpy reads what struct wrote"
    starts = every.starts[places]
    heads = every.cut(starts, HEAD.size).view(_HEAD)[:, 0]
    sizes = HEAD.size + heads["names"].astype(np.int64) + heads["places"]
    told = (_KINDS[heads["version"]] & _TOLD) != 0
    column = {name: i for i, name in enumerate(names)}
    parts = []
    for size, tells in np.unique(np.stack([heads["names"], told]), axis=1).T.tolist():
        these = np.flatnonzero((heads["names"] == size) & (told == tells))
        words, which = _different(every.cut(starts[these] + HEAD.size, size))
        for number, word in enumerate(words):
            mine = these[which == number]
            begin = starts[mine] + HEAD.size + size
            counts = heads["rows"][mine].astype(np.int64)
            columns = len(word.split(b"\n")) if word else 0
            if (sizes[these[which == number]] + counts * (ROW.size + 8 * columns) != every.lengths[places[mine]]).any():
                raise ValueError("tables that are not as long as they say")
            parts.append(_rows(every, begin, counts, places[mine], word, bool(tells), column, values))
    owners_of, cells, rows, apart = (np.concatenate(part) for part in zip(*parts, strict=True))
    order = np.argsort(owners_of, kind="stable")
    rows = rows[order]
    return FrameTable(
        owners_of[order], rows["frame"], rows["picture"], apart[order], rows["stream"] & np.uint16(~SECOND & 0xFFFF),
        rows["time_ms"], cells[order],
    )  # fmt: skip


def _different(words: NDArray[np.uint8]) -> tuple[list[bytes], NDArray[np.intp]]:
    """Return the different words, one a row, and which of them each row is."""
    if not words.shape[1]:
        return [b""], np.zeros(len(words), np.intp)
    found, which = np.unique(words.view(np.dtype((np.void, words.shape[1])))[:, 0], return_inverse=True)
    return [word.tobytes() for word in found], which


_KEPT, _TOLD, _CLOSED = 1, 2, 4


def _kinds() -> NDArray[np.uint8]:
    """Return what is kept of a content's frames by the first byte of that, by `EMPTY` and by `NOTHING`."""
    tables = [FrameScores(bytes([first])) for first in range(EMPTY)] + [FrameScores(b"")]
    kept = [_KEPT | (_TOLD if table.told else 0) | (_CLOSED if table.closed else 0) for table in tables]
    return np.array([*kept, 0], np.uint8)


_KINDS = _kinds()


def looks_of(
    blobs: Sequence[bytes | None],
    counts: Sequence[int] | NDArray[np.int64],
    values: NDArray[np.float64],
    frames: NDArray[np.int32],
    table: FrameTable | None,
) -> Looks:
    """Return what is known of each look at the contents of a page, as `core.pictures.passes` tells it of one."""
    told = _KINDS[Blobs.of(blobs).first()]
    one_table, two = np.zeros(len(blobs), bool), np.zeros(len(blobs), bool)
    in_part = (told & _KEPT == 0) & (np.array(counts) >= 2)
    further = frames >> VIEW_BITS != 0
    if further.any():
        in_part |= (told & _TOLD == 0) & (further & ~np.isnan(values)).any(axis=1)
    moments = in_part
    if table is not None:
        one_table[table.owners] = True
        moments = in_part & ~one_table
        apart = np.zeros(len(blobs), bool)
        apart[table.owners[table.apart]] = True
        two = apart & (told & _TOLD != 0)
        in_part = moments | (apart & ~two)
    one_table &= ~two
    plain, once, twice = (np.flatnonzero(which) for which in (~(one_table | two | moments), one_table | moments, two))
    parts = [_moments(np.flatnonzero(moments), values, frames)]
    if table is not None:
        parts.append(
            table.pictures_of(np.flatnonzero(one_table[table.owners] & ~(in_part[table.owners] & table.apart)))
        )
    several = _look(once, parts, values[once], in_part[once])
    closed = (told & _CLOSED != 0) & ~(one_table & in_part)
    return Looks((plain, _look_at_one(values[plain])), (once, several), _twice(twice, table, values), closed)


def _look_at_one(values: NDArray[np.float64]) -> Look:
    count = len(values)
    nothing = np.zeros(count, np.int64)
    return Look(None, values, nothing, nothing + NO_TIME, np.zeros(count, bool), values)


def _look(
    places: NDArray[np.intp], parts: Sequence[_Pictures], known: NDArray[np.float64], partial: NDArray[np.bool_]
) -> Look:
    """Return these pictures content by content; what has none shows one, with the content's `known` values."""
    found = np.concatenate([owners for owners, *_ in parts]) if parts else np.zeros(0, np.intp)
    without = np.flatnonzero(~np.isin(places, found))
    nothing = np.zeros(len(without), np.int64)
    every = [*parts, (places[without], known[without], nothing, nothing + NO_TIME)]
    owners, values, streams, times_ms = (np.concatenate(cells) for cells in zip(*every, strict=True))
    order = np.argsort(owners, kind="stable")
    starts = np.searchsorted(owners[order], places)
    return Look(starts, values[order], streams[order], times_ms[order], partial, known)


def _moments(places: NDArray[np.intp], values: NDArray[np.float64], frames: NDArray[np.int32]) -> _Pictures:
    """Return what the highest values alone say of these contents: those of one moment's whole frame hold together."""
    at = frames[places]
    mine = ~np.isnan(values[places]) & (at >> VIEW_BITS == 0)
    rows, columns = np.nonzero(mine)
    pairs = np.unique(np.stack([rows, at[rows, columns].astype(np.intp)]), axis=1)
    here = mine[pairs[0]] & (at[pairs[0]] == pairs[1][:, None])
    nothing = np.zeros(pairs.shape[1], np.int64)
    return places[pairs[0]], np.where(here, values[places[pairs[0]]], np.nan), nothing, nothing + NO_TIME


def _twice(
    places: NDArray[np.intp], table: FrameTable | None, values: NDArray[np.float64]
) -> tuple[NDArray[np.intp], Look, Look, Look]:
    """Return what each of two looks showed of these contents; see `core.pictures.Passes`."""
    nothing = np.full((len(places), values.shape[1]), np.nan)
    whole = np.zeros(len(places), bool)
    if table is None or not len(places):
        empty = _look(places, [], nothing, whole)
        return places, empty, empty, empty
    mine = np.isin(table.owners, places)
    further = table.frames >> VIEW_BITS != 0
    seen = (mine & ~table.apart, mine & ~(table.apart & further), mine)
    first, both, every = (_look(places, [table.pictures_of(np.flatnonzero(rows))], nothing, whole) for rows in seen)
    return places, first, both, every


def _rows(
    every: Blobs, begin: NDArray[np.int64], counts: NDArray[np.int64], owners: NDArray[np.intp], head: bytes,
    told: bool, column: dict[str, int], values: NDArray[np.float64],
) -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[Any], NDArray[np.bool_]]:  # fmt: skip
    """Return the rows of tables that have the same columns: their contents' places, their values, and their numbers."""
    own = head.decode().split("\n") if head else []
    kind = np.dtype([*_NUMBERS, ("values", "<f8", (len(own),))])
    assert kind.itemsize == ROW.size + 8 * len(own), "numpy reads what struct wrote"
    number = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    rows = every.cut(np.repeat(begin, counts) + number * kind.itemsize, kind.itemsize).view(kind)[:, 0]
    places = np.repeat(owners, counts)
    cells = values[places]
    cells[:, [column[name] for name in own]] = rows["values"]
    apart = (rows["stream"] & SECOND) != 0 if told else rows["frame"] >> VIEW_BITS != 0
    numbers = np.empty(len(rows), _NUMBERS)
    for name, _ in _NUMBERS:
        numbers[name] = rows[name]
    return places, cells, numbers, apart


@dataclass(slots=True)
class Computed:
    """Signals that were computed anew: of which contents, by place on the page, and the highest with their frames."""

    places: NDArray[np.intp]
    values: NDArray[np.float64] | NDArray[np.float32]
    frames: NDArray[np.int32]


def recompute(
    table: FrameTable, owned: NDArray[np.intp], given: NDArray[np.intp], kept: Kept, ids: NDArray[np.int64],
    shares: NDArray[np.float32], wanted: NDArray[np.bool_],
) -> Computed | None:  # fmt: skip
    """Put `shares`, one row for each of the `kept` embeddings, into the columns `given` of the table.

    Only of contents that are `wanted` (by place), and of which every frame that has a signal in a column of `owned` is
    kept. Frames that were never embedded count as not measured. Returns what changed.
    """
    rows = np.flatnonzero(wanted[table.owners])
    if not len(rows) or not len(kept.frames):
        return None
    ours = _keys(ids[table.owners[rows]], table.frames[rows])
    theirs = _keys(kept.content_ids, kept.frames)
    order = np.argsort(theirs)
    at = order[np.searchsorted(theirs, ours, sorter=order).clip(max=len(theirs) - 1)]
    found = theirs[at] == ours
    measured = ~np.isnan(table.values[np.ix_(rows, owned)]).all(axis=1)
    owners = table.owners[rows]
    whole = np.setdiff1d(owners[found], owners[measured & ~found])
    taken = np.isin(owners, whole)
    rows, at, found, owners = rows[taken], at[taken], found[taken], owners[taken]
    if not len(rows):
        return None
    table.values[np.ix_(rows, owned)] = np.nan
    table.values[np.ix_(rows[found], given)] = shares[at[found]]
    return _highest(owners, table.values[np.ix_(rows, given)], table.frames[rows])


def _keys(contents: NDArray[np.int64], frames: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return one number for a frame of a content; there are fewer contents than that holds."""
    return contents.astype(np.int64) << 31 | frames.astype(np.int64)


def _highest(owners: NDArray[np.intp], values: NDArray[np.float64], frames: NDArray[np.int32]) -> Computed:
    places, starts, counts = np.unique(owners, return_index=True, return_counts=True)
    best = np.fmax.reduceat(values, starts, axis=0)
    number = np.arange(len(owners))[:, None]
    first = np.minimum.reduceat(
        np.where(values == np.repeat(best, counts, axis=0), number, len(owners)), starts, axis=0
    )
    return Computed(places, best, frames[first.clip(max=len(owners) - 1)])


def rewritten(data: bytes, table: FrameTable, place: int, columns: Sequence[tuple[int, str]]) -> FrameScores:
    """Return a content's table with the values that `table` has now in these columns; all others stay."""
    kept = FrameScores(data)
    if len(data) <= HEAD.size:
        return kept
    rows, fresh = [], {name for _, name in columns}
    for row, cells in zip(kept.rows(), table.values[table.of(place)].tolist(), strict=True):
        signals = {name: value for name, value in row.signals.items() if name not in fresh}
        signals |= {name: cells[i] for i, name in columns if cells[i] == cells[i]}
        rows.append(replace(row, signals=signals))
    made = FrameScores.of(rows, closed=kept.closed)
    return made if kept.told else made.as_older()
