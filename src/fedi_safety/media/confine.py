"""What a decoding child gives up before it sees its first medium: memory, files, network, processes (I1, I8).

Linux only. Limits and privileges hold everywhere; the system call filter needs a kernel with seccomp on x86-64 or
AArch64, and the child reports what took hold. It is no wall against reading: a child may still open files to read.
"""

from __future__ import annotations

import ctypes
import errno
import math
import os
import platform
import resource
import signal
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_SECCOMP = 22
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_MODE_FILTER = 2
_MAX_DESCRIPTORS = 64

_libc = ctypes.CDLL(None, use_errno=True)


def confine(parent_pid: int, max_memory_bytes: int) -> int:
    """Give up what a decoder does not need; return what took hold as bits of `wire.PROTECTIONS`.

    Raises `OSError` if one of the limits that every Linux has cannot be set.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when its children end
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        raise ProcessLookupError("the parent ended while its child was starting")
    first_to_go = _become_first_to_go()
    _limit(resource.RLIMIT_AS, max_memory_bytes)
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NOFILE, _MAX_DESCRIPTORS)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_SET_DUMPABLE, 0)
    filtered = _filter_system_calls()
    held = (True, True, True, True, True, True, True, True, first_to_go, filtered)
    return sum(1 << bit for bit, active in enumerate(held) if active)


def allow_processor_seconds(seconds: float) -> None:
    """Let this process use `seconds` more of processor time; a backstop should the parent be unable to kill it."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    soft = int(usage.ru_utime + usage.ru_stime + seconds) + 2
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


@contextmanager
def only_computing(seconds: float) -> Iterator[None]:
    """Let this process open nothing meanwhile, and use about so much processor time; more of it ends the process.

    For libraries that would read files because their input says so, or cannot be told how long to work.
    """
    files, processor = resource.getrlimit(resource.RLIMIT_NOFILE), resource.getrlimit(resource.RLIMIT_CPU)
    # What is open stays open; the kernel refuses any number from the limit on.
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, files[1]))
    try:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        soft = math.ceil(usage.ru_utime + usage.ru_stime + seconds)
        if processor[0] == resource.RLIM_INFINITY or soft < processor[0]:
            resource.setrlimit(resource.RLIMIT_CPU, (soft, processor[1]))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_CPU, processor)
        resource.setrlimit(resource.RLIMIT_NOFILE, files)


def _limit(what: int, most: int) -> None:
    hard = resource.getrlimit(what)[1]
    value = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(what, (value, value))


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}): {os.strerror(number)}")


def _become_first_to_go() -> bool:
    """Ask the kernel to kill this process before any other when memory runs out. Some containers forbid it."""
    try:
        Path("/proc/self/oom_score_adj").write_text("1000")
    except OSError:
        return False
    return True


# --- the system call filter ---------------------------------------------------------------------------------------
# A list of what is refused, not of what is allowed: codecs and the C library change what they call from version to
# version. Numbers are (x86-64, AArch64); None where the architecture has no such call.
_REFUSED: dict[str, tuple[int | None, int | None]] = {
    "socket": (41, 198),
    "socketpair": (53, 199),
    "bind": (49, 200),
    "listen": (50, 201),
    "accept": (43, 202),
    "accept4": (288, 242),
    "connect": (42, 203),
    "execve": (59, 221),
    "execveat": (322, 281),
    "fork": (57, None),
    "vfork": (58, None),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kill": (62, 129),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_send_signal": (424, 424),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "io_uring_setup": (425, 425),
    "creat": (85, None),
    "openat2": (437, 437),
    "open_by_handle_at": (304, 265),
    "truncate": (76, 45),
    "mkdir": (83, None),
    "mkdirat": (258, 34),
    "mknod": (133, None),
    "mknodat": (259, 33),
    "unlink": (87, None),
    "unlinkat": (263, 35),
    "rmdir": (84, None),
    "rename": (82, None),
    "renameat": (264, 38),
    "renameat2": (316, 276),
    "link": (86, None),
    "linkat": (265, 37),
    "symlink": (88, None),
    "symlinkat": (266, 36),
    "chmod": (90, None),
    "fchmodat": (268, 53),
    "chown": (92, None),
    "lchown": (94, None),
    "fchownat": (260, 54),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "mount": (165, 40),
    "umount2": (166, 39),
    "move_mount": (429, 429),
    "open_tree": (428, 428),
    "fsopen": (430, 430),
    "chroot": (161, 51),
    "pivot_root": (155, 41),
    "unshare": (272, 97),
    "setns": (308, 268),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "mq_open": (240, 180),
    "msgget": (68, 186),
    "semget": (64, 190),
    "shmget": (29, 194),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "kexec_load": (246, 104),
    "reboot": (169, 142),
}
_OPEN = (2, None)
_OPENAT = (257, 56)
_CLONE = (56, 220)
_CLONE3 = (435, 435)
_TGKILL = (234, 131)
_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column above, AUDIT_ARCH_*
_CLONE_THREAD = 0x10000
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

# Classic BPF: load a word of struct seccomp_data, jump, return.
_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_BITS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW = 0x7FFF0000
_KILL_PROCESS = 0x80000000
_REFUSE = 0x00050000  # the error number is in the low bits
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))


def _filter_system_calls() -> bool:
    """Install the filter for this process and all its threads. Returns whether the kernel took it."""
    known = _ARCHITECTURES.get(platform.machine())
    if known is None or struct.calcsize("P") != 8:
        return False
    code = _bpf(*known)
    program = _Program(len(code) // 8, code)
    return int(_libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0)) == 0


def _bpf(column: int, architecture: int) -> bytes:
    steps: list[tuple[int, int, int, int]] = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_JUMP_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL_PROCESS),  # calls of another architecture have other numbers
        (_LOAD, 0, 0, _NUMBER_AT),
        (_JUMP_AT_LEAST, 0, 1, 0x40000000),  # x32 calls likewise
        (_RETURN, 0, 0, _REFUSE | errno.EPERM),
    ]

    def when(numbers: tuple[int | None, int | None], *then: tuple[int, int, int, int]) -> None:
        number = numbers[column]
        if number is not None:
            steps.append((_JUMP_EQUAL, 0, len(then), number))
            steps.extend(then)

    refuse = (_RETURN, 0, 0, _REFUSE | errno.EPERM)
    allow = (_RETURN, 0, 0, _ALLOW)
    for numbers in _REFUSED.values():
        when(numbers, refuse)
    # The C library falls back to clone, whose flags a filter can see.
    when(_CLONE3, (_RETURN, 0, 0, _REFUSE | errno.ENOSYS))
    when(_CLONE, _argument(0), (_JUMP_BITS, 1, 0, _CLONE_THREAD), refuse, allow)
    when(_OPEN, _argument(1), (_JUMP_BITS, 0, 1, _WRITING), refuse, allow)
    when(_OPENAT, _argument(2), (_JUMP_BITS, 0, 1, _WRITING), refuse, allow)
    # abort() signals its own process; nobody else may be signalled.
    when(_TGKILL, _argument(0), (_JUMP_EQUAL, 1, 0, os.getpid()), refuse, allow)
    steps.append(allow)
    return b"".join(struct.pack("<HBBI", *step) for step in steps)


def _argument(index: int) -> tuple[int, int, int, int]:
    """Load the low half of an argument; both architectures are little-endian."""
    return (_LOAD, 0, 0, _ARGUMENTS_AT + 8 * index)
