"""Many rows written at once, and what is sent ahead of being asked for: each kind of database has its own best way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, Table, func, insert, select

from fedi_safety.ledger import codec

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
