"""Where in a file of one kind another medium may lie: everything that its own structure does not use as picture data.

Reads container structure only. Runs in the child; every number it meets may be a lie. What does not follow the
structure is a gap as well. Compressed picture data is none: bytes that look like the beginning of a medium come up
there by chance.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from fedi_safety.core.classes import dataclass
from fedi_safety.core.enums import MediaType
from fedi_safety.core.frames.places import Part
from fedi_safety.media.decoder.structure.probe import ICON_ENTRY, boxes, icon_count, icon_entries, riff_chunks

_JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # in a scan neither a stuffed byte, a restart nor a filler
_JPEG_FILLER = re.compile(rb"\xff+")
_PIXEL_BOXES = (b"mdat", b"jxlc", b"jxlp", b"jbrd")
_THUMBNAIL_SEGMENTS = (0xE0, 0xE1, 0xED)  # JFXX, EXIF, Photoshop
SCAN, EOI = 0xDA, 0xD9
_EXTENSION, IMAGE, TRAILER = 0x21, 0x2C, 0x3B


class Spent(Exception):
    """A file is made of more pieces than are looked at."""


class Steps:
    """How many pieces of structure may be looked at in one file, all in all."""

    def __init__(self, most: int = 200_000) -> None:
        """Begin with `most`: a few tenths of a second."""
        self._left = most

    def take(self, count: int = 1) -> None:
        """Count some. Raises `Spent`."""
        self._left -= count
        if self._left < 0:
            raise Spent


@dataclass(frozen=True, slots=True)
class Gap:
    """Bytes from `start` to before `end`; `part` says what a picture there is."""

    start: int
    end: int
    part: Part = Part.FURTHER


def gaps(data: bytes, media_type: MediaType, start: int, end: int, steps: Steps) -> Iterator[Gap]:
    """Yield where to look in the medium at `start` and behind it, up to `end`. Raises `Spent`."""
    walk = _WALKS.get(media_type)
    return iter(()) if walk is None else walk(data, start, end, steps)


def segments(data: bytes, start: int, end: int, steps: Steps) -> Iterator[tuple[int, int, int]]:
    """Yield marker, start and end of the body of each segment of a JPEG; a scan's body has its picture data, EOI none.

    Ends where no segment follows. Raises `Spent`.
    """
    at = start + 2
    while at + 2 <= end and data[at] == 0xFF:
        steps.take()
        marker = data[at + 1]
        if marker == 0xFF:
            filler = _JPEG_FILLER.match(data, at, end)
            at = filler.end() - 1 if filler is not None else end
        elif marker == EOI:
            yield EOI, at + 2, at + 2
            return
        elif 0xD0 <= marker <= 0xD8 or marker <= 1:
            at += 2
        else:
            stop = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
            if stop < at + 4 or stop > end:
                return
            if marker == SCAN:
                following = _JPEG_MARKER.search(data, stop, end)
                stop = end if following is None else following.start()
                steps.take((stop - at) // 4096)
            yield marker, at + 4, stop
            at = stop


def _jpeg(data: bytes, start: int, end: int, steps: Steps) -> Iterator[Gap]:
    done = start + 2
    for marker, first, stop in segments(data, start, end, steps):
        done = stop
        if marker in _THUMBNAIL_SEGMENTS:
            yield Gap(first, stop, Part.THUMBNAIL)
        elif marker != SCAN and stop > first:
            yield Gap(first, stop)
    yield Gap(done, end)


def chunks(data: bytes, start: int, end: int, steps: Steps) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, start and end of the body of each chunk of a PNG up to IEND. Raises `Spent`."""
    at = start + 8
    while at + 12 <= end:
        steps.take()
        size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if at + 12 + size > end:
            return
        yield kind, at + 8, at + 8 + size
        if kind == b"IEND":
            return
        at += 12 + size


def _png(data: bytes, start: int, end: int, steps: Steps) -> Iterator[Gap]:
    done = start + 8
    for kind, first, stop in chunks(data, start, end, steps):
        done = stop + 4
        if kind not in (b"IDAT", b"fdAT") and stop > first:
            yield Gap(first, stop, Part.THUMBNAIL if kind == b"eXIf" else Part.FURTHER)
    yield Gap(done, end)


def blocks(data: bytes, start: int, end: int, steps: Steps) -> Iterator[tuple[int, int, int]]:
    """Yield kind, start and end of each block of a GIF; the last is its trailer. Raises `Spent`."""
    at = start + 13 + _table(data, start + 10)
    while at < end:
        steps.take()
        kind, first = data[at], at
        if kind == TRAILER:
            yield kind, at, at + 1
            return
        if kind not in (0, _EXTENSION, IMAGE):
            return
        at += {0: 1, _EXTENSION: 2}.get(kind, 11 + _table(data, at + 9))
        if kind:
            pieces = 1
            while at < end and (size := data[at]):
                at += size + 1
                pieces += 1
            at += 1
            steps.take(pieces)
        if at > end:
            return
        yield kind, first, at


