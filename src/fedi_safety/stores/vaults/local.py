"""A vault in a directory of this machine, which may be a disk or a share of its own."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

from fedi_safety.core.errors import StoreError, StoreUsageError
from fedi_safety.stores import local_root
from fedi_safety.stores.local import LocalStore

_T = TypeVar("_T")
_PART = ".part"
_NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
_OLD = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_MODE = 0o600
_BLOCK_BYTES = 2 << 20
_ALIGNED = 4096  # a multiple of every disk's sector
_NAMELESS = os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC
_NO_NAMELESS = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT})


class LocalVault:
    """A directory of sealed files; see the `Vault` port. This user alone can read them; they open for nobody here."""

    takes_whole = False

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
        self._blocks: list[_Block] = []  # that nobody uses now

    def put(self, name: str, pieces: Iterable[bytes | memoryview]) -> None:
        """Write beside the name, sync, and rename over it; see the `Vault` port."""
        part = name + _PART
        try:
            fd = os.open(part, _NEW, _MODE, dir_fd=self._fd)
            try:
                self.write(fd, pieces)
                os.fsync(fd)
            finally:
                os.close(fd)
            os.rename(part, name, src_dir_fd=self._fd, dst_dir_fd=self._fd)
            os.fsync(self._fd)
        except BaseException as error:
            with suppress(OSError):
                os.unlink(part, dir_fd=self._fd)
            if isinstance(error, OSError):
                raise self.failed(error) from error
            raise

    def draft(self) -> LocalDraft | None:
        """Begin a file that no directory names: nothing is left of it where this process ends; see the `Vault` port."""
        try:
            return LocalDraft(self, self._fd, os.open(".", _NAMELESS, _MODE, dir_fd=self._fd))
        except OSError as error:
            if error.errno in _NO_NAMELESS:
                return None
            raise self.failed(error) from error

    def write(self, fd: int, pieces: Iterable[bytes | memoryview]) -> None:
        """Write pieces past the kernel's cache where that can be; by way of a block what lies as no disk takes it."""
        with self._a_block() as held:
            block, used, at = held.view, 0, 0
            _pass_cache(fd, on=True)
            for piece in pieces:
                left = memoryview(piece)
                if not used and _is_aligned(left):
                    whole = len(left) & -_ALIGNED
                    left, at = left[whole:], _written(fd, left[:whole], at)
                while left:
                    taken = min(len(left), len(block) - used)
                    block[used : used + taken] = left[:taken]
                    left, used = left[taken:], used + taken
                    if used == len(block):
                        at, used = _written(fd, block, at), 0
            whole = used & -_ALIGNED
            at = _written(fd, block[:whole], at)
            _pass_cache(fd, on=False)  # takes whole sectors alone
            _written(fd, block[whole:used], at)

    @contextmanager
    def _a_block(self) -> Iterator[_Block]:
        """Lend a block that no other thread has: that of a file before, since new memory costs more than its use."""
        try:
            block = self._blocks.pop()
        except IndexError:
            block = _Block()
        try:
            yield block
        finally:
            self._blocks.append(block)

    def get(self, name: str) -> bytes | None:
        """Read a file as it lies on the disk: what this machine has cached of it is let go first."""

        def whole(fd: int) -> bytes:
            size = os.fstat(fd).st_size
            data = os.pread(fd, size, 0)
            while len(data) < size and (more := os.pread(fd, size - len(data), len(data))):
                data += more
            return data

        return self._read(name, whole)

    def holds(self, name: str, data: bytes | memoryview) -> bool:
        """Read a file so and compare it, a piece at a time; see the `Vault` port."""

        return self._read(name, lambda fd: self.same(fd, data)) or False

    def same(self, fd: int, data: bytes | memoryview) -> bool:
        """Whether an open file of which nothing is cached is these bytes. Raises `OSError`."""
        expected, at = memoryview(data), 0
        _pass_cache(fd, on=True)
        with self._a_block() as block:
            while count := _read_into(fd, block.view, at):
                if not block.starts_with(expected[at : at + count], count):
                    return False
                at += count
        return at == len(data)

    def _read(self, name: str, work: Callable[[int], _T]) -> _T | None:
        """Do something with an open file of which nothing is cached; None where there is no such file."""
        try:
            fd = os.open(name, _OLD, dir_fd=self._fd)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self.failed(error) from error
        try:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            return work(fd)
        except OSError as error:
            raise self.failed(error) from error
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
            raise self.failed(error) from error
        return there

    def close(self) -> None:
        """Close the directory's descriptor."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def failed(self, error: OSError) -> StoreError:
        """Return what a fault of the disk is said as."""
        return StoreError(f"vault {self._path}", error.strerror or str(error), "see to its disk and its rights")


class LocalDraft:
    """A file of a vault that has no name yet; see the `Draft` port."""

    def __init__(self, vault: LocalVault, directory: int, fd: int) -> None:
        """Take over `fd`."""
        self._vault, self._directory, self._fd = vault, directory, fd

    def put(self, pieces: Iterable[bytes | memoryview]) -> None:
        """Write and sync; see the `Draft` port."""
        try:
            self._vault.write(self._fd, pieces)
            os.fsync(self._fd)
        except OSError as error:
            raise self._vault.failed(error) from error

    def holds(self, data: bytes | memoryview) -> bool:
        """Read it as it lies on the disk, and compare; see the `Draft` port."""
        try:
            os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)
            return self._vault.same(self._fd, data)
        except OSError as error:
            raise self._vault.failed(error) from error

    def named(self, name: str) -> bool:
        """Link it beside the name, rename it over that, and sync both; see the `Draft` port."""
        part = name + _PART
        try:
            with suppress(FileNotFoundError):
                os.unlink(part, dir_fd=self._directory)
            os.link(f"/proc/self/fd/{self._fd}", part, dst_dir_fd=self._directory)
            os.rename(part, name, src_dir_fd=self._directory, dst_dir_fd=self._directory)
            os.fsync(self._fd)
            os.fsync(self._directory)
            there = os.stat(name, dir_fd=self._directory, follow_symlinks=False)
        except OSError as error:
            raise self._vault.failed(error) from error
        return os.path.samestat(there, os.fstat(self._fd))

    def close(self) -> None:
        """Close it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class _Block:
    """Memory at an address from which a disk takes it, and to which it gives, without the kernel's copy."""

    def __init__(self) -> None:
        self._memory = bytearray(_BLOCK_BYTES + _ALIGNED)
        self._at = -ctypes.addressof(ctypes.c_char.from_buffer(self._memory)) % _ALIGNED
        self.view = memoryview(self._memory)[self._at : self._at + _BLOCK_BYTES]

    def starts_with(self, expected: memoryview, count: int) -> bool:
        """Whether its first `count` bytes are these. Views are not compared by `==`, which takes bytes one by one."""
        return len(expected) == count and self._memory.startswith(expected, self._at)


