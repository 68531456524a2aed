"""What a ledger needs of a database, whichever it is: transactions, one lock for runs, and a name to tell people.

The tables and statements on top are SQLAlchemy's and the same everywhere (`schema`); what is particular to one database
is in its own file beside this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from fedi_safety.core.errors import DamagedError

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Table

    from fedi_safety.core.ledger.progress import Progress

BUSY_TIMEOUT_S = 30.0
"""How long a write waits for another program's before it gives up."""

LISTENER = "ledger_listener"
"""The option of a writing connection that has what is called with every event, in its transaction (`listen`)."""

Result = TypeVar("Result")


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Name the ledger in whose rows something is found to be damaged."""
    try:
        yield
    except DamagedError as error:
        raise error.at(name) from error


class Database(Protocol):
    """One database with its connections. Reads may come from any thread; writers queue up, one after another.

    What a person can mend is raised as `LedgerError` or `LedgerUsageError`, from every method and every statement.
    """

    @property
    def name(self) -> str:
        """What a person knows it by: a path, or a URL without its password."""
        ...

    @property
    def readonly(self) -> bool:
        """Whether it was opened for reading only; then `write` fails."""
        ...

    @property
    def opened_by(self) -> str | None:
        """What another process of this machine may open it by, for reading; None where that is not to be told."""
        ...

    def read(self) -> AbstractContextManager[Connection]:
        """Give a connection inside one read transaction: every statement sees the same state."""
        ...

    def write(self) -> AbstractContextManager[Connection]:
        """Give a connection inside the one write transaction; committed on leaving, rolled back on any error.

        What was committed is durable.
        """
        ...

    def whole(self, work: Callable[[], Result]) -> Result:
        """Do what is one whole transaction; again where that came to nothing and may be done again.

        Raises `LedgerError` where that does not end.
        """
        ...

    def prepare(self) -> None:
        """Set what cannot be set inside a transaction. Called before tables are made or upgraded; twice is harmless."""
        ...

    def room(self) -> tuple[int, int]:
        """Return how many bytes it takes on its disk, and how many are free there; no limit where nobody can tell."""
        ...

    @property
    def runs_by_store(self) -> bool:
        """Whether there is a right to run on each store; else one for all."""
        ...

    def run_lock(self, store: str | None = None) -> AbstractContextManager[None]:
        """Hold the only right to run acts and scans on a store; it ends with the process, however that ends.

        Without a store, or where the database knows but one such right, that is for all stores. Raises `LedgerError` if
        another process has it.
        """
        ...

    def pass_under_way(self) -> AbstractContextManager[Callable[[Progress], None]]:
        """Give what tells others how far a pass is; see `ProgressLedger`."""
        ...

    def under_way(self) -> list[Progress]:
        """Return how far the passes are that are under way; see `ProgressReader`."""
        ...

    def guard(self, check: Callable[[Connection], None]) -> None:
        """Have `check` called at the beginning of every write from now on, inside its transaction, after earlier ones.

        What it raises ends that write.
        """
        ...

    def listen(self, told: Callable[[Connection, float, Sequence[Any]], None]) -> None:
        """Have `told` called with all events that a write appends from now on, in its transaction, with their time.

        What it raises ends that write.
        """
        ...

    def copy_to(self, file: Path, called: str) -> Database:
        """Write all that this holds at one moment to a new file, whoever writes meanwhile; return it, for reading only.

        It is durable when this returns, and is for its owner alone. `called` is what a person knows the file by. Raises
        `LedgerError` where there is no room, and for what is damaged.
        """
        ...

    @property
    def keeps_nul(self) -> bool:
        """Whether its texts may have U+0000."""
        ...

    def fill(self, connection: Connection, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
        """Write rows into a new table, as fast as it can; each has a value for every column, in their order."""
        ...

    def after_filling(self, connection: Connection, tables: Sequence[Table]) -> None:
        """Have what is written to these tables from now on numbered behind the rows that they were filled with."""
        ...

    def joined(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        """Put together a column's bytes or texts over all rows, one behind another; nothing for null, null of no row.

        All that are asked for at once have the rows in one order.
        """
        ...

    def listed(self, column: ColumnElement[Any]) -> ColumnElement[str]:
        """Put together a column's numbers over all rows, decimal with commas; nothing for null, null of no row."""
        ...

    def dispose(self) -> None:
        """Close every connection."""
        ...
