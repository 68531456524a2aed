"""The report as JSON and CSV, the plans of each store, and the writing of the page's file."""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import os
from collections import Counter
from pathlib import Path

import pytest

from fedi_safety.cli.output_file import checked_place, write_page
from fedi_safety.cli.report.figures import as_json, cell, csv_rows
from fedi_safety.core.enums import ActKind, MediaType, PlanState, Reason, Verdict
from fedi_safety.core.errors import ExitCode, UsageError
from fedi_safety.core.ledger.ports import LedgerReader
from fedi_safety.core.ledger.records import StoreActs
from fedi_safety.core.sightings import Source
from fedi_safety.core.types import Content, Judged, Judgement, Object, Outcome, Scores, Signal, Unscanned
from fedi_safety.reports.facts import Report, source_cells
from support.ledgers import Opener

ONE, TWO = "file:///srv/one", "file:///srv/two"


@pytest.fixture
def ledger(opener: Opener) -> LedgerReader:
    """Store one has every kind of act, store two nothing but a gap."""
    ledger = opener()
    run = ledger.begin_run("scan", ONE, {"dry_run": False})
    blocked = [_judged(key, Verdict.BLOCK, "=1+1") for key in ("gone", "stuck", "waiting")]
    ledger.record(run, ONE, [*blocked, _judged("fine", Verdict.CLEAR), Unscanned(Object("z", 1, 1), Reason.CORRUPT)])
    plans = ledger.plan(run, ONE, [(i.object, i.content.sha256) for i in blocked], ActKind.DELETE)
    started = ledger.start(run, plans[:2])
    ledger.close(run, [Outcome(started[0], PlanState.DONE), Outcome(started[1], PlanState.FAILED, "read-only")])
    ledger.set_breaker(run, ONE, "too many, really")
    ledger.end_run(run, "done", {"listed": 5})
    ledger.record(run, TWO, [Unscanned(Object("a", 1, 1), Reason.TOO_LARGE)])
    return ledger


def _judged(key: str, verdict: Verdict, *labels: str) -> Judged:
    digest = hashlib.sha256(key.encode()).digest()
    content = Content(digest, 7, MediaType.PNG, 3, 2, 1, Scores({"red": Signal(0.5)}, {"test": "1"}))
    return Judged(Object(key, 7, 8), content, Judgement(verdict, labels, (), "p"))


def _report(ledger: LedgerReader) -> Report:
    return Report(ledger.figures(), ledger.acts_by_store(), 1_800_000_000.0, "9")


def test_plans_and_acts_are_counted_by_store(ledger: LedgerReader) -> None:
    found = ledger.acts_by_store()
    assert found == {ONE: StoreActs(Counter(done=1, failed=1, planned=1), Counter(done=1, failed=1))}
    assert found[ONE].open_plans == 2


def test_json_fields(ledger: LedgerReader) -> None:
    found = json.loads(json.dumps(as_json(_report(ledger)), allow_nan=False))
    runs = found.pop("runs")
    assert [(run["id"], run["status"], run["summary"]) for run in runs] == [(1, "done", {"listed": 5})]
    first, second = found.pop("stores")
    away = {"removed": 1, "gone": 0, "history": 0}
    common = {"skipped": {}, "unscanned": {"corrupt": 1}, "labels": {"=1+1": 2}, "trusted": 0, "partly": 0, **away}
    acting = {
        "plans": {"done": 1, "failed": 1, "planned": 1},
        "open_plans": 2,
        "acts": {"done": 1, "failed": 1},
        "failed_acts": 1,
    }
    verdicts = {"clear": 1, "review": 0, "block": 2}
    assert first == {
        "store": ONE,
        "present": 4,
        "judged": 3,
        "coverage": 0.75,
        "verdicts": verdicts,
        "breaker": "too many, really",
        "actions": {},
        "action_breaker": None,
        **common,
        **acting,
    }
    assert (second["store"], second["coverage"], second["plans"], second["breaker"]) == (TWO, 0.0, {}, None)
    unscanned = {"corrupt": 1, "too_large": 1}
    totals = {"present": 5, "judged": 3, "coverage": 0.6, "verdicts": verdicts, "dismissed": 0}
    assert found.pop("totals") == common | acting | totals | {"unscanned": unscanned}
    assert found == {
        "version": "9",
        "generated_at": "2027-01-15T08:00:00+00:00",
        "ledger": "",
        "store": None,
        "period": None,
        "under_way": [],
        "gate": None,
        "sources": {"instance": [], "person": []},
        "lists": [],
        "list_sources": [],
        "notices": [],
        "bins": 20,
        "histograms": {"red": [0] * 10 + [4] + [0] * 9},
        "judged_by_day": {"2023-11-14": 4},
        "removed_by_day": {"2023-11-14": 1},
    }


