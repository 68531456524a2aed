"""Which of a process's threads goes first where there are more than processors: who answers, before who computes.

It changes nothing where the processors have time for all.
"""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress

_STEPS = 5  # of niceness: where both want a processor the other thread has about three times as much of it


def stand_aside() -> None:
    """Let everything else go before this process, for good: it has a processor that nobody else wants.

    Linux' SCHED_IDLE, and the lowest niceness elsewhere.
    """
    with suppress(OSError):
        os.nice(19)
    if sys.platform.startswith("linux"):
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def step_back() -> None:
    """Let other threads go before this one, and before the threads and processes that it starts, for good.

    Where threads have no priority of their own (all systems but Linux) it does nothing.
    """
    if not sys.platform.startswith("linux"):
        return
    thread = threading.get_native_id()
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, thread, min(19, os.getpriority(os.PRIO_PROCESS, thread) + _STEPS))
