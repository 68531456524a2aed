"""The SFTP store: a directory tree on another machine, listed, read and removed from over SSH, on that machine.

SFTP (version 3, what OpenSSH speaks) gives neither inodes nor fractions of a second, and opens paths, not entries of
an open directory. Paths are therefore resolved by the server and compared before every read and removal; a directory
swapped for a link, or a file rewritten with its old size within the same second, in the instant between that check and
the act cannot be told apart. A server that changes files by itself is trusted. It does not watch for changes.
"""

from __future__ import annotations

import hashlib
import secrets
import stat
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote_from_bytes

import asyncssh
from asyncssh.sftp import SFTPAttrs

from fedi_safety.config.schema import Ssh
from fedi_safety.core.enums import ActKind, PlanState, Reason
from fedi_safety.core.errors import StoreError, StoreUsageError, Unscannable
from fedi_safety.core.keys import OUR_NAME, KeyRange, key_bytes
from fedi_safety.core.types import Object, Removal, Right, Unscanned
from fedi_safety.stores.cutting import cut_by_names
from fedi_safety.stores.sftp.connections import BROKEN, Engine, Link, Lost, Pool, Waits
from fedi_safety.stores.sftp.listing import Lister, entered, info_of, is_straight, untyped
from fedi_safety.stores.sftp.rights import Beside, try_right
from fedi_safety.stores.sftp.trust import HostKeys, Place, read_login, read_url
from fedi_safety.stores.sftp.writing import Files

_T = TypeVar("_T")
HEAD_BYTES = 4096
_READ_BYTES = 1 << 18  # of one request, where the server allows it
_READS_AHEAD = 16  # of one file
_NAMES_IN_MEMORY = 100_000
# A file rewritten in place within the second of its modification time looks untouched; while it is this fresh, its
# head is read once more at the end. Generous, because the server's clock is not ours.
_FRESH_S = 3600
Asked = list[bool]  # not empty: the server was asked


def open_sftp(url: str, access: Ssh) -> SftpStore:
    """Log in and return the store that `url` (`sftp://user@host:port/path`) names.

    Raises `StoreUsageError` for a host key that is unknown or has changed, a refused login, or a directory that cannot
    be read, and `StoreError` when the server cannot be reached.
    """
    return SftpStore(read_url(url), access)


