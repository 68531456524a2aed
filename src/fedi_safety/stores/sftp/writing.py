"""Writing files on a server over SFTP, durably and whole: beside the name, synced where it can be, then renamed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import asyncssh
from asyncssh.sftp import SFTPAttrs

from fedi_safety.stores.sftp.connections import BROKEN, Link, Pool
from fedi_safety.stores.sftp.trust import Place

_T = TypeVar("_T")
_BLOCK = 1 << 15  # what every server takes
_BLOCKS_AHEAD = 16
_NEW = asyncssh.FXF_WRITE | asyncssh.FXF_CREAT | asyncssh.FXF_TRUNC


@dataclass(frozen=True, slots=True)
class Files:
    """A directory on a server, with what reaches it."""

    run: Callable[[Coroutine[Any, Any, Any]], Any]
    pool: Pool
    root: bytes
    place: Place

    def path(self, key: bytes) -> bytes:
        """Return the remote path of a key, which must not climb."""
        return self.root.rstrip(b"/") + b"/" + key

    def attempt(self, work: Callable[[Link], Awaitable[_T]]) -> _T:
        """Do `work` over a connection, again over another one where that is lost. Raises `StoreError`."""
        done: _T = self.run(self.pool.attempt(work))
        return done


async def write_beside(link: Link, part: bytes, data: bytes | bytearray | memoryview, attrs: SFTPAttrs) -> bool:
    """Write a file anew; return whether the server synced it, which not every one can."""
    handler = link.handler
    (handle,) = await link.ask(handler.open(part, _NEW, attrs))
    try:
        view = memoryview(data)
        size = min(1 << 18, handler.limits.max_write_len or _BLOCK)
        for at in range(0, len(view), size * _BLOCKS_AHEAD):
            window = view[at : at + size * _BLOCKS_AHEAD]
            starts = range(0, len(window), size)
            await link.ask(*(handler.write(handle, at + o, bytes(window[o : o + size])) for o in starts))
        synced = True
        try:
            await link.ask(handler.fsync(handle))
        except asyncssh.SFTPOpUnsupported:
            synced = False
    finally:
        link.release(handle)
    return synced


async def rename_over(link: Link, part: bytes, path: bytes) -> None:
    """Put a file in the place of what has the name, in one step where the server can."""
    try:
        await link.ask(link.handler.posix_rename(part, path))
    except asyncssh.SFTPOpUnsupported:
        with suppress(asyncssh.SFTPNoSuchFile):
            await link.ask(link.handler.remove(path))
        await link.ask(link.handler.rename(part, path, 0))


async def removed(link: Link, path: bytes) -> bool:
    """Remove a file; return whether there was one."""
    try:
        await link.ask(link.handler.remove(path))
    except BROKEN:
        raise
    except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath):
        return False
    return True
