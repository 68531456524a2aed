"""How SQLite finds what a ledger asks it for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import event

from fedi_safety.ledger.ledger import SqlLedger


def reads_of(ledger: SqlLedger, table: str, ask: Callable[[], object]) -> list[list[str]]:
    """Return how SQLite reads, for each query of `ask` that names the table."""
    asked: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        asked.append((statement, parameters))

    with ledger.database.read() as connection:
        engine = connection.engine
    event.listen(engine, "before_cursor_execute", note)
    ask()
    event.remove(engine, "before_cursor_execute", note)
    found = []
    with ledger.database.read() as connection:
        for statement, parameters in (one for one in asked if table in one[0]):
            steps = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]
            found.append([step for step in steps if step.startswith(("SCAN", "SEARCH"))])
    return found
