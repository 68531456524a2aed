"""Ledgers on each kind of database that one can lie in; what a test asks of a ledger is asked of every kind."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import pytest
from sqlalchemy import Connection, Engine, create_engine, event, select

from fedi_safety.core.ledger.notices import Channel
from fedi_safety.core.ports import Clock
from fedi_safety.ledger import codec, verdicts
from fedi_safety.ledger.compact.vocabulary import Vocabulary
from fedi_safety.ledger.database.base import Database
from fedi_safety.ledger.embeddings import Keep
from fedi_safety.ledger.ledger import SqlLedger, open_ledger
from fedi_safety.ledger.migrate import upgrade_tables
from fedi_safety.ledger.schema import contents, judgements, metadata
from support.fakes import FakeClock
from support.servers.postgresql import PostgresqlServer

COMPACT = "0027"
"""From this revision on scores and reasons are compact."""


def make_older(path: Path, revision: str) -> None:
    """Make a closed SQLite ledger one of this revision: what that did not know yet is lost."""
    newer = path.rename(path.with_suffix(".newer"))
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        upgrade_tables(connection, revision)
    engine.dispose()
    with closing(sqlite3.connect(path, isolation_level=None)) as older:
        older.execute("ATTACH ? AS newer", (str(newer),))
        tables = [name for (name,) in older.execute("SELECT name FROM main.sqlite_master WHERE type = 'table'")]
        for table in {*tables} - {"alembic_version", "sqlite_sequence"}:
            kept, known = (
                {row[1] for row in older.execute(f"PRAGMA {schema}.table_info({table})")}
                for schema in ("main", "newer")
            )
            columns = ", ".join(f'"{name}"' for name in sorted(kept & known))
            older.execute(f"DELETE FROM main.{table}")
            older.execute(f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM newer.{table}")
    if revision < COMPACT:
        _write_out(newer, path)
    newer.unlink()


def _write_out(newer: Path, path: Path) -> None:
    """Give an older ledger scores, reasons and first verdicts as its version has them."""
    engine = create_engine(f"sqlite:///{newer}")
    c, j = contents.c, judgements.c
    with engine.connect() as connection, closing(sqlite3.connect(path)) as older, older:
        verdicts.keep_earlier(connection, list(connection.execute(select(c.id)).scalars()))
        vocabulary = Vocabulary(connection)
        for row in connection.execute(select(contents)).all():
            signals = vocabulary.signals(row.names_id, row.scores, row.signals)
            reasons = vocabulary.reasons(row.shape_id, row.reasons, signals)
            told = codec.signals_text(signals), codec.reasons_text(reasons), row.id
            older.execute("UPDATE contents SET signals = ?, reasons = ? WHERE id = ?", told)
        older.execute("DELETE FROM judgements")
        names = [row[1] for row in older.execute("PRAGMA table_info(judgements)")]
        for row in connection.execute(select(*(j[name] for name in names))):
            older.execute(f"INSERT INTO judgements VALUES ({', '.join('?' * len(names))})", tuple(row))
        connection.rollback()
    engine.dispose()


class _Compiled(dict[tuple[Any, ...], Any]):
    """What SQLAlchemy made of statements, by the kind of dialect instead of an engine's own."""

    def get(self, key: tuple[Any, ...], default: Any = None) -> Any:
        return super().get((type(key[0]), *key[1:]), default)

    def __setitem__(self, key: tuple[Any, ...], compiled: Any) -> None:
        super().__setitem__((type(key[0]), *key[1:]), compiled)


def share_compiled() -> None:
    """Let all ledgers of this process share what SQLAlchemy makes of statements, as all statements of one ledger do.

    A process of the program opens one ledger, and a process of the tests a thousand.
    """
    compiled = _Compiled()

    @event.listens_for(Engine, "engine_connect")
    def share(connection: Connection) -> None:
        connection.execution_options(compiled_cache=compiled)


KINDS = ("sqlite", "postgresql")
"""The schemes of `ledger.database.KINDS`; a test holds the two together."""

PARAMETERS = ("sqlite", pytest.param("postgresql", marks=pytest.mark.needs("postgresql")))
"""They as the parameters of a fixture: a real server is started for those who ask for it."""

_numbers = count(1)


class Opener(Protocol):
    """Opens the one ledger of a test, again if wanted: what was not committed is then not there."""

    def __call__(
        self, *, clock: Clock | None = None, keep: Keep = Keep.NO, channels: Sequence[Channel] = ()
    ) -> SqlLedger:
        """Open it; left out, its clock stands still."""
        ...


@contextmanager
def place_of(kind: str, folder: Path, request: pytest.FixtureRequest) -> Iterator[str | Path]:
    """Give where a new ledger of this kind lies: a path, or the URL of a database that is gone at the end."""
    with place_at(folder, None if kind == "sqlite" else request.getfixturevalue("ledger_server")) as place:
        yield place


@contextmanager
def place_at(folder: Path, server: PostgresqlServer | None) -> Iterator[str | Path]:
    """Give where a new ledger lies: a path in a folder, or where there is a server a database of its own."""
    if server is None:
        yield folder / "ledger.db"
    else:
        with empty_database(server) as url:
            yield url


@contextmanager
def empty_database(server: PostgresqlServer, like: str = "template1") -> Iterator[str]:
    """Give the URL of a new database, which is gone at the end: empty, or as the one `like` is, which none may use."""
    name = f"ledger_{next(_numbers)}"
    server.execute(f"CREATE DATABASE {name} TEMPLATE {like}")
    try:
        yield server.dsn(database=name)
    finally:
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def opened_at(place: str | Path) -> Iterator[Opener]:
    """Give an opener for the ledger there, and close what it opened."""
    opened: list[SqlLedger] = []

    def opener(*, clock: Clock | None = None, keep: Keep = Keep.NO, channels: Sequence[Channel] = ()) -> SqlLedger:
        opened.append(open_ledger(place, clock=clock or FakeClock(), keep=keep, channels=channels))
        return opened[-1]

    try:
        yield opener
    finally:
        for ledger in opened:
            ledger.dispose()


def rows_of(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows of all tables, in an order that does not depend on the database."""
    with database.read() as connection:
        return {
            table.name: sorted((tuple(row) for row in connection.execute(select(table))), key=repr)
            for table in metadata.sorted_tables
        }
