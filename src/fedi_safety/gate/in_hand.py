"""How many uploads the gate has in hand, in memory that other processes of its own may look into.

Who computes something that nobody's upload waits for can wait for a moment without one. Linux alone has memory that can
be handed on; elsewhere it is this process' own.
"""

from __future__ import annotations

import mmap
import os
import sys
import time
import weakref

_BYTES = 4
_LOOK_S = 0.003  # between two looks: a thousandth of a processor, for as long as somebody waits


class UploadsInHand:
    """A number that one event loop counts up and down, by `with`, and that anybody may look at."""

    def __init__(self, descriptor: int | None = None) -> None:
        """Make one, with none in hand, or look into the one that another process made and handed on."""
        if descriptor is None and sys.platform.startswith("linux"):
            descriptor = os.memfd_create("uploads in hand")
            os.ftruncate(descriptor, _BYTES)
            weakref.finalize(self, os.close, descriptor)
        self.descriptor = descriptor
        self._memory = mmap.mmap(-1 if descriptor is None else descriptor, _BYTES)
        self._count = memoryview(self._memory).cast("I")

    def __enter__(self) -> None:
        self._count[0] += 1

    def __exit__(self, *_raised: object) -> None:
        self._count[0] -= 1

    @property
    def count(self) -> int:
        """Return how many there are."""
        return self._count[0]

    def wait_for_none(self, most_s: float) -> None:
        """Wait until there is none, and for so long at most: who waits has its turn on a busy gate, too."""
        until = time.monotonic() + most_s
        while self.count and time.monotonic() < until:
            time.sleep(_LOOK_S)
