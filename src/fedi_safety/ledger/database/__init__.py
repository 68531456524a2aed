"""The databases that a ledger can lie in, by the scheme of its URL. A further one is a row here and a file beside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from fedi_safety.core.errors import LedgerUsageError
from fedi_safety.ledger.database.base import BUSY_TIMEOUT_S, Database

Opener = Callable[[str, bool, float], Database]
"""Gets a URL or path, whether nothing is to be written, and the seconds that a write may wait for another program's."""


def _sqlite(url_or_path: str, readonly: bool, busy_timeout_s: float) -> Database:
    from fedi_safety.ledger.database.sqlite import SqliteDatabase, file_of

    return SqliteDatabase(file_of(url_or_path), readonly=readonly, busy_timeout_s=busy_timeout_s)


KINDS: dict[str, Opener] = {"sqlite": _sqlite}

_REMEDY = "give a path or sqlite:///path"


def open_database(
    url_or_path: str | Path, *, readonly: bool = False, busy_timeout_s: float = BUSY_TIMEOUT_S
) -> Database:
    """Open the database that a URL names, or the file of SQLite's that a path names. Makes no table.

    Raises `LedgerUsageError` for what names no database, or one of a kind that is not known here.
    """
    text = str(url_or_path)
    url = _url(text)
    opener = KINDS.get(url.get_backend_name())
    if opener is None:
        raise LedgerUsageError(url.render_as_string(hide_password=True), "only SQLite ledgers are supported", _REMEDY)
    return opener(text, readonly, busy_timeout_s)


def file_named(url_or_path: str) -> Path | None:
    """Return the file that a ledger lies in, None for one that lies on a server. Raises as `open_database` does."""
    if _url(url_or_path).get_backend_name() != "sqlite":
        return None
    from fedi_safety.ledger.database.sqlite import file_of

    return file_of(url_or_path)


def _url(text: str) -> URL:
    if "://" not in text:
        return URL.create("sqlite", database=text)
    try:
        return make_url(text)
    except ArgumentError as error:
        raise LedgerUsageError(text, "is not a ledger's URL", _REMEDY) from error
