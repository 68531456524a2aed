"""The file that lists of known images lie in: its tables, its connections, and what SQLite's errors mean to a person.

It is the truth; the index beside it is made from it. Readers never wait for a writer (write-ahead logging).
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fedi_safety.core import sqlite_files
from fedi_safety.core.errors import KnownError, KnownUsageError
from fedi_safety.core.known.types import Effect, Entry, HashKind, KnownList
from fedi_safety.known import ending, progress

FILE = "lists.sqlite"
VERSION = 4
_APPLICATION = 0x46534B4E  # "FSKN"
_CACHE_KIB = 64 * 1024

NUMBERS = {HashKind.SHA256: 1, HashKind.SHA1: 2, HashKind.MD5: 3, HashKind.PDQ: 4, HashKind.NEAR: 5}
KINDS = {number: kind for kind, number in NUMBERS.items()}
PDQ = NUMBERS[HashKind.PDQ]
_A_HASH = re.compile(r"[0-9a-f]{64}")

LIST_COLUMNS = "name, effect, distance, share, origin, licence, redistribute, expires_s, circle, agreeing, waiting"
ENTRY_COLUMNS = "kind, hash, id, category, seen_s, expires_s, quality, positive, negative, clip, bits"

# Rows are numbered upwards and no number is used twice, so that an index made of some rows stays true of them: a row
# that is gone is found in no table. `bits` are those set in a PDQ. An entry is named by its id, else by its hash.
_SCHEMA = f"""
CREATE TABLE lists (
    number INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, effect TEXT NOT NULL,
    distance INTEGER NOT NULL, share REAL NOT NULL, origin TEXT NOT NULL, licence TEXT NOT NULL,
    redistribute INTEGER NOT NULL, expires_s REAL, changed_s REAL NOT NULL, revision INTEGER NOT NULL
);
CREATE TABLE entries (
    row INTEGER PRIMARY KEY AUTOINCREMENT, list INTEGER NOT NULL, kind INTEGER NOT NULL, hash BLOB NOT NULL, id TEXT,
    category TEXT NOT NULL, seen_s REAL, expires_s REAL, quality INTEGER, positive INTEGER NOT NULL,
    negative INTEGER NOT NULL, clip TEXT NOT NULL, bits INTEGER
);
CREATE UNIQUE INDEX entries_named ON entries (list, kind, clip, ifnull(id, hash));
CREATE INDEX entries_exact ON entries (hash, list) WHERE kind <> {PDQ};
CREATE TABLE segments (
    folder TEXT PRIMARY KEY, first INTEGER NOT NULL, last INTEGER NOT NULL, rows INTEGER NOT NULL,
    dead INTEGER NOT NULL, checksums TEXT NOT NULL
);
CREATE TABLE state (loose_after INTEGER NOT NULL, revision INTEGER NOT NULL);
INSERT INTO state VALUES (0, 0);
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = 1
"""
_STEPS = {
    0: tuple(_SCHEMA.split(";\n")),
    1: (progress.SCHEMA, "PRAGMA user_version = 2"),
    2: (  # `circle` is a list's group, which SQL has another word for
        "ALTER TABLE lists ADD COLUMN circle TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE lists ADD COLUMN agreeing INTEGER NOT NULL DEFAULT 1",
        "ALTER TABLE lists ADD COLUMN waiting INTEGER NOT NULL DEFAULT 0",
        "PRAGMA user_version = 3",
    ),
    3: (*ending.STEPS, "PRAGMA user_version = 4"),
}
"""By the version that a file has, what makes the next one of it."""


def create(folder: Path, *, wait_s: float) -> sqlite3.Connection:
    """Open the lists in `folder` for writing, and make them where there are none yet, for their owner alone."""
    path = folder / FILE
    with explained(path):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(path, timeout=wait_s, isolation_level=None, check_same_thread=False)
        try:
            if (before := _version(connection, path)) < VERSION:
                if not before:
                    connection.execute("PRAGMA journal_mode=WAL")
                with sqlite_files.writing(connection):
                    for version in range(_version(connection, path), VERSION):
                        for statement in _STEPS[version]:
                            connection.execute(statement)
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
        except BaseException:
            connection.close()
            raise
    return connection


def connect(folder: Path, *, wait_s: float) -> sqlite3.Connection | None:
    """Open the lists in `folder` for reading; None where there never were any. Raises `KnownError`."""
    path = folder / FILE
    with explained(path):
        if identity(path) is None:
            return None
        uri = f"file:{quote(os.fsencode(path.absolute()))}?mode=ro"
        connection = sqlite3.connect(uri, uri=True, timeout=wait_s, isolation_level=None, check_same_thread=False)
        try:
            version = _version(connection, path)
            if version == 0:  # another process is just making it
                connection.close()
                return None
            if version < VERSION:
                create(folder, wait_s=wait_s).close()
        except BaseException:
            connection.close()
            raise
    return connection


def identity(path: Path) -> tuple[int, int] | None:
    """Return what tells the file that lies here from all others; None if there is none. Raises `OSError`."""
    try:
        found = os.stat(path)  # noqa: PTH116 - half of what Path.stat takes, at each look-up
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino


def _version(connection: sqlite3.Connection, path: Path) -> int:
    """Return the version of the tables, 0 for none. Refuses what is another program's or a later version's."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if version > VERSION and application == _APPLICATION:
        raise KnownUsageError(str(path), "was written by a newer fedi-safety", "use that version or a later one")
    if (version or application) and not (version and application == _APPLICATION):
        raise KnownUsageError(str(path), "is not a file of known images", "name another folder in [known]")
    return int(version)


