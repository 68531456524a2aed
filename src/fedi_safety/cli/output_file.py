"""Where a file that a command writes goes: checked before the work, written whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from fedi_safety.config.locations import there
from fedi_safety.core.errors import UsageError

_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


def checked_place(file: str, option: str = "--html", like: str = "report.html") -> Path:
    """Return where the file goes, a link followed. Raises `UsageError` now rather than after a long count.

    `option` is what named it, nothing where it is the command's argument; `like` is a name that would be right.
    """
    place = Path(os.path.realpath(file))
    named = f"{option} {file}".strip()
    if place.is_dir():
        raise UsageError(named, "is a directory", f"name a file in it, such as {like}")
    if place.exists() and not place.is_file():
        raise UsageError(named, "is not a regular file", f"name a file such as {like}")
    if not place.parent.is_dir():
        raise UsageError(named, "there is no such directory", "make the directory first, or name another")
    if not os.access(place.parent, os.W_OK | os.X_OK):
        raise UsageError(named, "no permission to write there", "name a file in a directory that you may write to")
    return place


def put(beside: Path, place: Path, *, replace: bool) -> None:
    """Give a whole file that lies beside its place its name; that is durable then.

    Without `replace` a name that is taken stays, and `FileExistsError` is raised; a file system without hard links has
    a moment between looking and naming.
    """
    if replace:
        beside.replace(place)
    else:
        try:
            place.hardlink_to(beside)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            if there(place):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(place)) from None
            beside.rename(place)
    with suppress(OSError):  # not every file system can
        descriptor = os.open(place.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_page(place: Path, page: str | Iterable[str], option: str = "--html") -> None:
    """Write a page, or its parts as they come, beside `place` and rename. Raises `UsageError`.

    So neither a full disk nor a crash leaves half a file or loses the old one.
    """
    beside = place.parent / f".fedi-safety-{os.urandom(8).hex()}.tmp"
    try:
        try:
            with beside.open("x", encoding="utf-8") as file:
                file.writelines([page] if isinstance(page, str) else page)
                file.flush()
                os.fsync(file.fileno())
            put(beside, place, replace=True)
        except BaseException:
            with suppress(OSError):
                beside.unlink()
            raise
    except OSError as error:
        raise unwritable(f"{option} {place}", error) from error


def unwritable(named: str, error: OSError) -> UsageError:
    """Return what is said where writing a file failed and nothing of it was left."""
    remedy = "name a file in a directory that you may write to"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        remedy = "make room, or name a file on another disk; nothing was left there"
    cause = (error.strerror or type(error).__name__).lower()
    return UsageError(named, f"it cannot be written: {cause}", remedy)
