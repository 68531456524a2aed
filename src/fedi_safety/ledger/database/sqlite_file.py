"""A ledger's file as SQLite opens it: its place, rights, pragmas, and what the driver's errors mean to a person.

Needs the driver alone: what only reads a ledger is done long before SQLAlchemy is loaded.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from fedi_safety.config.locations import expanded
from fedi_safety.core.errors import LedgerError, LedgerUsageError
from fedi_safety.ledger.database.base import BUSY_TIMEOUT_S

_CACHE_KIB = 32 * 1024
_WAL_LIMIT_BYTES = 64 * 1024 * 1024

RESTORE = "move it away and restore a backup"
_SPACE = "free some space; nothing of this step was kept"


def file_of(url_or_path: str) -> Path:
    """Return the file that a path or `sqlite:///path` names. Raises `LedgerUsageError` where a URL names none."""
    if "://" not in url_or_path:
        return expanded(url_or_path)
    from sqlalchemy.engine import make_url

    path = make_url(url_or_path).database
    if not path or path == ":memory:":
        raise LedgerUsageError(url_or_path, "names no file", "give a path or sqlite:///path")
    return expanded(path)


def identity(path: Path) -> tuple[int, int] | None:
    """Return what tells the file that lies here from all others; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


_READABLE = "run this as a user who may read it (its owner, or root), or name another ledger with --ledger"
_WRITABLE = "run this as a user who may write there (its owner, or root), or name another ledger with --ledger"


def prepare_file(path: Path, readonly: bool) -> None:
    """Refuse what cannot be a ledger's file; create a missing one for its owner alone."""
    try:
        found = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        if readonly:
            remedy = "run a scan first, or name another file"
            raise LedgerUsageError(str(path), "there is no ledger here yet", remedy) from None
    except OSError as error:  # what cannot be looked at is not missing
        raise LedgerUsageError(str(path), error.strerror or str(error), _READABLE) from error
    else:
        if stat.S_ISDIR(found):
            remedy = "name the ledger's file, for example DIRECTORY/ledger.db"
            raise LedgerUsageError(str(path), "is a directory", remedy)
        return
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(open_own(path))
    except OSError as error:
        raise LedgerUsageError(str(path), error.strerror or str(error), _WRITABLE) from error


def open_own(path: Path) -> int:
    """Open a file for writing, made where it is missing: for its owner alone, who is the directory's.

    So root may use the ledger of the daemon's user before that has made it. SQLite gives its side files the owner and
    the rights of the main one.
    """
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    directory = path.parent.stat()
    if os.geteuid() == 0 and os.fstat(descriptor).st_uid == 0 != directory.st_uid:
        os.fchown(descriptor, directory.st_uid, directory.st_gid)
    return descriptor


def opener(
    path: Path, *, readonly: bool, busy_timeout_s: float = BUSY_TIMEOUT_S, copy_of: Path | None = None
) -> Callable[[], sqlite3.Connection]:
    """Return what opens a ledger's file; of it nothing is read before the first statement."""
    absolute = path.absolute()
    uri = f"file:{quote(os.fsencode(absolute))}?mode={'ro' if readonly else 'rw'}"
    writable = os.access(absolute.parent, os.W_OK, effective_ids=os.access in os.supports_effective_ids)
    if copy_of or (readonly and not writable and not Path(f"{absolute}-wal").exists()):
        # Without a log nobody is writing, and SQLite cannot create the log's index here to make sure.
        uri += "&immutable=1"

    def opened() -> sqlite3.Connection:
        return sqlite3.connect(uri, uri=True, timeout=busy_timeout_s, isolation_level=None, check_same_thread=False)

    return opened


def set_up(connection: sqlite3.Connection) -> None:
    """Set what every connection to a ledger has."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
    cursor.execute("PRAGMA temp_store=MEMORY")
    cursor.execute(f"PRAGMA journal_size_limit={_WAL_LIMIT_BYTES}")
    cursor.close()


_MEANINGS: dict[int, tuple[type[LedgerError], str, str]] = {
    sqlite3.SQLITE_NOTADB: (LedgerError, "is not a ledger, or is damaged", RESTORE),
    sqlite3.SQLITE_CORRUPT: (LedgerError, "is damaged", RESTORE),
    sqlite3.SQLITE_FULL: (LedgerError, "the disk is full", _SPACE),
    sqlite3.SQLITE_IOERR: (LedgerError, "the disk gave an input/output error", "check the disk and its free space"),
    sqlite3.SQLITE_BUSY: (LedgerError, "is locked by another program", "wait for it or stop it"),
    sqlite3.SQLITE_LOCKED: (LedgerError, "is locked by another program", "wait for it or stop it"),
    sqlite3.SQLITE_READONLY: (
        LedgerUsageError,
        "is read-only for this user",
        "make the file and its directory writable, or name another file",
    ),
    sqlite3.SQLITE_PERM: (LedgerUsageError, "may not be opened by this user", "check the file's rights"),
    sqlite3.SQLITE_CANTOPEN: (
        LedgerUsageError,
        "cannot be opened",
        "check that the file and its directory are readable and writable for this user",
    ),
}


def explain(path: Path, error: sqlite3.Error) -> LedgerError | None:
    """Return what an SQLite error means to a person; None for one that only a programmer can mend."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:  # the driver's own, of what it reads
        code = sqlite3.SQLITE_CORRUPT if "Could not decode to UTF-8" in str(error) else sqlite3.SQLITE_OK
    meaning = _MEANINGS.get(code & 0xFF)
    if meaning is None:
        return None
    kind, cause, remedy = meaning
    return kind(str(path), cause, remedy)
