"""A vault in a directory of this machine, which may be a disk or a share of its own."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from fedi_safety.core.errors import StoreError, StoreUsageError
from fedi_safety.stores import local_root
from fedi_safety.stores.local import LocalStore

_T = TypeVar("_T")
_PART = ".part"
_NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
_OLD = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_MODE = 0o600
_PIECE_BYTES = 4 << 20


class LocalVault:
    """A directory of sealed files; see the `Vault` port. This user alone can read them; they open for nobody here."""

    def __init__(self, url_or_path: str) -> None:
        """Open the directory, which must be there: an unmounted disk must not be mistaken for an empty vault."""
        path = str(local_root(url_or_path) or url_or_path)
        try:
            store = LocalStore(path)
        except StoreUsageError as error:
            remedy = f"make it: mkdir -m 700 {path}" if "no such directory" in error.cause else error.remedy
            raise StoreUsageError(f"vault {path}", error.cause, remedy) from error
        self.url = store.url
        self._path = str(store.local_root)
        store.close()
        self._fd = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def put(self, name: str, data: bytes | bytearray | memoryview) -> None:
        """Write beside the name, sync, and rename over it; see the `Vault` port."""
        part = name + _PART
        try:
            fd = os.open(part, _NEW, _MODE, dir_fd=self._fd)
            try:
                left, at = memoryview(data), 0
                while left:
                    written = os.write(fd, left[:_PIECE_BYTES])
                    # Lets go of nothing yet: the disk begins with it while the rest is written.
                    os.posix_fadvise(fd, at, written, os.POSIX_FADV_DONTNEED)
                    left, at = left[written:], at + written
                os.fsync(fd)
            finally:
                os.close(fd)
            os.rename(part, name, src_dir_fd=self._fd, dst_dir_fd=self._fd)
            os.fsync(self._fd)
        except OSError as error:
            with suppress(OSError):
                os.unlink(part, dir_fd=self._fd)
            raise self._failed(error) from error

    def get(self, name: str) -> bytes | None:
        """Read a file as it lies on the disk: what this machine has cached of it is let go first."""

        def whole(fd: int) -> bytes:
            size = os.fstat(fd).st_size
            data = os.pread(fd, size, 0)
            while len(data) < size and (more := os.pread(fd, size - len(data), len(data))):
                data += more
            return data

        return self._read(name, whole)

    def holds(self, name: str, data: bytes | bytearray) -> bool:
        """Read a file so and compare it, a piece at a time; see the `Vault` port."""

        def same(fd: int) -> bool:
            piece, expected, at = bytearray(_PIECE_BYTES), memoryview(data), 0
            while count := os.preadv(fd, [piece], at):
                if piece[:count] != expected[at : at + count]:
                    return False
                at += count
            return at == len(data)

        return self._read(name, same) or False

    def _read(self, name: str, work: Callable[[int], _T]) -> _T | None:
        """Do something with an open file of which nothing is cached; None where there is no such file."""
        try:
            fd = os.open(name, _OLD, dir_fd=self._fd)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._failed(error) from error
        try:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            return work(fd)
        except OSError as error:
            raise self._failed(error) from error
        finally:
            os.close(fd)

    def remove(self, name: str) -> bool:
        """Unlink a file and what an interrupted writing left beside it; see the `Vault` port."""
        there = False
        try:
            for each in (name, name + _PART):
                with suppress(FileNotFoundError):
                    os.unlink(each, dir_fd=self._fd)
                    there = True
            os.fsync(self._fd)
        except OSError as error:
            raise self._failed(error) from error
        return there

    def close(self) -> None:
        """Close the directory's descriptor."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _failed(self, error: OSError) -> StoreError:
        return StoreError(f"vault {self._path}", error.strerror or str(error), "see to its disk and its rights")
