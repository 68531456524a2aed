"""Which rows are within a distance of some queries: by their chunks, or one by one. Exact both ways."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedi_safety.core.classes import dataclass
from fedi_safety.known.index.chunks import HALF_REACH, REACH, Layout, Numbers, Words

_BLOCK_ROWS = 16_384  # so many first halves, 256 KB, stay in a core's cache
_BLOCK_QUERIES = 8
_CHEAP = 2_048
_AT_ONCE = 1 << 20
_PER_ROW = 16  # a hash that is looked at by chance costs as much as so many in a row


class Found(NamedTuple):
    """Pairs within the distance, as three columns of one length: numbers of queries and rows, and bits between them."""

    query: Numbers
    row: Numbers
    distance: Numbers


class Halves(NamedTuple):
    """Hashes as two arrays of two words a row: the first half rules out nearly all that is not near."""

    low: Words
    high: Words


@dataclass(slots=True)
class Table:
    """The rows by their chunks: those in bucket k are `rows[offsets[k]:offsets[k + 1]]`."""

    layout: Layout
    offsets: NDArray[np.uint32]
    rows: NDArray[np.uint32]
    _filled: NDArray[np.uint8] | None = None

    def filled(self, buckets: Numbers) -> Numbers:
        """Return which of these buckets have rows: their places; where few are empty, some of these as well.

        Four megabytes say it of all buckets, which stay in the processor's cache, as the offsets do not.
        """
        if len(self.rows) > self.layout.size:
            return np.arange(len(buckets))
        if self._filled is None:
            parts = (self.offsets[at : at + _AT_ONCE + 1] for at in range(0, self.layout.size, _AT_ONCE))
            self._filled = np.concatenate([np.packbits(p[1:] != p[:-1], bitorder="little") for p in parts])
        bits = self._filled.take(buckets >> 3)
        bits >>= (buckets & 7).astype(np.uint8)
        bits &= 1
        return places(bits.view(np.bool_))


_NOTHING = Found(*(np.empty(0, np.int64) for _ in Found._fields))


def places(true: NDArray[np.bool_]) -> Numbers:
    """Return where a column is true: `np.flatnonzero`, without what that takes for columns of any shape."""
    found: Numbers = true.nonzero()[0]
    return found


def halves(hashes: Words) -> Halves:
    """Return hashes of four words as halves."""
    return Halves(np.ascontiguousarray(hashes[:, :2]), np.ascontiguousarray(hashes[:, 2:]))


def one_by_one(hashes: Halves, queries: Words, within: int, half: int | None = None) -> Found:
    """Compare every row with every query. By their first halves they may be asked to be nearer than by all."""
    half = within if half is None else half
    asked = halves(queries)
    pieces = []
    for first in range(0, len(hashes.low), _BLOCK_ROWS):
        block = hashes.low[first : first + _BLOCK_ROWS]
        for query in range(len(queries)):
            near = places(set_bits(block ^ asked.low[query]) <= half)
            if len(near):
                pieces.append(confirmed(hashes, asked, np.full(len(near), query), near + first, within))
    return joined(pieces)


def by_chunks(hashes: Halves, table: Table, queries: Words) -> Found:
    """Compare every query with the rows that share a chunk with it: within `REACH`, and `HALF_REACH` in a first half.

    Up to `RADIUS` these are all that are near. Where so many share a chunk that this would be dearer than comparing
    with every row, as where somebody filled a list with hashes made for that, every row is compared with.
    """
    pieces = []
    for first in range(0, len(queries), _BLOCK_QUERIES):
        for part in _by_chunks(hashes, table, queries[first : first + _BLOCK_QUERIES]):
            pieces.append(part._replace(query=part.query + first))
    return joined(pieces)


def joined(pieces: list[Found]) -> Found:
    """Return several findings as one."""
    if not pieces:
        return _NOTHING
    if len(pieces) == 1:
        return pieces[0]
    return Found(*(np.concatenate(columns) for columns in zip(*pieces, strict=True)))


def _by_chunks(hashes: Halves, table: Table, queries: Words) -> Iterator[Found]:
    keys = table.layout.keys(queries)
    buckets = keys.ravel()
    filled = table.filled(buckets)
    buckets = buckets.take(filled)
    starts = table.offsets.take(buckets)
    buckets += 1
    counts = table.offsets.take(buckets) - starts
    ends = counts.cumsum(dtype=np.int64)
    most = _CHEAP + len(hashes.low) // _PER_ROW
    if len(ends) and ends[-1] > most:
        owners = filled // keys.shape[1]
        crowded = places(np.bincount(owners, counts, len(queries)) > most)
        for query in crowded:
            found = one_by_one(hashes, queries[query : query + 1], REACH, HALF_REACH)
            yield found._replace(query=found.query + query)
        counts[np.isin(owners, crowded)] = 0
        ends = counts.cumsum(dtype=np.int64)
    if not len(ends) or not ends[-1]:
        return
    rows = table.rows.take(ranges(starts, counts, ends))
    if len(queries) == 1:
        yield _near_one(hashes, rows, queries)
        return
    owners = np.repeat(filled // keys.shape[1], counts)
    differing = hashes.low.take(rows, axis=0)
    differing ^= queries[:, :2].take(owners, axis=0)
    near = places(set_bits(differing) <= HALF_REACH)
    if len(near):
        # The same row is met by several of its chunks.
        pairs = np.unique(owners.take(near) * len(hashes.low) + rows.take(near))
        yield confirmed(hashes, halves(queries), *np.divmod(pairs, len(hashes.low)), REACH)


def _near_one(hashes: Halves, rows: NDArray[np.uint32], query: Words) -> Found:
    """Return those of some rows that are near to one query, each once: the way of nearly all look-ups, in few steps.

    What a look-up takes where others use the processor as well is the fetching of code and not of data.
    """
    low, high = query[0, :2], query[0, 2:]
    off = set_bits(hashes.low.take(rows, axis=0) ^ low)
    near = places(off <= HALF_REACH)
    if not len(near):
        return _NOTHING
    rows = rows.take(near)
    off = off.take(near) + set_bits(hashes.high.take(rows, axis=0) ^ high)
    near = places(off <= REACH)
    if not len(near):
        return _NOTHING
    rows, first = np.unique(rows.take(near), return_index=True)  # the same one is met by several of its chunks
    return Found(np.zeros(len(rows), np.int64), rows.astype(np.int64), off.take(near).take(first).astype(np.int64))


def ranges(starts: NDArray[Any], lengths: NDArray[Any], ends: Numbers | None = None) -> Numbers:
    """Return the numbers of several ranges, not all of them empty, one after another.

    `ends` tells where each one ends among all, where that is known, and is used up.
    """
    ends = lengths.cumsum(dtype=np.int64) if ends is None else ends
    numbers = np.arange(ends[-1])
    ends -= lengths
    numbers += (starts - ends).repeat(lengths)
    return numbers


def confirmed(hashes: Halves, asked: Halves, query: Numbers, row: Numbers, within: int) -> Found:
    """Return those of some pairs that are near enough with both halves."""
    distance = set_bits(hashes.high.take(row, axis=0) ^ asked.high.take(query, axis=0)).astype(np.int64)
    distance += set_bits(hashes.low.take(row, axis=0) ^ asked.low.take(query, axis=0))
    near = places(distance <= within)
    return Found(query.take(near), row.take(near), distance.take(near)) if len(near) else _NOTHING


def set_bits(differing: Words) -> NDArray[np.uint8]:
    """Return how many bits are set in each row of two words: at most 128, so a byte holds it."""
    counted = np.bitwise_count(differing)
    return counted[:, 0] + counted[:, 1]
