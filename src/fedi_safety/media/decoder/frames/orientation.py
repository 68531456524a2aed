"""EXIF orientations: how a stored picture is turned upright, and where its parts are stored. Decodes no picture."""

from __future__ import annotations

import struct

from PIL import Image

Edges = tuple[float, float, float, float]  # left, top, right, bottom

_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
TURNED = frozenset(_TRANSPOSE)  # orientations of what is not stored upright
# From the upright picture back to the stored one: whether the sides swap, then whether it is mirrored and flipped.
_STORED = {
    2: (False, True, False),
    3: (False, True, True),
    4: (False, False, True),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


def upright(image: Image.Image, orientation: int) -> Image.Image:
    """Turn a picture as its EXIF orientation says."""
    return image.transpose(_TRANSPOSE[orientation]) if orientation in _TRANSPOSE else image


def stored(part: Edges, orientation: int, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return a part of the upright picture in pixels of the stored one; at least one pixel."""
    swapped, mirrored, flipped = _STORED.get(orientation, (False, False, False))
    spans = [(part[0], part[2]), (part[1], part[3])]
    if swapped:
        spans.reverse()
    for axis, back in enumerate((mirrored, flipped)):
        if back:
            low, high = spans[axis]
            spans[axis] = 1 - high, 1 - low
    (left, right), (top, bottom) = (
        (min(length - 1, round(low * length)), max(1, round(high * length)))
        for (low, high), length in zip(spans, size, strict=True)
    )
    return left, top, max(left + 1, right), max(top + 1, bottom)


def exif_orientation(exif: bytes) -> int:
    """Read tag 274 from the first directory; 1 if it is not there. Broken EXIF must not hide a good picture."""
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 1
    try:
        at = struct.unpack_from(order + "I", tiff, 4)[0]
        (count,) = struct.unpack_from(order + "H", tiff, at)
        for entry in range(at + 2, at + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(order + "HH", tiff, entry)
            if tag == 274:
                return int(struct.unpack_from(order + ("I" if kind == 4 else "H"), tiff, entry + 8)[0])
    except struct.error:
        return 1
    return 1