def test_csv_reads_back_as_the_same_figures(ledger: LedgerReader) -> None:
    text = io.StringIO()
    csv.writer(text).writerows(csv_rows(_report(ledger)))
    rows = list(csv.DictReader(io.StringIO(text.getvalue())))
    assert set(rows[0]) == {"store", "figure", "name", "value"}
    read = {(row["store"], row["figure"], row["name"]): row["value"] for row in rows}
    assert len(read) == len(rows)
    for store in as_json(_report(ledger))["stores"]:
        for figure, value in store.items():
            if isinstance(value, dict):
                for name, count in value.items():
                    assert read.pop((store["store"], figure, cell(name))) == str(count)
            elif figure != "store":
                assert read.pop((store["store"], figure, "")) == ("" if value is None else str(value))
    assert read == {}
    assert any(row["name"] == "'=1+1" for row in rows)


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", "\r=", "\n=", " =", "＝"])
def test_no_cell_is_a_formula(start: str) -> None:
    shown = cell(f'{start}HYPERLINK("x")')
    assert shown.startswith("'") and not any(c in shown for c in "\t\r\n")


@pytest.mark.parametrize("harmless", ["", "0.75", "file:///a-b=c", "nsfw", "ünïcode"])
def test_other_cells_stay_as_they_are(harmless: str) -> None:
    assert cell(harmless) == harmless


def test_a_sources_name_is_shown_on_one_line_and_harmless() -> None:
    cells = source_cells(Source("a\x1b[31m\n\u202e\udcff", None, 1, 1, 1.8e9))
    assert cells == ("1 of 1", "20.6 % to 100.0 %", "2027-01-15", "", r"a\x1b[31m\n\u202e\udcff")


def test_lone_surrogates_do_not_break_the_output() -> None:
    assert cell("a\udcffb") == "a\\udcffb"


# --- the page's file


def test_a_page_replaces_the_old_one_and_leaves_nothing_else(tmp_path: Path) -> None:
    place = tmp_path / "report.html"
    place.write_text("old")
    write_page(place, "nëw")
    assert place.read_text(encoding="utf-8") == "nëw" and list(tmp_path.glob(".*")) == []


@pytest.mark.parametrize(
    ("fault", "remedy"), [(errno.ENOSPC, "make room"), (errno.EACCES, "a directory that you may write to")]
)
def test_a_full_disk_leaves_the_old_page_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: int, remedy: str
) -> None:
    place = tmp_path / "report.html"
    place.write_text("old")

    def fail(_descriptor: int) -> None:
        raise OSError(fault, os.strerror(fault))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(UsageError, match=remedy) as caught:
        write_page(place, "new")
    assert os.strerror(fault).lower() in caught.value.cause and caught.value.exit_code is ExitCode.USAGE
    assert place.read_text() == "old" and list(tmp_path.glob(".fedi*")) == []


def test_an_interruption_leaves_no_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_page(tmp_path / "report.html", "new")
    assert list(tmp_path.glob("*.html")) == list(tmp_path.glob(".fedi*")) == []


def test_a_page_without_write_permission_is_refused_before_counting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_arguments: False)
    with pytest.raises(UsageError, match="no permission to write there"):
        checked_place(str(tmp_path / "report.html"))
