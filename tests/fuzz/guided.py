"""`./dev fuzz --guided [libFuzzer options]`: atheris on the parsers written here that read untrusted bytes.

In the parent: what tells types, and what believes nothing that a child says. In the child: the readers of GIF, APNG,
WebP, JXL headers and of extents. They may raise `Unscannable`, and the parent's `ValueError`; nothing else.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from typing import Any

import atheris

with atheris.instrument_imports(include=["fedi_safety"]):
    from fedi_safety.core.enums import Detail, MediaType
    from fedi_safety.core.errors import Unscannable
    from fedi_safety.media import Caps, pool, protocol
    from fedi_safety.media.decoder.structure.probe import declared_pixels, has_track, is_cut, jxl_header
    from fedi_safety.media.sniff import sniff

_CAPS = Caps(max_pixels=4_000_000, frames=2, more_frames=2)
_KINDS = tuple(kind for kind in MediaType if kind is not MediaType.OTHER)


class _Speaker:
    """Stands for the socket to a child that says whatever it likes."""

    def __init__(self, said: bytes) -> None:
        self._said = said

    def settimeout(self, _: float) -> None:
        """Take the time as it is."""

    def recv(self, size: int) -> bytes:
        """Say the next thing: a byte of length, then the word; nothing more means that it ended."""
        if not self._said:
            return b""
        length = min(self._said[0], size)
        word, self._said = self._said[1 : 1 + length], self._said[1 + length :]
        return word

    def send(self, _: bytes) -> None:
        """Hear nothing."""


def _lies(data: bytes) -> None:
    child: Any = pool._Child.__new__(pool._Child)
    child._control, child._caps, child._sequence = _Speaker(data), _CAPS, 1
    child._most_frames = 4
    child._output = memoryview(bytes(child._most_frames * protocol.SLOT_BYTES))
    received = pool._Received()
    with contextlib.suppress(Unscannable, ValueError, ConnectionResetError):
        decoded = child._received(received, MediaType.PNG, 1e12, Detail.COARSE)
        assert decoded.frames and len(decoded.frames) <= child._most_frames
    for frame in received.frames:
        assert len(frame.rgb) == frame.width * frame.height * 3


def _sniffed(data: bytes) -> None:
    with contextlib.suppress(Unscannable):
        assert isinstance(sniff(data[:4096]), MediaType)


def _extents(data: bytes) -> None:
    for kind in protocol.KINDS:
        is_cut(data, kind)
        assert declared_pixels(data, kind) >= 0
    has_track(data)
    jxl_header(data)


def _patches(data: bytes) -> None:
    from fedi_safety.media.decoder.formats import apng, gif, webp

    for module in (gif, apng, webp):
        with contextlib.suppress(Unscannable):
            module.patches(data)


_TARGETS: tuple[Callable[[bytes], None], ...] = (_lies, _sniffed, _extents, _patches)


def one(data: bytes) -> None:
    """Give the bytes behind the first one to what that one says."""
    if data:
        _TARGETS[data[0] % len(_TARGETS)](data[1:])


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
