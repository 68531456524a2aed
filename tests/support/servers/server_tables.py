"""The databases of the servers that tracers ask, as tests make them: one row a version of a server's schema."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from fedi_safety.core.sightings import Subject
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


SERVER_TABLES: tuple[ServerTables, ...] = (
    *(ServerTables(one.server, one.schema, one.make, tuple(one.found)) for one in REEXPRESSED),
)
"""Every schema of every kind of server in `fedi_safety.tracing.KINDS`: tests/contract/test_trace_roles.py counts."""
