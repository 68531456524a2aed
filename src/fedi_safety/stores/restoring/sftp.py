"""Putting files back on a server over SFTP: bytes, mode, times in whole seconds, the owner where permitted."""

from __future__ import annotations

import secrets
import stat
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TypeVar

import asyncssh
from asyncssh.sftp import SFTPAttrs

from fedi_safety.core.enums import Reason
from fedi_safety.core.errors import StoreError, StoreUsageError, Unscannable
from fedi_safety.core.keys import OUR_NAME, key_bytes
from fedi_safety.core.sealing.copies import Described, Older
from fedi_safety.core.types import Object
from fedi_safety.stores.sftp.connections import BROKEN, Link
from fedi_safety.stores.sftp.listing import info_of, untyped
from fedi_safety.stores.sftp.store import SftpStore
from fedi_safety.stores.sftp.writing import removed, write_beside

_T = TypeVar("_T")
_NOT_THERE = (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath)


class SftpRestorer:
    """Puts files back below the directory of an SFTP store; see the `Restorer` port."""

    def __init__(self, store: SftpStore) -> None:
        """Use the store, which stays the caller's to close."""
        self._files = store.files
        self._url = store.url

    def describe(self, obj: Object, sha256: bytes) -> Described:  # noqa: ARG002
        """Return mode, owner and times, as far as the server tells; see the `Restorer` port."""

        async def work(link: Link) -> Described:
            try:
                (attrs,) = await link.ask(link.handler.lstat(self._files.path(key_bytes(obj.key)), 0))
            except _NOT_THERE as error:
                raise Unscannable(Reason.VANISHED, "it is not there any more") from error
            if not info_of(attrs).is_still(obj):
                raise Unscannable(Reason.CHANGED, "it changed after it was listed")
            mode = attrs.permissions
            told = {"uid": attrs.uid, "gid": attrs.gid, "atime": attrs.atime, "mtime": attrs.mtime}
            told["mode"] = None if mode is None else stat.S_IMODE(mode)
            return {name: value for name, value in told.items() if value is not None}

        return self._attempt(work)

    def older(self, obj: Object) -> Sequence[Older]:  # noqa: ARG002
        """Return nothing: a directory keeps no versions."""
        return ()

    def marks(self, obj: Object) -> frozenset[str]:  # noqa: ARG002
        """Return nothing: a directory keeps no versions."""
        return frozenset()

    def lost(self, described: Described, older: int = 0) -> Sequence[str]:  # noqa: ARG002
        """Return what of a file does not come back; see the `Restorer` port."""
        return [
            "times are in whole seconds, and extended attributes do not come over SFTP",
            *([] if "uid" not in described else ["the owner stays as it was where the server lets this login set it"]),
        ]

    def put_back(
        self,
        key: str,
        data: bytes,
        described: Described,
        older: Sequence[Older] = (),  # noqa: ARG002
    ) -> Sequence[str]:
        """Write a file beside its name, make it what it was, and give it its name; see the `Restorer` port."""
        path = self._files.path(key_bytes(key))
        part = path.rpartition(b"/")[0] + f"/{OUR_NAME}{secrets.token_hex(8)}".encode()
        thing = f"{self._url}/{key}"

        async def work(link: Link) -> list[str]:
            differs = await self._made_directories(link, path)
            await _refuse_taken(link, path, thing)
            last = SFTPAttrs(permissions=described.get("mode"))
            if "mtime" in described:
                last.atime, last.mtime = described.get("atime", described["mtime"]), described["mtime"]
            try:
                synced = await write_beside(link, part, data, SFTPAttrs(permissions=0o600))
                if "uid" in described and "gid" in described:
                    with suppress(asyncssh.SFTPPermissionDenied, asyncssh.SFTPFailure):
                        own = SFTPAttrs(uid=described["uid"], gid=described["gid"])
                        await link.ask(link.handler.setstat(part, own))
                await link.ask(link.handler.setstat(part, last))
                # The plain renaming of SFTP replaces nothing.
                await link.ask(link.handler.rename(part, path, 0))
            except BROKEN:
                raise
            except asyncssh.SFTPError:
                await removed(link, part)
                raise
            if not synced:
                differs.append("the server has no way to sync: it writes the file to its disk when it does")
            (attrs,) = await link.ask(link.handler.lstat(path, 0))
            return differs + _differences(attrs, len(data), described)

        return self._attempt(work)

    def close(self) -> None:
        """Nothing was opened beside the store."""

    async def _made_directories(self, link: Link, path: bytes) -> list[str]:
        parts = path[len(self._files.root.rstrip(b"/")) + 1 :].split(b"/")[:-1]
        made = 0
        for depth in range(len(parts)):
            above = self._files.path(b"/".join(parts[: depth + 1]))
            try:
                await link.ask(untyped(link.handler.lstat(above, 0)))
            except _NOT_THERE:
                await link.ask(link.handler.mkdir(above, SFTPAttrs(permissions=0o755)))
                made += 1
        return [f"{made} directories above it were gone, and are new"] if made else []

    def _attempt(self, work: Callable[[Link], Awaitable[_T]]) -> _T:
        async def told(link: Link) -> _T:
            try:
                return await work(link)
            except BROKEN:
                raise
            except asyncssh.SFTPError as error:
                remedy = "see to the rights and the space there"
                raise StoreError(self._url, f"the server says: {error.reason}", remedy) from error

        return self._files.attempt(told)


async def _refuse_taken(link: Link, path: bytes, thing: str) -> None:
    try:
        await link.ask(untyped(link.handler.lstat(path, 0)))
    except _NOT_THERE:
        return
    raise StoreUsageError(thing, "something stands there already, and nothing was written", "move it away first")


def _differences(attrs: SFTPAttrs, size: int, described: Described) -> list[str]:
    if attrs.size is not None and attrs.size != size:
        raise StoreError("restore", f"{attrs.size} of {size} bytes are there", "see to the server's disk")
    mode = None if attrs.permissions is None else stat.S_IMODE(attrs.permissions)
    own = {"mode": mode, "mtime": attrs.mtime, "uid": attrs.uid, "gid": attrs.gid}
    return [f"{name} is {is_now}, and was {described[name]}" for name, is_now in own.items()
            if name in described and is_now != described[name]]  # fmt: skip
