"""Which of very many hashes, that stream past, are near to some, in any turn: a list against all that was ever judged.

The few are written into a table under every value that is near to theirs, chunk by chunk; each of the many is then
looked up by twelve values instead of by two thousand. Exact, as a look-up is. They are written as they are and laid
aside, but not mirrored: chunks are of classes of bits that a mirror turns over whole, and stand under the smaller of
both values. That is less than half of the work of eight turns each.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedi_safety.core.classes import dataclass
from fedi_safety.known.index.chunks import CHUNKS, RADIUS, Layout, Numbers, Words, layout, words
from fedi_safety.known.index.classes import MIRRORS, apart, classes, least
from fedi_safety.known.index.search import halves, one_by_one, places, ranges
from fedi_safety.known.index.turned import ASIDE, BACK, turned, undone_by

SLICE = 1 << 15
"""So many hashes are compared at once: their table takes 400 megabytes, and a row's number in it two bytes."""

_FEW = 8  # up to so many are compared one by one
_BLOCK_ROWS = 1 << 16
_PAIRS = 1 << 16  # in hand at once: some three megabytes
_DEAR = 8  # a pair that is met by chance costs as much as so many in a row
_ROW_BITS = 16


class Met(NamedTuple):
    """Pairs within the distance, as columns of one length: numbers of the many and of the few, bits, and the turn."""

    query: Numbers
    row: Numbers
    distance: Numbers
    turn: Numbers


@dataclass(frozen=True, slots=True)
class _Chunk:
    """The few by each value of one chunk that is near to theirs; `met` tells the values that have any."""

    met: NDArray[np.bool_]
    offsets: NDArray[np.uint32]
    rows: NDArray[np.uint16]


class Joiner:
    """At most `SLICE` hashes, ready to be met by others in any turn; each has a distance of its own in `within`."""

    def __init__(self, hashes: NDArray[np.uint8], within: Numbers) -> None:
        """Write the table for hashes, rows of 32 bytes: a fraction of a second for a thousand, ten for all that fit."""
        self._within = within
        self._hashes = hashes
        self._wide = np.flatnonzero(within > RADIUS)
        self._near = np.flatnonzero(within <= RADIUS)
        near = hashes[self._near]
        # Both of each, one after the other: as it is, and laid aside.
        self._few = classes(words(np.stack([near, turned(near)[ASIDE]], axis=1)))
        self._first = np.ascontiguousarray(self._few[:, :2])
        self._layout = layout(1 << 30)
        chunks = range(CHUNKS) if len(near) > _FEW else ()
        self._chunks = [_expanded(self._few, self._layout, chunk) for chunk in chunks]

    def meet(self, many: Words) -> Met:
        """Return the pairs of these hashes, as queries, and of the few, as rows, that are within the few's distance."""
        pieces = []
        for first in range(0, len(many), _BLOCK_ROWS):
            block = many[first : first + _BLOCK_ROWS]
            for met in (self._narrow(block), self._one_by_one(block, self._wide)):
                kept = places(met.distance <= self._within.take(met.row))
                query, row, distance, turn = (column.take(kept) for column in met)
                pieces.append(Met(query + first, row, distance, turn))
        return _all_of(pieces)

    def _one_by_one(self, block: Words, some: Numbers) -> Met:
        """Compare with some of the few in each turn: with those whose distance is wider than chunks are good for."""
        if not len(some):
            return _all_of([])
        ways = words(turned(self._hashes[some])[list(BACK)])
        found = one_by_one(halves(block), ways, int(self._within[some].max()))
        turn, place = np.divmod(found.query, len(some))
        return Met(found.row, some.take(place), found.distance, turn)

    def _narrow(self, block: Words) -> Met:
        if not self._chunks:
            return self._one_by_one(block, self._near)
        asked = classes(block)
        left = len(block) * len(self._few) * len(MIRRORS) // _DEAR
        pairs: list[Numbers] = []
        for chunk, table in enumerate(self._chunks):
            values, passing = _upwards(_folded(asked, self._layout, chunk))
            there = places(table.met.take(values))
            values, passing = values.take(there), passing.take(there)
            starts = table.offsets.take(values).astype(np.int64)
            values += 1
            counts = table.offsets.take(values) - starts
            left -= int(counts.sum())
            if left < 0:  # made to crowd: never dearer than one by one
                return self._one_by_one(block, self._near)
            pairs += self._pairs(asked[:, :2].take(passing, axis=0), passing, table.rows, starts, counts)
        return self._confirmed(asked, np.unique(np.concatenate(pairs)) if pairs else np.empty(0, np.int64))

    def _pairs(
        self, asked: Words, passing: Numbers, rows: NDArray[np.uint16], starts: Numbers, counts: Numbers
    ) -> Iterator[Numbers]:
        """Yield the pairs that may be near by their first two classes, each as one number."""
        for part in _parts(counts):
            own = rows.take(ranges(starts[part], counts[part]))
            differing = asked[part].repeat(counts[part], axis=0)
            differing ^= self._first.take(own, axis=0)
            near = places(least(np.bitwise_count(differing)) <= RADIUS)
            if len(near):
                owner = np.searchsorted(counts[part].cumsum(), near, side="right")
                yield passing[part].take(owner) << _ROW_BITS | own.take(near)

    def _confirmed(self, asked: Words, pairs: Numbers) -> Met:
        """Return those of some pairs that are near by all of their bits, in which turn."""
        query, own = pairs >> _ROW_BITS, pairs & (1 << _ROW_BITS) - 1
        counted = np.bitwise_count(asked.take(query, axis=0) ^ self._few.take(own, axis=0)).astype(np.int64)
        row, aside = self._near.take(own >> 1), own & 1
        pieces = []
        for down, across in MIRRORS:
            distance = apart(counted, down, across)
            turn = np.array([undone_by(False, down, across), undone_by(True, down, across)]).take(aside)
            near = places(distance <= RADIUS)
            pieces.append(Met(*(column.take(near) for column in (query, row, distance, turn))))
        return _all_of(pieces)


