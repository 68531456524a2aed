"""How large a medium says it is: its length in bytes (to tell a cut file from a garbled one), and its pixels.

Reads container structure only, never pixels. Runs in the child; every number it meets may be a lie.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from itertools import islice

from fedi_safety.core.classes import dataclass
from fedi_safety.core.enums import MediaType

# What begins a segment of a JPEG, or ends it: no stuffed byte, no restart.
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9

# Formats whose structure covers the whole file.
COUNTED = frozenset(
    {MediaType.PNG, MediaType.WEBP, MediaType.AVIF, MediaType.HEIC, MediaType.MP4, MediaType.QUICKTIME, MediaType.AVI}
)

_BOX_KIND = re.compile(rb"[ -~\xa9]{4}")


def is_cut(data: bytes, media_type: MediaType) -> bool:
    """Whether the structure of `data` speaks of bytes beyond its end. False where the format does not say."""
    declared_end = _DECLARED.get(media_type)
    return declared_end is not None and declared_end(data) > len(data)


def declared_pixels(data: bytes, media_type: MediaType) -> int:
    """Return the pixels of formats whose library must not be asked first; 0 for the others, and where unknown.

    Opening a JXL decodes all of it; the WebP and AVIF readers allocate, or fail without a reason, when they open.
    """
    if media_type is MediaType.JXL:
        header = jxl_header(data)
        return header.width * header.height if header is not None else 0
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


def count_items(data: bytes) -> int:
    """Return about how many items (pictures, tiles, metadata) an AVIF or HEIC says that it has."""
    return sum(data.count(b"infe", at, at + size) for at, size, kind in _boxes(data) if kind == b"meta")


def count_scans(data: bytes) -> int:
    """Return how many scans a JPEG has: times that a progressive decoder goes over all of its pixels."""
    at, scans = 2, 0
    while (marker := _MARKER.search(data, at)) is not None:
        kind = marker[0][-1]
        if kind == _END_OF_IMAGE:
            break
        scans += kind == _START_OF_SCAN
        at = marker.end() + max(2, int.from_bytes(data[marker.end() : marker.end() + 2], "big"))
    return scans


@dataclass(frozen=True, slots=True)
class JxlHeader:
    """What the first bits of a JXL codestream say: size as it is stored, whether it moves, bits of each sample."""

    width: int
    height: int
    moves: bool = False
    bits: int = 8


def jxl_header(data: bytes) -> JxlHeader | None:
    """Read the header of a bare codestream or of the one in a container; None if there is none."""
    stream = data[:48] if data[:2] == b"\xff\x0a" else b""
    for at, size, kind in () if stream else _boxes(data):
        skip = {b"jxlc": 8, b"jxlp": 12}.get(kind)  # a partial box begins with its counter
        if skip is not None and size > skip:
            stream = data[at + skip : at + skip + 48]
            break
    if stream[:2] != b"\xff\x0a":
        return None
    bits = _Bits(stream[2:])
    width, height = bits.size()
    if bits.take(1) or not bits.take(1):  # all defaults, or no extra fields
        return JxlHeader(width, height)
    bits.take(3)  # orientation
    if bits.take(1):
        bits.size()  # intrinsic size
    if bits.take(1):
        bits.preview()
    moves = bool(bits.take(1))
    if moves:
        bits.animation()
    floats = bits.take(1)
    depth = (
        bits.choice((8, 0), (10, 0), (12, 0), (1, 6)) if not floats else bits.choice((32, 0), (16, 0), (24, 0), (1, 6))
    )
    return JxlHeader(width, height, moves, depth)


class _Bits:
    """Bits of a JXL header, lowest first; zeros behind the end."""

    def __init__(self, data: bytes) -> None:
        self._bits = int.from_bytes(data, "little")

    def take(self, count: int) -> int:
        value = self._bits & ((1 << count) - 1)
        self._bits >>= count
        return value

    def choice(self, *forms: tuple[int, int]) -> int:
        """Read one of four forms: a number, and how many bits are added to it."""
        base, extra = forms[self.take(2)]
        return base + self.take(extra)

    def size(self) -> tuple[int, int]:
        """Read width and height."""
        small = self.take(1)

        def side() -> int:
            return (self.take(5) + 1) * 8 if small else self.choice((1, 9), (1, 13), (1, 18), (1, 30))

        height = side()
        ratio = self.take(3)
        if ratio == 0:
            return side(), height
        numerator, denominator = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))[ratio - 1]
        return height * numerator // denominator, height

    def preview(self) -> None:
        """Skip the size of a preview."""
        eighths = self.take(1)
        forms = ((16, 0), (32, 0), (1, 5), (33, 9)) if eighths else ((1, 6), (65, 8), (321, 10), (1345, 12))
        self.choice(*forms)
        if self.take(3) == 0:
            self.choice(*forms)

    def animation(self) -> None:
        """Skip how fast an animation runs and how often."""
        self.choice((100, 0), (1000, 0), (1, 10), (1, 30))
        self.choice((1, 0), (1001, 0), (1, 8), (1, 10))
        self.choice((0, 0), (0, 3), (0, 16), (0, 32))
        self.take(1)


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


def boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, start and end of each box of the ISO family, its head included; a cut one's end is beyond `end`.

    Ends where no box follows.
    """
    at = start
    while at + 8 <= end:
        size, kind, head = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], 8
        if size == 1:
            size, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        elif size == 0:
            size = end - at
        if size < head or _BOX_KIND.match(kind) is None:
            return
        yield kind, at, at + size
        at += size


