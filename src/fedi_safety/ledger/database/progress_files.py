"""How far passes are, in files beside a ledger's: one for each pass, which its process holds locked while it runs.

What the kernel lets go when a process dies, however it dies, is no pass under way. The files hold counts, the store's
URL and a directory's name; they are no part of the ledger, and nothing rests on them.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, fields
from pathlib import Path

from fedi_safety.core.ledger.progress import Progress

_MARK = ".pass-"
_MOST_BYTES = 1 << 16
_MOST_FILES = 64
_TRIES, _PAUSE_S = 10, 0.02  # a reader holds a file for an instant
_NAMES = frozenset(each.name for each in fields(Progress))


class ProgressFiles:
    """The files of one ledger. The runs of one process may tell from several threads."""

    def __init__(self, ledger: Path) -> None:
        """Take the ledger's file; nothing is opened yet."""
        self._beside = ledger.resolve()
        self._making = threading.Lock()

    @contextmanager
    def told(self, own: Callable[[Path], int]) -> Iterator[Callable[[Progress], None]]:
        """Give what tells how far a pass is; see `ProgressLedger.pass_under_way`. `own` opens a file for writing."""
        held: list[tuple[Path, int]] = []
        written = 0
        over = False
        using = threading.Lock()  # a descriptor that is closed may be another file's a moment later

        def tell(progress: Progress) -> None:
            nonlocal written
            text = json.dumps(asdict(progress), ensure_ascii=True)
            with using, suppress(OSError):
                if over:
                    return
                if not held:
                    held.append(self._made(progress.run, own))
                # In one call, and never shorter than before: a reader sees one of them whole.
                written = max(written, len(text))
                os.pwrite(held[0][1], text.ljust(written).encode("ascii"), 0)

        try:
            yield tell
        finally:
            with using:
                over = True
                for path, descriptor in held:
                    with suppress(OSError):
                        path.unlink()
                    os.close(descriptor)

    def read(self) -> list[Progress]:
        """Return how far the passes are whose processes live."""
        found = [progress for path in self._paths() if (progress := _read(path)) is not None]
        return sorted(found, key=lambda progress: progress.run)

    def _paths(self) -> list[Path]:
        with suppress(OSError):
            beside = self._beside.parent.glob(f"{_escaped(self._beside.name)}{_MARK}*")
            return sorted(beside)[:_MOST_FILES]
        return []

    def _made(self, run: int, own: Callable[[Path], int]) -> tuple[Path, int]:
        """Return a new file that this process holds. Raises `OSError`."""
        with self._making:
            for left in self._paths():  # by a process that was killed
                if _free(left):
                    left.unlink(missing_ok=True)
            path = self._beside.with_name(f"{self._beside.name}{_MARK}{run}")
            descriptor = own(path)
            try:
                _lock(descriptor)
            except OSError:
                os.close(descriptor)
                raise
            return path, descriptor


def _lock(descriptor: int) -> None:
    """Take a lock that no more than a reader's glance may delay. Raises `OSError`."""
    for _ in range(_TRIES - 1):
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(_PAUSE_S)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _free(path: Path) -> bool:
    """Whether no process holds a file."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        return _unheld(descriptor)
    finally:
        os.close(descriptor)


def _unheld(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(path: Path) -> Progress | None:
    """Return what a file says; None where its process is gone, or it says nothing yet."""
    with suppress(OSError, ValueError, TypeError):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            if _unheld(descriptor):
                return None
            said = json.loads(os.pread(descriptor, _MOST_BYTES, 0))
        finally:
            os.close(descriptor)
        return Progress(**{name: value for name, value in said.items() if name in _NAMES})
    return None


def _escaped(name: str) -> str:
    """Return a file's name as a pattern that fits it alone."""
    return "".join(f"[{character}]" if character in "*?[" else character for character in name)
