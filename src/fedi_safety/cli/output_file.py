"""Where a file that a command writes goes: checked before the work, written whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from fedi_safety.core.errors import UsageError


def checked_place(file: str, option: str = "--html", like: str = "report.html") -> Path:
    """Return where the file goes, a link followed. Raises `UsageError` now rather than after a long count.

    `option` is what named it, `like` a name that would be right.
    """
    place = Path(os.path.realpath(file))
    named = f"{option} {file}"
    if place.is_dir():
        raise UsageError(named, "is a directory", f"name a file in it, such as {like}")
    if place.exists() and not place.is_file():
        raise UsageError(named, "is not a regular file", f"name a file such as {like}")
    if not place.parent.is_dir():
        raise UsageError(named, "there is no such directory", "make the directory first, or name another")
    if not os.access(place.parent, os.W_OK | os.X_OK):
        raise UsageError(named, "no permission to write there", "name a file in a directory that you may write to")
    return place


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
            beside.replace(place)
        except BaseException:
            with suppress(OSError):
                beside.unlink()
            raise
    except OSError as error:
        remedy = "name a file in a directory that you may write to"
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            remedy = "make room, or name a file on another disk; nothing was left there"
        cause = (error.strerror or type(error).__name__).lower()
        raise UsageError(f"{option} {place}", f"it cannot be written: {cause}", remedy) from error
