"""How much freed memory the C library keeps. Only glibc can be told; with any other these do nothing."""

from __future__ import annotations

import contextlib
import ctypes
import gc
from collections.abc import Iterator

# Numbers of mallopt(3).
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_LARGE_BYTES = 4 << 20  # more than a frame, as Pillow holds it
_KEPT_BYTES = 8 << 20  # a frame and what is made of it


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """Look for garbage seldom while modules are imported, and never again through what is there by the end.

    For a process that is about to do one thing and end. What stays is some 200,000 objects.
    """
    usual = gc.get_threshold()
    gc.set_threshold(15 * usual[0], *usual[1:])
    try:
        yield
        gc.freeze()
    finally:
        gc.set_threshold(*usual)


def bound_heap() -> None:
    """Let all threads share one heap, large blocks come from the system and go back to it, and give back the rest.

    With a heap for each thread, as is usual, each keeps its own highest mark, and what others need goes on top of it.
    Blocks from 4 MB on are large media and weights: each would leave a hole that the next one does not fit into. Frames
    stay in the heap: each picture takes several, and what comes from the system is filled with nothing first.
    """
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_ARENA_MAX, 1)
        library.mallopt(_MMAP_THRESHOLD, _LARGE_BYTES)
        library.mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
    give_memory_back()


def give_memory_back() -> None:
    """Return what was freed to the system. Without this the C library keeps what a dropped network took: half of it."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
