"""The real time class for a thread that passes on what others bring: before all that share the processors.

It changes nothing where a process may not enter that class, nor on other systems than Linux.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
import threading
from contextlib import suppress
from typing import Any

from fedi_safety.service.priority import come_first

_LINUX = sys.platform.startswith("linux")
_PRIORITY = 1  # the lowest of that class
_AT_ONE_GO_S, _BACK_S = 0.02, 1.0


class RealTime:
    """Has the main thread of a process in the real time class, before all that share the processors, where it may.

    That is for threads that only pass on what others bring them. Linux lets root, and whoever it is granted to
    (RLIMIT_RTPRIO, `LimitRTPRIO=` of a service); for anybody else nothing changes. A thread that shares has what its
    share is: amid an answer it may stand behind who computes until the next tick, which is 4 ms at 250 Hz.

    It is bounded: whoever works for 20 ms without a pause shares for the next second as others do; who pauses before
    goes on being first. What the thread starts is never in that class. It belongs to one event loop.
    """

    def __init__(self, *, at_one_go_s: float = _AT_ONE_GO_S, back_s: float = _BACK_S) -> None:
        """Nothing is different yet. The kernel counts `at_one_go_s` in whole ticks."""
        self._at_one_go_s, self._back_s = at_one_go_s, back_s
        self._timer: asyncio.TimerHandle | None = None
        self._before: Any = None

    def begin(self) -> bool:
        """Go first from now on; return whether that may be. To be called in the loop, which has the main thread."""
        if not _LINUX or threading.current_thread() is not threading.main_thread():
            return False
        self._loop = asyncio.get_running_loop()
        self._before = signal.signal(signal.SIGXCPU, self._too_long)
        if self._go():
            return True
        self.end()
        return False

    def end(self) -> None:
        """Share from now on. To be called before Python ends: it lets go of its signals, and this one kills then."""
        if self._before is None:
            return
        if self._timer is not None:
            self._timer.cancel()
        _share()
        signal.signal(signal.SIGXCPU, self._before)
        self._before = None

    def _go(self) -> bool:
        """Enter the class, its limit counted from the beginning: the kernel raises it each time that it is met."""
        self._timer = None
        most = resource.getrlimit(resource.RLIMIT_RTTIME)[1]
        wanted = int(self._at_one_go_s * 1_000_000)
        try:
            resource.setrlimit(resource.RLIMIT_RTTIME, (wanted if most < 0 else min(wanted, most), most))
            os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(_PRIORITY))
        except (OSError, ValueError):  # the latter where the limit is refused
            return False
        return True

    def _too_long(self, *_: object) -> None:
        """Share for a while. The kernel's signal comes amid whatever takes so long."""
        _share()
        with suppress(RuntimeError):  # the loop is closed by now
            self._loop.call_soon_threadsafe(self._later)

    def _later(self) -> None:
        if self._timer is None and self._before is not None:
            self._timer = self._loop.call_later(self._back_s, self._go)


def _share() -> None:
    """Have this thread share the processors again, after the real time class, as one that comes first."""
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, os.sched_param(0))
    come_first()