def _gif(data: bytes, start: int, end: int, steps: Steps) -> Iterator[Gap]:
    done = start + 13
    for kind, first, stop in blocks(data, start, end, steps):
        if kind == IMAGE:
            yield Gap(done, first)
            done = stop
    yield Gap(done, end)


def _table(data: bytes, at: int) -> int:
    flags = data[at] if at < len(data) else 0
    return 3 << (1 + (flags & 7)) if flags & 0x80 else 0


def _all(data: bytes, start: int, end: int, steps: Steps) -> Iterator[Gap]:
    """Leave nothing out. For formats that are small, or whose pieces lie in no order."""
    steps.take()
    yield Gap(min(start + 8, len(data)), end)


def _riff(data: bytes, start: int, end: int, steps: Steps) -> Iterator[Gap]:
    done = start
    while True:
        steps.take()
        part, done = done, min(end, done + 12)
        declared = min(end, part + 8 + int.from_bytes(data[part + 4 : part + 8], "little"))
        for kind, first, stop in riff_chunks(data, part + 12, declared):
            steps.take()
            if stop > declared:
                break
            done = min(end, stop + (stop - first) % 2)
            if kind not in (b"VP8 ", b"VP8L", b"ALPH", b"ANMF") and data[first : first + 4] not in (b"movi", b"rec "):
                yield Gap(first, stop, Part.THUMBNAIL if kind == b"EXIF" else Part.FURTHER)
        if data[done : done + 4] != b"RIFF" or data[done + 8 : done + 12] != b"AVIX":  # a large clip's next part
            break
    yield Gap(done, end)


def _bmff(data: bytes, start: int, end: int, steps: Steps) -> Iterator[Gap]:
    done = start
    for kind, first, stop in boxes(data, start, end):
        steps.take()
        if kind in (b"JXL ", b"ftyp") and first == done:
            done = stop
        elif kind in _PIXEL_BOXES:
            yield Gap(done, first)
            done = stop
    yield Gap(min(done, end), end)


def _jxl(data: bytes, start: int, end: int, steps: Steps) -> Iterator[Gap]:
    """Look at all of a bare codestream, for it does not say where it ends."""
    return _all(data, start, end, steps) if data[start : start + 2] == b"\xff\x0a" else _bmff(data, start, end, steps)


def _matroska(data: bytes, start: int, end: int, steps: Steps) -> Iterator[Gap]:
    """Leave out the clusters."""
    at = start
    done = start + 4
    while at + 2 <= end:
        steps.take()
        width = 9 - data[at].bit_length() if data[at] else 9
        body = at + width
        kind = data[at:body]
        if width > 4 or body >= end or not data[body]:
            break
        length = 9 - data[body].bit_length()
        size = int.from_bytes(data[body : body + length], "big") & ((1 << 7 * length) - 1)
        unknown = size == (1 << 7 * length) - 1
        body += length
        if kind == b"\x18\x53\x80\x67":  # the segment: go into it
            at = body
            continue
        if kind == b"\x1f\x43\xb6\x75":
            yield Gap(done, at)
            done = end if unknown else min(end, body + size)
        if unknown:
            break
        at = body + size
    yield Gap(min(done, end), end)


def _bmp(data: bytes, start: int, end: int, steps: Steps) -> Iterator[Gap]:
    """Leave out the pixels, where they are plain."""
    steps.take()
    head, at = int.from_bytes(data[start + 14 : start + 18], "little"), start
    first = start + int.from_bytes(data[start + 10 : start + 14], "little")
    width, height = (int.from_bytes(data[start + n : start + n + 4], "little", signed=True) for n in (18, 22))
    bits, coding = (int.from_bytes(data[start + n : start + n + size], "little") for n, size in ((28, 2), (30, 4)))
    if head >= 40 and coding in (0, 3) and width > 0:
        yield Gap(at + 14, min(first, end))
        at = first + (width * bits + 31) // 32 * 4 * abs(height) - 14
    yield Gap(min(at + 14, end), end)


def _icon(data: bytes, start: int, end: int, steps: Steps) -> Iterator[Gap]:
    """Leave out the pictures of its directory, which are its own."""
    done = start + 6 + ICON_ENTRY.size * icon_count(data[start:end])
    for first, stop in sorted(icon_entries(data[start:end])):
        steps.take()
        if start + first > done:
            yield Gap(done, start + first)
        done = max(done, start + stop)
    yield Gap(min(done, end), end)


_WALKS: dict[MediaType, Callable[[bytes, int, int, Steps], Iterator[Gap]]] = {
    MediaType.JPEG: _jpeg,
    MediaType.PNG: _png,
    MediaType.GIF: _gif,
    MediaType.WEBP: _riff,
    MediaType.BMP: _bmp,
    MediaType.ICO: _icon,
    MediaType.TIFF: _all,
    MediaType.AVIF: _all,
    MediaType.HEIC: _all,
    MediaType.JXL: _jxl,
    MediaType.MP4: _bmff,
    MediaType.QUICKTIME: _bmff,
    MediaType.MATROSKA: _matroska,
    MediaType.WEBM: _matroska,
    MediaType.OGG: _all,
    MediaType.AVI: _riff,
}
