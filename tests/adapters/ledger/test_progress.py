"""How far passes are that are under way: read by others while they run, and not a moment longer, however they end."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fedi_safety.core.ledger.progress import Progress
from fedi_safety.ledger.ledger import SqlLedger, open_ledger
from support.fakes import FakeClock

PROGRESS = Progress(7, "file:///srv/a", True, 100.0, 160.5, 12, 48, True, 0.2, "ab/\udcff/", {"judged": 9, "block": 1})

RUNS = """
import sys, time
from fedi_safety.app.ledger import SystemClock
from fedi_safety.core.ledger.progress import Progress
from fedi_safety.ledger.ledger import open_ledger
with open_ledger(sys.argv[1], clock=SystemClock()).pass_under_way() as tell:
    tell(Progress(7, "file:///srv/a", True, 100.0, 160.5, 12))
    print("told", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "the [one].db"


@pytest.fixture
def ledger(place: Path) -> Iterator[SqlLedger]:
    opened = open_ledger(place, clock=FakeClock())
    yield opened
    opened.dispose()


def beside(place: Path) -> list[str]:
    return sorted(path.name for path in place.parent.glob("*.pass-*"))


def test_a_pass_is_told_while_it_runs_and_leaves_nothing(ledger: SqlLedger, place: Path) -> None:
    reader = open_ledger(place, clock=FakeClock(), readonly=True)
    with ledger.pass_under_way() as tell:
        assert (reader.under_way(), beside(place)) == ([], []), "nothing was told yet"
        tell(PROGRESS)
        assert reader.under_way() == [PROGRESS] == ledger.under_way()
        shorter = replace(PROGRESS, done=13, place="", counts={})
        tell(shorter)
        assert reader.under_way() == [shorter], "what was longer has no trace"
        with ledger.pass_under_way() as other:
            second = replace(PROGRESS, run=8, store="s3://b")
            other(second)
            assert reader.under_way() == [shorter, second]
        assert reader.under_way() == [shorter]
    assert (reader.under_way(), beside(place)) == ([], [])
    other_file = place.with_name("other")
    other_file.write_bytes(b"whole")
    numbers = [os.open(other_file, os.O_RDWR) for _ in range(16)]  # one of them has the number that was closed
    tell(PROGRESS)
    assert (beside(place), other_file.read_bytes()) == ([], b"whole"), "what is told too late goes nowhere"
    for number in numbers:
        os.close(number)
    reader.dispose()


def test_a_pass_that_was_killed_is_not_under_way(ledger: SqlLedger, place: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", RUNS, str(place)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == "told\n"
        (found,) = ledger.under_way()
        assert (found.run, found.done) == (7, 12)
        process.kill()
        process.wait()
        assert beside(place) == ["the [one].db.pass-7"], "it had no time to take it away"
        assert ledger.under_way() == []
    finally:
        process.kill()
        process.communicate()
    with ledger.pass_under_way() as tell:
        tell(replace(PROGRESS, run=9))
        assert beside(place) == ["the [one].db.pass-9"], "the next pass takes it away"


def test_what_cannot_be_told_holds_nobody_up(ledger: SqlLedger, place: Path) -> None:
    taken = place.with_name(f"{place.name}.pass-7")
    taken.mkdir()
    with ledger.pass_under_way() as tell:
        tell(PROGRESS)
    taken.rmdir()
    held = os.open(taken, os.O_RDWR | os.O_CREAT)
    fcntl.flock(held, fcntl.LOCK_EX)
    os.write(held, b'{"run": "no')
    began = time.monotonic()
    with ledger.pass_under_way() as tell:
        tell(PROGRESS)
    assert time.monotonic() - began < 20
    assert ledger.under_way() == [], "what nobody can read is no pass"
    os.close(held)


def test_a_reader_delays_the_next_pass_by_no_more_than_its_glance(ledger: SqlLedger, place: Path) -> None:
    """It takes no lock that a run needs, so that a report never refuses a run its ledger."""
    with ledger.run_lock(), ledger.pass_under_way() as tell:
        tell(PROGRESS)
        glance = os.open(place.with_name(f"{place.name}.pass-7"), os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(glance, fcntl.LOCK_SH | fcntl.LOCK_NB)
        os.close(glance)
    with ledger.run_lock():
        assert ledger.under_way() == []
