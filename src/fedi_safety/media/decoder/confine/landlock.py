"""Landlock: after `forbid_files` this process can open no file at all but those of its libraries, and these to read.

Linux from 5.13 on. It needs no privilege but cannot be undone. Linux' own documentation names the numbers below.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)

# The numbers are the same on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_ASK_VERSION = 1
_RULE_BENEATH = 1

_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
# How many of the rights over files each version knows: 13 at first, then moving between directories, truncating, and
# commands to devices. All of them are taken; what is not listed by `readable` is not given back.
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}
_MOST_FILE_RIGHTS = 16  # from version 5 on
_TCP = 0b11  # to bind and to connect, from version 4 on
_SCOPES = 0b11  # abstract sockets and signals stay among confined processes, from version 6 on

# Where systems keep shared libraries, beside what Python's own path names.
_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache")


def version() -> int:
    """Return the version that the kernel offers; 0 if it has none, or has it switched off."""
    return max(0, int(_libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint(_ASK_VERSION))))


def forbid_files(readable: Iterable[Path]) -> bool:
    """Leave this thread, and what it starts, nothing but reading `readable` and what lies beneath. No TCP either.

    Returns whether it took hold: False where the kernel has no Landlock. What is open already stays open. `readable`
    may name what does not exist. Needs `no new privileges`. Raises `OSError` if the kernel has it and refuses.
    """
    known = version()
    if not known:
        return False
    rights = (1 << _FILE_RIGHTS.get(known, _MOST_FILE_RIGHTS)) - 1
    attributes = struct.pack("<QQQ", rights, _TCP if known >= 4 else 0, _SCOPES if known >= 6 else 0)
    size = 24 if known >= 6 else 16 if known >= 4 else 8  # an older kernel knows fewer of these fields
    rules = _call(_CREATE_RULESET, attributes, ctypes.c_size_t(size), ctypes.c_uint(0))
    try:
        for path in readable:
            _allow_reading(rules, path)
        _call(_RESTRICT_SELF, ctypes.c_int(rules), ctypes.c_uint(0))
    finally:
        os.close(rules)
    return True


def libraries() -> Iterator[Path]:
    """Yield what Python and the loader of shared libraries read: its path, its own and the systems' directories."""
    loaded = os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)
    own = (os.path.join(sys.base_prefix, "lib"), os.path.join(sys.base_exec_prefix, "lib"))  # noqa: PTH118
    ours = str(Path(__file__).parents[3])  # not in the path where an editable installation is found by a hook
    for entry in (*sys.path, *loaded, *own, *_LIBRARIES, ours):
        if entry.startswith("/"):
            yield Path(entry)


def _allow_reading(rules: int, path: Path) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # what is not there, or cannot be reached, needs no permission
    try:
        rights = _READ_FILE | (_READ_DIR if stat.S_ISDIR(os.fstat(place).st_mode) else 0)
        _call(_ADD_RULE, ctypes.c_int(rules), _RULE_BENEATH, struct.pack("<Qi", rights, place), ctypes.c_uint(0))
    finally:
        os.close(place)


def _call(number: int, *arguments: object) -> int:
    result = int(_libc.syscall(number, *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"Landlock call {number}: {os.strerror(code) or errno.errorcode.get(code)}")
    return result
