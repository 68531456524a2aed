"""A decoding child that misbehaves as its medium tells it to; for tests of the sandbox only.

It confines itself exactly as the real child does: only the decoder is replaced. The medium is a word of `_DEEDS`,
behind a PNG's signature where a store's objects must pass for media.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from PIL import Image

from fedi_safety.core.enums import MediaType, Reason
from fedi_safety.core.errors import Unscannable
from fedi_safety.core.frames.places import Place
from fedi_safety.media import protocol
from fedi_safety.media.decoder import main
from fedi_safety.media.decoder.confine import process
from fedi_safety.media.decoder.frames.emitter import Bounds, DecodeSummary, Emitter
from fedi_safety.media.decoder.frames.still import Still

_libc = ctypes.CDLL(None, use_errno=True)
_GREY = Still(2, 1, Image.new("RGB", (2, 1), (128, 128, 128)))


SIGNATURE = b"\x89PNG\r\n\x1a\n"

_showing: Emitter


def decode(data: bytes, media_type: MediaType, bounds: Bounds, showing: Emitter) -> DecodeSummary:
    """Do what the medium says; a word after `then` once a frame is out."""
    global _showing
    _showing = showing
    first, _, rest = data.removeprefix(SIGNATURE).decode().partition(" then ")
    if rest:
        showing.show(0, Place(1.5), _GREY, on_black_index=1)
    word, _, argument = (rest or first).partition(":")
    still = _DEEDS[word](argument)
    if still is not None:
        showing.show(0, Place(), still, on_black_index=1)
    return DecodeSummary()


def left(parent: int) -> Path:
    """Return what a child of this process would leave behind if it could write."""
    return Path(f"/tmp/fedi-safety-hostile-{parent}")


def _tell(text: str) -> NoReturn:
    raise Unscannable(Reason.CORRUPT, text)


def _sleep(_: str) -> Still:
    time.sleep(60)
    return _GREY


def _spin_past_the_limit(_: str) -> Still:
    process.allow_processor_seconds(-2)
    while True:
        pass


def _allocate(mebibytes: str) -> Still:
    bytearray(int(mebibytes) << 20)
    return _GREY


def _allocate_without_end(_: str) -> Still:
    held = []
    while True:
        held.append(b"x" * (1 << 20))


def _start_threads_without_end(_: str) -> Still:
    threading.stack_size(1 << 20)
    while True:
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()


def _burn(_: str) -> Still:
    while True:
        pass


def _segfault(_: str) -> Still:
    ctypes.string_at(0)
    return _GREY


def _abort(_: str) -> Still:
    os.abort()


def _leave(code: str) -> Still:
    os._exit(int(code))


def _raise(_: str) -> Still:
    raise RuntimeError("a bug in the child itself")


def _hang_up(_: str) -> Still:
    socket.socket(fileno=int(sys.argv[1])).close()
    time.sleep(60)
    return _GREY


def _say(text: str) -> Still:
    """Put raw bytes on the wire in place of an answer."""
    control = socket.socket(fileno=os.dup(int(sys.argv[1])))
    control.send(bytes.fromhex(text))
    time.sleep(60)
    return _GREY


def _frame(index: int, *sizes: int) -> bytes:
    return protocol.FRAME.pack(
        protocol.FRAME_TAG, 1, index, index, protocol.NO_TIME, 0, 1, 0, 0, 0, 0, *protocol.WHOLE, *sizes
    )


def _claim(numbers: str) -> None:
    """Put a frame of these sizes on the wire: true width and height, then the frame's own."""
    control = socket.socket(fileno=os.dup(int(sys.argv[1])))
    control.send(_frame(0, *map(int, numbers.split(","))))
    time.sleep(60)


def _flood(count: str) -> None:
    """Put so many frames on the wire, whether there is room for them or not."""
    control = socket.socket(fileno=os.dup(int(sys.argv[1])))
    for index in range(int(count)):
        control.send(_frame(index, 2, 1, 2, 1))
    time.sleep(60)


def _large(count: str) -> None:
    """Show so many large pictures, each another colour."""
    for index in range(int(count)):
        colour = (index * 5 % 256, index * 50 % 256, index)
        _showing.show(index, Place(), Still(700, 700, Image.new("RGB", (700, 700), colour)), on_black_index=0)


def _try(what: str) -> Still:
    """Try something forbidden and tell how that went."""
    try:
        _DEEDS_THAT_FAIL[what]()
    except (OSError, ValueError) as error:  # the latter is how Python tells of some of the former
        return _tell(type(error).__name__)
    return _tell("it worked")


def _write_into_new_memory() -> None:
    descriptor = os.memfd_create("more")
    os.write(descriptor, b"x")


