"""Questions to a server's database, and the way that they make: those that an index serves, and those that none may.

A question without an index is bounded, and left out with a word where it takes longer. No text of posts is asked for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from fedi_safety.clients.postgresql import Session
from fedi_safety.config.schema import Trace
from fedi_safety.core.sightings import Sighting, SightingWay, Subject, Traced
from fedi_safety.tracing.database import Schema, ServerDatabase, SlowAnswerError
from fedi_safety.tracing.ways import Way

T = TypeVar("T")

MOST = 200
"""Rows that one question gives at most."""
SCAN_S = 10.0
"""The longest that a question without an index may take, in seconds."""


@dataclass(frozen=True, slots=True)
class Query:
    """A question in SQL, which limits its rows itself. `scans` says in words what it searches without an index; empty
    where one serves it."""

    sql: str
    scans: str = ""


class Questions:
    """What is asked of a database about one subject; `left_out` says, a phrase each, what took too long."""

    def __init__(self, session: Session, within_s: float) -> None:
        """Ask in this session, for so many seconds from now."""
        self.left_out: list[str] = []
        self._session = session
        self._until = time.monotonic() + within_s

    def rows(self, query: Query, **params: Any) -> list[tuple[Any, ...]]:
        """Return the rows; none where it has no index and takes longer than half of what time is left."""
        if not query.scans:
            return self._session.rows(query.sql, params)
        within_s = min(SCAN_S, (self._until - time.monotonic()) / 2)
        try:
            return self._session.rows(query.sql, params, within_s=within_s)
        except SlowAnswerError:
            self.left_out.append(f"{query.scans}: skipped after {max(within_s, 0):.2g} s, as no index leads there")
            return []


def database_way(
    access: Trace,
    name: str,
    schema: Schema,
    sought: Callable[[Subject], T | str],
    answer: Callable[[Questions, T], Iterable[Sighting]],
) -> list[Way]:
    """Return the way by a server's database, none where it is not configured.

    `sought` says what to look for, or in words why there is nothing to look for; `answer` looks for it. Raises
    `TraceUsageError` for a connection string that is none.
    """
    if access.database is None:
        return []
    database = ServerDatabase(access.database.get_secret_value(), name, expected=schema.name)
    known: list[Schema] = []  # the schema, once it was looked at

    def ask(subject: Subject, within_s: float) -> Traced:
        what = sought(subject)
        if isinstance(what, str):
            return Traced(unknown=what)
        with database.session(within_s) as session:
            if not known:
                known.append(database.schema(session, [schema]))
            questions = Questions(session, within_s)
            sightings = tuple(answer(questions, what))
        return Traced(sightings, "; ".join(questions.left_out))

    return [Way(SightingWay.DATABASE, ask)]
