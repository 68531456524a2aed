"""The pictures of an AVIF beside its main one, told from its boxes. Decodes nothing.

Pillow shows the main picture alone. Which one that is stands in one field, so that a file with another number there
shows another picture.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from fedi_safety.core.classes import dataclass
from fedi_safety.media.caps import MAX_PAGES

_PICTURES = frozenset({b"av01", b"grid", b"iden", b"iovl"})
_MAX_BOXES = 3 * MAX_PAGES


@dataclass(frozen=True, slots=True)
class Items:
    """Where the number of the main picture is written, and the numbers of all pictures, the main one first."""

    at: int
    code: str
    numbers: list[int]

    def showing(self, data: bytes, index: int) -> bytes:
        """Return the same file with another one of its pictures as the main one."""
        written = struct.pack(self.code, self.numbers[index])
        return b"".join((data[: self.at], written, data[self.at + len(written) :]))


def avif_items(data: bytes) -> Items | None:
    """Return the pictures that are not a part, a smaller version or the transparency of another; None if not told."""
    try:
        return _items(data)
    except (struct.error, IndexError):
        return None


def _items(data: bytes) -> Items | None:
    meta = next(((at, end) for at, end, kind in _boxes(data, 0, len(data)) if kind == b"meta"), None)
    if meta is None:
        return None
    main: tuple[int, str, int] | None = None
    found: list[int] = []
    parts: set[int] = set()
    for at, end, kind in _boxes(data, meta[0] + 4, meta[1]):
        version = data[at]
        if kind == b"pitm":
            code = ">H" if version == 0 else ">I"
            main = (at + 4, code, struct.unpack_from(code, data, at + 4)[0])
        elif kind == b"iinf":
            found = list(_pictures(data, at + (6 if version == 0 else 8), end))
        elif kind == b"iref":
            parts = set(_parts(data, at + 4, end, ">H" if version == 0 else ">I"))
    if main is None:
        return None
    most = 0xFFFF if main[1] == ">H" else 0xFFFFFFFF
    others = [number for number in found if number not in parts and number != main[2] and number <= most]
    return Items(main[0], main[1], [main[2], *dict.fromkeys(others)][:MAX_PAGES])


def _pictures(data: bytes, start: int, end: int) -> Iterator[int]:
    """Yield the numbers of coded or composed pictures that are not marked as hidden."""
    for at, _, kind in _boxes(data, start, end):
        if kind != b"infe" or data[at] < 2 or data[at + 3] & 1:
            continue
        code = ">H" if data[at] == 2 else ">I"
        (number,) = struct.unpack_from(code, data, at + 4)
        type_at = at + 6 + struct.calcsize(code)
        if data[type_at : type_at + 4] in _PICTURES:
            yield number


def _parts(data: bytes, start: int, end: int, code: str) -> Iterator[int]:
    """Yield the numbers of what belongs to another picture."""
    size = struct.calcsize(code)
    for at, stop, kind in _boxes(data, start, end):
        if kind in (b"auxl", b"thmb"):
            yield struct.unpack_from(code, data, at)[0]
        elif kind == b"dimg":
            (count,) = struct.unpack_from(">H", data, at + size)
            for index in range(min(count, (stop - at) // size - 2)):
                yield struct.unpack_from(code, data, at + size + 2 + index * size)[0]


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, bytes]]:
    """Yield where the bodies of boxes begin and end, and their kinds."""
    at, end = start, min(end, len(data))
    for _ in range(_MAX_BOXES):
        if at + 8 > end:
            return
        (size,) = struct.unpack_from(">I", data, at)
        kind, head = data[at + 4 : at + 8], 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, at + 8)
            head = 16
        elif size == 0:
            size = end - at
        if size < head:
            return
        yield at + head, min(at + size, end), kind
        at += size
