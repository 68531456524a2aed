"""The structure of animated PNG: where each frame lies and how it is to be drawn. Decodes no pixels."""

from __future__ import annotations

import struct
from dataclasses import field
from functools import partial

from fedi_safety.core.classes import dataclass
from fedi_safety.core.enums import MediaType, Reason
from fedi_safety.core.errors import Unscannable
from fedi_safety.media.caps import MAX_PATCHES
from fedi_safety.media.decoder.formats.canvas import Dispose, Patch, Patches
from fedi_safety.media.decoder.formats.png import chunk, of_use
from fedi_safety.media.decoder.frames.orientation import exif_orientation

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_DISPOSE = {1: Dispose.CLEAR, 2: Dispose.UNDO}
_WITH_ALPHA = (4, 6)  # colour types
_FOLLOWING = (b"acTL", b"fcTL", b"fdAT", b"IDAT", b"IEND")
_USUAL_S = 0.1


@dataclass(slots=True)
class _Frame:
    """A frame control chunk and the compressed data that followed it."""

    control: bytes
    spans: list[tuple[int, int]] = field(default_factory=list)


class _Table:
    """What the chunks of a PNG come to, taken one after the other."""

    def __init__(self, data: bytes) -> None:
        self.frames: list[_Frame] = []
        self.common: list[bytes] = []  # what comes before the picture: palette, transparency, colour
        self.default: list[tuple[int, int]] = []  # the picture that is shown where nothing moves
        self.animated = False
        self.ended = False
        self.full = False
        self._data = data

    def read(self) -> bool:
        """Take every whole chunk; return false where it turns out to be a still."""
        at = 33
        while at + 8 <= len(self._data) and not (self.ended or self.full):
            size, kind = int.from_bytes(self._data[at : at + 4], "big"), self._data[at + 4 : at + 8]
            end = at + 8 + size
            if end + 4 > len(self._data):
                if kind in (b"IDAT", b"fdAT") and self.animated:
                    self._take(kind, at, at + 8, len(self._data))  # viewers show what is there
                break
            if kind == b"IDAT" and not self.animated:
                return False
            self._take(kind, at, at + 8, end)
            at = end + 4
        return self.animated

    def _take(self, kind: bytes, at: int, start: int, end: int) -> None:
        if kind == b"acTL":
            self.animated = True
        elif kind == b"IDAT":
            (self.frames[-1].spans if self.frames else self.default).append((start, end))
        elif kind == b"fcTL" and end - start == 26:
            self.full = len(self.frames) == MAX_PATCHES
            if not self.full:
                self.frames.append(_Frame(self._data[start:end]))
        elif kind == b"fdAT" and self.frames and end - start > 4:
            self.frames[-1].spans.append((start + 4, end))
        elif kind not in _FOLLOWING and not self.frames and not self.default and of_use(kind, self._data, start, end):
            self.common.append(self._data[at : end + 4])
        self.ended = kind == b"IEND"

    @property
    def problem(self) -> Unscannable | None:
        """Return what keeps further frames from being read."""
        if self.full:
            return Unscannable(Reason.TOO_LARGE, f"more than {MAX_PATCHES} frames")
        if not self.ended:
            return Unscannable(Reason.TRUNCATED, f"it ends in frame {max(1, len(self.frames))}")
        return None


def patches(data: bytes) -> Patches:
    """Read the table of frames; there is none in a still, and in what is no PNG."""
    table = _Table(data)
    if data[:8] != _SIGNATURE or data[12:16] != b"IHDR" or len(data) < 33 or not table.read():
        return Patches(MediaType.PNG, 0, 0)
    header = data[16:29]
    found = Patches(MediaType.PNG, *struct.unpack_from(">II", header))
    found.problem = table.problem
    opaque = header[9] not in _WITH_ALPHA and not any(common[4:8] == b"tRNS" for common in table.common)
    before = b"".join(table.common)
    found.patches = [_patch(data, frame, header, before, opaque) for frame in table.frames if frame.spans]
    turned = next((common[8:-4] for common in table.common if common[4:8] == b"eXIf"), b"")
    found.orientation = exif_orientation(turned)
    if table.default:
        found.still = _alone(data, table.default, header, before)
    return found


def _patch(data: bytes, frame: _Frame, header: bytes, before: bytes, opaque: bool) -> Patch:
    _, width, height, x, y, numerator, denominator, dispose, blend = struct.unpack(">IIIIIHHBB", frame.control)
    return Patch(
        x,
        y,
        width,
        height,
        numerator / (denominator or 100) or _USUAL_S,
        sum(end - start for start, end in frame.spans),
        blends=blend == 1,
        dispose=_DISPOSE.get(dispose, Dispose.LEAVE),
        opaque=opaque,
        build=partial(_alone, data, frame.spans, struct.pack(">II", width, height) + header[8:], before),
    )


def _alone(data: bytes, spans: list[tuple[int, int]], header: bytes, before: bytes) -> bytes:
    """Return a PNG of the size of one frame that holds it alone."""
    pixels = (chunk(b"IDAT", data[start:end]) for start, end in spans)
    return b"".join((_SIGNATURE, chunk(b"IHDR", header), before, *pixels, chunk(b"IEND", b"")))
