"""The local store: a directory tree of any size, read and removed from without ever following a symlink.

Every path is walked part by part from an open descriptor of the root with O_NOFOLLOW, so that a directory swapped for
a link between listing and reading leads nowhere. It holds no more than one directory's names in memory, and of a very
large directory only a part. It does not watch for changes.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from itertools import islice
from pathlib import Path
from urllib.parse import quote_from_bytes

from fedi_safety.core.bounds import clamped_ns, size_of
from fedi_safety.core.enums import ActKind, PlanState, Reason
from fedi_safety.core.errors import StoreError, StoreUsageError, Unscannable
from fedi_safety.core.keys import KeyRange, key_bytes, key_text
from fedi_safety.core.types import Object, Removal, Right, Unscanned
from fedi_safety.stores.cutting import cut_by_names
from fedi_safety.stores.sorting import SortedRuns

HEAD_BYTES = 4096
_CHUNK_BYTES = 1 << 20
_NAMES_IN_MEMORY = 100_000
_OPEN_LEVELS = 64  # descriptors held while descending; deeper levels are reopened on the way back
_DIR_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


class _Level:
    """One directory on the way down: what is left of its names, and its descriptor while it is held."""

    def __init__(self, key: bytes, fd: int, entries: Iterator[tuple[bytes, bytes]]) -> None:
        self.prefix = key
        self.fd: int | None = fd
        self.entries = entries

    def release(self) -> None:
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None

    def close(self) -> None:
        self.release()
        with suppress(AttributeError):
            self.entries.close()  # type: ignore[attr-defined]


_Levels = list[_Level]


class LocalStore:
    """A directory on this machine. Keys are paths relative to it; see the `Store` port for the promises."""

    default_act = ActKind.DELETE
    owner = None

    def __init__(self, root: str, *, names_in_memory: int = _NAMES_IN_MEMORY) -> None:
        """Take `root`, which the operator named and which may itself be a symlink.

        `names_in_memory` bounds how many names of one directory are sorted in memory; more go through a temporary
        file (names only, never media). Raises `StoreUsageError` if root is missing, no directory, or unreadable.
        """
        if not root:
            raise StoreUsageError("store", "the path is empty", "give the directory to scan")
        if "\0" in root:
            raise StoreUsageError(root, "a path cannot hold a NUL character", "correct the path")
        self._names_in_memory = names_in_memory
        try:
            self._root = os.path.realpath(root, strict=True)
            self._fd = os.open(self._root, _DIR_FLAGS)
            # Opening needs only the right to read; going further needs the right to enter as well.
            os.close(os.open(".", _DIR_FLAGS, dir_fd=self._fd))
        except FileNotFoundError as error:
            raise StoreUsageError(root, "there is no such directory", "check the path") from error
        except NotADirectoryError as error:
            raise StoreUsageError(root, "it is not a directory", "give the directory that holds the files") from error
        except PermissionError as error:
            raise StoreUsageError(
                root, "no permission to read it", "run as the user that owns the files, or grant read access"
            ) from error
        except OSError as error:
            raise StoreUsageError(root, error.strerror or "it cannot be opened", "check the path") from error

    @property
    def url(self) -> str:
        """The `file://` URL of the real path, percent-encoded."""
        return "file://" + quote_from_bytes(os.fsencode(self._root))

    @property
    def local_root(self) -> Path:
        """The real path."""
        return Path(self._root)

    @property
    def identity(self) -> str:
        """Device and inode of the root: an empty directory in the place of a mount has others."""
        info = os.fstat(self._fd)
        return f"{info.st_dev:x}.{info.st_ino:x}"

    @property
    def concurrency(self) -> int:
        """Two: while one waits for the disk, the other reads."""
        return 2

    def list(self, prefixes: Sequence[str] = (), since: float | None = None) -> Iterator[Object | Unscanned]:
        """Yield the tree's objects in the byte order of their keys; see the `Store` port.

        `since` asks for the change time as well: `mv` and `rsync -t` bring new files with old modification times.
        """
        return self.list_within(KeyRange(), prefixes, since)

    def list_within(
        self, within: KeyRange, prefixes: Sequence[str] = (), since: float | None = None
    ) -> Iterator[Object | Unscanned]:
        """Yield a part of the tree's objects; see the `Divisible` port."""
        wanted = tuple(key_bytes(p) for p in prefixes)
        since_ns = None if since is None else int(since * 1e9)
        levels: _Levels = []
        try:
            self._push(levels, b"")
            while levels:
                level = levels[-1]
                entry = next(level.entries, None)
                if entry is None:
                    level.close()
                    levels.pop()
                    continue
                name, kind = entry
                key = level.prefix + name
                if within.past(key):
                    return
                if kind == b"d":
                    asked = not wanted or any(key.startswith(p) or p.startswith(key) for p in wanted)
                    if asked and within.reaches(key):
                        yield from self._descend(levels, key)
                elif within.holds(key) and (not wanted or key.startswith(wanted)):
                    found = self._look(level, name, key, since_ns)
                    if found is not None:
                        yield found
        finally:
            for level in levels:
                level.close()

    def cuts(self, within: KeyRange, most: int) -> tuple[bytes, ...]:
        """Part the tree at directories and files, from the top down; see the `Divisible` port."""
        return tuple(cut_by_names(self._names, within, most))

    def _names(self, key: bytes) -> Sequence[bytes]:
        """Return keys in directory `key`, those of directories with `/` at the end; of a very large one some."""
        try:
            fd = self._open_dir(key)
        except OSError:
            return []  # the listing will tell
        try:
            with os.scandir(fd) as entries:
                return [
                    key + os.fsencode(entry.name) + (b"/" if entry.is_dir(follow_symlinks=False) else b"")
                    for entry in islice(entries, self._names_in_memory)
                ]
        except OSError:
            return []
        finally:
            os.close(fd)

    def count(self, prefixes: Sequence[str], going: Callable[[], bool]) -> int | None:
        """Return how many objects there are, by listing them; see the `Countable` port."""
        count = 0
        for _ in self.list(prefixes):
            if not going():
                return None
            count += 1
        return count

    def _descend(self, levels: _Levels, key: bytes) -> Iterator[Unscanned]:
        """Enter directory `key`; what cannot be entered is one gap with the directory's name, not an error."""
        try:
            self._push(levels, key)
        except OSError as error:
            if error.errno in _GONE:
                return
            gone = Object(key_text(key), 0, 0)
            yield Unscanned(gone, Reason.UNREADABLE, f"directory: {error.strerror}")
            return
        if len(levels) > _OPEN_LEVELS:
            levels[-1 - _OPEN_LEVELS].release()

    def _push(self, levels: _Levels, prefix: bytes) -> None:
        try:
            fd = self._open_dir(prefix)
        except OSError as error:
            if not prefix:
                raise StoreError(self.url, error.strerror or "it cannot be listed", "check the disk") from error
            raise
        try:
            entries = _sorted_entries(fd, self._names_in_memory)
        except OSError:
            os.close(fd)
            raise
        levels.append(_Level(prefix, fd, entries))

    def _look(self, level: _Level, name: bytes, key: bytes, since_ns: int | None) -> Object | Unscanned | None:
        """Stat one entry. None means that it is out of the asked time, or vanished and so no longer an object."""
        try:
            if level.fd is None:
                level.fd = self._open_dir(level.prefix)
            info = os.stat(name, dir_fd=level.fd, follow_symlinks=False)
        except OSError as error:
            if error.errno in _GONE:
                return None
            return Unscanned(Object(key_text(key), 0, 0), Reason.UNREADABLE, error.strerror or "")
        if since_ns is not None and max(info.st_mtime_ns, info.st_ctime_ns) < since_ns:
            return None
        obj = _object(key_text(key), info)
        if stat.S_ISREG(info.st_mode):
            if size_of(info.st_size) is None:  # off_t is signed, and some FUSE file systems pass anything on
                return Unscanned(obj, Reason.UNREADABLE, f"the file system says that it has {info.st_size} bytes")
            return obj
        if stat.S_ISLNK(info.st_mode):
            return Unscanned(obj, Reason.SYMLINK, "symlinks are not followed")
        if stat.S_ISDIR(info.st_mode):  # it was a file when the directory was read
            return None
        return Unscanned(obj, Reason.SPECIAL_FILE, stat.filemode(info.st_mode)[0] + " is not a regular file")

    def fetch(self, obj: Object, accept: Callable[[bytes], object]) -> bytes:
        """Return the file's bytes if it is unchanged before and after reading; see the `Store` port."""
        with self.opened(obj) as fd:
            info = os.fstat(fd)
            if not _same(obj, info):
                raise Unscannable(Reason.CHANGED, "it changed after it was listed")
            try:
                accept(os.pread(fd, min(HEAD_BYTES, obj.size), 0) if obj.size else b"")
                data = _read_all(fd, obj.size)
            except OSError as error:
                raise Unscannable(Reason.UNREADABLE, error.strerror or "read error") from error
            after = os.fstat(fd)
            if len(data) != obj.size or not _same(obj, after):
                raise Unscannable(Reason.CHANGED, "it changed while it was read")
            return data

    def fetch_into(self, obj: Object, memory: memoryview) -> None:
        """Read the file's bytes into memory that is there, if it is unchanged; see the `ReadsInto` port."""
        with self.opened(obj) as fd:
            if not _same(obj, os.fstat(fd)):
                raise Unscannable(Reason.CHANGED, "it changed after it was listed")
            try:
                done = 0
                while done < obj.size and (count := os.preadv(fd, [memory[done:]], done)):
                    done += count
                grown = os.pread(fd, 1, obj.size)
            except OSError as error:
                raise Unscannable(Reason.UNREADABLE, error.strerror or "read error") from error
            if done != obj.size or grown or not _same(obj, os.fstat(fd)):
                raise Unscannable(Reason.CHANGED, "it changed while it was read")

    def remove(self, obj: Object, sha256: bytes) -> Removal:
        """Unlink the file after checking size, modification time, inode and SHA-256; see the `Store` port.

        Other hard links to the same file are other keys with their own plans. Between the last check and the unlink
        lies one system call; a file swapped in that instant cannot be told apart.
        """
        try:
            return self._remove(obj, sha256)
        except Unscannable as error:
            state = PlanState.GONE if error.reason is Reason.VANISHED else PlanState.FAILED
            return Removal(state, error.detail)
        except OSError as error:
            return Removal(PlanState.FAILED, f"{error.strerror or error}; {_removal_remedy(error)}")

    def _remove(self, obj: Object, sha256: bytes) -> Removal:
        parent, _, name = key_bytes(obj.key).rpartition(b"/")
        with self.opened(obj) as fd, self.directory(parent) as dir_fd:
            before = os.fstat(fd)
            if not stat.S_ISREG(before.st_mode) or not _same(obj, before):
                return Removal(PlanState.CHANGED, "size, time or inode differ from what was judged")
            if _sha256(fd) != sha256:
                return Removal(PlanState.CHANGED, "the content differs from what was judged")
            there = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
            if (there.st_ino, there.st_dev) != (before.st_ino, before.st_dev):
                return Removal(PlanState.CHANGED, "another file has taken its name")
            os.unlink(name, dir_fd=dir_fd)
            os.fsync(dir_fd)
            try:
                left = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
            except FileNotFoundError:
                return Removal(PlanState.DONE, "verified: the name is gone")
            if left.st_ino == before.st_ino and os.fstat(fd).st_nlink >= before.st_nlink:
                return Removal(PlanState.FAILED, "the file is still there after unlinking")
            return Removal(PlanState.DONE, "verified: gone; another file has since taken the name")

    def may_remove(self, sample: Sequence[Object]) -> Right:
        """Return what the kernel says of this process' rights in the directories of these; see the `Store` port.

        Nothing is written. Of a directory where only owners may remove, the owners are compared.
        """
        keys_of: dict[bytes, list[bytes]] = {b"": []} if not sample else {}
        for obj in sample:
            parent, _, name = key_bytes(obj.key).rpartition(b"/")
            keys_of.setdefault(parent, []).append(name)
        closed: dict[bytes, str] = {}
        for parent, names in keys_of.items():
            try:
                with self.directory(parent) as fd:
                    remedy = _closed(fd, names)
            except OSError as error:
                if error.errno in _GONE:
                    continue
                remedy = _removal_remedy(error)
            if remedy:
                closed[parent] = remedy
        if not closed:
            return Right(True)
        first, remedy = next(iter(closed.items()))
        where = f"{len(closed):,} of {len(keys_of):,} directories, such as {key_text(first)}/" if first else "its root"
        return Right(False, f"this user may not remove files in {where}; {remedy}")

    def close(self) -> None:
        """Close the root's descriptor."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open_dir(self, key: bytes) -> int:
        """Return a new descriptor of the directory `key` (b"" is the root), reached without following links."""
        fd = os.open(".", _DIR_FLAGS, dir_fd=self._fd)
        try:
            for part in key.split(b"/"):
                if part:
                    deeper = os.open(part, _DIR_FLAGS, dir_fd=fd)
                    os.close(fd)
                    fd = deeper
        except OSError:
            os.close(fd)
            raise
        return fd

    @contextmanager
    def directory(self, key: bytes) -> Iterator[int]:
        """Hold a descriptor of the directory `key` (b"" is the root), reached without following links."""
        fd = self._open_dir(key)
        try:
            yield fd
        finally:
            os.close(fd)

    @contextmanager
    def opened(self, obj: Object) -> Iterator[int]:
        """Open an object's file for reading. Raises `Unscannable` with vanished, changed or unreadable."""
        parent, _, name = key_bytes(obj.key).rpartition(b"/")
        if name in (b"", b".", b"..") or b".." in parent.split(b"/"):
            raise Unscannable(Reason.UNREADABLE, "the key leads out of the store")
        try:
            with self.directory(parent) as dir_fd:
                fd = os.open(name, _FILE_FLAGS, dir_fd=dir_fd)
        except OSError as error:
            if error.errno == errno.ENOENT:
                raise Unscannable(Reason.VANISHED, "it is not there any more") from error
            if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO):
                raise Unscannable(Reason.CHANGED, "it is no longer a regular file") from error
            raise Unscannable(Reason.UNREADABLE, error.strerror or "cannot be opened") from error
        try:
            yield fd
        finally:
            os.close(fd)


