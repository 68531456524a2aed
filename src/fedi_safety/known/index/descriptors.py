"""Descriptors against descriptors, every one with every other: blocks of them, so that memory stays the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

BYTES = 64
"""Of one descriptor: 512 bits."""

_PAIRS = 1 << 20  # that are compared at once: some 20 MB

Column = NDArray[np.int64]


def rows_of(descriptors: bytes) -> NDArray[np.uint8]:
    """Return descriptors that follow each other, as rows."""
    return np.frombuffer(descriptors, np.uint8).reshape(-1, BYTES)


def meet(asked: NDArray[np.uint8], stored: NDArray[np.uint8], distance: int) -> Iterator[tuple[Column, Column, Column]]:
    """Give the pairs within a distance in bits: places in `asked`, places in `stored`, and how far apart they are."""
    if not len(asked) or not len(stored):
        return
    few, many = _words(asked), _words(stored)
    at_once = max(1, _PAIRS // len(few))
    width = max(1, _PAIRS // at_once)
    for above in range(0, len(many), at_once):
        block = many[above : above + at_once]
        for left in range(0, len(few), width):
            off = _bits(few[left : left + width], block)
            one, other = np.nonzero(off <= distance)
            yield one + left, other + above, off[one, other].astype(np.int64)


def _words(descriptors: NDArray[np.uint8]) -> NDArray[np.uint64]:
    return np.ascontiguousarray(descriptors).view(np.uint64)


def _bits(few: NDArray[np.uint64], many: NDArray[np.uint64]) -> NDArray[Any]:
    off = np.zeros((len(few), len(many)), np.uint16)
    for word in range(BYTES // 8):
        off += np.bitwise_count(few[:, word, None] ^ many[None, :, word])
    return off
