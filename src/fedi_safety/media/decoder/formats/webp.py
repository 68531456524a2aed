"""The structure of animated WebP: where each frame lies and how it is to be drawn. Decodes no pixels."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import partial

from fedi_safety.core.enums import MediaType, Reason
from fedi_safety.core.errors import Unscannable
from fedi_safety.media.caps import MAX_PATCHES
from fedi_safety.media.decoder.formats.canvas import Dispose, Patch, Patches
from fedi_safety.media.decoder.frames.orientation import exif_orientation
from fedi_safety.media.decoder.structure.probe import riff_chunks

_ANIMATION, _ALPHA = 0x02, 0x10  # flags of VP8X
_KEEP, _CLEAR = 0x02, 0x01  # flags of a frame: it replaces its area; its area is cleared after it
_PICTURES = (b"ALPH", b"VP8 ", b"VP8L")


def patches(data: bytes) -> Patches:
    """Read the table of frames; there is none in a still, and in what is no WebP."""
    if data[12:16] != b"VP8X" or len(data) < 30 or not data[20] & _ANIMATION:
        return Patches(MediaType.WEBP, 0, 0)
    found = Patches(MediaType.WEBP, 1 + _small(data, 24), 1 + _small(data, 27))
    for kind, start, end in _chunks(data):
        if end > len(data) and kind != b"ANMF":
            found.problem = Unscannable(Reason.CORRUPT, f"what follows frame {len(found.patches)} is no chunk")
        elif kind == b"ICCP":
            found.profile = data[start:end]
        elif kind == b"EXIF":
            found.orientation = exif_orientation(data[start:end])
        elif kind == b"ANMF":
            if len(found.patches) == MAX_PATCHES:
                found.problem = Unscannable(Reason.TOO_LARGE, f"more than {MAX_PATCHES} frames")
                break
            if end > len(data) or end - start < 16:
                found.problem = Unscannable(Reason.TRUNCATED, f"it ends in frame {len(found.patches) + 1}")
                continue
            found.patches.append(_patch(data, start, end))
    declared = 8 + int.from_bytes(data[4:8], "little")
    if found.problem is None and declared > len(data):
        found.problem = Unscannable(Reason.TRUNCATED, f"it ends after frame {len(found.patches)}")
    return found


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield chunks; behind one whose length lies, what follows the next thing that looks like a frame."""
    at = 12
    for _ in range(MAX_PATCHES):
        resumed = -1
        for kind, start, end in riff_chunks(data, at, len(data)):
            yield kind, start, end
            if end > len(data):
                resumed = data.find(b"ANMF", start)
        if resumed < 0:
            return
        at = resumed


def _patch(data: bytes, start: int, end: int) -> Patch:
    flags = data[start + 15]
    parts = [(kind, a, b) for kind, a, b in riff_chunks(data, start + 16, end) if kind in _PICTURES]
    # Bit 28 of a lossless picture, behind its signature and two sides of 14 bits.
    alpha = any(kind == b"ALPH" or (kind == b"VP8L" and data[a + 4 : a + 5] > b"\x0f") for kind, a, _ in parts)
    width, height = 1 + _small(data, start + 6), 1 + _small(data, start + 9)
    return Patch(
        2 * _small(data, start),
        2 * _small(data, start + 3),
        width,
        height,
        _small(data, start + 12) / 1000,
        end - start,
        blends=not flags & _KEEP,
        dispose=Dispose.CLEAR if flags & _CLEAR else Dispose.LEAVE,
        opaque=not alpha,
        build=partial(_alone, data, parts, width, height, alpha),
    )


def _alone(data: bytes, parts: list[tuple[bytes, int, int]], width: int, height: int, alpha: bool) -> bytes:
    """Return a WebP of the size of one frame that holds it alone."""
    flags = _ALPHA if alpha else 0
    head = struct.pack(
        "<BxxxHBHB", flags, (width - 1) & 0xFFFF, (width - 1) >> 16, (height - 1) & 0xFFFF, (height - 1) >> 16
    )
    body = b"WEBP" + _chunk(b"VP8X", head) + b"".join(_chunk(kind, data[a:b]) for kind, a, b in parts)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _chunk(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)


def _small(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 3], "little")
