"""Tries whether files of a directory on a server could be removed: by an empty file of our own, made and removed there.

SFTP tells nobody's rights, so nothing less would show it. No other file is opened or changed.
"""

from __future__ import annotations

import stat
from contextlib import suppress
from dataclasses import dataclass

import asyncssh
from asyncssh.sftp import SFTPAttrs

from fedi_safety.core.types import Right
from fedi_safety.stores.sftp.connections import BROKEN, Link

_NEW = asyncssh.FXF_WRITE | asyncssh.FXF_CREAT | asyncssh.FXF_EXCL


@dataclass(frozen=True, slots=True)
class Beside:
    """Where it is tried: a directory, the name that is made there, and the path of a file that lies there, if any."""

    directory: bytes
    own: bytes
    other: bytes | None


async def try_right(link: Link, user: str, place: Beside) -> Right:
    """Make a file and remove it. In a directory where only owners may remove, its owner is compared with the other's.

    May be tried again after a lost connection, with the same name.
    """
    path = place.directory.rstrip(b"/") + b"/" + place.own
    shown = (place.directory.rstrip(b"/") or b"/").decode("utf-8", "backslashreplace")
    remedy = f"let {user} write there, or log in as the user that owns the files"
    try:
        ours = await _made(link, path)
    except BROKEN:
        raise
    except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath):
        return Right(None, f"{shown} is not there any more; try again")
    except asyncssh.SFTPError as error:
        return Right(False, f"{user} may not write to {shown} on the server ({error.reason}); {remedy}")
    try:
        await link.ask(link.handler.remove(path))
    except BROKEN:
        raise
    except asyncssh.SFTPError as error:
        left = path.decode("utf-8", "backslashreplace")
        return Right(False, f"{user} may write and not remove there ({error.reason}): {left} is left; {remedy}")
    if await _kept_by_owners(link, place, ours):
        return Right(False, f"{shown} is sticky, and its files are not {user}'s; log in as the user that owns them")
    return Right(True)


async def _made(link: Link, path: bytes) -> SFTPAttrs:
    """Make an empty file, and return what the server says of it."""
    with suppress(asyncssh.SFTPNoSuchFile):  # of a try whose answer was lost
        await link.ask(link.handler.remove(path))
    (handle,) = await link.ask(link.handler.open(path, _NEW, SFTPAttrs()))
    await link.ask(link.handler.close(handle))
    (attrs,) = await link.ask(link.handler.lstat(path, 0))
    return attrs


async def _kept_by_owners(link: Link, place: Beside, ours: SFTPAttrs) -> bool:
    """Whether the directory is one where only owners may remove, and the other file is somebody else's."""
    if place.other is None:
        return False
    try:
        directory, other = await link.ask(
            link.handler.lstat(place.directory.rstrip(b"/") or b"/", 0), link.handler.lstat(place.other, 0)
        )
    except BROKEN:
        raise
    except asyncssh.SFTPError:  # it is gone meanwhile
        return False
    sticky = bool((directory.permissions or 0) & stat.S_ISVTX)
    return sticky and ours.uid not in (0, None, directory.uid) and other.uid != ours.uid
