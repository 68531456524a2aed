"""The hash of a turned or mirrored picture, made from the bits of its own hash alone: a few bits off the very one.

A wave that a mirror turns over changes its sign, and a quarter turn lays waves aside. What the bits do not tell is how
the filters lean, and where the median comes to lie: half of all photographs are 7 to 13 bits off by that.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_SIDE = 16
# For each of `core.known.types.TURNS`: whether waves down and waves across are turned over, then whether laid aside.
_WAYS = (
    (False, False, False),
    (True, False, True),
    (True, True, False),
    (False, True, True),
    (False, True, False),
    (True, True, True),
    (True, False, False),
    (False, False, True),
)
BACK = (0, 3, 2, 1, 4, 5, 6, 7)
"""Which of the turns undoes each of them."""

ASIDE = 7
"""Which of them lays waves aside and does nothing else."""


def undone_by(aside: bool, down: bool, across: bool) -> int:
    """Return which of the turns is undone by laying aside, if so, and then mirroring down and across."""
    return BACK[_WAYS.index((across, down, True) if aside else (down, across, False))]


def turned(hashes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return hashes, rows of 32 bytes, turned each way, (8, rows, 32); no two are nearer or farther apart than before.

    So one hash is as near to another turned as that one, turned back, is to it.
    """
    waves = np.unpackbits(hashes, axis=1)[:, ::-1].reshape(-1, _SIDE, _SIDE)
    over = np.arange(_SIDE) % 2 == 0
    found = np.empty((len(_WAYS), *hashes.shape), np.uint8)
    for way, (down, across, aside) in enumerate(_WAYS):
        each = waves ^ ((over & down)[:, None] ^ (over & across)[None, :])
        each = each.transpose(0, 2, 1) if aside else each
        found[way] = np.packbits(each.reshape(len(hashes), -1)[:, ::-1], axis=1)
    return found
