"""Where a page that a command writes goes: checked before the work, written whole or not at all."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from fedi_safety.core.errors import UsageError


def checked_place(file: str) -> Path:
    """Return where the page goes, a link followed. Raises `UsageError` now rather than after a long count."""
    place = Path(os.path.realpath(file))
    if place.is_dir():
        raise _bad_place(file, "is a directory", "name a file in it, such as report.html")
    if place.exists() and not place.is_file():
        raise _bad_place(file, "is not a regular file", "name a file such as report.html")
    if not place.parent.is_dir():
        raise _bad_place(file, "there is no such directory", "make the directory first, or name another")
    if not os.access(place.parent, os.W_OK | os.X_OK):
        raise _bad_place(file, "no permission to write there", "name a file in a directory that you may write to")
    return place


def write_page(place: Path, page: str) -> None:
    """Write beside `place` and rename, so that neither a full disk nor a crash leaves half a page or loses the old one.

    Raises `UsageError`.
    """
    beside = place.parent / f".fedi-safety-{os.urandom(8).hex()}.tmp"
    try:
        try:
            with beside.open("x", encoding="utf-8") as file:
                file.write(page)
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
        raise _bad_place(str(place), f"the page cannot be written: {cause}", remedy) from error


def _bad_place(file: str, cause: str, remedy: str) -> UsageError:
    return UsageError(f"--html {file}", cause, remedy)
