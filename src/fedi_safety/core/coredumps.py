"""Sees that a crash writes no memory, and with it no media, anywhere (I1). Linux only.

A limit of nothing is not enough: the kernel does not look at it where `core_pattern` pipes a dump to a program, as most
distributions do (core(5)). A process that is not dumpable is never dumped, and its memory is closed to debuggers and to
other processes of its user. `execve` makes a process dumpable again, so every one that holds media forbids it itself.
"""

from __future__ import annotations

import ctypes
import os
import resource

_PR_SET_DUMPABLE = 4
# Of a file nothing is written either, for no dump is that small; and the kernel takes it for a dump's own reader that
# crashed, which is never dumped to a pipe.
_LIMIT_BYTES = 1


def forbid() -> None:
    """Forbid core dumps of this process, for good. Raises `OSError` if the kernel refuses."""
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    limit = _LIMIT_BYTES if hard == resource.RLIM_INFINITY else min(_LIMIT_BYTES, hard)
    resource.setrlimit(resource.RLIMIT_CORE, (limit, limit))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, ctypes.c_ulong(0), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({_PR_SET_DUMPABLE}): {os.strerror(number)}")
