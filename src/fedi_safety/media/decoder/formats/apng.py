"""The structure of animated PNG: where each frame lies and how it is to be drawn. Decodes no pixels."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from functools import partial

from fedi_safety.core.errors import Unscannable
from fedi_safety.core.types import MediaType, Reason
from fedi_safety.media.caps import MAX_PATCHES
from fedi_safety.media.decoder.formats.canvas import Dispose, Patch, Patches
from fedi_safety.media.decoder.formats.png import of_use

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


def patches(data: bytes) -> Patches:
    """Read the table of frames; there is none in a still, and in what is no PNG."""
    none = Patches(MediaType.PNG, 0, 0)
    if data[:8] != _SIGNATURE or data[12:16] != b"IHDR" or len(data) < 33:
        return none
    header = data[16:29]
    found = Patches(MediaType.PNG, *struct.unpack_from(">II", header))
    frames: list[_Frame] = []
    common: list[bytes] = []  # what comes before the picture: palette, transparency, colour
    default: list[tuple[int, int]] = []
    animated = False
    at, ended = 33, False
    while at + 8 <= len(data) and not ended:
        size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        start, end = at + 8, at + 8 + size
        if end + 4 > len(data):
            break  # half a chunk decodes to nothing that could be relied on
        if kind == b"acTL":
            animated = True
        elif kind == b"IDAT" and not animated:
            return none
        elif kind == b"IDAT":
            (frames[-1].spans if frames else default).append((start, end))
        elif kind == b"fcTL" and size == 26:
            if len(frames) == MAX_PATCHES:
                found.problem = Unscannable(Reason.TOO_LARGE, f"more than {MAX_PATCHES} frames")
                break
            frames.append(_Frame(data[start:end]))
        elif kind == b"fdAT" and frames and size > 4:
            frames[-1].spans.append((start + 4, end))
        elif kind not in _FOLLOWING and not frames and not default and of_use(kind, data, start, end):
            common.append(data[at : end + 4])
        ended = kind == b"IEND"
        at = end + 4
    if not animated:
        return none
    if not ended and found.problem is None:
        found.problem = Unscannable(Reason.TRUNCATED, f"it ends in frame {max(1, len(frames))}")
    opaque = header[9] not in _WITH_ALPHA and not any(chunk[4:8] == b"tRNS" for chunk in common)
    before = b"".join(common)
    found.patches = [_patch(data, frame, header, before, opaque) for frame in frames if frame.spans]
    if default:
        found.still = _alone(data, default, header, before)
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
    pixels = (_chunk(b"IDAT", data[start:end]) for start, end in spans)
    return b"".join((_SIGNATURE, _chunk(b"IHDR", header), before, *pixels, _chunk(b"IEND", b"")))


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
