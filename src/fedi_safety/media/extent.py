"""How large a medium says it is: its length in bytes (to tell a cut file from a garbled one), and its pixels.

Reads container structure only, never pixels. Runs in the child; every number it meets may be a lie.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from fedi_safety.core.types import MediaType

# Formats whose structure covers the whole file.
COUNTED = frozenset({MediaType.PNG, MediaType.WEBP, MediaType.AVIF, MediaType.HEIC})


def is_cut(data: bytes, media_type: MediaType) -> bool:
    """Whether the structure of `data` speaks of bytes beyond its end. False where the format does not say."""
    declared_end = _DECLARED.get(media_type)
    return declared_end is not None and declared_end(data) > len(data)


def declared_pixels(data: bytes, media_type: MediaType) -> int:
    """Return the pixels of formats whose library must not be asked first; 0 for the others, and where unknown.

    Opening a JXL decodes all of it; the WebP and AVIF readers allocate, or fail without a reason, when they open.
    """
    if media_type is MediaType.JXL:
        return _jxl_pixels(data)
    if media_type is MediaType.WEBP:
        return _webp_pixels(data)
    if media_type in (MediaType.AVIF, MediaType.HEIC):
        return _bmff_pixels(data)
    return 0


def _webp_pixels(data: bytes) -> int:
    kind = data[12:16]
    if kind == b"VP8X":
        return (1 + int.from_bytes(data[24:27], "little")) * (1 + int.from_bytes(data[27:30], "little"))
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (1 + (bits & 0x3FFF)) * (1 + (bits >> 14 & 0x3FFF))
    if kind == b"VP8 ":
        return (int.from_bytes(data[26:28], "little") & 0x3FFF) * (int.from_bytes(data[28:30], "little") & 0x3FFF)
    return 0


def _bmff_pixels(data: bytes) -> int:
    """Return the largest of the dimensions that the items of a picture have (`ispe` properties)."""
    largest = 0
    for at, size, kind in _boxes(data):
        if kind == b"meta":
            end = min(at + size, at + (1 << 20))
            found = data.find(b"\0\0\0\x14ispe", at, end)
            while found >= 0:
                width, height = data[found + 12 : found + 16], data[found + 16 : found + 20]
                largest = max(largest, int.from_bytes(width, "big") * int.from_bytes(height, "big"))
                found = data.find(b"\0\0\0\x14ispe", found + 8, end)
    return largest


def _jxl_pixels(data: bytes) -> int:
    if data[:2] == b"\xff\x0a":
        stream = data[:32]
    else:
        stream = b""
        for at, size, kind in _boxes(data):
            skip = {b"jxlc": 8, b"jxlp": 12}.get(kind)  # a partial box begins with its counter
            if skip is not None and size > skip:
                stream = data[at + skip : at + skip + 32]
                break
    if stream[:2] != b"\xff\x0a":
        return 0
    bits = int.from_bytes(stream[2:].ljust(30, b"\0"), "little")

    def take(count: int) -> int:
        nonlocal bits
        value = bits & ((1 << count) - 1)
        bits >>= count
        return value

    small = take(1)

    def side() -> int:
        return (take(5) + 1) * 8 if small else take((9, 13, 18, 30)[take(2)]) + 1

    height = side()
    ratio = take(3)
    if ratio == 0:
        return height * side()
    numerator, denominator = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))[ratio - 1]
    return height * (height * numerator // denominator)


def _jpeg(data: bytes) -> int:
    """Walk the segments up to the first scan."""
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            return 0
        if data[at + 1] == 0xFF:  # fill byte
            at += 1
            continue
        if data[at + 1] == 0xDA:
            return 0
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return max(at + 4, len(data) + 1)


def _png(data: bytes) -> int:
    at = 8
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        at += 12 + size
        if data[at - size - 8 : at - size - 4] == b"IEND":
            return at
    return max(at, len(data) + 1)


def _gif(data: bytes) -> int:
    if len(data) < 13:
        return 13
    return 13 + (3 << (1 + (data[10] & 7)) if data[10] & 0x80 else 0) + 1


def _riff(data: bytes) -> int:
    return 8 + int.from_bytes(data[4:8], "little") if len(data) >= 8 else 12


def _bmp(data: bytes) -> int:
    return int.from_bytes(data[2:6], "little")


def _boxes(data: bytes) -> list[tuple[int, int, bytes]]:
    """Return (offset, size, kind) of the top-level boxes, at most 1000."""
    found: list[tuple[int, int, bytes]] = []
    at = 0
    while at + 8 <= len(data) and len(found) < 1000:
        size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        elif size == 0:
            size = len(data) - at
        if size < 8:
            break
        found.append((at, size, kind))
        at += size
    return found


def _bmff(data: bytes) -> int:
    boxes = _boxes(data)
    if not boxes:
        return 0
    at, size, _ = boxes[-1]
    end = at + size
    # A header without any picture data behind it has been cut between two boxes.
    return end if len(boxes) > 1 else max(end, len(data) + 1)


def _jxl(data: bytes) -> int:
    return 0 if data[:2] == b"\xff\x0a" else _bmff(data)


def _tiff(data: bytes) -> int:
    """Return the end of the first directory or of the last strip or tile it names. BigTIFF is not looked into."""
    order = "<" if data[:2] == b"II" else ">"
    arrays: dict[int, list[int]] = {}
    if len(data) < 8:
        return 8
    if data[2:4] not in (b"*\0", b"\0*"):
        return 0
    at = int(struct.unpack_from(order + "I", data, 4)[0])
    if at + 2 > len(data):
        return at + 2
    count = int(struct.unpack_from(order + "H", data, at)[0])
    end = at + 2 + 12 * count
    if end > len(data):
        return end
    for entry in range(at + 2, end, 12):
        tag, kind = struct.unpack_from(order + "HH", data, entry)
        values = int(struct.unpack_from(order + "I", data, entry + 4)[0])
        width = {3: 2, 4: 4}.get(kind)
        if tag not in (273, 279, 324, 325) or width is None:
            continue
        where = entry + 8 if values * width <= 4 else int(struct.unpack_from(order + "I", data, entry + 8)[0])
        if where + values * width > len(data):
            return where + values * width
        arrays[tag] = list(struct.unpack_from(f"{order}{values}{'H' if width == 2 else 'I'}", data, where))
    for offsets, sizes in ((273, 279), (324, 325)):
        for offset, size in zip(arrays.get(offsets, ()), arrays.get(sizes, ()), strict=False):
            end = max(end, offset + size)
    return end


_DECLARED: dict[MediaType, Callable[[bytes], int]] = {
    MediaType.JPEG: _jpeg,
    MediaType.PNG: _png,
    MediaType.GIF: _gif,
    MediaType.WEBP: _riff,
    MediaType.BMP: _bmp,
    MediaType.TIFF: _tiff,
    MediaType.AVIF: _bmff,
    MediaType.HEIC: _bmff,
    MediaType.JXL: _jxl,
}
