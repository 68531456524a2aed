"""The databases of the servers that tracers ask, as tests make them: one row a version of a server's schema."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

from fedi_safety.core.sightings import Subject
from fedi_safety.tracing import lemmy_schema
from fedi_safety.tracing.database import quoted
from support.lemmy_records import LemmyRecords
from support.servers.lemmy import DATABASE, V0_19, V1_0, Release, lemmy_postgresql
from support.servers.postgresql import PostgresqlServer, postgresql_server
from support.servers.reexpressed import REEXPRESSED


@dataclass(frozen=True, slots=True)
class ServerTables:
    """A server's own database. `make` makes its tables, and some rows, in a database of that name.

    `subjects` together lead the tracer to every table and column that it reads. `schema` is the name under which the
    version must be recognised; `started` starts the PostgreSQL that it takes, and `needs` names what that needs.
    """

    server: str
    schema: str
    make: Callable[[PostgresqlServer, str], None]
    subjects: tuple[Subject, ...]
    url: str = "https://social.example"
    started: Callable[[], AbstractContextManager[PostgresqlServer]] = postgresql_server
    needs: tuple[str, ...] = ("postgresql",)


def _lemmy(release: Release, server: PostgresqlServer, database: str) -> None:
    server.execute(f"DROP DATABASE {quoted(database)}", f"CREATE DATABASE {quoted(database)} TEMPLATE {DATABASE}")
    with LemmyRecords(server, release, database) as made:
        made.site()
        made.upload(_ALIAS, made.person("uploader"))


_ALIAS = "2b1c6f1e-6d0a-4a37-9a51-4d7d4ac6f8b1.png"
LEMMY = tuple(
    ServerTables(
        "lemmy",
        schema.name,
        partial(_lemmy, release),
        (Subject(aliases=(_ALIAS,), origins=("https://far.example/1.png",)),),
        started=partial(lemmy_postgresql, release),
        needs=("postgresql", "lemmy"),
    )
    for release, schema in ((V0_19, lemmy_schema.V0_19.schema), (V1_0, lemmy_schema.V1_0.schema))
)
SERVER_TABLES: tuple[ServerTables, ...] = (
    *LEMMY,
    *(ServerTables(one.server, one.schema, one.make, tuple(one.found)) for one in REEXPRESSED),
)
"""Every schema of every kind of server in `fedi_safety.tracing.KINDS`: tests/contract/test_trace_roles.py counts."""
