"""Whether the lists may have changed since somebody looked, without asking SQLite: that is a quarter of a look-up.

A word in a file beside the lists is another one after each change, and says of a change in hand that it is. Readers who
find the word that they know need not look further, for a second. Where it cannot be read they ask SQLite each time.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

FILE = "lists.word"
BELIEVED_S = 1.0
"""How long a word is believed: of two changes at once, one of which is killed before its last step, it may not tell."""

_BYTES = 16
_IN_HAND, _DONE = b"\1", b"\0"


@contextmanager
def changing(folder: Path) -> Iterator[None]:
    """Say that the lists in `folder`, which is there, are being changed, and afterwards that they were.

    A process that is killed meanwhile leaves it said, until the next change is done. Raises `OSError` before anything
    was done where it cannot be said.
    """
    fd = os.open(folder / FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        mine = _word(_IN_HAND)
        os.pwrite(fd, mine, 0)
        try:
            yield
        finally:
            # Where it cannot be said that this is over, readers go on asking. Nor where another change is in hand.
            with suppress(OSError):
                now = os.pread(fd, _BYTES, 0)
                if now == mine or not now.startswith(_IN_HAND):
                    os.pwrite(fd, _word(_DONE), 0)
    finally:
        os.close(fd)


class Word:
    """The word of one folder, open for reading. Not for several threads at once."""

    def __init__(self, folder: Path) -> None:
        """Open it, if it is there."""
        self._fd = -1
        with suppress(OSError):
            self._fd = os.open(folder / FILE, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)

    def read(self) -> bytes | None:
        """Return the word; None where there is none that could be believed."""
        if self._fd < 0:
            return None
        try:
            found = os.pread(self._fd, _BYTES, 0)
        except OSError:
            return None
        return found if len(found) == _BYTES and found.startswith(_DONE) else None

    def close(self) -> None:
        """Let go of the file. May be called twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _word(kind: bytes) -> bytes:
    return kind + secrets.token_bytes(_BYTES - 1)
