"""What a ledger needs of a database, whichever it is: transactions, one lock for runs, and a name to tell people.

The tables and statements on top are SQLAlchemy's and the same everywhere (`schema`); what is particular to one database
is in its own file beside this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sqlalchemy import ColumnElement, Connection, Table, func, insert, select

from fedi_safety.core.errors import DamagedError
from fedi_safety.core.ledger.progress import Progress
from fedi_safety.ledger import codec

BUSY_TIMEOUT_S = 30.0
"""How long a write waits for another program's before it gives up."""

LISTENER = "ledger_listener"
"""The option of a writing connection that has what is called with every event, in its transaction (`listen`)."""

AHEAD: Mapping[str, Any] = {"ledger_ahead": True}
"""Options of a statement whose result nobody asks for: this side need not wait for it.

What is wrong with it is raised by it, by a later statement of its transaction, or at the end of that.
"""

BULK = "ledger_bulk"
"""The option of a writing connection that has a `Bulk`, where its database knows a better way than a row at a time."""


Item = TypeVar("Item")


class Bulk(Protocol):
    """How many rows are written at once."""

    @property
    def part(self) -> int:
        """How many rows it is given at a time: while it writes these, the next are made ready."""
        ...

    def put(self, connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """See `put`."""
        ...

    def numbers(self, connection: Connection, table: Table, count: int) -> Sequence[int]:
        """See `numbers`."""
        ...


def put(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert new rows, all with the same columns. It is not waited for; see `AHEAD`."""
    bulk: Bulk | None = connection.get_execution_options().get(BULK)
    if bulk is not None:
        bulk.put(connection, table, rows)
    elif rows:
        connection.execute(insert(table), rows)


def parts(connection: Connection, items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """Cut what rows are to be made of into pieces, each of which is put when it is ready."""
    bulk: Bulk | None = connection.get_execution_options().get(BULK)
    return codec.chunks(items, codec.BATCH_ROWS if bulk is None else bulk.part)


def numbers(connection: Connection, table: Table, count: int) -> Sequence[int]:
    """Return the numbers that so many new rows are to have, in their order: no other writer gets them."""
    bulk: Bulk | None = connection.get_execution_options().get(BULK)
    if bulk is not None:
        return bulk.numbers(connection, table, count)
    last = connection.execute(select(func.max(table.c.id))).scalar_one() or 0 if count else 0
    return range(last + 1, last + 1 + count)


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
