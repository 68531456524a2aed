"""PDQ, the perceptual hash that instances exchange: 256 bits and a quality from 0 to 100 for an RGB picture.

Written here because its package (pdqhash) has no wheels for Linux, and installing builds nothing. A test holds it to
that package's results. It knows no list of hashes and decides nothing.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BITS = 256
_SIDE = 64  # the picture is reduced to 64 by 64
_TERMS = 16  # and its 16 by 16 lowest waves are looked at
_LUMA = np.array([0.299, 0.587, 0.114])


def pdq(rgb: NDArray[np.uint8]) -> tuple[NDArray[np.bool_], int]:
    """Return the hash, its bits in the order in which they are written, and the quality; below 50 it means little."""
    luma = rgb.astype(np.float64) @ _LUMA
    for _ in range(2):
        luma = _box(luma, axis=1)
        luma = _box(luma, axis=0)
    small = luma[np.ix_(_middles(luma.shape[0]), _middles(luma.shape[1]))]
    waves = _cosines()
    terms = waves @ small @ waves.T
    median = np.partition(terms, BITS // 2 - 1, axis=None)[BITS // 2 - 1]
    bits: NDArray[np.bool_] = (terms > median).ravel()[::-1]
    return bits, _quality(small)


def _box(values: Floats, axis: int) -> Floats:
    """Average every value with its neighbours on a line, as many as the reduction will melt into half a pixel."""
    length = values.shape[axis]
    window = (length + 2 * _SIDE - 1) // (2 * _SIDE)
    ahead = (window + 2) // 2
    ends = np.minimum(np.arange(length) + ahead, length)
    begins = np.maximum(np.arange(length) + ahead - window, 0)
    sums = np.insert(np.cumsum(values, axis=axis), 0, 0.0, axis=axis)
    counts = (ends - begins).astype(np.float64)
    total = np.take(sums, ends, axis=axis) - np.take(sums, begins, axis=axis)
    return np.asarray(total / (counts[:, None] if axis == 0 else counts))


def _middles(length: int) -> NDArray[np.intp]:
    return ((np.arange(_SIDE) + 0.5) * length / _SIDE).astype(np.intp)


@cache
def _cosines() -> Floats:
    wave, place = np.arange(1, _TERMS + 1)[:, None], np.arange(_SIDE)[None, :]
    return np.asarray(np.sqrt(2.0 / _SIDE) * np.cos(np.pi / (2 * _SIDE) * wave * (2 * place + 1)))


def _quality(small: Floats) -> int:
    """Return how much there is to see: the sum of the steps between neighbours, in hundredths of the whole range."""
    steps = (np.trunc(np.abs(np.diff(small, axis=axis)) * 100 / 255).sum() for axis in (0, 1))
    return min(100, int(sum(steps) / 90))
