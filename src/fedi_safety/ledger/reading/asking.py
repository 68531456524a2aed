"""How a ledger is asked in SQL as text, whatever answers: SQLite's driver alone (`plain`), or SQLAlchemy (`through`).

The text is the same for every database. Its values stand in it as `:name`; one that is a list stands behind `IN`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

Result = TypeVar("Result")
Piece = tuple[str, dict[str, Any]]
"""A question, or a condition of one, with the values that stand in it."""


class Asking(Protocol):
    """One read transaction: every question sees the same state."""

    def ask(self, question: str, /, **values: Any) -> Sequence[Mapping[str, Any]]:
        """Return the rows by the names of their columns. Truth may come as 0 and 1. Errors: `LedgerError`."""
        ...


class Reading(Protocol):
    """A ledger's database, opened for reading."""

    def asked(self) -> AbstractContextManager[Asking]:
        """Give what is asked inside one read transaction."""
        ...

    def whole(self, work: Callable[[], Result]) -> Result:
        """Do what is one whole transaction; see `Database.whole`."""
        ...
