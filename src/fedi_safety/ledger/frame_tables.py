"""What each frame was given, for a page of contents at once: tables of `core.frame_scores` as arrays. Reads only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fedi_safety.core.frames.scores import HEAD, ROW, SECOND, FrameScores
from fedi_safety.core.ledger.stored_scores import SecondPass
from fedi_safety.core.pictures import VIEW_BITS
from fedi_safety.ledger.embeddings import Kept

_NUMBERS = [("frame", "<i4"), ("picture", "<i4"), ("stream", "<u2"), ("time_ms", "<i8")]


@dataclass(slots=True)
class Pictures:
    """See `core.ledger.stored_scores.PictureScores`."""

    owners: NDArray[np.intp]
    values: NDArray[np.float64]


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
    values: NDArray[np.float64]

    def of(self, place: int) -> slice:
        """Return which rows are a content's."""
        first, last = np.searchsorted(self.owners, [place, place + 1])
        return slice(int(first), int(last))

    def by_picture(self) -> Pictures:
        """Return the highest values by picture. A signal that one of its frames lacks is not known of it."""
        changes = (np.diff(self.owners) != 0) | (np.diff(self.pictures) != 0)
        starts = np.concatenate([[0], np.flatnonzero(changes) + 1])
        return Pictures(self.owners[starts], np.maximum.reduceat(self.values, starts, axis=0))


def read_tables(blobs: Sequence[bytes | None], names: Sequence[str], values: NDArray[np.float64]) -> FrameTable | None:
    """Return the tables of a page in the columns `names`, in which `values` has the contents' own; None without any."""
    column = {name: i for i, name in enumerate(names)}
    places = [place for place, blob in enumerate(blobs) if blob and len(blob) > HEAD.size]
    if not places:
        return None
    layouts: dict[tuple[bytes, bool], tuple[list[int], list[int], list[bytes]]] = {}
    for place in places:
        blob = blobs[place]
        assert blob is not None
        _, count, names_size, places_size = HEAD.unpack_from(blob)
        start = HEAD.size + names_size
        layout = blob[HEAD.size : start], FrameScores(blob).told
        owners, counts, bodies = layouts.setdefault(layout, ([], [], []))
        owners.append(place)
        counts.append(count)
        bodies.append(blob[start : len(blob) - places_size])
    parts = [_rows(head, told, *found, column, values) for (head, told), found in layouts.items()]
    owners_of, frames, pictures, apart, cells = (np.concatenate(part) for part in zip(*parts, strict=True))
    order = np.argsort(owners_of, kind="stable")
    return FrameTable(owners_of[order], frames[order], pictures[order], apart[order], cells[order])


def second_passes_of(blobs: Sequence[bytes | None], table: FrameTable | None) -> NDArray[np.int8]:
    """Return of each content of a page a `core.ledger.stored_scores.SecondPass`."""
    over, possible = SecondPass.OVER, SecondPass.POSSIBLE
    found = np.array([over if blob and FrameScores(blob).closed else possible for blob in blobs], np.int8)
    if table is not None:
        found[table.owners[table.apart]] = SecondPass.MADE
    return found


def _rows(
    head: bytes,
    told: bool,
    owners: list[int],
    counts: list[int],
    bodies: list[bytes],
    column: dict[str, int],
    values: NDArray[np.float64],
) -> tuple[NDArray[np.intp], NDArray[np.int32], NDArray[np.int32], NDArray[np.bool_], NDArray[np.float64]]:
    """Return the rows of tables that have the same columns."""
    own = head.decode().split("\n") if head else []
    kind = np.dtype([*_NUMBERS, ("values", "<f8", (len(own),))])
    assert kind.itemsize == ROW.size + 8 * len(own), "numpy reads what struct wrote"
    rows = np.frombuffer(b"".join(bodies), kind)
    places = np.repeat(np.array(owners, np.intp), counts)
    cells = values[places]
    cells[:, [column[name] for name in own]] = rows["values"]
    frames = rows["frame"].astype(np.int32)
    apart = (rows["stream"] & SECOND) != 0 if told else frames >> VIEW_BITS != 0
    return places, frames, rows["picture"].astype(np.int32), apart, cells


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
