"""Other ledgers than the one in use, looked at and left as they are."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from fedi_safety.core.errors import LedgerError
from fedi_safety.ledger import lookup
from fedi_safety.ledger.database import open_database

_BUSY_TIMEOUT_S = 0.5


def holds_store(url_or_path: str | Path, store: str) -> bool:
    """Tell whether the ledger there knows a store. One that is missing, or cannot be read now, is not known to."""
    try:
        database = open_database(url_or_path, readonly=True, busy_timeout_s=_BUSY_TIMEOUT_S)
    except LedgerError:
        return False
    try:
        with database.read() as connection:
            return lookup.find_store(connection, store) is not None
    except (LedgerError, SQLAlchemyError):  # whatever it is, it is no ledger that can be asked
        return False
    finally:
        database.dispose()
