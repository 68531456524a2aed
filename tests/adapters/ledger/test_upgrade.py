"""Upgrades and downgrades: nothing is altered below a run, and whoever is of another version is told so."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from fedi_safety.config.loading import load_settings
from fedi_safety.core.errors import ConfigError, LedgerError, LedgerUsageError
from fedi_safety.ledger import migrate
from fedi_safety.ledger.database.sqlite import SqliteDatabase
from fedi_safety.ledger.ledger import open_ledger
from fedi_safety.ledger.migrate import upgrade_tables
from fedi_safety.ledger.schema import REVISION
from support.fakes import FakeClock
from support.ledgers import make_older

STORE = "file:///srv/media"
OLDER = "0014"


@pytest.fixture
def older(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.db"
    ledger = open_ledger(path, clock=FakeClock())
    ledger.begin_run("scan", STORE, {})
    ledger.dispose()
    make_older(path, OLDER)
    return path


def revision(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        (found,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return str(found)


def test_nothing_is_upgraded_below_a_run(older: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrate, "_UPGRADE_WAIT_S", 0.0)
    running = SqliteDatabase(older, readonly=False)  # as the version before has it open
    with running.run_lock(), pytest.raises(LedgerError) as caught:
        open_ledger(older, clock=FakeClock())
    assert caught.value.exit_code == 3 and caught.value.line() == (
        f"{older}: was written by an older version and must be upgraded, but another fedi-safety run "
        f"(pid {os.getpid()}) is using this ledger; stop that (services too, such as `systemctl stop fedi-safety`), "
        "and run this again"
    )
    assert revision(older) == OLDER
    with running.write() as connection:  # the run goes on as if nothing had been
        connection.exec_driver_sql("UPDATE runs SET status = 'done'")
    running.dispose()
    ledger = open_ledger(older, clock=FakeClock())
    assert ledger.begin_run("scan", STORE, {}) == 2
    ledger.dispose()
    assert revision(older) == REVISION


def test_services_that_start_together_after_an_upgrade_wait_for_each_other(
    older: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = SqliteDatabase(older, readonly=False)
    waited = []

    def meanwhile(seconds: float) -> None:
        waited.append(seconds)
        with first.write() as connection:
            upgrade_tables(connection)

    monkeypatch.setattr(time, "sleep", meanwhile)
    with first.run_lock():
        ledger = open_ledger(older, clock=FakeClock())
    assert ledger.begin_run("scan", STORE, {}) == 2 and len(waited) == 1
    ledger.dispose()
    first.dispose()


def test_a_lock_that_may_not_be_taken_is_no_run_to_wait_for(older: Path) -> None:
    older.with_name("ledger.db.lock").mkdir()
    with pytest.raises(LedgerUsageError, match="Is a directory; make it and the ledger's directory writable"):
        open_ledger(older, clock=FakeClock())
    assert revision(older) == OLDER


def test_who_was_there_before_an_upgrade_writes_nothing_more(tmp_path: Path) -> None:
    """A gate has no right to runs to be seen by; its next write finds what it does not know, and leaves it alone."""
    path = tmp_path / "ledger.db"
    gate = open_ledger(path, clock=FakeClock())
    assert gate.begin_run("serve", STORE, {}) == 1
    with closing(sqlite3.connect(path)) as newer, newer:
        newer.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(LedgerError, match="was upgraded by a newer version of fedi-safety while it was in use"):
        gate.begin_run("serve", STORE, {})
    gate.dispose()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM runs").fetchone() == (1,)


def test_what_a_person_does_to_the_file_is_no_upgrade(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    ledger = open_ledger(path, clock=FakeClock())
    ledger.begin_run("scan", STORE, {})
    with closing(sqlite3.connect(path, isolation_level=None)) as person:
        person.execute("VACUUM")
        person.execute("ANALYZE")
    assert ledger.begin_run("scan", STORE, {}) == 2
    ledger.dispose()


def test_a_configuration_of_a_newer_version_is_one_line_that_says_so(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('act = "report"\nfrom_the_future = 1\n')
    with pytest.raises(ConfigError) as caught:
        load_settings(str(file))
    line = caught.value.line()
    assert caught.value.exit_code == 2 and "\n" not in line
    assert f"configuration ({file}): from_the_future: unknown key" in line
    assert line.endswith("; see docs/config.md; what a newer version wrote needs that version")
    file.write_text("jobs = -1\n")
    with pytest.raises(ConfigError, match=r"; see docs/config\.md$"):
        load_settings(str(file))
