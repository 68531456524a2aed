"""The folder that evidence is written into: for this user alone, and whole or not there at all."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fedi_safety.config.locations import expanded
from fedi_safety.core.errors import UsageError

_NAME = "name a folder that is not there yet, or is empty"


class Folder:
    """A folder that is being written. Its files are durable before it gets its name."""

    def __init__(self, place: Path) -> None:
        """Take where it is written for now."""
        self._place = place
        self.files = 0

    def write(self, name: str, text: str, below: str = "") -> None:
        """Write a file, readable for this user alone, in the folder or in one `below` it."""
        folder = self._place / below if below else self._place
        if below and not folder.exists():
            folder.mkdir(mode=0o700)
        fd = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8", errors="backslashreplace", newline="\n") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(fd)
        self.files += 1

    def settle(self) -> None:
        """Make the names in it durable."""
        for folder in (self._place, *(path for path in self._place.iterdir() if path.is_dir())):
            _sync(folder)


def checked_folder(out: str, stores: Sequence[Path]) -> Path:
    """Return where the folder goes. Raises `UsageError` for one that is not empty, or lies in a store."""
    named = f"--out {out}"
    place = Path(os.path.realpath(expanded(out)))
    if place.exists() and not place.is_dir():
        raise UsageError(named, "is a file", _NAME)
    if place.is_dir() and any(place.iterdir()):
        raise UsageError(named, "there is something in it", _NAME)
    if not place.parent.is_dir():
        raise UsageError(named, "there is no such directory", "make the directory first, or name another")
    if not os.access(place.parent, os.W_OK | os.X_OK):
        raise UsageError(named, "no permission to write there", "name a folder where you may write")
    for store in stores:
        if place == store or place.is_relative_to(store):
            raise UsageError(named, f"it lies in the store {store}, whose files are served", "name a place of its own")
    return place


@contextmanager
def whole_folder(out: str, place: Path) -> Iterator[Folder]:
    """Give a folder to write into; behind the block it stands at `place`, and after an error nothing does."""
    beside = place.parent / f".fedi-safety-{os.urandom(8).hex()}.tmp"
    try:
        try:
            beside.mkdir(mode=0o700)
            folder = Folder(beside)
            yield folder
            folder.settle()
            beside.rename(place)  # takes the place of an empty one
            _sync(place.parent)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise
    except OSError as error:
        raise _unwritable(f"--out {out}", error) from error


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # not every file system can
            raise
    finally:
        os.close(descriptor)


def _unwritable(named: str, error: OSError) -> UsageError:
    if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
        return UsageError(named, "there is something in it", _NAME)
    remedy = "name a folder where you may write"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        remedy = "make room, or name a folder on another disk; nothing was left there"
    return UsageError(named, f"it cannot be written: {(error.strerror or type(error).__name__).lower()}", remedy)
