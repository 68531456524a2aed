"""A ledger moved to another database, whole, and held against what it was made of before anybody relies on it.

One transaction reads, at one moment, and one writes: a copy that is broken off leaves an empty database, as it was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Table, delete, func, select

from fedi_safety.core.errors import LedgerError, LedgerUsageError
from fedi_safety.core.ledger.records import Copied
from fedi_safety.core.wording.hints import hint
from fedi_safety.ledger.database import open_database
from fedi_safety.ledger.database.base import Database
from fedi_safety.ledger.migrate import create_tables, revision_of
from fedi_safety.ledger.schema import REVISION, chain, metadata
from fedi_safety.ledger.verify import verify_in

PAGE_ROWS = 2_000
"""How many rows are in memory at once, at most."""

Progress = Callable[[str, int, int], None]
"""Told what is being copied, or read back, how many rows of it are done, and how many there are."""

_ALL = 1 << 256


@dataclass(slots=True)
class Digest:
    """What a table's rows come to, in whatever order they are read: their number, and the sum of their hashes."""

    rows: int = 0
    total: int = 0

    def add(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """Add rows. Python writes each value so that another one, or one of another type, is written otherwise."""
        self.rows += len(rows)
        for row in rows:
            written = repr(row).encode("utf-8", "surrogatepass")
            self.total += int.from_bytes(hashlib.sha256(written).digest(), "big")
        self.total %= _ALL


def copy_ledger_to(source: str, target: str, told: Progress) -> Copied:
    """Open both, hold the right to runs on the source, and copy; see `copy_into`."""
    one = open_database(source, readonly=True)
    try:
        with one.read() as reading:
            _refuse_other(revision_of(reading, one.name), one.name)
        other = open_database(target)
        try:
            with one.run_lock():
                return copy_into(one, other, told)
        finally:
            other.dispose()
    finally:
        one.dispose()


def copy_into(source: Database, target: Database, told: Progress) -> Copied:
    """Copy all rows of one ledger into an empty database, and check them there before they are committed.

    The source is only read. Raises `LedgerUsageError` where it is no ledger of this version or the target is not empty,
    and `LedgerError` for what does not arrive as it left; the target is empty then.
    """
    with target.write() as writing:
        _refuse_filled(writing, target.name)
        with source.read() as reading:
            _refuse_other(revision_of(reading, source.name), source.name)
            create_tables(writing)
            writing.execute(delete(chain))  # it begins with what an empty ledger has
            rows = sum(_copy_table(reading, writing, target, table, told) for table in metadata.sorted_tables)
        target.after_filling(writing, metadata.sorted_tables)
        found = verify_in(writing)
        if found.problem is not None or found.miscounted is not None:
            cause = f"does not hold together: {found.problem or found.miscounted}"
            raise LedgerError(source.name, cause, f"nothing was copied; see {hint('ledger verify')}")
    target.prepare()
    with source.read() as reading:
        length = int(reading.execute(select(chain.c.length)).scalar_one())
    return Copied(rows, found.length, found.head, length - found.length)


def _refuse_other(revision: str | None, name: str) -> None:
    if revision is None:
        raise LedgerUsageError(name, "is empty: there is no ledger here yet", "name the ledger that is to be copied")
    if revision != REVISION:
        remedy = "have this version upgrade it first, by any command that writes, such as a scan"
        raise LedgerUsageError(name, "its tables are of another version of fedi-safety", remedy)


def _refuse_filled(connection: Connection, name: str) -> None:
    if revision_of(connection, name) is not None:
        raise LedgerUsageError(name, "holds a ledger already", "name an empty database; nothing is overwritten")


def _copy_table(reading: Connection, writing: Connection, target: Database, table: Table, told: Progress) -> int:
    """Copy one table, read it back, and return how many rows it has."""
    total = int(reading.execute(select(func.count()).select_from(table)).scalar_one())
    left, arrived = Digest(), Digest()
    told(table.name, 0, total)
    for page in _pages(reading, table):
        _refuse_unwritable(page, table, target)
        target.fill(writing, table, page)
        left.add(page)
        told(table.name, left.rows, total)
    for page in _pages(writing, table):
        arrived.add(page)
        told(f"{table.name}, read back", arrived.rows, total)
    if left != arrived:
        cause = f"{table.name}: {arrived.rows:,} rows arrived of {left.rows:,}, or not as they left"
        raise LedgerError(target.name, cause, "nothing was kept there; please report it")
    return left.rows


def _pages(connection: Connection, table: Table) -> Iterator[list[tuple[Any, ...]]]:
    """Yield a table's rows, in the order of their keys; the database holds back what is not read yet."""
    streaming = {"stream_results": True, "max_row_buffer": PAGE_ROWS}
    query = select(table).order_by(*table.primary_key.columns)
    with connection.execute(query, execution_options=streaming) as rows:
        while page := rows.fetchmany(PAGE_ROWS):
            yield [tuple(row) for row in page]


def _refuse_unwritable(page: Sequence[tuple[Any, ...]], table: Table, target: Database) -> None:
    """Refuse a text that the other database has no way to hold, by its row, before it stops in a driver's words."""
    if target.keeps_nul:
        return
    for row in page:
        for column, value in zip(table.columns, row, strict=True):
            if isinstance(value, str) and "\0" in value:
                key = ", ".join(f"{name} {row[place]!r}" for name, place in _key(table))
                cause = f"cannot hold U+0000, which {column.name} of {table.name} ({key}) has"
                raise LedgerError(target.name, cause, "nothing was copied; take that character out of the ledger first")


def _key(table: Table) -> list[tuple[str, int]]:
    names = [column.name for column in table.columns]
    return [(column.name, names.index(column.name)) for column in table.primary_key.columns]
