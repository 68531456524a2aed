"""Questions as text to a ledger in an SQLite file, by Python's own driver: for commands that ask a little and end."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fedi_safety.ledger.database.base import naming
from fedi_safety.ledger.database.sqlite_file import explain, opener, prepare_file, set_up
from fedi_safety.ledger.reading.asking import Result


class PlainFile:
    """A ledger's file, opened for reading only: a `Reading`, and the `Asking` of its one connection."""

    def __init__(self, path: Path) -> None:
        """Open it. Raises `LedgerUsageError` or `LedgerError`."""
        self._path = path
        prepare_file(path, readonly=True)
        with self._explained():
            self._connection = opener(path, readonly=True)()
            set_up(self._connection)

    @contextmanager
    def asked(self) -> Iterator[PlainFile]:
        """See `Reading.asked`."""
        with naming(str(self._path)), self._explained():
            self._connection.execute("BEGIN")
            try:
                yield self
            finally:
                with suppress(sqlite3.Error):  # of what it read nothing is to be undone
                    self._connection.execute("ROLLBACK")

    def ask(self, question: str, /, **values: Any) -> Sequence[Mapping[str, Any]]:
        """See `Asking.ask`."""
        found = self._connection.execute(*_spelled(question, values))
        names = [column[0] for column in found.description]
        return [dict(zip(names, row, strict=True)) for row in found]

    def whole(self, work: Callable[[], Result]) -> Result:
        """See `Reading.whole`: nothing that a file answers is worth asking again."""
        return work()

    def dispose(self) -> None:
        """Close the file."""
        self._connection.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise explain(self._path, error) or error from error


def _spelled(question: str, values: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return a question with a place for each value of a list, which the driver does not know."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if not isinstance(value, list):
            flat[name] = value
            continue
        each = {f"{name}_{number}": cell for number, cell in enumerate(value)}
        # Written as `()`, an empty list would have SQLite go through the whole table.
        listed = ", ".join(f":{one}" for one in each) or "SELECT NULL WHERE 0"
        question = re.sub(rf":{name}\b", f"({listed})", question)
        flat |= each
    return question, flat