def _boxes(data: bytes) -> list[tuple[int, int, bytes]]:
    """Return (offset, size, kind) of the top-level boxes, at most 1000."""
    return [(at, end - at, kind) for kind, at, end in islice(boxes(data, 0, len(data)), 1000)]


def _bmff(data: bytes) -> int:
    boxes = _boxes(data)
    if not boxes:
        return 0
    at, size, _ = boxes[-1]
    end = at + size
    # A header without any picture data behind it has been cut between two boxes.
    return end if len(boxes) > 1 else max(end, len(data) + 1)


def has_track(data: bytes) -> bool:
    """Whether a file of the ISO family has a movie in it."""
    return any(kind == b"moov" for _, _, kind in _boxes(data))


def _ebml(data: bytes) -> int:
    """Return the end of the segment; 0 where it does not say, as in what was written live."""
    head, width = _vint(data, 4)
    at = 4 + width + (head or 0)
    if head is None or data[at : at + 4] != b"\x18\x53\x80\x67":
        return 0
    size, width = _vint(data, at + 4)
    return 0 if size is None else at + 4 + width + size


def _vint(data: bytes, at: int) -> tuple[int | None, int]:
    """Read a number of variable width; None where it is unknown or missing."""
    if at >= len(data) or data[at] == 0:
        return None, 1
    width = 9 - data[at].bit_length()
    value = int.from_bytes(data[at : at + width], "big") & ((1 << 7 * width) - 1)
    return (None if value == (1 << 7 * width) - 1 else value), width


def _ogg(data: bytes) -> int:
    """Return the end of the last page."""
    at = data.rfind(b"OggS")
    if at < 0 or at + 27 > len(data):
        return len(data) + 1
    table = data[at + 27 : at + 27 + data[at + 26]]
    return at + 27 + data[at + 26] + sum(table)


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
    MediaType.MP4: _bmff,
    MediaType.QUICKTIME: _bmff,
    MediaType.MATROSKA: _ebml,
    MediaType.WEBM: _ebml,
    MediaType.OGG: _ogg,
    MediaType.AVI: _riff,
}


def riff_chunks(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, start and end of each chunk; the last one's end may lie behind that of the file."""
    while at + 8 <= end:
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        yield data[at : at + 4], at + 8, at + 8 + size
        at += 8 + size + size % 2


ICON_ENTRY = struct.Struct("<BBBBHHII")  # width, height, colours, nothing, planes, bits, how many bytes, where
_MOST_ICONS = 256


def icon_count(data: bytes) -> int:
    """Return of how many pictures the directory of an icon says that they are in it; at most as many as are there."""
    return min(int.from_bytes(data[4:6], "little"), max(0, len(data) - 6) // ICON_ENTRY.size, _MOST_ICONS)


def icon_entries(data: bytes) -> list[tuple[int, int]]:
    """Return where each picture of an icon begins and ends, in the order of the directory; inside the file."""
    found = []
    for number in range(icon_count(data)):
        *_, size, at = ICON_ENTRY.unpack_from(data, 6 + ICON_ENTRY.size * number)
        if at < len(data) and size:
            found.append((at, min(len(data), at + size)))
    return found
