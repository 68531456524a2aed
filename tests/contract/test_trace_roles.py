"""One contract over every schema that a tracer reads: the role with exactly the GRANTs that `doctor` prints suffices.

With a column less the tracer's way is closed, so each is needed, and `doctor` names it; with more it complains.
The rows are in support/servers/server_tables.py, beside a stand-in for a server, of two versions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from typing import Any

import pytest
from pydantic import SecretStr

from fedi_safety import tracing
from fedi_safety.app.roles import RoleFinding, check_trace
from fedi_safety.config.schema import Trace
from fedi_safety.core.errors import ExitCode, TraceError
from fedi_safety.core.sightings import SightingWay
from fedi_safety.tracing import KINDS, open_tracer
from fedi_safety.tracing.database import grants, quoted
from support.servers.postgresql import PostgresqlServer
from support.servers.server_tables import SERVER_TABLES, ServerTables
from support.servers.stand_in_server import NEW, STAND_IN, STAND_INS

_numbers = count(1)


@pytest.fixture(scope="module")
def servers() -> Iterator[Callable[[Any], PostgresqlServer]]:
    """Start each PostgreSQL once, when its first test comes."""
    with ExitStack() as stack:
        running: dict[object, PostgresqlServer] = {}

        def server(started: Any) -> PostgresqlServer:
            if started not in running:
                running[started] = stack.enter_context(started())
            return running[started]

        yield server


@pytest.fixture(
    params=[
        pytest.param(tables, marks=pytest.mark.needs(*tables.needs), id=f"{tables.server} {tables.schema}")
        for tables in (*STAND_INS, *SERVER_TABLES)
    ]
)
def place(
    request: pytest.FixtureRequest, servers: Callable[[Any], PostgresqlServer], monkeypatch: pytest.MonkeyPatch
) -> Place:
    monkeypatch.setattr(tracing, "KINDS", (*KINDS, STAND_IN))
    return Place(request.param, servers(request.param.started))


class Place:
    """A server's database, and a role of its own that may read what is printed."""

    def __init__(self, tables: ServerTables, server: PostgresqlServer) -> None:
        self.tables, self.server = tables, server
        self.database, self.role = f"{tables.server} {next(_numbers)}", f"reader {next(_numbers)}"
        server.execute(f"CREATE DATABASE {quoted(self.database)}")
        tables.make(server, self.database)
        schemas = tracing.kind_of(tables.server).schemas()
        self.schema = next(schema for schema in schemas if schema.name == tables.schema)
        self.run(*grants(self.schema.reads, role=self.role, database=self.database))

    @property
    def access(self) -> Trace:
        dsn = SecretStr(self.server.dsn(self.role, self.database))
        return Trace(server=self.tables.server, url=self.tables.url, database=dsn, limit_s=60)

    @property
    def columns(self) -> list[tuple[str, str]]:
        return [(table, column) for table, columns in self.schema.reads.items() for column in columns]

    def run(self, *statements: str) -> None:
        self.server.execute(*statements, database=self.database)

    @contextmanager
    def without(self, table: str, column: str) -> Iterator[None]:
        of = f"SELECT ({quoted(column)}) ON {quoted(table)}"
        self.run(f"REVOKE {of} FROM {quoted(self.role)}")
        yield
        self.run(f"GRANT {of} TO {quoted(self.role)}")

    def doctor(self) -> list[RoleFinding]:
        return list(check_trace(self.access))

    def closed(self) -> list[str]:
        """Ask about every subject; return why the way by the database was closed."""
        tracer = open_tracer(self.access)
        assert tracer is not None
        closed: list[str] = []
        for subject in self.tables.subjects:
            try:
                closed += tracer.trace(subject, within_s=60).closed
            except TraceError as error:
                closed.append(error.line())
        tracer.close()
        return closed


def test_every_schema_that_is_read_has_a_database_here() -> None:
    read = {(kind.name, schema.name) for kind in KINDS for schema in kind.schemas()}
    assert read == {(tracing.kind_of(tables.server).name, tables.schema) for tables in SERVER_TABLES}
    for kind in KINDS:
        assert bool(kind.schemas()) == (SightingWay.DATABASE in kind.ways), kind.name


def test_what_is_printed_suffices(place: Place) -> None:
    (found,) = place.doctor()
    assert found.ok, found
    assert f"what is needed of {place.schema.name}, and nothing else" in found.detail
    assert place.closed() == []
    tracer = open_tracer(place.access)
    assert tracer is not None
    ways = {s.way for subject in place.tables.subjects for s in tracer.trace(subject, within_s=60).sightings}
    tracer.close()
    assert SightingWay.DATABASE in ways, "nothing was found by it"


def test_each_column_that_is_printed_is_needed_and_missed(place: Place) -> None:
    mended: set[str] = set()
    for table, column in place.columns:
        with place.without(table, column):
            assert any("(42501)" in line for line in place.closed()), f"{table}.{column} is read by nothing"
            (found,) = place.doctor()
            assert (found.ok, found.code) == (False, ExitCode.USAGE)
            assert f"may not read {table}.{column};" in found.detail
            if table not in mended:
                place.run(*found.sql)
                assert all(found.ok for found in place.doctor())
                mended.add(table)


def test_a_role_that_may_do_more_is_told(place: Place) -> None:
    table = quoted(next(iter(place.schema.reads)))
    for more, less in (
        (f"GRANT INSERT ON {table} TO {{}}", f"REVOKE INSERT ON {table} FROM {{}}"),
        ("ALTER ROLE {} SUPERUSER", "ALTER ROLE {} NOSUPERUSER"),
        ("GRANT SELECT ON ALL TABLES IN SCHEMA public TO {}", "SELECT 1"),
    ):
        place.run(more.format(quoted(place.role)))
        (found,) = place.doctor()
        assert (found.ok, found.code) == (False, ExitCode.USAGE), more
        assert "can do more than it should" in found.detail
        assert "fedi_safety" in "".join(found.sql) and place.role not in "".join(found.sql), "a role of its own"
        place.run(less.format(quoted(place.role)))


def test_a_schema_that_lacks_a_column_is_named(place: Place) -> None:
    table, column = place.columns[-1]
    place.run(f"ALTER TABLE {quoted(table)} RENAME COLUMN {quoted(column)} TO renamed")
    (found,) = place.doctor()
    if place.schema is NEW:  # without its column it is the older one, which has no need of what was renamed
        assert f"may read {table}.renamed, of which" in found.detail
        return
    assert (found.ok, found.code) == (False, ExitCode.USAGE)
    assert f"it has no column {table}.{column}" in found.detail and "is expected" in found.detail
