"""How far the sources of lists were read, kept beside the lists, so that it cannot say otherwise than they do."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from typing import Any

from fedi_safety.core.classes import dataclass

SCHEMA = """
CREATE TABLE sources (
    name TEXT PRIMARY KEY, kind TEXT NOT NULL, place TEXT NOT NULL, terms TEXT NOT NULL, agreement INTEGER NOT NULL,
    checkpoint TEXT NOT NULL, applied INTEGER NOT NULL, pending INTEGER NOT NULL, tried_s REAL, fetched_s REAL,
    failures INTEGER NOT NULL, failure TEXT NOT NULL, calls INTEGER NOT NULL, sent INTEGER NOT NULL
)
"""
_COLUMNS = (
    "name, kind, place, terms, agreement, checkpoint, applied, pending, "
    "tried_s, fetched_s, failures, failure, calls, sent"
)


@dataclass(frozen=True, slots=True)
class SourceState:
    """How far a list's source was read. Times are seconds since 1970 in UTC, None for never.

    `place` says what was asked, `terms` as what its list was configured then; on other ones it is begun anew. After
    `checkpoint`, in the words of its kind, the next fetch goes on; empty, nothing was read to an end. Up to the mark
    `applied` its entries were compared with what was judged before; `pending` is whether something changed since.
    `failure` is why the last fetch failed, empty if it did not, and `failures` how many did since one was complete. A
    source that is told hashes counts the `calls` and how many hashes were `sent`.
    """

    name: str
    kind: str
    place: str
    terms: str = ""
    agreement: bool = False
    checkpoint: str = ""
    applied: int = 0
    pending: bool = False
    tried_s: float | None = None
    fetched_s: float | None = None
    failures: int = 0
    failure: str = ""
    calls: int = 0
    sent: int = 0


def states(connection: sqlite3.Connection, name: str | None = None) -> list[SourceState]:
    """Return the states of all sources, or of one, by name; none from a file that has no place for them yet."""
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'sources'").fetchone() is None:
        return []
    found = connection.execute(
        f"SELECT {_COLUMNS} FROM sources WHERE name = ifnull(?, name) ORDER BY name", (name,)
    ).fetchall()
    return [_state(*row) for row in found]


def _state(*values: Any) -> SourceState:
    state = SourceState(*values)
    return replace(state, agreement=bool(state.agreement), pending=bool(state.pending))


def write(connection: sqlite3.Connection, state: SourceState) -> None:
    """Put a source's state in the place of the one before, inside a write transaction."""
    values = tuple(getattr(state, column) for column in _COLUMNS.split(", "))
    connection.execute(f"INSERT OR REPLACE INTO sources ({_COLUMNS}) VALUES ({', '.join('?' * len(values))})", values)


def forget(connection: sqlite3.Connection, name: str) -> None:
    """Forget how far a source was read, inside a write transaction."""
    connection.execute("DELETE FROM sources WHERE name = ?", (name,))
