"""The system call filter of a decoding child (seccomp): what ends it at once, and what it is only refused.

Needs Linux from 4.14 on, on x86-64 or AArch64. A list of what is forbidden, not of what is allowed: codecs and the C
library change what they call from version to version.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import struct

_libc = ctypes.CDLL(None, use_errno=True)

_SET_FILTER, _ALL_THREADS = 1, 1

# Numbers are (x86-64, AArch64); None where the architecture has no such call.
_Numbers = tuple[int | None, int | None]

# No decoder ever needs these: a child that calls one obeys somebody else. It is killed, which the parent sees.
_FATAL: dict[str, _Numbers] = {
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
    "creat": (85, None),
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
}
# These a library may try, and do without; or they are as harmless when refused.
_REFUSED: dict[str, _Numbers] = {
    "kill": (62, 129),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_send_signal": (424, 424),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    "kcmp": (312, 272),
    "setrlimit": (160, 164),
    "setpriority": (141, 140),
    "ioprio_set": (251, 30),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),  # with real-time priority it could keep its parent from running
    "sched_setattr": (314, 274),
    "sched_setaffinity": (203, 122),
    "io_uring_setup": (425, 425),
    "openat2": (437, 437),
    "open_by_handle_at": (304, 265),
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "fchown": (93, 55),
    "lchown": (94, None),
    "fchownat": (260, 54),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "setxattrat": (463, 463),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "removexattrat": (466, 466),
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
    "mq_unlink": (241, 181),
    "msgget": (68, 186),
    "msgsnd": (69, 189),
    "msgrcv": (70, 188),
    "msgctl": (71, 187),
    "semget": (64, 190),
    "semop": (65, 193),
    "semtimedop": (220, 192),
    "semctl": (66, 191),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "shmctl": (31, 195),
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
_PRLIMIT64 = (302, 261)
_SECCOMP = (317, 277)
_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column above, AUDIT_ARCH_*
_CLONE_THREAD = 0x10000
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

# Classic BPF: load a word of struct seccomp_data, jump, return.
_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_BITS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW = 0x7FFF0000
_KILL_PROCESS = 0x80000000
_REFUSE = 0x00050000  # the error number is in the low bits
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16

_Step = tuple[int, int, int, int]


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))


def filter_system_calls() -> bool:
    """Install the filter for this process and all its threads. Returns whether the kernel took it.

    Needs `no new privileges`.
    """
    known = _ARCHITECTURES.get(platform.machine())
    if known is None or struct.calcsize("P") != 8:
        return False
    column, architecture = known
    code = _bpf(column, architecture)
    program = _Program(len(code) // 8, code)
    arguments = (ctypes.c_uint(_SET_FILTER), ctypes.c_uint(_ALL_THREADS), ctypes.byref(program))
    return int(_libc.syscall(_SECCOMP[column], *arguments)) == 0


def _bpf(column: int, architecture: int) -> bytes:
    steps: list[_Step] = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_JUMP_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL_PROCESS),  # calls of another architecture have other numbers
        (_LOAD, 0, 0, _NUMBER_AT),
        (_JUMP_AT_LEAST, 0, 1, 0x40000000),  # x32 calls likewise
        (_RETURN, 0, 0, _KILL_PROCESS),
    ]

    def when(numbers: _Numbers, *then: _Step) -> None:
        number = numbers[column]
        if number is not None:
            steps.append((_JUMP_EQUAL, 0, len(then), number))
            steps.extend(then)

    kill = (_RETURN, 0, 0, _KILL_PROCESS)
    refuse = (_RETURN, 0, 0, _REFUSE | errno.EPERM)
    allow = (_RETURN, 0, 0, _ALLOW)
    for numbers in _FATAL.values():
        when(numbers, kill)
    for numbers in _REFUSED.values():
        when(numbers, refuse)
    # The C library falls back to clone, whose flags a filter can see.
    when(_CLONE3, (_RETURN, 0, 0, _REFUSE | errno.ENOSYS))
    when(_CLONE, _argument(0), (_JUMP_BITS, 1, 0, _CLONE_THREAD), kill, allow)
    when(_OPEN, _argument(1), (_JUMP_BITS, 0, 1, _WRITING), kill, allow)
    when(_OPENAT, _argument(2), (_JUMP_BITS, 0, 1, _WRITING), kill, allow)
    # abort() signals its own process; nobody else may be signalled.
    when(_TGKILL, _argument(0), (_JUMP_EQUAL, 1, 0, os.getpid()), refuse, allow)
    # Its own processor time and descriptors may be limited anew, within the hard limits that were set before, and any
    # limit of its own be read. Nobody else's, and no other.
    when(
        _PRLIMIT64,
        _argument(0),
        (_JUMP_EQUAL, 0, 8, 0),
        _argument(1),
        (_JUMP_EQUAL, 5, 0, resource.RLIMIT_CPU),
        (_JUMP_EQUAL, 4, 0, resource.RLIMIT_NOFILE),
        _argument(2),
        (_JUMP_EQUAL, 0, 3, 0),
        _argument(2, high=True),
        (_JUMP_EQUAL, 0, 1, 0),
        allow,
        refuse,
    )
    steps.append(allow)
    return b"".join(struct.pack("<HBBI", *step) for step in steps)


def _argument(index: int, *, high: bool = False) -> _Step:
    """Load half of an argument; both architectures are little-endian."""
    return (_LOAD, 0, 0, _ARGUMENTS_AT + 8 * index + 4 * high)