def _object(key: str, info: os.stat_result) -> Object:
    # The change time catches a file rewritten in place with its old size and time (as backups and rsync do).
    tag = f"{info.st_ino:x}.{info.st_ctime_ns:x}"
    return Object(key, size_of(info.st_size) or 0, clamped_ns(info.st_mtime_ns), tag)


def _same(obj: Object, info: os.stat_result) -> bool:
    """Compare size, modification time and inode; not the change time, which moves with every hard link."""
    inode = obj.tag.partition(".")[0]
    return (obj.size, obj.mtime_ns, inode) == (info.st_size, clamped_ns(info.st_mtime_ns), f"{info.st_ino:x}")


def _read_all(fd: int, size: int) -> bytes:
    """Read up to `size` + 1 bytes, so that a file that grew is noticed."""
    data = os.pread(fd, size + 1, 0)
    if len(data) >= size or not data:
        return data
    parts = [data]
    done = len(data)
    while done <= size:
        more = os.pread(fd, size + 1 - done, done)
        if not more:
            break
        parts.append(more)
        done += len(more)
    return b"".join(parts)


def _sha256(fd: int) -> bytes:
    digest = hashlib.sha256()
    offset = 0
    while chunk := os.pread(fd, _CHUNK_BYTES, offset):
        digest.update(chunk)
        offset += len(chunk)
    return digest.digest()


