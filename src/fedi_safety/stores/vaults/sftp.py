"""A vault in a directory of another machine, over SSH."""

from __future__ import annotations

import stat
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import asyncssh
from asyncssh.sftp import SFTPAttrs

from fedi_safety.config.schema import Ssh
from fedi_safety.core.errors import StoreError
from fedi_safety.core.keys import key_bytes
from fedi_safety.core.sealing.copies import is_whole
from fedi_safety.stores.sftp.connections import BROKEN, Link, Lost
from fedi_safety.stores.sftp.store import blocks, open_sftp
from fedi_safety.stores.sftp.writing import removed, rename_over, write_beside

_T = TypeVar("_T")
_PART = b".part"
_MODE = 0o600


class SftpVault:
    """A directory of sealed files on a server; see the `Vault` port."""

    takes_whole = True

    def __init__(self, url: str, access: Ssh) -> None:
        """Log in; raises as `open_sftp` does."""
        self._store = open_sftp(url, access)
        self._files = self._store.files
        self.url = self._store.url

    def put(self, name: str, pieces: Iterable[bytes | memoryview]) -> None:
        """Write beside the name, have the server sync it, and rename over it; see the `Vault` port."""
        path, data = self._files.path(key_bytes(name)), b"".join(pieces)

        async def work(link: Link) -> None:
            await write_beside(link, path + _PART, data, SFTPAttrs(permissions=_MODE))
            await rename_over(link, path + _PART, path)

        self._attempt(work)

    def draft(self) -> None:
        """Return nothing: what lies there has a name."""

    def get(self, name: str) -> bytes | None:
        """Read a file as the server has it; see the `Vault` port."""
        path = self._files.path(key_bytes(name))

        async def work(link: Link) -> bytes | None:
            try:
                (attrs,) = await link.ask(link.handler.lstat(path, 0))
                if not stat.S_ISREG(attrs.permissions or stat.S_IFREG):
                    raise StoreError(f"vault {self.url}", f"{name} is no regular file", "see who put that there")
                (handle,) = await link.ask(link.handler.open(path, asyncssh.FXF_READ, SFTPAttrs()))
            except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath):
                return None
            try:
                data = bytearray()
                async for block in blocks(link, handle, 0, attrs.size or 0):
                    data += block
            finally:
                link.release(handle)
            if len(data) != (attrs.size or 0):
                raise Lost("the server sent less than the file's size")
            return bytes(data)

        return self._attempt(work)

    def holds(self, name: str, data: bytes | memoryview) -> bool:
        """Read a file and compare it; see the `Vault` port."""
        return is_whole(self.get(name), data)

    def remove(self, name: str) -> bool:
        """Remove a file and what an interrupted writing left beside it; see the `Vault` port."""
        path = self._files.path(key_bytes(name))

        async def work(link: Link) -> bool:
            part = await removed(link, path + _PART)
            return await removed(link, path) or part

        return self._attempt(work)

    def close(self) -> None:
        """Close the connections."""
        self._store.close()

    def _attempt(self, work: Callable[[Link], Awaitable[_T]]) -> _T:
        async def told(link: Link) -> _T:
            try:
                return await work(link)
            except BROKEN:
                raise
            except asyncssh.SFTPError as error:
                cause = f"the server says: {error.reason}"
                raise StoreError(f"vault {self.url}", cause, "see to its disk and its rights") from error

        return self._files.attempt(told)
