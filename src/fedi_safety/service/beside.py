"""Part of a process's work done by a copy of it, which has all that is loaded, and ends when it has said what it found.

For a process of one thread without an open database: what other threads hold stays held in a copy, and of the locks on
a file it has none, though it seems to. It saves time alone.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

Found = TypeVar("Found")

_PR_SET_PDEATHSIG = 1


@contextmanager
def beside(work: Callable[[], Found]) -> Iterator[Callable[[], Found | None]]:
    """Do it in a copy of this process; give what waits for what it came to. The copy is gone when this is left.

    None where it came to nothing: who started it does the same, and meets what was in the way.
    """
    if threading.active_count() > 1 or not hasattr(os, "fork"):
        yield lambda: None
        return
    source, target = os.pipe()
    parent = os.getpid()
    try:
        child = os.fork()
    except OSError:  # as many processes as there may be, or no memory for one more
        os.close(source)
        os.close(target)
        yield lambda: None
        return
    if not child:
        os.close(source)
        _do(work, target, parent)
    os.close(target)
    with open(source, "rb") as said:  # noqa: PTH123  # a descriptor

        def came_to() -> Found | None:
            whole: Found | None = None
            with suppress(EOFError, pickle.UnpicklingError):
                whole = pickle.loads(said.read())  # from a copy of this process
            return whole

        try:
            yield came_to
        finally:
            os.kill(child, signal.SIGKILL)  # not reaped yet, so that the number is no other's
            os.waitpid(child, 0)


def _do(work: Callable[[], Found], target: int, parent: int) -> None:
    """Do it, write down what it came to, and end, whatever happens: nothing of the parent's is run or said twice."""
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno() if sys.stderr else 2)
        _end_with(parent)
        with open(target, "wb") as said:  # a descriptor
            said.write(pickle.dumps(work()))
    finally:
        os._exit(0)


def _end_with(parent: int) -> None:
    """End when the parent does, where that can be asked for: on Linux."""
    import ctypes

    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)