@contextmanager
def reading(connection: sqlite3.Connection) -> Iterator[None]:
    """Hold one read transaction: every statement sees the same state."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")


RESTORE = "move the folder away and import the lists again"
_MEANINGS: dict[int, tuple[type[KnownError], str, str]] = {
    sqlite3.SQLITE_NOTADB: (KnownError, "is not a file of known images, or is damaged", RESTORE),
    sqlite3.SQLITE_CORRUPT: (KnownError, "is damaged", RESTORE),
    sqlite3.SQLITE_FULL: (KnownError, "the disk is full", "free some space; the lists are as they were"),
    sqlite3.SQLITE_IOERR: (KnownError, "the disk gave an input/output error", "check the disk and its free space"),
    sqlite3.SQLITE_BUSY: (KnownError, "another process is changing the lists", "try again when it is done"),
    sqlite3.SQLITE_LOCKED: (KnownError, "another process is changing the lists", "try again when it is done"),
    sqlite3.SQLITE_READONLY: (KnownUsageError, "is read-only for this user", "make the folder writable for this user"),
    sqlite3.SQLITE_PERM: (KnownUsageError, "may not be opened by this user", "check the file's rights"),
    sqlite3.SQLITE_CANTOPEN: (
        KnownUsageError,
        "cannot be opened",
        "make the folder readable and writable for this user",
    ),
}


def explained(path: Path) -> AbstractContextManager[None]:
    """Turn what SQLite and the system say into a `KnownError` about `path`; what only a programmer mends stays."""
    return sqlite_files.explained(path, _MEANINGS, KnownError)


def list_row(known_list: KnownList) -> tuple[object, ...]:
    """Return a list as the columns `LIST_COLUMNS`."""
    return (
        known_list.name,
        known_list.effect.value,
        known_list.distance,
        known_list.share,
        known_list.origin,
        known_list.licence,
        int(known_list.redistribute),
        known_list.expires_s,
        known_list.group,
        known_list.agreeing,
        int(known_list.waiting),
    )


def list_of(row: tuple[Any, ...]) -> KnownList:
    """Return the list of a row of `LIST_COLUMNS`."""
    name, effect, distance, share, origin, licence, redistribute, expires_s, group, agreeing, waiting = row
    told = origin, licence, bool(redistribute), expires_s, group, agreeing, bool(waiting)
    return KnownList(name, Effect(effect), distance, share, *told)


def entry_row(entry: Entry, bits: int | None) -> tuple[Any, ...]:
    """Return an entry as the columns `ENTRY_COLUMNS`; `bits` are those set in a PDQ."""
    return (
        NUMBERS[entry.kind],
        entry.hash,
        entry.id or None,
        entry.category,
        entry.seen_s,
        entry.expires_s,
        entry.quality,
        entry.positive,
        entry.negative,
        entry.clip,
        bits,
    )


def called(connection: sqlite3.Connection, number: int, wanted: Sequence[str]) -> Iterator[Entry]:
    """Give the PDQs of a list that hits name so: by id or hash, those of clips by their clip's name."""
    hashes = [bytes.fromhex(name) for name in wanted if _A_HASH.fullmatch(name)]
    names = [*wanted, *hashes]
    marks = ", ".join("?" * len(names))
    of_list = f"SELECT {ENTRY_COLUMNS} FROM entries WHERE list = ? AND kind = {PDQ}"
    query = f"{of_list} AND clip = '' AND ifnull(id, hash) IN ({marks})"
    for row in connection.execute(query, (number, *names)):
        yield entry_of(row)
    clips = [name for name in wanted if name]
    query = f"{of_list} AND clip IN ({', '.join('?' * len(clips))})"
    for row in connection.execute(query, (number, *clips)):
        yield entry_of(row)


def entry_of(row: tuple[Any, ...]) -> Entry:
    """Return the entry of a row of `ENTRY_COLUMNS`."""
    kind, value, name, category, seen_s, expires_s, quality, positive, negative, clip, _ = row
    return Entry(KINDS[kind], value, name or "", category, seen_s, expires_s, quality, positive, negative, clip)