_HERE = Path(__file__)
# What no decoder ever does: who tries is killed.
_FATAL: dict[str, Callable[[], object]] = {
    "fork": os.fork,
    "exec": lambda: os.execv(sys.executable, [sys.executable, "-c", "pass"]),
    "spawn": lambda: os.posix_spawn(sys.executable, [sys.executable, "-c", "pass"], {}),
    "internet socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM),
    "unix socket": lambda: socket.socket(socket.AF_UNIX, socket.SOCK_STREAM),
    "create a file": lambda: left(os.getppid()).write_bytes(b"x"),
    "open a file to write": lambda: os.open("/dev/null", os.O_RDWR),
    "make a folder": lambda: left(os.getppid()).mkdir(),
    "remove a file": lambda: left(os.getppid()).unlink(),
    "trace its parent": lambda: _libc.ptrace(16, os.getppid(), 0, 0),
}
_FORBIDDEN: dict[str, Callable[[], object]] = {
    "write into memory that may grow": _write_into_new_memory,
    "signal its parent": lambda: os.kill(os.getppid(), 0),
    "limit its parent": lambda: resource.prlimit(os.getppid(), resource.RLIMIT_CPU, (1, 1)),
    "lift its own limits": lambda: resource.setrlimit(
        resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    ),
    "lift its own limits as root": lambda: _checked(_libc.syscall(160, 9, struct.pack("<QQ", 1 << 60, 1 << 60))),
    "run before everybody else": lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50)),
    "change the rights of a file": lambda: os.fchmod(os.open(_HERE, os.O_RDONLY), 0o777),
    "change the time of a file": lambda: os.utime(_HERE, (1, 1)),
    # The parent reads this memory: if it were gone, the parent would die of SIGBUS.
    "shrink the output": lambda: os.ftruncate(int(sys.argv[2]), 0),
    "many descriptors": lambda: [os.open(_HERE, os.O_RDONLY) for _ in range(100)],
}
# What only Landlock keeps it from.
_READING: dict[str, Callable[[], object]] = {
    "a file of the system": lambda: os.open("/etc/passwd", os.O_RDONLY),
    "a folder of the system": lambda: os.listdir("/etc"),  # noqa: PTH208 - the plain call is what is tried
    "what its parent was told": lambda: os.open(f"/proc/{os.getppid()}/environ", os.O_RDONLY),
    "its parent's memory": lambda: os.open(f"/proc/{os.getppid()}/mem", os.O_RDONLY),
    "a device": lambda: os.open("/dev/zero", os.O_RDONLY),
    "temporary files": lambda: os.listdir("/tmp"),  # noqa: PTH208
    "the root": lambda: os.listdir("/"),  # noqa: PTH208
}
_DEEDS_THAT_FAIL = _FATAL | _FORBIDDEN | _READING


def _read(path: str) -> Still:
    """Read a file and tell what is in it."""
    try:
        return _tell(Path(path).read_text())
    except OSError as error:
        return _tell(type(error).__name__)


def _checked(result: int) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")


def _descriptors(_: str) -> Still:
    names = []
    for descriptor in range(resource.getrlimit(resource.RLIMIT_NOFILE)[0]):
        try:
            names.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        except FileNotFoundError:
            continue
    return _tell(" ".join(names))


def _room(_: str) -> Still:
    """Tell how much it may map, and how much memory it may fill that is not mapped: all shared memory that it has."""
    shared: dict[int, int] = {}
    for descriptor in range(resource.getrlimit(resource.RLIMIT_NOFILE)[0]):
        with contextlib.suppress(OSError):
            found = os.fstat(descriptor)
            if str(Path(f"/proc/self/fd/{descriptor}").readlink()).startswith("/memfd:"):
                shared[found.st_ino] = found.st_size
    return _tell(f"{resource.getrlimit(resource.RLIMIT_AS)[1]} {sum(shared.values())}")


def _state(_: str) -> Still:
    return _tell(f"{signal.getsignal(signal.SIGINT) == signal.SIG_IGN} {sorted(os.environ)}")


_DEEDS: dict[str, Callable[[str], Still | None]] = {
    "grey": lambda _: _GREY,
    "pid": lambda _: _tell(str(os.getpid())),
    "tell": _tell,
    "sleep": _sleep,
    "spin": _spin_past_the_limit,
    "burn": _burn,
    "allocate": _allocate,
    "allocate without end": _allocate_without_end,
    "start threads without end": _start_threads_without_end,
    "segfault": _segfault,
    "abort": _abort,
    "leave": _leave,
    "raise": _raise,
    "hang up": _hang_up,
    "say": _say,
    "claim": _claim,
    "flood": _flood,
    "large": _large,
    "try": _try,
    "read": _read,
    "descriptors": _descriptors,
    "state": _state,
    "room": _room,
}

if __name__ == "__main__":
    assert protocol.MAGIC == b"fsmedia5"
    main.serve(sys.argv[1:], decode)
