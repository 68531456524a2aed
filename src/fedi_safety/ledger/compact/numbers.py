"""A content's scores as few bytes: values and frames in the order of their names, which stand elsewhere. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from struct import Struct

DOUBLE = 1
"""In the first byte: the values are float64; else float32, which is only where nothing is lost by it."""

FRAMES = 2
"""In the first byte: int32 numbers of frames follow the values; else all values come from frame 0."""


@lru_cache(maxsize=256)
def _layout(flags: int, count: int) -> Struct:
    frames = f"{count}i" if flags & FRAMES else ""
    return Struct(f"<{count}{'d' if flags & DOUBLE else 'f'}{frames}")


def packed(values: Sequence[float], frames: Sequence[int]) -> bytes:
    """Return the bytes of these values, each with its frame. Raises `ValueError` for what is no finite number."""
    if not all(map(math.isfinite, values)):
        raise ValueError("a score that is no number")
    count, flags = len(values), FRAMES if any(frames) else 0
    own = tuple(frames) if flags else ()
    layout = _layout(flags, count)
    try:
        body = layout.pack(*values, *own)
        exact = layout.unpack(body)[:count] == tuple(values)
    except OverflowError:
        exact = False
    if not exact:
        flags |= DOUBLE
        body = _layout(flags, count).pack(*values, *own)
    return bytes([flags]) + body


def unpacked(data: bytes, count: int) -> tuple[Sequence[float], Sequence[int]]:
    """Return so many values, and the frame of each."""
    flags = data[0]
    found = _layout(flags, count).unpack_from(data, 1)
    return found[:count], found[count:] if flags & FRAMES else (0,) * count
