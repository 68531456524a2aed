"""How 256 bits are cut into chunks, and which values of a chunk are near to one.

Of two hashes within 31 bits of each other some chunk differs by no more than its radius: if every one differed by more,
they would be 4 * 3 + 4 * 3 + 4 * 2 = 32 bits apart. So it is enough to look at the hashes that share such a chunk.
Twelve chunks of 21 and 22 bits, because sixteen of 16 leave six times as many to look at.
"""

from __future__ import annotations

from functools import cache
from itertools import accumulate, combinations

import numpy as np
from numpy.typing import NDArray

from fedi_safety.core.classes import dataclass

Words = NDArray[np.uint64]
Numbers = NDArray[np.int64]

RADIUS = 31
"""Bits within which nothing is missed by the chunks."""

REACH = RADIUS + RADIUS // 2
"""Bits within which whatever shares a chunk is told of too, for who knows which of the bits are sure."""

HALF_REACH = 39
"""By so many the first 128 bits may differ then: of random ones more do, so that next to none needs a further look."""

_WORDS = 4
_WORD = np.dtype("<u8")
_CUTS = ((0, 22, 2), (22, 21, 2), (43, 21, 1))  # of each 64-bit word: the first bit, how many, and the radius
CHUNKS = len(_CUTS) * _WORDS
_RADII = np.repeat([radius for _, _, radius in _CUTS], _WORDS)
_FULL_ROWS = 1 << 19  # from so many hashes on, chunks are looked up by all of their bits
_LEAST_BITS = 10


def words(hashes: NDArray[np.uint8]) -> Words:
    """Return hashes, rows of 32 bytes, as rows of four words."""
    return np.ascontiguousarray(hashes, dtype=np.uint8).reshape(-1, 32).view(_WORD)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the buckets of each chunk lie in one table, and which of them a look-up visits.

    `size` counts the buckets. A key is `base` plus the chunk's value; as `base` is a multiple of how many values the
    chunk has, a key is brought to its neighbours by exclusive or with `masks`, those of chunk `owner`.
    """

    word: Numbers
    shift: Words
    values: Words
    base: Numbers
    owner: Numbers
    masks: Numbers
    size: int
    cuts: tuple[tuple[int, int, int, int], ...]
    """For each chunk its word, shift, values and base once more, as numbers of Python."""

    def of_chunk(self, hashes: Words, chunk: int) -> Numbers:
        """Return the value of one chunk of each hash, without its base."""
        taken = hashes[:, self.word[chunk]] >> self.shift[chunk]
        value: Numbers = (taken & self.values[chunk]).astype(np.int64)
        return value

    def keys(self, hashes: Words) -> Numbers:
        """Return for each hash the buckets in which whatever is within the radius lies, a row for each hash."""
        if len(hashes) == 1:  # a dozen numbers are sooner reckoned one by one
            one = hashes[0].tolist()
            own = np.array([[(one[word] >> shift & values) + base for word, shift, values, base in self.cuts]])
        else:
            own = ((hashes.take(self.word, axis=1) >> self.shift) & self.values).view(np.int64) + self.base
        found: Numbers = own.take(self.owner, axis=1)
        found ^= self.masks
        return found

    def neighbours(self, chunk: int) -> Numbers:
        """Return what brings a value of one chunk to all those within its radius, itself included."""
        masks: Numbers = self.masks[self.owner == chunk]
        return masks


def chunk_shared(differing: Words) -> NDArray[np.bool_]:
    """Return of which rows of differing bits some chunk, by all of its bits, is within its radius."""
    cut = _layout(0)
    counted = np.bitwise_count((differing[:, cut.word] >> cut.shift) & cut.values)
    shared: NDArray[np.bool_] = (counted <= _RADII).any(axis=1)
    return shared


def layout_of(size: int) -> Layout:
    """Return the layout with so many buckets, by which a segment was written. Raises `ValueError` if there is none."""
    for dropped in range(_CUTS[0][1] - _LEAST_BITS + 1):
        if _size(dropped) == size:
            return _layout(dropped)
    raise ValueError("no layout has so many buckets")


def layout(rows: int) -> Layout:
    """Return the layout for so many hashes: for few of them a chunk's lower bits are left out, for a small table."""
    dropped = 0
    while rows << dropped < _FULL_ROWS and _CUTS[0][1] - dropped > _LEAST_BITS:
        dropped += 1
    return _layout(dropped)


def _size(dropped: int) -> int:
    return sum(_WORDS << bits - dropped for _, bits, _ in _CUTS)


@cache
def _layout(dropped: int) -> Layout:
    cuts = [(word, first + dropped, bits - dropped, radius) for first, bits, radius in _CUTS for word in range(_WORDS)]
    sizes = [1 << bits for _, _, bits, _ in cuts]
    masks = [_masks(bits, radius) for _, _, bits, radius in cuts]
    bases = [0, *accumulate(sizes[:-1])]
    return Layout(
        word=np.array([word for word, _, _, _ in cuts], np.int64),
        shift=np.array([first for _, first, _, _ in cuts], np.uint64),
        values=np.array([size - 1 for size in sizes], np.uint64),
        base=np.array(bases, np.int64),
        owner=np.repeat(np.arange(CHUNKS), [len(m) for m in masks]),
        masks=np.concatenate(masks),
        size=sum(sizes),
        cuts=tuple(
            (word, first, size - 1, base) for (word, first, _, _), size, base in zip(cuts, sizes, bases, strict=True)
        ),
    )


def _masks(bits: int, radius: int) -> Numbers:
    flips = [
        sum(1 << bit for bit in chosen) for many in range(radius + 1) for chosen in combinations(range(bits), many)
    ]
    return np.array(flips, np.int64)
