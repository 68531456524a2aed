"""How SQLite finds where condemned contents came from: from the few that are condemned on, never through all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from fedi_safety.core.sightings import SourceKind
from fedi_safety.ledger.ledger import open_ledger
from support.fakes import FakeClock
from support.sources import STORE, condemned, seen


@pytest.mark.parametrize("store", [None, STORE])
@pytest.mark.parametrize("by", SourceKind)
def test_sources_are_found_from_the_condemned_ones_on(tmp_path: Path, by: SourceKind, store: str | None) -> None:
    ledger = open_ledger(tmp_path / "ledger.db", clock=FakeClock())
    condemned(ledger, {"one": [seen("a.example", "@x", person_id="7")]})
    asked: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        asked.append((statement, parameters))

    with ledger.database.read() as connection:
        engine = connection.engine
    event.listen(engine, "before_cursor_execute", note)
    ledger.sources(by, store)
    event.remove(engine, "before_cursor_execute", note)
    queries = [(statement, parameters) for statement, parameters in asked if "sightings" in statement]
    assert len(queries) == 2
    with ledger.database.read() as connection:
        for statement, parameters in queries:
            steps = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]
            reads = [step for step in steps if step.startswith(("SCAN", "SEARCH"))]
            assert any("contents USING INDEX ix_contents_not_clear" in step for step in reads), steps
            # People's names are put together from all sightings once; nothing else is read from end to end.
            scans = {step.split()[1] for step in reads if step.startswith("SCAN")}
            assert not any("AUTOMATIC" in step for step in reads if "anon" not in step), steps
            assert scans <= ({"sightings"} if by is SourceKind.PERSON else set()) | {"stores"}, steps
    ledger.dispose()
