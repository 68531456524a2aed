"""What a decoding child gives up before it sees its first medium: memory, files, network, processes (I1, I8).

Linux only. Limits and privileges hold everywhere; the system call filter (`seccomp`) and the wall against reading
(`landlock`) need a kernel that has them, and the child reports what took hold.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedi_safety.core import coredumps
from fedi_safety.media.decoder.confine import landlock, seccomp

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_MAX_DESCRIPTORS = 64

_CAPABILITIES_VERSION = 0x20080522
_CAP_DAC_READ_SEARCH = 1 << 2

_libc = ctypes.CDLL(None, use_errno=True)


def confine(parent_pid: int, max_memory_bytes: int) -> int:
    """Give up what a decoder does not need; return what took hold as bits of `protocol.PROTECTIONS`.

    Call it before there is a second thread. Raises `OSError` if one of the limits that every Linux has cannot be set.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when its children end
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        raise ProcessLookupError("the parent ended while its child was starting")
    if len(os.listdir("/proc/self/task")) != 1:  # noqa: PTH208 - names are all that is wanted
        raise RuntimeError("a thread that was started before would not be confined")
    first_to_go = _become_first_to_go()
    _limit(resource.RLIMIT_AS, max_memory_bytes)
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_NOFILE, _MAX_DESCRIPTORS)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    coredumps.forbid()
    _drop_capabilities()
    closed = landlock.forbid_files(landlock.libraries())
    filtered = seccomp.filter_system_calls()
    held = (True, True, True, True, True, True, True, True, True, first_to_go, filtered, closed)
    return sum(1 << bit for bit, active in enumerate(held) if active)


def allow_processor_seconds(seconds: float) -> None:
    """Let this process use `seconds` more of processor time; a backstop should the parent be unable to kill it."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    soft = int(usage.ru_utime + usage.ru_stime + seconds) + 2
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


@contextmanager
def only_computing(seconds: float) -> Iterator[None]:
    """Let this process open nothing meanwhile, and use so much processor time; more of it ends the process by SIGPROF.

    For libraries that would read files because their input says so, or cannot be told how long to work. A timer is
    finer than a limit, which counts in whole seconds.
    """
    files = resource.getrlimit(resource.RLIMIT_NOFILE)
    # What is open stays open; the kernel refuses any number from the limit on.
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, files[1]))
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_NOFILE, files)


@contextmanager
def interrupted(seconds: float, error: Exception) -> Iterator[None]:
    """Raise `error` in what Python code computes meanwhile, after so much of the processor's time.

    For code written in Python that cannot be told how long to work. It goes on living, unlike in `only_computing`.
    """

    def stop(*_: object) -> None:
        raise error

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _limit(what: int, most: int) -> None:
    hard = resource.getrlimit(what)[1]
    value = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(what, (value, value))


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        raise _error(f"prctl({option})")


def _drop_capabilities() -> None:
    """Give up the rights of root, but for reading what belongs to others: the program itself may.

    With them a child could lift its own limits.
    """
    header = struct.pack("<Ii", _CAPABILITIES_VERSION, 0)
    rights = ctypes.create_string_buffer(24)  # low halves of effective, permitted, inheritable; then the high ones
    if _libc.capget(header, rights) != 0:
        raise _error("capget")
    kept = struct.unpack_from("<I", rights.raw, 4)[0] & _CAP_DAC_READ_SEARCH
    if _libc.capset(header, struct.pack("<6I", kept, kept, 0, 0, 0, 0)) != 0:
        raise _error("capset")


def _error(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{what}: {os.strerror(number)}")


def _become_first_to_go() -> bool:
    """Ask the kernel to kill this process before any other when memory runs out. Some containers forbid it."""
    try:
        Path("/proc/self/oom_score_adj").write_text("1000")
    except OSError:
        return False
    return True
