"""The databases that a ledger can lie in, by the scheme of its URL. A further one is a row here and a file beside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fedi_safety.config.locations import ledger_name
from fedi_safety.core.errors import LedgerUsageError
from fedi_safety.ledger.database.base import BUSY_TIMEOUT_S, Database

Opener = Callable[[str, bool, float], Database]
"""Gets a URL or path, whether nothing is to be written, and the seconds that a write may wait for another program's."""


def _sqlite(url_or_path: str, readonly: bool, busy_timeout_s: float) -> Database:
    from fedi_safety.ledger.database.sqlite import SqliteDatabase
    from fedi_safety.ledger.database.sqlite_file import file_of

    return SqliteDatabase(file_of(url_or_path), readonly=readonly, busy_timeout_s=busy_timeout_s)


def _postgresql(url_or_path: str, readonly: bool, busy_timeout_s: float) -> Database:
    from fedi_safety.ledger.database.postgresql.database import PostgresqlDatabase

    return PostgresqlDatabase(url_or_path, readonly=readonly, busy_timeout_s=busy_timeout_s)


KINDS: dict[str, Opener] = {"sqlite": _sqlite, "postgresql": _postgresql}

_OTHER_NAMES = {"postgres": "postgresql"}  # which libpq takes, too
_REMEDY = "give a path, sqlite:///path or postgresql://USER@HOST/DATABASE"


def open_database(
    url_or_path: str | Path, *, readonly: bool = False, busy_timeout_s: float = BUSY_TIMEOUT_S
) -> Database:
    """Open the database that a URL names, or the file of SQLite's that a path names. Makes no table.

    Raises `LedgerUsageError` for what names no database, or one of a kind that is not known here.
    """
    text = str(url_or_path)
    return KINDS[_known_kind(text)](text, readonly, busy_timeout_s)


def file_named(url_or_path: str) -> Path | None:
    """Return the file that a ledger lies in, None for one that lies on a server. Raises as `open_database` does."""
    if _known_kind(url_or_path) != "sqlite":
        return None
    from fedi_safety.ledger.database.sqlite_file import file_of

    return file_of(url_or_path)


def kind_of(url_or_path: str) -> str:
    """Return the kind of database that a URL or path names, known here or not."""
    scheme, found, _ = url_or_path.partition("://")
    backend = scheme.partition("+")[0].lower()
    return _OTHER_NAMES.get(backend, backend) if found else "sqlite"


def _known_kind(url_or_path: str) -> str:
    kind = kind_of(url_or_path)
    if kind not in KINDS:
        raise LedgerUsageError(ledger_name(url_or_path), "only SQLite and PostgreSQL ledgers are supported", _REMEDY)
    return kind
