"""Lists a directory tree over SFTP: sorted, streaming, with the next directories read ahead.

What a directory says of its entries is believed; only those of which it leaves out kind, size or time are looked at
one by one. No link is followed, and no more is held in memory than a bounded number of names.
"""

from __future__ import annotations

import stat
import struct
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import asyncssh
from asyncssh.sftp import SFTPAttrs, SFTPName

from fedi_safety.core.bounds import ns_of, size_of
from fedi_safety.core.enums import Reason
from fedi_safety.core.errors import StoreError
from fedi_safety.core.keys import KeyRange, key_bytes, key_text
from fedi_safety.core.types import Object, Unscanned
from fedi_safety.stores.sftp.connections import BROKEN, Engine, Link, Pool
from fedi_safety.stores.sorting import MAX_RECORD_BYTES, SortedRuns

_DIRECTORIES_AHEAD = 48  # read before their turn: each costs round trips, and pict-rs makes them by the million
_READDIRS_AHEAD = 2  # of one directory: most are told in one answer, and then their end
_LOOKS_AT_ONCE = 64  # LSTATs under way of one directory whose entries say too little
_FACTS = struct.Struct(">qqIB")  # size, mtime, permissions: what the server says of each entry, and whether it does
_SIZE, _TIME = 1, 2


class _Led(Exception):
    """A path now leads elsewhere than it is written: a part of it has become a link."""


@dataclass(frozen=True, slots=True)
class Info:
    """What the server says of a name, without following links. None is what it does not say, or what cannot be.

    `mode` is 0 where it does not say what kind of thing it is.
    """

    size: int | None
    mtime_ns: int | None
    mode: int

    def is_still(self, obj: Object) -> bool:
        """Whether this is what was listed, as far as SFTP can tell."""
        return self.size in (None, obj.size) and self.mtime_ns in (None, obj.mtime_ns)


def info_of(attrs: SFTPAttrs) -> Info:
    """Return what a server's attributes say, of which the protocol lets it leave out every one."""
    mode = attrs.permissions or 0
    return Info(size_of(attrs.size), ns_of(attrs.mtime), mode & (2**32 - 1) if stat.S_IFMT(mode) else 0)


@dataclass(slots=True)
class _Listing:
    """One directory's names, sorted, and those of its directories that are known to come."""

    runs: SortedRuns
    directories: list[bytes]


class _Level:
    """One directory on the way down: what is left of its names."""

    def __init__(self, prefix: bytes, listing: _Listing) -> None:
        self.prefix = prefix
        self.runs = listing.runs
        self.records = iter(listing.runs)
        self.directories = deque(prefix + name for name in listing.directories)
        self.last = b""


