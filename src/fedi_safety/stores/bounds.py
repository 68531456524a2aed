"""Numbers that a service says of its objects, brought within what everything behind a store can hold. Pure.

A time beyond the year 2262 or a size beyond 8 EiB is somebody's mistake or malice. It becomes the nearest number that
there is; that one object then looks old, new or large, and no other one suffers.
"""

from __future__ import annotations

import math

_LEAST, _MOST = -(1 << 63), (1 << 63) - 1
_FAR_S = 1e10  # the year 2286: beyond what 64 bits of nanoseconds hold


def bounded(number: int) -> int:
    """Return the number, or the nearest one of 64 bits with a sign."""
    return max(_LEAST, min(_MOST, number))


def bounded_size(size: int) -> int:
    """Return a size in bytes: none is less than nothing."""
    return max(0, bounded(size))


def nanoseconds(seconds: float | None) -> int:
    """Return epoch seconds as nanoseconds, to the microsecond; 0 for what is no time."""
    if seconds is None or math.isnan(seconds):
        return 0
    return bounded(round(max(-_FAR_S, min(_FAR_S, seconds)) * 1e6) * 1000)
