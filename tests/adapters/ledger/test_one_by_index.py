"""What is asked of one content is looked up, and never sought through all that there is: a ledger may hold millions."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fedi_safety.ledger.ledger import SqlLedger, open_ledger
from fedi_safety.ledger.reading.plain import PlainFile
from fedi_safety.ledger.reading.showing import show
from support.fakes import FakeClock
from support.query_plans import reads_of
from support.sources import condemned, sha

# Not that of uploads: only what was refused or waits is kept, and what a server made of a content is sought there.
TABLES = ("events", "plans", "acts", "judgements", "contents", "objects")
ASKED: dict[str, Callable[[SqlLedger], object]] = {
    "show an object": lambda ledger: ledger.show("one"),
    "show a content": lambda ledger: ledger.show(sha("one")),
    "show what nobody knows": lambda ledger: ledger.show(sha("none")),
    "custody": lambda ledger: ledger.custody(sha("one")),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A ledger of a content for which nothing is planned."""
    made = open_ledger(tmp_path / "ledger.db", clock=FakeClock())
    condemned(made, {"one": []})
    made.dispose()
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[SqlLedger]:
    opened = open_ledger(path, clock=FakeClock())
    yield opened
    opened.dispose()


@pytest.mark.parametrize("what", ASKED)
def test_no_table_is_gone_through(ledger: SqlLedger, what: str) -> None:
    steps = [step for steps in reads_of(ledger, "SELECT", lambda: ASKED[what](ledger)) for step in steps]
    assert steps
    assert [step for step in steps if step.startswith("SCAN") and step.split()[1] in TABLES] == []


def test_sightings_of_an_upload_are_looked_up(ledger: SqlLedger) -> None:
    (steps,) = reads_of(ledger, "FROM uploads", lambda: ledger.told_of(sha("one"), []))
    assert [step.split(" USING")[0] for step in steps] == ["SEARCH uploads"]


@pytest.mark.parametrize("target", ["one", sha("one")])
def test_nor_by_the_plain_driver(path: Path, target: str | bytes) -> None:
    file = PlainFile(path)
    asked: list[str] = []
    file._connection.set_trace_callback(asked.append)
    assert show(file, target) is not None
    file.dispose()
    with sqlite3.connect(path) as connection:
        plans = [connection.execute(f"EXPLAIN QUERY PLAN {text}") for text in asked if text.startswith("SELECT")]
        steps = [row[3] for plan in plans for row in plan]
    connection.close()
    assert any(step.startswith("SEARCH events") for step in steps)
    assert [step for step in steps if step.startswith("SCAN") and step.split()[1] in TABLES] == []


def test_an_empty_list_is_met_by_nothing_and_goes_through_nothing(path: Path) -> None:
    file = PlainFile(path)
    asked: list[str] = []
    file._connection.set_trace_callback(asked.append)
    assert file.ask("SELECT seq FROM events WHERE plan_id IN :plans ORDER BY seq", plans=[]) == []
    file._connection.set_trace_callback(None)
    steps = [row[3] for row in file._connection.execute(f"EXPLAIN QUERY PLAN {asked[0]}")]
    file.dispose()
    assert steps[0].startswith("SEARCH events USING ")
