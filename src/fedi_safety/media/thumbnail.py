"""A frame as a small grey picture, blurred: what a person is shown who asked for it, and nothing else.

The one place in this program that makes a file of pixels (I1); only a view asks for it. Everything stays in memory.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedi_safety.core.frames.shown import Frame

_Grey = NDArray[np.float32]
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_PASSES = 2  # two box blurs after each other fall off like one of a lens
_COARSEST = 128  # no finer detail than this many steps of the longer side is left, however small the frame is
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A PNG of 8-bit grey with its size in pixels."""

    png: bytes
    width: int
    height: int


def thumbnail(frame: Frame, pixels: int) -> Thumbnail:
    """Return a frame in grey, blurred, and then shrunk so that its longer side has at most this many pixels.

    It is never enlarged. Raises `ValueError` for less than one pixel.
    """
    if pixels < 1:
        raise ValueError("a picture has at least one pixel")
    rgb = np.frombuffer(frame.rgb, np.uint8).reshape(frame.height, frame.width, 3)
    grey = rgb.astype(np.float32) @ _LUMA
    longer = max(frame.width, frame.height)
    radius = max(1, round(longer / pixels), round(longer / _COARSEST))
    for _ in range(_PASSES):
        grey = _blurred(_blurred(grey, radius).T, radius).T
    share = min(1.0, pixels / longer)
    width, height = (max(1, round(side * share)) for side in (frame.width, frame.height))
    small = _shrunk(_shrunk(grey, height).T, width).T
    return Thumbnail(_png(np.clip(np.rint(small), 0, 255).astype(np.uint8)), width, height)


def _blurred(grey: _Grey, radius: int) -> _Grey:
    """Return each row as the mean of those within `radius`, with the edge repeated beyond it."""
    sums = np.cumsum(np.pad(grey, ((radius + 1, radius), (0, 0)), mode="edge"), axis=0, dtype=np.float64)
    window = 2 * radius + 1
    blurred: _Grey = ((sums[window:] - sums[:-window]) / window).astype(np.float32)
    return blurred


def _shrunk(grey: _Grey, rows: int) -> _Grey:
    """Return so many rows, each the mean of those that it stands for."""
    starts = np.arange(rows) * grey.shape[0] // rows
    counts = np.diff(np.append(starts, grey.shape[0]))
    return (np.add.reduceat(grey, starts, axis=0) / counts[:, None]).astype(np.float32)


def _png(grey: NDArray[np.uint8]) -> bytes:
    height, width = grey.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    lines = np.pad(grey, ((0, 0), (1, 0)))  # each begins with a byte that names its filter: none
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b"")
    return _SIGNATURE + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
