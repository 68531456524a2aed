"""Questions as text to a ledger that SQLAlchemy has opened."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, TextClause, bindparam, text

from fedi_safety.ledger.database.base import Database
from fedi_safety.ledger.reading.asking import Result


class Through:
    """One transaction of SQLAlchemy's, asked in text: an `Asking`."""

    def __init__(self, connection: Connection) -> None:
        """Take the transaction's connection."""
        self._connection = connection

    def ask(self, question: str, /, **values: Any) -> Sequence[Mapping[str, Any]]:
        """See `Asking.ask`."""
        lists = tuple(name for name, value in values.items() if isinstance(value, list))
        found = self._connection.execute(_text(question, lists), values)
        return [{str(name): cell for name, cell in row.items()} for row in found.mappings()]


class ThroughDatabase:
    """A database that SQLAlchemy has opened, as a `Reading`."""

    def __init__(self, database: Database) -> None:
        """Take the database; it is not closed by this."""
        self._database = database

    @contextmanager
    def asked(self) -> Iterator[Through]:
        """See `Reading.asked`."""
        with self._database.read() as connection:
            yield Through(connection)

    def whole(self, work: Callable[[], Result]) -> Result:
        """See `Reading.whole`."""
        return self._database.whole(work)


@lru_cache(maxsize=256)
def _text(question: str, lists: tuple[str, ...]) -> TextClause:
    return text(question).bindparams(*(bindparam(name, expanding=True) for name in lists))