def _is_aligned(view: memoryview) -> bool:
    """Whether it lies where a disk takes it from. Of what cannot be written it is not known."""
    if view.readonly or len(view) < _ALIGNED:
        return False
    return not ctypes.addressof(ctypes.c_char.from_buffer(view)) % _ALIGNED


def _pass_cache(fd: int, *, on: bool) -> bool:
    """Read and write past the kernel's cache, or no more; return whether that is something else than before.

    A file system that cannot goes on as it did.
    """
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    if bool(flags & os.O_DIRECT) is on:
        return False
    with suppress(OSError):
        fcntl.fcntl(fd, fcntl.F_SETFL, flags ^ os.O_DIRECT)
        return True
    return False


def _written(fd: int, view: memoryview, at: int) -> int:
    """Write all of it at the end, which is `at`; return the end."""
    while view:
        try:
            count = os.write(fd, view)
        except OSError as error:
            if error.errno != errno.EINVAL or not _pass_cache(fd, on=False):
                raise
            continue  # it wants to be asked for other lengths, or not at all
        # Lets go of nothing yet, where it went through the cache: the disk begins with it while the rest is written.
        os.posix_fadvise(fd, at, count, os.POSIX_FADV_DONTNEED)
        view, at = view[count:], at + count
    return at


def _read_into(fd: int, view: memoryview, at: int) -> int:
    """Read what is `at` there; return how much it was, 0 at the end."""
    try:
        return os.preadv(fd, [view], at)
    except OSError as error:
        if error.errno != errno.EINVAL or not _pass_cache(fd, on=False):
            raise
        return os.preadv(fd, [view], at)