def _all_of(pieces: list[Met]) -> Met:
    """Return several findings as one."""
    if not pieces:
        return Met(*(np.empty(0, np.int64) for _ in Met._fields))
    return Met(*(np.concatenate(columns) for columns in zip(*pieces, strict=True)))


def _folded(hashes: Words, cut: Layout, chunk: int) -> Numbers:
    """Return the value of one chunk of each hash by classes, or that of it turned over if that is less."""
    values = cut.of_chunk(hashes, chunk)
    return values if cut.word[chunk] == 0 else np.minimum(values, values ^ int(cut.values[chunk]))


def _upwards(values: Numbers) -> tuple[Numbers, Numbers]:
    """Return values sorted, and their places: looked up in this order a large table is walked through, not jumped."""
    both = values << 32
    both |= np.arange(len(values))
    both.sort()
    return both >> 32, both & 0xFFFFFFFF


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
    full = int(cut.values[chunk])
    buckets = full + 1 if cut.word[chunk] == 0 else full + 1 >> 1
    near = cut.of_chunk(hashes, chunk)[:, None] ^ cut.neighbours(chunk)
    if buckets <= full:
        np.minimum(near, near ^ full, out=near)
    # Sorted with its row below it in one number, as in the index; counted afterwards, when equal ones lie together.
    near <<= _ROW_BITS
    near |= np.arange(len(hashes))[:, None]
    near = near.ravel()
    near.sort()
    rows = near.astype(np.uint16)
    near >>= _ROW_BITS
    counts = np.bincount(near, minlength=buckets)
    offsets = np.zeros(buckets + 1, np.uint32)
    offsets[1:] = counts.cumsum()
    return _Chunk(counts > 0, offsets, rows)