_OPEN_IT = "run as the user that owns the files, or grant write access to the directory"
_MOUNT_IT = "the file system is mounted read-only: mount it writable"


def _removal_remedy(error: OSError) -> str:
    if error.errno in (errno.EACCES, errno.EPERM):
        return _OPEN_IT
    if error.errno == errno.EROFS:
        return _MOUNT_IT
    return "the next run tries again"


def _closed(fd: int, names: Sequence[bytes]) -> str:
    """Return what would let this process remove these names from an open directory; nothing where it may already."""
    if os.fstatvfs(fd).f_flag & os.ST_RDONLY:
        return _MOUNT_IT
    effective = os.access in os.supports_effective_ids
    if not os.access(".", os.W_OK | os.X_OK, dir_fd=fd, effective_ids=effective):
        return _OPEN_IT
    directory, user = os.fstat(fd), os.geteuid()
    if directory.st_mode & stat.S_ISVTX and user not in (0, directory.st_uid):
        for name in names:
            with suppress(FileNotFoundError):
                if os.stat(name, dir_fd=fd, follow_symlinks=False).st_uid != user:
                    return "the directory is sticky: run as the user that owns the files"
    return ""


def _sorted_entries(fd: int, in_memory: int) -> Iterator[tuple[bytes, bytes]]:
    """Return a directory's entries in the byte order that their keys have in the whole tree.

    A directory sorts as its name with `/`; the kind is b"d" for directories and b"f" for all else. More than
    `in_memory` names wait in a temporary file.
    """
    runs = SortedRuns(in_memory)
    try:
        with os.scandir(fd) as entries:
            for entry in entries:
                runs.add(_sort_key(os.fsencode(entry.name), entry.is_dir(follow_symlinks=False)))
    except OSError:
        runs.close()
        raise
    runs.sort()
    return _entries(runs)


def _entries(runs: SortedRuns) -> Generator[tuple[bytes, bytes], None, None]:
    with closing(runs):
        for key in runs:
            name, _, kind = key.rpartition(b"\0")
            yield name, kind


def _sort_key(name: bytes, is_dir: bool) -> bytes:
    return name + (b"/\0d" if is_dir else b"\0f")
