"""Hashes for lists of known images: random ones, and those at a distance from them. None is of any picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedi_safety.core.known.types import Entry, HashKind

Hashes = NDArray[np.uint8]


def pdqs(count: int, seed: int = 1) -> Hashes:
    """Return random hashes with half of their bits set, as photographs' have."""
    bits = np.tile(np.arange(256) < 128, (count, 1))
    return np.packbits(np.random.default_rng(seed).permuted(bits, axis=1), axis=1)


def altered(one: Hashes, bits: int, seed: int = 1) -> Hashes:
    """Return a hash that differs in exactly so many bits."""
    return flipped(one, np.random.default_rng(seed).choice(256, bits, replace=False).tolist())


def flipped(one: Hashes, places: list[int]) -> Hashes:
    """Return a hash with these bits changed."""
    flips = np.zeros(256, np.uint8)
    flips[places] = 1
    return one ^ np.packbits(flips)


def distance(one: Hashes, other: Hashes) -> int:
    """Return in how many bits two hashes differ."""
    return int(np.bitwise_count(one ^ other).sum())


def entries(hashes: Hashes, *, named: bool = True) -> list[Entry]:
    """Return hashes as entries, each named by its place, or by nothing but itself."""
    return [Entry(HashKind.PDQ, h.tobytes(), id=str(n) if named else "") for n, h in enumerate(hashes)]
