"""Which of very many hashes, that stream past, are near to some: a list against all that was ever judged.

The few are written into a table under every value that is near to theirs, chunk by chunk; each of the many is then
looked up by twelve values instead of by two thousand. Exact, as a look-up is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedi_safety.known.index.chunks import CHUNKS, RADIUS, Layout, Numbers, Words, layout
from fedi_safety.known.index.search import Found, confirmed, halves, joined, one_by_one, ranges, set_bits

SLICE = 1 << 16
"""So many hashes are compared at once: their table takes half a gigabyte, and a row's number in it two bytes."""

_FEW = 64  # up to so many are compared one by one
_BLOCK_ROWS = 1 << 16
_PAIRS = 1 << 18  # in hand at once: some ten megabytes
_DEAR = 8  # a pair that is met by chance costs as much as so many in a row


@dataclass(frozen=True, slots=True)
class _Chunk:
    """The few by each value of one chunk that is near to theirs; `met` tells the values that have any."""

    met: NDArray[np.bool_]
    offsets: NDArray[np.uint32]
    rows: NDArray[np.uint16]


class Joiner:
    """At most `SLICE` hashes, ready to be met by others; each has a distance of its own in `within`."""

    def __init__(self, hashes: Words, within: Numbers) -> None:
        """Write the table: a fraction of a second for a thousand, ten for all that fit."""
        self._within = within
        self._wide = np.flatnonzero(within > RADIUS)
        self._near = np.flatnonzero(within <= RADIUS)
        self._wide_hashes, near = hashes[self._wide], hashes[self._near]
        self._near_hashes = near
        self._halves = halves(near)
        self._layout = layout(1 << 30)
        chunks = range(CHUNKS) if len(near) > _FEW else ()
        self._chunks = [_expanded(near, self._layout, chunk) for chunk in chunks]

    def meet(self, many: Words) -> Found:
        """Return the pairs of these hashes, as queries, and of the few, as rows, that are within the few's distance."""
        pieces = []
        for first in range(0, len(many), _BLOCK_ROWS):
            block = many[first : first + _BLOCK_ROWS]
            for found, few in ((self._narrow(block), self._near), (self._others(block), self._wide)):
                row = few[found.row]
                kept = np.flatnonzero(found.distance <= self._within[row])
                pieces.append(Found(found.query[kept] + first, row[kept], found.distance[kept]))
        return joined(pieces)

    def _others(self, block: Words) -> Found:
        """Compare with those few, one by one, whose distance is wider than the chunks are good for."""
        if not len(self._wide):
            return joined([])
        return _turned(one_by_one(halves(block), self._wide_hashes, int(self._within[self._wide].max())))

    def _narrow(self, block: Words) -> Found:
        asked = halves(block)
        if not self._chunks:
            return _turned(one_by_one(asked, self._near_hashes, RADIUS))
        most = len(block) * len(self._near) // _DEAR
        met = []
        for chunk, table in enumerate(self._chunks):
            values, passing = _upwards(self._layout.of_chunk(block, chunk))
            met_there = np.flatnonzero(table.met.take(values))
            values, passing = values.take(met_there), passing.take(met_there)
            starts = table.offsets.take(values).astype(np.int64)
            counts = table.offsets.take(values + 1) - starts
            if counts.sum() > most:  # made to crowd: never dearer than one by one
                return _turned(one_by_one(asked, self._near_hashes, RADIUS))
            for part in _parts(counts):
                rows = table.rows.take(ranges(starts[part], counts[part])).astype(np.int64)
                owners = np.repeat(passing[part], counts[part])
                differing = self._halves.low.take(rows, axis=0)
                differing ^= asked.low.take(owners, axis=0)
                near = np.flatnonzero(set_bits(differing) <= RADIUS)
                met.append(owners[near] * len(self._near) + rows[near])
        pairs = np.unique(np.concatenate(met)) if met else np.empty(0, np.int64)
        return confirmed(self._halves, asked, pairs // len(self._near), pairs % len(self._near), RADIUS)


def _upwards(values: Numbers) -> tuple[Numbers, Numbers]:
    """Return values sorted, and their places: looked up in this order a large table is walked through, not jumped."""
    both = values << 32
    both |= np.arange(len(values))
    both.sort()
    return both >> 32, both & 0xFFFFFFFF


def _turned(found: Found) -> Found:
    """Return what was found with rows and queries in each other's place."""
    return Found(found.row, found.query, found.distance)


def _parts(counts: Numbers) -> Iterator[slice]:
    """Cut a column of counts, each at least 1, where they add up to `_PAIRS`."""
    ends = counts.cumsum()
    first = 0
    while first < len(counts):
        done = int(ends[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(ends, done + _PAIRS, side="right")))
        yield slice(first, last)
        first = last


def _expanded(hashes: Words, cut: Layout, chunk: int) -> _Chunk:
    buckets = int(cut.values[chunk]) + 1
    # Sorted with its row below it in one number, as in the index; counted afterwards, when equal ones lie together.
    own = cut.of_chunk(hashes, chunk) << 16
    own |= np.arange(len(hashes))
    near = (own[:, None] ^ (cut.neighbours(chunk) << 16)).ravel()
    near.sort()
    counts = np.bincount(near >> 16, minlength=buckets)
    offsets = np.zeros(buckets + 1, np.uint32)
    offsets[1:] = counts.cumsum()
    return _Chunk(counts > 0, offsets, near.astype(np.uint16))
