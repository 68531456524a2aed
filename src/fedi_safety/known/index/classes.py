"""The bits of a hash by what a mirror does to them: four words, each of which it turns over whole or leaves alone.

A mirror changes the sign of every other wave, down or across: those that are odd both ways never change, the others by
classes. So whatever way a picture was mirrored, a chunk of one class is there as it was or turned over, and between two
hashes 64 bits of a class are so many apart, or 64 less so many.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedi_safety.known.index.chunks import Numbers, Words

BITS = 64
"""Of one class."""

MIRRORS = ((False, False), (True, False), (False, True), (True, True))
"""Down and across: the ways to mirror, without laying aside."""

_ACROSS = np.uint64(0x5555555555555555)  # the bits of waves that a mirror across turns over, in each word of a hash
_STILL = np.uint64(0x0000FFFF0000FFFF)  # those of waves that a mirror down leaves as they are
_ONE, _LANE = np.uint64(1), np.uint64(16)


def classes(hashes: Words) -> Words:
    """Return hashes with their bits by classes: what never changes, changes down, across, and by either alone."""
    still, across = (hashes >> _ONE) & _ACROSS, hashes & _ACROSS
    found = np.empty_like(hashes)
    for at, waves in ((0, still), (2, across)):
        upper, lower = (waves[:, first] | waves[:, first + 1] << _ONE for first in (0, 2))
        found[:, at] = upper & _STILL | (lower & _STILL) << _LANE
        found[:, at + 1] = upper >> _LANE & _STILL | lower & ~_STILL
    return found


def least(counted: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return how near two hashes may come by their first two classes, of the bits between them in each, by a mirror."""
    turned_over = np.minimum(counted[:, 1], BITS - counted[:, 1])
    turned_over += counted[:, 0]
    return turned_over


def apart(counted: Numbers, down: bool, across: bool) -> Numbers:
    """Return how far apart two hashes are when one is mirrored so, of the bits between them in each of four classes."""
    over = np.array([False, down, across, down is not across])
    distances: Numbers = np.where(over, BITS - counted, counted).sum(axis=1)
    return distances
