"""The structure of GIF animations: where each frame lies and how it is to be drawn. Decodes no pixels.

Viewers do not agree on how large a GIF is whose frames do not fit its screen. Browsers enlarge the screen to the first
frame, others to all of them, and some cut frames off: each of these sizes is looked at.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial

from PIL import Image

from fedi_safety.core.enums import MediaType, Reason
from fedi_safety.core.errors import Unscannable
from fedi_safety.media.caps import MAX_PATCHES
from fedi_safety.media.decoder.formats.canvas import Dispose, Patch, Patches

_DISPOSE = {2: Dispose.CLEAR, 3: Dispose.UNDO}
_EXTENSION, _IMAGE, _TRAILER, _CONTROL = 0x21, 0x2C, 0x3B, 0xF9
_INTERLACED = 0x40
_PASSES = ((0, 8), (4, 8), (2, 4), (1, 2))  # the first row of each, and how far apart they are
_USUAL_S = 0.1  # what viewers make of no delay at all


class _Cut(Exception):
    """The file ends here."""


class _CutInPicture(Exception):
    """The file ends within the picture data of this frame, of which viewers show what is there."""

    def __init__(self, patch: Patch) -> None:
        self.patch = patch


def patches(data: bytes) -> Patches:
    """Read the table of frames; there is none or one in a still, and in what is no GIF."""
    if len(data) < 13:
        return Patches(MediaType.GIF, 0, 0)
    width, height = int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little")
    found = Patches(MediaType.GIF, width, height)
    colours = _table_bytes(data[10])
    common = data[10:13] + data[13 : 13 + colours]
    try:
        _walk(data, 13 + colours, common, found)
    except _Cut:
        found.problem = Unscannable(Reason.TRUNCATED, f"it ends in frame {len(found.patches) + 1}")
    except _CutInPicture as cut:
        found.problem = Unscannable(Reason.TRUNCATED, f"it ends in frame {len(found.patches) + 1}")
        found.patches.append(cut.patch)
    _resize(found)
    return found


def _resize(found: Patches) -> None:
    """Give it the size that browsers do, and keep the others."""
    if not found.patches:
        return
    screen = found.width, found.height
    edges = [(patch.x + patch.width, patch.y + patch.height) for patch in found.patches]
    first, union = (
        (max(screen[0], *(right for right, _ in some), 0), max(screen[1], *(bottom for _, bottom in some), 0))
        for some in (edges[:1], edges)
    )
    found.width, found.height = first
    found.other_sizes = [size for size in dict.fromkeys((screen, union)) if size != first and all(size)]


def in_order(data: bytes) -> bytes:
    """Return a GIF whose first picture, if it is interlaced, is said to be written from top to bottom.

    Where the file ends in its data, the last block of it is said to be as long as it is: readers wait for whole ones.
    """
    at = _first(data)
    if at is None:
        return data
    blocks = at + 11 + _table_bytes(data[at + 9])
    return data[: at + 9] + bytes([data[at + 9] & ~_INTERLACED]) + data[at + 10 : blocks] + _ended(data, blocks)


def is_interlaced(data: bytes) -> bool:
    """Whether its first picture is written in passes."""
    at = _first(data)
    return at is not None and bool(data[at + 9] & _INTERLACED)


def _first(data: bytes) -> int | None:
    """Return where the first picture begins, if its head is there."""
    with suppress(_Cut):
        at = 13 + _table_bytes(_byte(data, 10))
        while (kind := _byte(data, at)) in (0, _EXTENSION):
            at = _skip(data, at + 2) if kind else at + 1
        return at if kind == _IMAGE and at + 10 < len(data) else None
    return None


def _ended(data: bytes, at: int) -> bytes:
    """Return what begins with the sub-blocks at `at`; with an end, where the file has none."""
    begin = at
    while at < len(data) and data[at]:
        after = at + 1 + data[at]
        if after > len(data):
            last = data[at + 1 :]
            return data[begin:at] + bytes([len(last)]) * bool(last) + last + bytes((0, _TRAILER))
        at = after
    return data[begin:] if at < len(data) else data[begin:] + bytes((0, _TRAILER))


def without_gaps(image: Image.Image) -> Image.Image:
    """Return what the whole passes of a picture read by `in_order` show: of rows that follow each other in the file.

    A reader leaves gaps between them, in which a picture drowns; viewers fill them. How many rows are there is told by
    the last one that is not all of the first colour.
    """
    width, height = image.size
    written = [row for start, step in _PASSES for row in range(start, height, step)]
    box = image.getbbox()
    there = set(written[: box[3] if box is not None else 0])
    apart = next((step for step in (1, 2, 4) if there.issuperset(range(0, height, step))), 8)
    places = {row: place for place, row in enumerate(written)}
    filled = image.copy()
    for row in range(0, height, apart):
        line = image.crop((0, places[row], width, places[row] + 1))
        filled.paste(line.resize((width, apart)), (0, row))
    filled.info = dict(image.info)
    return filled


def _walk(data: bytes, at: int, common: bytes, found: Patches) -> None:
    control = b""
    while True:
        kind = _byte(data, at)
        if kind == _TRAILER:
            return
        if kind == _EXTENSION:
            if _byte(data, at + 1) == _CONTROL and _byte(data, at + 2) >= 4:
                control = data[at + 3 : at + 7]
            at = _skip(data, at + 2)
        elif kind == _IMAGE:
            if len(found.patches) == MAX_PATCHES:
                found.problem = Unscannable(Reason.TOO_LARGE, f"more than {MAX_PATCHES} frames")
                return
            head = data[at + 1 : at + 10]
            if len(head) < 9:
                raise _Cut
            start = at
            try:
                at = _skip(data, at + 10 + _table_bytes(head[8]) + 1)
            except _Cut:
                raise _CutInPicture(_patch(data, start, len(data), head, control, common)) from None
            found.patches.append(_patch(data, start, at, head, control, common))
            control = b""
        elif kind == 0:  # padding, which viewers skip
            at += 1
        else:
            found.problem = Unscannable(Reason.CORRUPT, f"no frame begins where one should, after {len(found.patches)}")
            return


def _patch(data: bytes, start: int, end: int, head: bytes, control: bytes, common: bytes) -> Patch:
    x, y, width, height = (int.from_bytes(head[i : i + 2], "little") for i in (0, 2, 4, 6))
    flags, delay = (control[0], int.from_bytes(control[1:3], "little")) if len(control) == 4 else (0, 0)
    return Patch(
        x,
        y,
        width,
        height,
        delay / 100 if delay > 1 else _USUAL_S,
        end - start,
        blends=True,
        dispose=_DISPOSE.get(flags >> 2 & 7, Dispose.LEAVE),
        opaque=not flags & 1,
        build=partial(_alone, data, start, end, head, control, common),
    )


def _alone(data: bytes, start: int, end: int, head: bytes, control: bytes, common: bytes) -> bytes:
    """Return a GIF of the size of one frame that holds it alone."""
    shown = b"\x21\xf9\x04" + bytes([control[0] & 1]) + control[1:] + b"\0" if len(control) == 4 else b""
    placed = b"\x2c\0\0\0\0" + head[4:]
    return b"".join((b"GIF89a", head[4:8], common, shown, placed, data[start + 10 : end], b"\x3b"))


def _table_bytes(flags: int) -> int:
    return 3 << (1 + (flags & 7)) if flags & 0x80 else 0


def _byte(data: bytes, at: int) -> int:
    if at >= len(data):
        raise _Cut
    return data[at]


def _skip(data: bytes, at: int) -> int:
    """Return the end of the sub-blocks that begin at `at`."""
    while (size := _byte(data, at)) != 0:
        at += size + 1
    return at + 1