class SftpStore:
    """A directory on a server. Keys are paths relative to it; see the `Store` port for the promises."""

    default_act = ActKind.DELETE
    local_root = None
    identity = None  # SFTP tells neither device nor inode
    owner = None

    def __init__(
        self, place: Place, access: Ssh, *, waits: Waits | None = None, names_in_memory: int = _NAMES_IN_MEMORY
    ) -> None:
        """Connect and check the directory. `names_in_memory` bounds how many listed names are held in memory."""
        self.concurrency = 2 * access.connections  # requests of several objects share a connection
        self._place = place
        self._names_in_memory = names_in_memory
        keys, login = HostKeys(place, access), read_login(place, access)
        self._closed = False
        self._engine = Engine()
        self._pool = Pool(place, keys, login, access.connections, waits or Waits())
        try:
            self._root = self._run(self._pool.attempt(self._opened_root))
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        """The `sftp://` URL of the directory as the server resolves it, without a password."""
        return self._place.server + quote_from_bytes(self._root)

    @property
    def files(self) -> Files:
        """The directory, for what writes there."""
        return Files(self._run, self._pool, self._root, self._place)

    def _run(self, work: Coroutine[Any, Any, _T]) -> _T:
        try:
            return self._engine.run(work)
        except Lost as error:
            raise self._down(error) from error

    def _down(self, error: Lost) -> StoreError:
        return StoreError(self._place.server, f"the connection keeps breaking ({error})", "check the network and sshd")

    async def _opened_root(self, link: Link) -> bytes:
        place = self._place
        shown = place.server + quote_from_bytes(place.path)
        try:
            root = (await link.ask(link.handler.realpath(place.path)))[0][0][0].filename
            assert isinstance(root, bytes)
            (attrs,) = await link.ask(link.handler.lstat(root, 0))
            mode = info_of(attrs).mode
            if mode and not stat.S_ISDIR(mode):  # where it is not said, opening it will tell
                raise StoreUsageError(shown, "it is not a directory", "give the directory that holds the files")
            (handle,) = await link.ask(link.handler.opendir(entered(root)))
        except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath) as error:
            raise StoreUsageError(
                shown, "there is no such directory", f"check the path as {place.user} sees it over SFTP (a chroot?)"
            ) from error
        except asyncssh.SFTPPermissionDenied as error:
            raise StoreUsageError(
                shown, f"{place.user} has no permission to read it", "log in as the user that owns the files"
            ) from error
        except BROKEN:
            raise
        except asyncssh.SFTPError as error:
            raise StoreUsageError(shown, f"the server says: {error.reason}", "check the path") from error
        link.release(handle)
        return root

    def _path(self, key: bytes) -> bytes:
        """Return the remote path of `key`, which must not climb."""
        parts = key.split(b"/")
        if b"\0" in key or any(part in (b"", b".", b"..") for part in parts):
            raise Unscannable(Reason.UNREADABLE, "the key leads out of the store")
        return self._root.rstrip(b"/") + b"/" + key

    def list(self, prefixes: Sequence[str] = (), since: float | None = None) -> Iterator[Object | Unscanned]:
        """Yield the tree's objects in the byte order of their keys; see the `Store` port.

        Directories are read ahead, so that a distant server is not asked for one after the other. `since` knows only
        modification times, in whole seconds: SFTP has no change time, so a file moved in with an old time is not new.
        """
        return self.list_within(KeyRange(), prefixes, since)

    def list_within(
        self, within: KeyRange, prefixes: Sequence[str] = (), since: float | None = None
    ) -> Iterator[Object | Unscanned]:
        """Yield a part of the tree's objects; see the `Divisible` port."""
        try:
            yield from self._lister(within).walk(prefixes, since)
        except Lost as error:
            raise self._down(error) from error

    def cuts(self, within: KeyRange, most: int) -> tuple[bytes, ...]:
        """Part the tree at directories and files, from the top down; see the `Divisible` port."""
        try:
            return tuple(cut_by_names(self._lister(within).names, within, most))
        except Lost as error:
            raise self._down(error) from error

    def _lister(self, within: KeyRange) -> Lister:
        return Lister(self._engine, self._pool, self._root, self.url, self._names_in_memory, within)

    # --- reading

    def fetch(self, obj: Object, accept: Callable[[bytes], object]) -> bytes:
        """Return the file's bytes if it is unchanged before and after reading; see the `Store` port.

        A broken connection or a file that came short is tried again over a new connection, a few times; then it is
        `Unscannable` with `fetch_failed`. A server that stays away is a `StoreError`.
        """
        path = self._path(key_bytes(obj.key))
        seen: bytes | None = None
        failed = 0
        while True:
            try:
                link, handle, head = self._engine.run(self._begun(path, obj))
                try:
                    if seen is None:
                        accept(head)
                    elif head != seen:
                        raise Unscannable(Reason.CHANGED, "it changed while it was read")
                except BaseException:
                    self._engine.submit(_released(link, handle))
                    raise
                seen = head
                return self._engine.run(self._finished(link, handle, obj, head))
            except Lost as error:
                failed += 1
                if failed >= self._pool.waits.tries:
                    raise Unscannable(Reason.FETCH_FAILED, f"the connection broke {failed} times: {error}") from error
                self._engine.run(self._pool.pause(failed))

    async def _begun(self, path: bytes, obj: Object) -> tuple[Link, bytes, bytes]:
        """Check the path, open it, and read the head. The handle stays open."""
        async with self._pool.lend() as link:
            handle = await self._checked(link, path, obj)
            try:
                count = min(HEAD_BYTES, obj.size)
                with _refusals():
                    attrs, head = await link.ask(
                        untyped(link.handler.fstat(handle, 0)), untyped(_block(link, handle, 0, count))
                    )
                if not info_of(attrs).is_still(obj):
                    raise Unscannable(Reason.CHANGED, "it changed after it was listed")
                if len(head) < count:
                    raise Lost("the server sent less than the file's size")
            except BaseException:
                link.release(handle)
                raise
            return link, handle, head

    async def _checked(self, link: Link, path: bytes, obj: Object) -> bytes:
        """Open a file after checking that the path leads straight to it. Raises `Unscannable`.

        A FIFO is never opened: it would hang the server's end of the connection.
        """
        handler = link.handler
        with _refusals():
            attrs, resolved = await link.ask(untyped(handler.lstat(path, 0)), untyped(handler.realpath(path)))
            info = info_of(attrs)
            if not info.mode:
                raise Unscannable(Reason.UNREADABLE, "the server does not say what it is")
            if not stat.S_ISREG(info.mode):
                raise Unscannable(Reason.CHANGED, "it is no longer a regular file")
            if not is_straight(resolved, path):
                raise Unscannable(Reason.CHANGED, "a directory on its path has become a link")
            if not info.is_still(obj):
                raise Unscannable(Reason.CHANGED, "it changed after it was listed")
            (handle,) = await link.ask(handler.open(path, asyncssh.FXF_READ, SFTPAttrs()))
        return handle

    async def _finished(self, link: Link, handle: bytes, obj: Object, head: bytes) -> bytes:
        """Read what follows the head, and look at the file again."""
        fresh = abs(time.time() - obj.mtime_ns / 1e9) < _FRESH_S
        async with self._pool.lend(link):
            try:
                with _refusals():
                    parts = [head]
                    async for block in blocks(link, handle, len(head), obj.size):
                        parts.append(block)
                    attrs, again = await link.ask(
                        untyped(link.handler.fstat(handle, 0)),
                        untyped(_block(link, handle, 0, len(head) if fresh else 0)),
                    )
            finally:
                link.release(handle)
            if not info_of(attrs).is_still(obj) or (fresh and again != head):
                raise Unscannable(Reason.CHANGED, "it changed while it was read")
            data = b"".join(parts)
            if len(data) != obj.size:
                raise Lost("the server sent less than the file's size")
            return data

    # --- removing

    def remove(self, obj: Object, sha256: bytes) -> Removal:
        """Remove the file on the server after checking its path, size, time and SHA-256 there; see the `Store` port.

        When the connection breaks with the answer under way, the server is asked again what is there.
        """
        try:
            path = self._path(key_bytes(obj.key))
            asked: Asked = []
            return self._engine.run(self._pool.attempt(lambda link: self._removed(link, path, obj, sha256, asked)))
        except Unscannable as error:
            states = {Reason.VANISHED: PlanState.GONE, Reason.CHANGED: PlanState.CHANGED}
            return Removal(states.get(error.reason, PlanState.FAILED), error.detail)
        except Lost as error:
            return Removal(PlanState.FAILED, f"{self._down(error).line()}; the next run tries again")
        except StoreError as error:
            return Removal(PlanState.FAILED, error.line())

    async def _removed(self, link: Link, path: bytes, obj: Object, sha256: bytes, asked: Asked) -> Removal:
        """One try. `asked` holds whether the server was asked to remove it, now or by a try whose answer was lost."""
        try:
            with _refusals():
                if await self._digest(link, path, obj) != sha256:
                    return Removal(PlanState.CHANGED, "the content differs from what was judged")
                handler = link.handler
                attrs, resolved = await link.ask(untyped(handler.lstat(path, 0)), untyped(handler.realpath(path)))
                if not is_straight(resolved, path) or not info_of(attrs).is_still(obj):
                    return Removal(PlanState.CHANGED, "something else has taken its place")
                return await self._unlinked(link, path, obj, asked)
        except Unscannable as error:
            if error.reason is Reason.VANISHED and asked:
                return Removal(PlanState.DONE, "verified: the name is gone (the connection broke during the removal)")
            raise

    async def _digest(self, link: Link, path: bytes, obj: Object) -> bytes:
        """Return the SHA-256 of what stands at `path` now, if that is what was listed. Raises `Unscannable`."""
        handle = await self._checked(link, path, obj)
        digest, count = hashlib.sha256(), 0
        try:
            async for block in blocks(link, handle, 0, obj.size):
                digest.update(block)
                count += len(block)
            (attrs,) = await link.ask(link.handler.fstat(handle, 0))
        finally:
            link.release(handle)
        if not info_of(attrs).is_still(obj):
            raise Unscannable(Reason.CHANGED, "size or time differ from what was judged")
        if count != obj.size:
            raise Lost("the server sent less than the file's size")
        return digest.digest()

    async def _unlinked(self, link: Link, path: bytes, obj: Object, asked: Asked) -> Removal:
        """Remove the name, and look whether it is gone."""
        before = bool(asked)
        asked.append(True)
        try:
            await link.ask(link.handler.remove(path))
        except asyncssh.SFTPNoSuchFile:
            if not before:  # someone else was faster
                asked.clear()
            raise
        except asyncssh.SFTPPermissionDenied:
            return Removal(
                PlanState.FAILED,
                f"permission denied on the server; let {self._place.user} write to the directory, "
                "or log in as the user that owns the files",
            )
        except asyncssh.SFTPFailure as error:
            return Removal(
                PlanState.FAILED,
                f"the server says: {error.reason}; the next run tries again (a file system mounted read-only must be "
                "mounted writable)",
            )
        try:
            (attrs,) = await link.ask(link.handler.lstat(path, 0))
        except asyncssh.SFTPNoSuchFile:
            return Removal(PlanState.DONE, "verified: the name is gone")
        if info_of(attrs).is_still(obj):
            return Removal(PlanState.FAILED, "the file is still there after its removal")
        return Removal(PlanState.DONE, "verified: gone; another file has since taken the name")

    # --- asking what may be done

    def may_remove(self, sample: Sequence[Object]) -> Right:
        """Return whether an empty file of our own can be made and removed beside these; see the `Store` port.

        Three of their directories are tried. SFTP tells nobody's rights, so nothing less would show it.
        """
        beside: dict[bytes, bytes | None] = {}
        for key in (key_bytes(obj.key) for obj in sample):
            beside.setdefault(key.rpartition(b"/")[0], key)
        beside = beside or {b"": None}
        found = list(beside)
        root, own = self._root.rstrip(b"/") + b"/", OUR_NAME.encode() + secrets.token_hex(8).encode()
        for parent in dict.fromkeys((found[0], found[len(found) // 2], found[-1])):
            other = beside[parent]
            place = Beside(root + parent, own, None if other is None else root + other)
            right = self._run(self._pool.attempt(partial(try_right, user=self._place.user, place=place)))
            if not right.held:
                return right
        return Right(True)

    def close(self) -> None:
        """Close the connections and end the thread."""
        if not self._closed:
            self._closed = True
            with suppress(StoreError):
                self._engine.run(self._pool.close())
            self._engine.close()


@contextmanager
def _refusals() -> Iterator[None]:
    """Turn what the server says against one object into `Unscannable`; a lost connection passes through."""
    try:
        yield
    except BROKEN:
        raise
    except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath) as error:
        raise Unscannable(Reason.VANISHED, "it is not there any more") from error
    except asyncssh.SFTPError as error:
        raise Unscannable(Reason.UNREADABLE, f"the server says: {error.reason}") from error


async def _released(link: Link, handle: bytes) -> None:
    link.release(handle)


async def _block(link: Link, handle: bytes, offset: int, count: int) -> bytes:
    """Read `count` bytes; fewer only at the end of the file."""
    parts: list[bytes] = []
    while count > 0:
        try:
            data, _ = await link.handler.read(handle, offset, count)
        except asyncssh.SFTPEOFError:
            break
        if not data:
            break
        parts.append(data)
        offset += len(data)
        count -= len(data)
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def blocks(link: Link, handle: bytes, start: int, end: int) -> AsyncIterator[bytes]:
    """Yield a file's bytes in order, with several requests under way; ends early where the file does."""
    size = min(_READ_BYTES, link.handler.limits.max_read_len or _READ_BYTES)
    for at in range(start, end, size * _READS_AHEAD):
        stop = min(end, at + size * _READS_AHEAD)
        for block in await link.ask(*(_block(link, handle, o, min(size, stop - o)) for o in range(at, stop, size))):
            yield block