class Lister:
    """Walks the tree below one directory of a server."""

    def __init__(
        self,
        engine: Engine,
        pool: Pool,
        root: bytes,
        url: str,
        names_in_memory: int,
        within: KeyRange = KeyRange(),  # noqa: B008 - it never changes
    ) -> None:
        """List below `root`, a path that the server has resolved; of its keys those `within`."""
        self._within = within
        self._engine = engine
        self._pool = pool
        self._root = root
        self._url = url
        self._names_in_memory = names_in_memory

    def walk(self, prefixes: Sequence[str], since: float | None) -> Iterator[Object | Unscanned]:
        """Yield the tree's objects in the byte order of their keys."""
        wanted = tuple(key_bytes(p) for p in prefixes)
        # Whole seconds are all there is: what was modified at 12.9 says 12, and must not be lost to a `since` of 12.5.
        since_s = None if since is None else int(since // 1)
        ahead: dict[bytes, Future[_Listing]] = {}
        levels: list[_Level] = []
        try:
            yield from self._descend(levels, ahead, b"", wanted)
            while levels:
                level = levels[-1]
                record = next(level.records, None)
                if record is None:
                    levels.pop().runs.close()
                    continue
                name, is_directory, info = _unpacked(record)
                if name == level.last:  # some file systems tell a name twice while the directory changes
                    continue
                level.last = name
                key = level.prefix + name
                if self._within.past(key):
                    return
                if not is_directory:
                    if self._within.holds(key) and (not wanted or key.startswith(wanted)):
                        yield from _judged(key, info, since_s)
                elif self._may_hold(key, wanted):
                    if level.directories and level.directories[0] == key:
                        level.directories.popleft()
                    yield from self._descend(levels, ahead, key, wanted)
        finally:
            for level in levels:
                level.runs.close()
            for future in ahead.values():
                future.add_done_callback(_discarded)

    def _descend(
        self, levels: list[_Level], ahead: dict[bytes, Future[_Listing]], key: bytes, wanted: tuple[bytes, ...]
    ) -> Iterator[Unscanned]:
        """Enter directory `key` (b"" is the root); one that cannot be entered is a gap with its name."""
        future = ahead.pop(key, None) or self._engine.submit(self._read(key, wanted))
        self._read_on(levels, ahead, wanted)
        try:
            listing = self._engine.wait(future)
        except BaseException as error:
            if not future.done():
                future.add_done_callback(_discarded)
            if not isinstance(error, (_Led, asyncssh.SFTPError)):
                raise
            if not key:
                raise StoreError(self._url, f"it cannot be listed ({_cause(error)})", "check the path") from error
            yield from _gaps(key, error)
            return
        levels.append(_Level(key, listing))
        self._read_on(levels, ahead, wanted)

    def _read_on(self, levels: list[_Level], ahead: dict[bytes, Future[_Listing]], wanted: tuple[bytes, ...]) -> None:
        """Start reading the directories whose turn comes next, within bounds of directories and of names held."""
        room = _DIRECTORIES_AHEAD - len(ahead)
        if room <= 0:
            return
        held = 0
        stack: list[Iterator[bytes]] = [iter(islice(level.directories, _DIRECTORIES_AHEAD)) for level in levels]
        while stack and room > 0:
            key = next(stack[-1], None)
            if key is None:
                stack.pop()
                continue
            future = ahead.get(key)
            if future is None:
                ahead[key] = self._engine.submit(self._read(key, wanted))
                room -= 1
            elif future.done() and not future.cancelled() and future.exception() is None:
                listing = future.result()
                held += len(listing.runs.held or ())
                if held > self._names_in_memory:
                    return
                deeper = listing.directories[:_DIRECTORIES_AHEAD]
                stack.append(iter([key + name for name in deeper]))

    async def _read(self, key: bytes, wanted: tuple[bytes, ...]) -> _Listing:
        return await self._pool.attempt(lambda link: self._read_once(link, key, wanted))

    async def _read_once(self, link: Link, key: bytes, wanted: tuple[bytes, ...]) -> _Listing:
        """Read a directory's names into sorted runs."""
        path = self._root.rstrip(b"/") + b"/" + key.rstrip(b"/") if key else self._root
        handler = link.handler
        # The path is resolved after it was opened: a link put there before would have been followed.
        opened, resolved = await link.ask(untyped(handler.opendir(entered(path))), untyped(handler.realpath(path)))
        runs = SortedRuns(max(self._names_in_memory // 16, 2))
        directories: list[bytes] = []
        try:
            if not is_straight(resolved, path):
                raise _Led
            unclear: list[bytes] = []
            async for entry in _entries(link, opened):
                name, info = _read_entry(entry)
                if name in (b".", b".."):
                    continue
                if info is None or (info.mode and info.size is not None and info.mtime_ns is not None):
                    _take(runs, name, info)
                    continue
                unclear.append(name)
                if len(unclear) == _LOOKS_AT_ONCE:
                    await _look(link, path, unclear, runs)
                    unclear.clear()
            if unclear:
                await _look(link, path, unclear, runs)
        except BaseException:
            runs.close()
            raise
        finally:
            link.release(opened)
        runs.sort()
        for record in runs.held or ():  # of a very large directory none is read ahead
            name, is_directory, _ = _unpacked(record)
            if is_directory and self._may_hold(key + name, wanted):
                directories.append(name)
        return _Listing(runs, directories)

    def _may_hold(self, key: bytes, wanted: tuple[bytes, ...]) -> bool:
        asked = not wanted or any(key.startswith(p) or p.startswith(key) for p in wanted)
        return asked and self._within.reaches(key)

    def names(self, key: bytes) -> list[bytes]:
        """Return keys in directory `key`, those of directories with `/` at the end; none of one that fails."""
        try:
            listing = self._engine.wait(self._engine.submit(self._read(key, ())))
        except (_Led, asyncssh.SFTPError):
            return []
        try:
            return [key + _unpacked(record)[0] for record in islice(listing.runs, self._names_in_memory)]
        finally:
            listing.runs.close()


async def untyped(work: Coroutine[Any, Any, Any]) -> Any:
    """Forget a request's type, so that requests of several types can be sent together."""
    return await work


def is_straight(resolved: Any, path: bytes) -> bool:
    """Whether the answer to REALPATH is the path itself; some servers write directories with `/` at the end."""
    said: bytes = resolved[0][0].filename
    return (said.rstrip(b"/") or b"/") == (path.rstrip(b"/") or b"/")


def entered(path: bytes) -> bytes:
    """Return a path that can be opened only by who may enter the directory, not merely read its names.

    Of a directory that may be read but not entered, sshd leaves all entries out without a word.
    """
    return path + b"/."


async def _entries(link: Link, handle: bytes) -> AsyncIterator[SFTPName]:
    """Yield a directory's entries, asking ahead."""
    more = True
    while more:
        # The answers come in the order of the requests; after the last entry all further ones say "end".
        batch = await link.ask(*(_names(link, handle) for _ in range(_READDIRS_AHEAD)))
        for names in batch:
            if names is None:
                more = False
            else:
                for name in names:
                    yield name


async def _names(link: Link, handle: bytes) -> Sequence[SFTPName] | None:
    try:
        names, _ = await link.handler.readdir(handle)
    except asyncssh.SFTPEOFError:
        return None
    return names


def _read_entry(entry: SFTPName) -> tuple[bytes, Info | None]:
    """Return an entry's name and what the directory says of it; None for what has no real name: a gap, never a path."""
    name = entry.filename
    assert isinstance(name, bytes)
    if not name or b"\0" in name or b"/" in name or len(name) > MAX_RECORD_BYTES - 64:
        return name.replace(b"/", b"?").replace(b"\0", b"?")[:255], None
    return name, info_of(entry.attrs)


async def _look(link: Link, path: bytes, names: Sequence[bytes], runs: SortedRuns) -> None:
    """Ask for what the directory leaves out of some of its entries, and keep them."""
    found = await link.ask(*(_looked(link, path.rstrip(b"/") + b"/" + name) for name in names))
    for name, answer in zip(names, found, strict=True):
        if not answer.gone:
            _take(runs, name, answer.info)


class _Answer(NamedTuple):
    """What LSTAT says: nothing at all where the server refuses it."""

    info: Info | None
    gone: bool = False


async def _looked(link: Link, path: bytes) -> _Answer:
    try:
        return _Answer(info_of(await link.handler.lstat(path, 0)))
    except BROKEN:
        raise
    except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath):
        return _Answer(None, gone=True)
    except asyncssh.SFTPError:
        return _Answer(None)


def _take(runs: SortedRuns, name: bytes, info: Info | None) -> None:
    """Keep an entry in the byte order that its key has in the whole tree: a directory sorts as its name with `/`."""
    info = info or Info(None, None, 0)
    mark = b"/\0d" if stat.S_ISDIR(info.mode) else b"\0f"
    said = (0 if info.size is None else _SIZE) | (0 if info.mtime_ns is None else _TIME)
    facts = _FACTS.pack(info.size or 0, info.mtime_ns or 0, info.mode, said)
    try:
        runs.add(name + mark + facts)
    except OSError as error:
        raise StoreError(
            "temporary directory", f"a large directory's names cannot be sorted: {error.strerror}", "make room in it"
        ) from error


def _unpacked(record: bytes) -> tuple[bytes, bool, Info]:
    """Return an entry's name (with `/` if it is a directory), whether it is one, and what the directory says of it."""
    name, _, rest = record.partition(b"\0")
    size, mtime_ns, mode, said = _FACTS.unpack(rest[1:])
    return name, rest[:1] == b"d", Info(size if said & _SIZE else None, mtime_ns if said & _TIME else None, mode)


def _judged(key: bytes, info: Info, since_s: int | None) -> Iterator[Object | Unscanned]:
    if since_s is not None and info.mode and info.mtime_ns is not None and info.mtime_ns < since_s * 10**9:
        return
    obj = Object(key_text(key), info.size or 0, info.mtime_ns or 0)
    if stat.S_ISREG(info.mode) and info.size is not None and info.mtime_ns is not None:
        yield obj
    elif stat.S_ISREG(info.mode):
        what = "a size that can be" if info.size is None else "the time of its last change"
        yield Unscanned(obj, Reason.UNREADABLE, f"the server does not say {what}")
    elif stat.S_ISLNK(info.mode):
        yield Unscanned(obj, Reason.SYMLINK, "symlinks are not followed")
    elif info.mode == 0:
        yield Unscanned(obj, Reason.UNREADABLE, "the server does not say what it is")
    else:
        yield Unscanned(obj, Reason.SPECIAL_FILE, stat.filemode(info.mode)[0] + " is not a regular file")


def _gaps(key: bytes, error: Exception) -> Iterator[Unscanned]:
    """Yield the gap for a directory that could not be entered; one that is gone meanwhile is none."""
    obj = Object(key_text(key), 0, 0)
    if isinstance(error, _Led):
        yield Unscanned(obj, Reason.SYMLINK, "the directory has become a link; links are not followed")
    elif not isinstance(error, (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath)):
        yield Unscanned(obj, Reason.UNREADABLE, f"directory: {_cause(error)}")


def _cause(error: Exception) -> str:
    return error.reason if isinstance(error, asyncssh.SFTPError) else "it leads elsewhere"


def _discarded(future: Future[_Listing]) -> None:
    """Close what a directory read in vain has left behind."""
    if not future.cancelled() and future.exception() is None:
        future.result().runs.close()
