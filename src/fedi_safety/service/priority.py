"""Which of a process's threads goes first where there are more than processors: who answers, before who computes.

It changes nothing where the processors have time for all. Where threads have no priority of their own (all systems but
Linux) most of it does nothing.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

_STEPS = 5  # of niceness: where both want a processor the other thread has about three times as much of it
_TRIES, _AGAIN_S = 5, 0.12  # at the weight of a session
_LINUX = sys.platform.startswith("linux")

# sched_setattr(2), which Python has not: its numbers, and the first version of what it is given.
_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274, "riscv64": 274, "armv7l": 380, "ppc64le": 355, "s390x": 345}
_ATTRIBUTES = struct.Struct("=IIQiIQQQ")
_FLAG_RESET_ON_FORK = 1
_AT_ONCE_NS = 600_000  # less than anybody has unasked (0.7 ms on one processor, more on more); most answers take less


def come_first() -> None:
    """Let this thread have a processor at once when something comes for it, before others of its own priority.

    For threads that answer, and work for less than a millisecond at a time: their slice of a processor is shorter than
    others', which interrupts whoever has a longer one, and no shorter than that: whose slice is over amid an answer may
    wait behind whoever computes. That is since Linux 6.12; before it does nothing.
    """
    number = _SCHED_SETATTR.get(os.uname().machine) if _LINUX else None
    if number is None or os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK != os.SCHED_OTHER:
        return
    nice = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    flags = _FLAG_RESET_ON_FORK if os.sched_getscheduler(0) & os.SCHED_RESET_ON_FORK else 0
    given = _ATTRIBUTES.pack(_ATTRIBUTES.size, os.SCHED_OTHER, flags, nice, 0, _AT_ONCE_NS, 0, 0)
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).syscall(number, 0, ctypes.c_char_p(given), 0)


def stand_aside() -> None:
    """Let everything else go before this process, for good: it has a processor that nobody else wants.

    Linux' SCHED_IDLE, and the lowest niceness elsewhere. The process is to be of the session of those that go before it
    (`weigh_session` says why).
    """
    with suppress(OSError):
        os.nice(19)
    if _LINUX:
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def leave_one() -> frozenset[int]:
    """Keep this thread, and the threads and processes that it starts, off the first of its processors.

    For who computes beside servers that are to answer at once: there is then always one where they stand behind nobody
    who computes. Where there is one processor alone, and on other systems than Linux, it changes nothing. Return the
    processors that it had, for `take_back`.
    """
    had = frozenset(os.sched_getaffinity(0)) if _LINUX else frozenset[int]()
    if others := sorted(had)[1:]:
        with suppress(OSError):
            os.sched_setaffinity(0, others)  # of this thread alone
    return had


def take_back(processors: frozenset[int]) -> None:
    """Let this thread, and not those that it has started, run on these processors again."""
    if processors:
        with suppress(OSError):
            os.sched_setaffinity(0, processors)


def step_back() -> None:
    """Let other threads go before this one, and before the threads and processes that it starts, for good.

    It is nicer, and when it wakes up it interrupts nobody (SCHED_BATCH).
    """
    if not _LINUX:
        return
    thread = threading.get_native_id()
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, thread, min(19, os.getpriority(os.PRIO_PROCESS, thread) + _STEPS))
    with suppress(OSError):
        os.sched_setscheduler(thread, os.SCHED_BATCH, os.sched_param(0))


def weigh_session(leader: int) -> None:
    """Have the session of this process weigh as little as the process itself.

    Without groups of its own for processors (as in containers) Linux weighs sessions against each other, each like any
    other one, and the niceness within them counts among themselves alone (autogroup in sched(7)). So a process that
    begins a session, and is to stay behind whoever started it, needs this. A session that another process leads stays
    as it is.
    """
    _weigh(leader, 0)


def weigh_own_session() -> bool:
    """Have the session that this process leads weigh as little as the threads of it that step back.

    For a service that has a session of its own and computes in such threads: else these would stay behind the rest of
    the service, and behind nothing else on the machine. Return whether it does: not where another process leads it (a
    terminal), nor in a thread of another program. What is to answer at once all the same needs a session of its own.
    """
    return _LINUX and threading.current_thread() is threading.main_thread() and _weigh(os.getpid(), _STEPS)


def _weigh(leader: int, steps: int) -> bool:
    for _ in range(_TRIES):
        try:
            nice = min(19, os.getpriority(os.PRIO_PROCESS, leader) + steps)
            if nice <= 0 or os.getsid(leader) != leader:
                return False
            Path(f"/proc/{leader}/autogroup").write_text(str(nice), "ascii")
        except BlockingIOError:  # without privileges, ten times a second and no more on the whole machine
            time.sleep(_AGAIN_S)
        except OSError:
            return False
        else:
            return True
    return False
