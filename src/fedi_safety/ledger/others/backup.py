"""Copies of a ledger, each as it stood at one moment, and checked before anybody relies on it."""

from __future__ import annotations

from pathlib import Path

from fedi_safety.core.errors import LedgerError, LedgerUsageError
from fedi_safety.core.ledger.records import Verification
from fedi_safety.ledger.database import open_database
from fedi_safety.ledger.migrate import revision_of
from fedi_safety.ledger.schema import REVISION
from fedi_safety.ledger.verify import verify


def copy_ledger(url_or_path: str | Path, file: Path, called: str) -> Verification | None:
    """Copy a ledger to a new file, also while a run is on, and check the copy; the ledger is only read.

    Return what following its chain found; None where the tables are of another version, which is copied as well but
    cannot be followed. `called` is what a person knows the file by, whatever its name is meanwhile. Raises
    `LedgerUsageError` where there is no ledger, and `LedgerError` for a full disk and for a ledger that is damaged;
    then what lies in the file is worth nothing.
    """
    database = open_database(url_or_path, readonly=True)
    try:
        with database.read() as connection:
            revision = revision_of(connection, database.name)
        if revision is None:
            raise LedgerUsageError(database.name, "is empty: there is no ledger here yet", "run a scan first")
        copy = database.copy_to(file, called)
    finally:
        database.dispose()
    try:
        if revision != REVISION:
            return None
        found = verify(copy)
    finally:
        copy.dispose()
    if found.problem is not None:
        remedy = "no backup was made of it; compare it with an earlier one, and do not trust it as evidence"
        raise LedgerError(database.name, found.problem, remedy)
    return found
