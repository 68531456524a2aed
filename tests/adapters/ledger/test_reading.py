"""Questions as text: SQLite's driver alone answers as SQLAlchemy does, and leaves to it what it does not understand."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedi_safety.core.enums import ActKind, Verdict
from fedi_safety.core.errors import LedgerError
from fedi_safety.core.sightings import Certainty, Sighting, SightingKind, SightingWay, Subject, TraceRecord, TraceState
from fedi_safety.ledger.ledger import SqlLedger, open_ledger
from fedi_safety.ledger.reading.plain import PlainFile
from fedi_safety.ledger.reading.reader import PlainReader, open_plain
from fedi_safety.ledger.reading.through import Through
from support.fakes import FakeClock
from support.reported import KEY, SHA256, condemned, judged, ledger_at

STORE = "file:///srv/media"


@pytest.fixture
def lived(tmp_path: Path) -> Iterator[SqlLedger]:
    """A ledger with a plan and its act, a trace with what it found, a sealed copy, and a person's words."""
    ledger = open_ledger(tmp_path / "ledger.db", clock=FakeClock())
    run = ledger.begin_run("scan", STORE, {"dry_run": True})
    bad = judged(Verdict.BLOCK, "bad.jpg", b"b" * 32)
    fine = judged(Verdict.CLEAR, "fine.jpg", b"f" * 32)
    ledger.record(run, STORE, [bad, fine])
    sha256 = bad.content.sha256
    plans = ledger.plan(run, STORE, [(bad.object, sha256)], ActKind.DELETE)
    ledger.reserve_seals(plans, "file:///srv/vault")
    found = Sighting(
        SightingKind.POST, SightingWay.API, Certainty.CERTAIN, "https://one.example/1", "ann", "one.example", local=True
    )
    subject = Subject(STORE, "bad.jpg", sha256)
    ledger.record_traces(run, [TraceRecord(subject, "lemmy", 5.0, TraceState.FOUND, "", (found,))])
    ledger.confirm(sha256, "it is", "bea")
    yield ledger
    ledger.dispose()


@pytest.fixture
def plain(lived: SqlLedger) -> Iterator[PlainReader]:
    found = open_plain(lived.name)
    assert found is not None
    yield found
    found.dispose()


def test_either_way_shows_the_same(lived: SqlLedger, plain: PlainReader) -> None:
    rows = list(lived.list_objects())
    assert list(plain.list_objects()) == rows
    for row in rows:
        assert row.sha256 is not None
        for target in (row.key, row.sha256):
            shown = lived.show(target)
            assert shown is not None
            assert plain.show(target) == shown
            assert plain.show(target, STORE) == shown
        assert plain.seals(sha256=row.sha256) == lived.seals(sha256=row.sha256)
    bad = plain.show("bad.jpg")
    assert bad is not None
    # There is something of each kind, and truth is no number.
    assert bad.plans[0]["dry_run"] is True
    assert bad.traces[0].sightings[0].local is True
    assert bad.confirmation is not None
    assert bad.events
    assert len(lived.seals()) == 1
    assert plain.seals() == lived.seals()
    assert plain.show("unknown.jpg") is None
    assert plain.show("bad.jpg", "file:///other") is None
    assert plain.store_urls() == lived.store_urls() == [STORE]


def test_either_way_tells_all_that_can_be_known(tmp_path: Path) -> None:
    ledger = ledger_at(tmp_path)
    condemned(ledger)
    plain = open_plain(ledger.name)
    assert plain is not None
    for target in (KEY, SHA256):
        shown = ledger.show(target)
        assert shown is not None
        assert all((shown.acts, shown.uploads, shown.traces, shown.plans, shown.judgements))
        assert plain.show(target) == shown
    assert plain.seals() == ledger.seals() != []
    plain.dispose()
    ledger.dispose()


def test_a_list_in_a_question_is_no_other_value_that_begins_alike(lived: SqlLedger) -> None:
    question = "SELECT key FROM objects WHERE id IN :id AND size >= :id_least AND state IN :ids ORDER BY id"
    values = {"id": [1, 2, 3], "id_least": 0, "ids": ["judged"]}
    file = PlainFile(Path(lived.name))
    with file.asked() as asking, lived.database.read() as connection:
        assert [row["key"] for row in asking.ask(question, **values)] == [b"bad.jpg", b"fine.jpg"]
        assert asking.ask(question, **values) == Through(connection).ask(question, **values)
        for nothing in (asking, Through(connection)):
            assert nothing.ask(question, **(values | {"ids": []})) == []
    file.dispose()


def test_what_is_read_is_of_one_moment(lived: SqlLedger) -> None:
    file = PlainFile(Path(lived.name))
    with file.asked() as asking:
        before = asking.ask("SELECT count(*) AS count FROM runs")
        lived.begin_run("scan", STORE, {"dry_run": True})
        assert asking.ask("SELECT count(*) AS count FROM runs") == before
    with file.asked() as asking:
        assert asking.ask("SELECT count(*) AS count FROM runs") != before
    file.dispose()


@pytest.mark.parametrize(
    "altered",
    [
        "UPDATE alembic_version SET version_num = '0028'",
        "UPDATE alembic_version SET version_num = '9999'",
        "DELETE FROM alembic_version",
        "DROP TABLE alembic_version",
    ],
)
def test_other_tables_are_left_to_who_can_say_what_they_are(altered: str, lived: SqlLedger) -> None:
    lived.dispose()
    with sqlite3.connect(lived.name) as connection:
        connection.execute(altered)
    assert open_plain(lived.name) is None


def test_what_is_no_file_of_a_ledgers_is_left_too(tmp_path: Path) -> None:
    (tmp_path / "letter.db").write_text("Dear Ann, this is no database, and long enough to be seen as none. " * 20)
    (tmp_path / "empty.db").touch()
    for name in ("letter.db", "empty.db", "missing.db", "."):
        assert open_plain(str(tmp_path / name)) is None
    assert open_plain("postgresql://nobody@127.0.0.1:1/none") is None
    assert open_plain("mysql://nobody@127.0.0.1/none") is None
    assert not (tmp_path / "missing.db").exists()


def test_damage_is_said_of_the_ledger(lived: SqlLedger, plain: PlainReader) -> None:
    with lived.database.write() as connection:
        connection.exec_driver_sql("UPDATE contents SET labels = 'no JSON'")
    with pytest.raises(LedgerError, match=r"is damaged: .* cannot be read") as caught:
        list(plain.list_objects())
    assert lived.name in str(caught.value)


def test_nothing_is_written(plain: PlainReader, lived: SqlLedger) -> None:
    with pytest.raises(LedgerError, match="read-only"), plain._file.asked() as asking:
        asking.ask("DELETE FROM runs RETURNING id")
    assert lived.show("bad.jpg") is not None
