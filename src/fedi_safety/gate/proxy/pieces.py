"""A body as the pieces that it came in, which can be looked into and cut anew without a second copy of it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable


class Pieces:
    """A body in memory. Offsets count from its first byte."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._pieces: list[bytes] = []
        self._starts: list[int] = []
        self.size = 0

    def add(self, piece: bytes) -> None:
        """Take one more, which is not empty."""
        self._starts.append(self.size)
        self._pieces.append(piece)
        self.size += len(piece)

    def between(self, start: int, end: int) -> bytes:
        """Return the bytes from `start` to before `end`."""
        if start >= end:
            return b""
        at = bisect_right(self._starts, start) - 1
        found = []
        while at < len(self._pieces) and self._starts[at] < end:
            begins = self._starts[at]
            found.append(self._pieces[at][max(0, start - begins) : end - begins])
            at += 1
        return found[0] if len(found) == 1 else b"".join(found)

    def cut(self, ranges: Iterable[tuple[int, int]]) -> list[tuple[bytes, bool]]:
        """Return the whole body as new pieces, each of these ranges one of them, which is told beside it.

        The ranges are in order and do not overlap. The body is empty afterwards.
        """
        cut: list[tuple[bytes, bool]] = []
        at = 0
        for start, end in ranges:
            if at < start:
                cut.append((self.between(at, start), False))
            cut.append((self.between(start, end), True))
            at = end
        if at < self.size:
            cut.append((self.between(at, self.size), False))
        self._pieces, self._starts, self.size = [], [], 0
        return cut
