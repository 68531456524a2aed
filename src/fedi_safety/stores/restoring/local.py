"""Putting files back into a directory: bytes, mode, times, extended attributes, the owner where that is permitted."""

from __future__ import annotations

import base64
import errno
import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from fedi_safety.core.errors import StoreError, StoreUsageError
from fedi_safety.core.keys import OUR_NAME, key_bytes
from fedi_safety.core.sealing.copies import Described, Older
from fedi_safety.core.types import Object
from fedi_safety.stores.local import LocalStore

_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


class LocalRestorer:
    """Puts files back below the root of a local store; see the `Restorer` port."""

    def __init__(self, store: LocalStore) -> None:
        """Use the store, which stays the caller's to close."""
        self._store = store

    def describe(self, obj: Object, sha256: bytes) -> Described:  # noqa: ARG002
        """Return mode, owner, times, extended attributes and the number of names; see the `Restorer` port."""
        with self._store.opened(obj) as fd:
            info = os.fstat(fd)
            return {
                "mode": stat.S_IMODE(info.st_mode),
                "uid": info.st_uid,
                "gid": info.st_gid,
                "atime_ns": info.st_atime_ns,
                "mtime_ns": info.st_mtime_ns,
                "links": info.st_nlink,
                "xattrs": _xattrs(fd),
            }

    def older(self, obj: Object) -> Sequence[Older]:  # noqa: ARG002
        """Return nothing: a directory keeps no versions."""
        return ()

    def marks(self, obj: Object) -> frozenset[str]:  # noqa: ARG002
        """Return nothing: a directory keeps no versions."""
        return frozenset()

    def lost(self, described: Described, older: int = 0) -> Sequence[str]:  # noqa: ARG002
        """Return what of a file does not come back; see the `Restorer` port."""
        found = ["the change time and the inode are new"]
        links = described.get("links", 1)
        if links > 1:
            found.append(f"{links - 1} other names of the same file are files of their own then")
        owner = described.get("uid")
        if owner is not None and os.geteuid() not in (0, owner):
            found.append(f"the owner is this user, not {owner}, unless it is run as root")
        return found

    def put_back(
        self,
        key: str,
        data: bytes,
        described: Described,
        older: Sequence[Older] = (),  # noqa: ARG002
    ) -> Sequence[str]:
        """Write a file beside its name, make it what it was, sync it, and give it its name; see the `Restorer` port."""
        parent, _, name = key_bytes(key).rpartition(b"/")
        thing = f"{self._store.url}/{key}"
        try:
            differs = self._made_directories(parent)
            with self._store.directory(parent) as directory:
                _refuse_taken(directory, name, thing)
                part = f"{OUR_NAME}{secrets.token_hex(8)}".encode()
                fd = os.open(part, _NEW, 0o600, dir_fd=directory)
                try:
                    with _gone_on_failure(directory, part):
                        _write(fd, data)
                        differs += _make_as(fd, described)
                        os.fsync(fd)
                        _named(directory, part, name, thing)
                        os.fsync(directory)
                        differs += _differences(fd, data, described)
                finally:
                    os.close(fd)
        except OSError as error:
            raise StoreError(thing, error.strerror or str(error), "see to the rights and the space there") from error
        return list(dict.fromkeys(differs))

    def close(self) -> None:
        """Nothing was opened beside the store."""

    def _made_directories(self, parent: bytes) -> list[str]:
        """Make the directories of a key that are gone meanwhile; return what is to be said of them."""
        made = 0
        parts = [part for part in parent.split(b"/") if part]
        for depth in range(len(parts)):
            with self._store.directory(b"/".join(parts[:depth])) as above, suppress(FileExistsError):
                os.mkdir(parts[depth], 0o755, dir_fd=above)
                made += 1
        return [f"{made} directories above it were gone, and are new"] if made else []


def _xattrs(fd: int) -> dict[str, str]:
    found: dict[str, str] = {}
    try:
        for name in os.listxattr(fd):
            with suppress(OSError):
                found[name] = base64.b64encode(os.getxattr(fd, name)).decode("ascii")
    except OSError:  # a file system without them
        return {}
    return found


def _refuse_taken(directory: int, name: bytes, thing: str) -> None:
    with suppress(FileNotFoundError):
        os.stat(name, dir_fd=directory, follow_symlinks=False)
        raise StoreUsageError(thing, "something stands there already, and nothing was written", "move it away first")


@contextmanager
def _gone_on_failure(directory: int, part: bytes) -> Iterator[None]:
    """Remove the file's first name, also where its last one could not be given."""
    try:
        yield
    finally:
        with suppress(FileNotFoundError):
            os.unlink(part, dir_fd=directory)


def _write(fd: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]


def _make_as(fd: int, described: Described) -> list[str]:
    """Give an open file what it had; return what could not be given. Owner before mode: a new owner clears bits."""
    differs: list[str] = []
    uid, gid = described.get("uid"), described.get("gid")
    if uid is not None and gid is not None:
        try:
            os.fchown(fd, uid, gid)
        except OSError:
            with suppress(OSError):
                os.fchown(fd, -1, gid)
    for name, value in described.get("xattrs", {}).items():
        try:
            os.setxattr(fd, name, base64.b64decode(value))
        except OSError as error:
            differs.append(f"the extended attribute {name} was refused ({error.strerror})")
    if (mode := described.get("mode")) is not None:
        os.fchmod(fd, mode)
    if (mtime := described.get("mtime_ns")) is not None:
        os.utime(fd, ns=(described.get("atime_ns", mtime), mtime))
    return differs


def _named(directory: int, part: bytes, name: bytes, thing: str) -> None:
    """Give a file its name where nothing has it: a link fails where something does, a rename would replace it."""
    try:
        os.link(part, name, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)
    except FileExistsError as error:
        raise StoreUsageError(thing, "something stands there already", "move it away first") from error
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _refuse_taken(directory, name, thing)
        os.rename(part, name, src_dir_fd=directory, dst_dir_fd=directory)


def _differences(fd: int, data: bytes, described: Described) -> list[str]:
    """Read back, and say what is not as it was."""
    info = os.fstat(fd)
    differs = []
    if os.pread(fd, len(data) + 1, 0) != data:
        raise StoreError("restore", "what was read back is not what was written", "see to the disk")
    own = {"mode": stat.S_IMODE(info.st_mode), "mtime_ns": info.st_mtime_ns, "uid": info.st_uid, "gid": info.st_gid}
    for name, value in own.items():
        was = described.get(name, value)
        if value != was:
            shown = (f"{value:o}", f"{was:o}") if name == "mode" else (value, was)
            differs.append(f"{name} is {shown[0]}, and was {shown[1]}")
    if described.get("xattrs", {}) != _xattrs(fd):
        differs.append("the extended attributes are not all what they were")
    return differs
