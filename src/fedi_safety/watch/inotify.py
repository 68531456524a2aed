"""The kernel's file events of a whole tree, by inotify(7). Names are bytes, as the kernel has them. Linux only.

It reads directories and no file, and follows no link. Not in use of several threads.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_MOVED_FROM, _MOVED_TO = 0x40, 0x80
_CLOSE_WRITE, _CREATE = 0x08, 0x100
_OVERFLOW, _IGNORED, _IS_DIRECTORY = 0x4000, 0x8000, 0x40000000
_ONLY_DIRECTORIES, _NO_LINKS, _NOT_UNLINKED = 0x01000000, 0x02000000, 0x04000000
_MASK = _CLOSE_WRITE | _CREATE | _MOVED_FROM | _MOVED_TO | _ONLY_DIRECTORIES | _NO_LINKS | _NOT_UNLINKED
_HEAD = struct.Struct("iIII")
_READ_BYTES = 1 << 16
_MOST_PATHS = 1024  # that are told of one reading
# What a directory does that goes away, is no directory any more, or may not be looked into, while it is walked.
_PASSING = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES, errno.EPERM)


@dataclass(frozen=True, slots=True)
class Changes:
    """What came: paths below the root that were made, written to their end or moved in. `lost`: more than are told."""

    paths: frozenset[bytes]
    lost: bool = False


class Tree:
    """Watches every directory below a root, those that come later too. Close it."""

    def __init__(self, root: bytes, stopped: Callable[[], bool] = lambda: False) -> None:
        """Begin; events are seen when this returns. `stopped` ends a long walk. Raises `OSError`."""
        self._root = root
        self._stopped = stopped
        self._libc = ctypes.CDLL(None, use_errno=True)
        if not hasattr(self._libc, "inotify_init1"):
            raise OSError(errno.ENOSYS, "this system has no inotify")
        self._directories: dict[int, bytes] = {}
        self._handle = _checked(self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        try:
            if not self._add(b""):
                raise OSError(errno.ENOENT, "no such directory, or it may not be looked into")
            for _ in self._walk(b""):
                pass
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End all watches."""
        os.close(self._handle)

    def wait(self, seconds: float) -> bool:
        """Return whether something came within so many seconds."""
        waiting = select.poll()  # `select` itself refuses handles above 1,023, and a daemon may have many open
        waiting.register(self._handle, select.POLLIN)
        return bool(waiting.poll(1000 * seconds))

    def read(self) -> Changes:
        """Return what came since the last time, without waiting. Raises `OSError` where no more can be watched."""
        paths: set[bytes] = set()
        lost = False
        while True:
            try:
                data = os.read(self._handle, _READ_BYTES)
            except BlockingIOError:
                return Changes(frozenset(paths), lost)
            for watch, mask, name in _events(data):
                lost = lost or bool(mask & _OVERFLOW)
                if mask & _IGNORED:
                    self._directories.pop(watch, None)
                elif name and watch in self._directories:
                    for path in self._came(self._directories[watch] + name, mask):
                        if len(paths) < _MOST_PATHS:
                            paths.add(path)
                        else:
                            lost = True

    def _came(self, path: bytes, mask: int) -> Iterator[bytes]:
        """Take one event; yield what it makes known, with all that a new directory had before it was watched."""
        if not mask & _MOVED_FROM:
            yield path
            if mask & _IS_DIRECTORY and self._add(path + b"/"):
                yield from self._walk(path + b"/")
        elif mask & _IS_DIRECTORY:
            self._forget(path + b"/")

    def _add(self, directory: bytes) -> bool:
        """Watch one directory, under the path that it has now; return whether it is there."""
        place = self._root + b"/" + directory
        watch = self._libc.inotify_add_watch(self._handle, place, ctypes.c_uint32(_MASK))
        if watch < 0 and ctypes.get_errno() in _PASSING:
            return False
        self._directories[_checked(watch)] = directory
        return True

    def _walk(self, directory: bytes) -> Iterator[bytes]:
        """Watch all directories below one that is watched, and yield every path that is there."""
        waiting = [directory]
        while waiting and not self._stopped():
            here = waiting.pop()
            try:
                with os.scandir(self._root + b"/" + here) as entries:
                    found = [(here + entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
            except OSError as error:
                if error.errno not in _PASSING:
                    raise
                continue
            for path, is_directory in found:
                yield path
                if is_directory and self._add(path + b"/"):
                    waiting.append(path + b"/")

    def _forget(self, directory: bytes) -> None:
        """End the watches of a directory that was moved away; where it went within the tree is another event."""
        for watch in [watch for watch, path in self._directories.items() if path.startswith(directory)]:
            self._libc.inotify_rm_watch(self._handle, watch)
            del self._directories[watch]


def _events(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    at = 0
    while at < len(data):
        watch, mask, _, length = _HEAD.unpack_from(data, at)
        at += _HEAD.size + length
        yield watch, mask, data[at - length : at].rstrip(b"\0")


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        cause = "no more inotify watches" if number == errno.ENOSPC else os.strerror(number)
        raise OSError(number, cause)
    return result
