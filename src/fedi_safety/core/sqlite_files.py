"""What the smaller SQLite files have in common: a write that is whole or not made, and errors in plain words.

The ledger's database has its own ways (`ledger/database`); what is in a file, its owner knows.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from fedi_safety.core.errors import FediSafetyError

Meanings = Mapping[int, tuple[type[FediSafetyError], str, str]]
"""For SQLite's primary result codes the error to raise, its cause and its remedy."""


@contextmanager
def writing(connection: sqlite3.Connection) -> Iterator[None]:
    """Hold the one write transaction: committed on leaving, rolled back on any error."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


class explained:
    """Turn what SQLite and the system say into an error about `path`; what only a programmer mends stays as it is.

    `unknown` is raised for what the system says. It may be entered again, and costs next to nothing where all is well.
    """

    __slots__ = ("_meanings", "_path", "_unknown")

    def __init__(self, path: Path, meanings: Meanings, unknown: type[FediSafetyError]) -> None:
        self._path, self._meanings, self._unknown = path, meanings, unknown

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, OSError):
            cause = error.strerror or str(error)
            raise self._unknown(str(self._path), cause, "check the disk and the folder's rights") from error
        if isinstance(error, sqlite3.Error):
            meaning = self._meanings.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
            if meaning is not None:
                kind, cause, remedy = meaning
                raise kind(str(self._path), cause, remedy) from error
