"""The folder of what is shared, and the small files in it: made for their owner alone, and opened with plain words.

The tables of the lists themselves lie elsewhere (`known`); what a row means is not decided here.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from fedi_safety.core import sqlite_files
from fedi_safety.core.errors import SharingError, SharingUsageError

_WAIT_S = 60.0
_MEANINGS: dict[int, tuple[type[SharingError], str, str]] = {
    sqlite3.SQLITE_NOTADB: (SharingError, "is damaged, or another program's", "bring it back from a backup"),
    sqlite3.SQLITE_CORRUPT: (SharingError, "is damaged", "bring it back from a backup"),
    sqlite3.SQLITE_FULL: (SharingError, "the disk is full", "free some space; nothing was changed"),
    sqlite3.SQLITE_IOERR: (SharingError, "the disk gave an input/output error", "check the disk and its free space"),
    sqlite3.SQLITE_BUSY: (SharingError, "another process is changing it", "try again when it is done"),
    sqlite3.SQLITE_LOCKED: (SharingError, "another process is changing it", "try again when it is done"),
    sqlite3.SQLITE_READONLY: (SharingUsageError, "is read-only for this user", "make the folder writable for it"),
    sqlite3.SQLITE_PERM: (SharingUsageError, "may not be opened by this user", "check the file's rights"),
    sqlite3.SQLITE_CANTOPEN: (SharingUsageError, "cannot be opened", "make the folder usable for this user"),
}


def explained(path: Path) -> AbstractContextManager[None]:
    """Turn what SQLite and the system say into a `SharingError` about `path`; what only a programmer mends stays."""
    return sqlite_files.explained(path, _MEANINGS, SharingError)


@contextmanager
def opened(path: Path, schema: str, application: int) -> Iterator[sqlite3.Connection]:
    """Give a file's connection, made with `schema` where there is none yet. Errors are explained."""
    with explained(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(path, timeout=_WAIT_S, isolation_level=None, check_same_thread=False)
        try:
            if _application(connection) == 0:
                connection.execute("PRAGMA journal_mode=WAL")
                with sqlite_files.writing(connection):
                    if _application(connection) == 0:
                        for statement in schema.split(";\n"):
                            connection.execute(statement)
                        connection.execute(f"PRAGMA application_id = {application}")
            if _application(connection) != application:
                raise SharingUsageError(str(path), "is another program's file", "move it away")
            connection.execute("PRAGMA synchronous=FULL")
            yield connection
        finally:
            connection.close()


def write_secret(path: Path, text: str) -> None:
    """Write a file for its owner alone, durably; one that is there stays, and that is an `OSError`."""
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """See that a folder's names are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _application(connection: sqlite3.Connection) -> int:
    (found,) = connection.execute("PRAGMA application_id").fetchone()
    return int(found)
