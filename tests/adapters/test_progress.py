"""Progress as it is counted and as people read it: rate, how much of how much, time left, and where."""

from __future__ import annotations

import re
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fedi_safety.app import progress as app_progress
from fedi_safety.app.ledger import SystemClock
from fedi_safety.app.progress import Pace, PassProgress, RemovalProgress
from fedi_safety.cli.text import progress as shown_progress
from fedi_safety.cli.text.progress import lines, shown, waiting
from fedi_safety.core.enums import ActKind, PlanState
from fedi_safety.core.ledger.progress import Progress
from fedi_safety.core.runs import RunReport, ScanRequest
from fedi_safety.core.types import Object, Outcome, Plan
from fedi_safety.ledger.ledger import SqlLedger, open_ledger
from fedi_safety.reports.progress import how_far, pass_line, progress_json, summed, under_way_text
from fedi_safety.stores.local import LocalStore
from support.fakes import FakeClock, FakeStore, TickingClock

COUNTS = {"judged": 1200, "already_judged": 30, "block": 4, "acted": 0, "unscanned": 2, "skipped": 1}
ONE = Progress(3, "file:///srv/a", False, 0.0, 90.0, 1237, 4800, True, 38.25, "media/files/109/", COUNTS)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (ONE, "1,237 of 4,800 (25.7 %), 38.2/s, about 93 s left"),
        (replace(ONE, counted=False, rate=1038.0), "1,237 of about 4,800 (25.7 %), 1,038/s, about 3 s left"),
        (replace(ONE, total=None), "1,237 so far, 38.2/s"),
        (replace(ONE, rate=0.0), "1,237 of 4,800 (25.7 %)"),
        (replace(ONE, total=1237), "1,237 of 1,237 (100.0 %), 38.2/s"),
        (replace(ONE, done=0, total=0, rate=0.0), "0 so far"),
        (replace(ONE, total=48_000_000, rate=10.0), "1,237 of 48,000,000 (< 0.1 %), 10.0/s, about 55 days left"),
    ],
)
def test_how_far_it_is_in_words(told: Progress, said: str) -> None:
    assert how_far(told) == said


def test_a_line_says_what_became_of_the_objects_and_where() -> None:
    counts = "1,200 judged, 30 judged before, 4 condemned, 2 unscanned, 1 skipped"
    assert pass_line(ONE) == f"{how_far(ONE)}: {counts}; at media/files/109/"
    late = under_way_text(replace(ONE, dry_run=True), 400.0)
    assert late.startswith("a dry run is under way (run 3, since 1970-01-01 00:00 UTC): 1,237 of 4,800")
    assert late.endswith("(told 5 min ago)") and "told" not in under_way_text(ONE, 95.0)
    assert "\x1b" not in pass_line(replace(ONE, place="a\x1b[2J/"))


def test_several_passes_are_one_sum() -> None:
    both = summed([ONE, replace(ONE, total=200, counted=False, rate=1.75)])
    assert (both.done, both.total, both.counted, both.rate, both.counts["judged"]) == (2474, 5000, False, 40.0, 2400)
    assert summed([ONE, replace(ONE, total=None)]).total is None
    assert summed([ONE]) == ONE


def test_removals_are_counted_of_what_was_planned() -> None:
    clock = TickingClock()
    progress = RemovalProgress("file:///srv/a", 3, clock)
    assert how_far(progress.now()) == "0 of 3 (0.0 %)"
    for key, state in (("a/1.png", PlanState.DONE), ("a/2.png", PlanState.FAILED)):
        clock.advance(2.0)
        plan = Plan(1, Object(key, 1, 0), bytes(32), ActKind.DELETE, PlanState.PLANNED)
        progress.note(Outcome(plan, state))
    assert pass_line(progress.now()) == "2 of 3 (66.6 %), 0.5/s, about 2 s left: 1 removed; at a/"
    for _ in range(2):
        progress.note(Outcome(plan, PlanState.GONE))
    assert progress.now().total == 4, "what an earlier run left open comes on top"


def test_a_terminal_is_told_what_is_waited_for_and_others_are_not(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    for term, quiet, said in (("xterm", False, True), ("xterm", True, False), ("dumb", False, False)):
        monkeypatch.setenv("TERM", term)
        monkeypatch.setenv("FORCE_COLOR", "1")
        with waiting("loading models", quiet=quiet):
            pass
        assert ("loading models" in capfd.readouterr().err) == said, term
    monkeypatch.setattr("sys.stderr.isatty", lambda: False)
    with waiting("loading models", quiet=False):
        pass
    assert capfd.readouterr().err == ""


def test_a_terminal_is_never_too_narrow() -> None:
    huge = dict.fromkeys(COUNTS, 123456789)
    wide = replace(ONE, done=88_123_456, total=99_123_456, counted=False, place="漢字/" * 40 + "end/", counts=huge)
    for width in (80, 40):
        for passes in ([ONE], [wide], [wide, wide]):
            assert all(len(line) <= width for line in lines(passes, width, 100_000.0)), width
    assert lines([wide], 80, 5.0)[-1].endswith("end/"), "the end of a place tells most"
    assert lines([ONE], 80, 312.0) == [
        "1,237 of 4,800 (25.7 %), 38.2/s, about 93 s left  0:05:12",
        "  1,200 judged, 30 judged before, 4 condemned, 2 unscanned, 1 skipped",
        "  media/files/109/",
    ]
    assert lines([], 80, 1.0) == []


def test_as_data_nothing_is_rounded_away() -> None:
    told = progress_json(ONE)
    assert (told["done"], told["total"], told["counted"], told["seconds_left"]) == (1237, 4800, True, 93)
    assert told["started_at"] == "1970-01-01T00:00:00+00:00" and told["judged"] == 1200
    assert progress_json(replace(ONE, total=None))["seconds_left"] is None


def test_the_rate_is_that_of_the_last_minute() -> None:
    pace = Pace(0.0)
    assert pace.rate(0.0, 0) == 0.0
    done = 0
    for second in range(1, 601):
        done += 100 if second <= 300 else 2
        pace.note(float(second), done)
    assert pace.rate(600.0, done) == pytest.approx(2.0, abs=0.1), "what was known went fast, long ago"
    assert pace.rate(660.0, done) < 1.1, "and what rests is slow"


# --- a pass's own


@pytest.fixture
def ledger(tmp_path: Path) -> SqlLedger:
    return open_ledger(tmp_path / "ledger.db", clock=FakeClock())


@pytest.fixture
def tree(tmp_path: Path) -> LocalStore:
    for key in ("a/1", "a/2", "b/3", "4"):
        (tmp_path / "store" / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "store" / key).write_text(key)
    (tmp_path / "store/link").symlink_to("4")
    return LocalStore(str(tmp_path / "store"))


def total_of(ledger: SqlLedger, store: Any, monkeypatch: pytest.MonkeyPatch, **asked: Any) -> tuple[int | None, bool]:
    """What a pass finds out about how much there is to look at."""
    monkeypatch.setattr(app_progress, "_TICK_S", 0.01)
    report = RunReport(1, store.url)
    progress = PassProgress(ledger, store, ScanRequest(store.url, **asked), report)
    found: list[Progress] = []
    with progress.told():
        until = time.monotonic() + (5.0 if asked.pop("expected", True) else 0.3)
        while time.monotonic() < until and (not found or found[-1].total is None):
            time.sleep(0.02)
            found = ledger.under_way() or found
    assert ledger.under_way() == []
    assert found, "others can read it"
    return found[-1].total, found[-1].counted


def test_a_directory_is_counted_as_it_is_listed(
    ledger: SqlLedger, tree: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = len(list(tree.list()))
    assert tree.count((), lambda: True) == listed == 5
    assert tree.count(("a/",), lambda: True) == 2
    assert tree.count((), iter([True, False]).__next__) is None, "a count that nobody needs ends"
    assert total_of(ledger, tree, monkeypatch) == (5, True)
    assert total_of(ledger, tree, monkeypatch, prefixes=("a/",)) == (2, True)
    assert total_of(ledger, tree, monkeypatch, limit=3) == (3, True)
    assert total_of(ledger, tree, monkeypatch, keys=("4",)) == (1, True)


def test_a_store_that_cannot_be_counted_has_what_the_last_whole_pass_met(
    ledger: SqlLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FakeStore({"a": b"1"})
    assert ledger.listed_before(store.url) is None

    def ended(listed: int, *, complete: bool | None) -> None:
        run = ledger.begin_run("scan", store.url, {"dry_run": True, "whole": True})
        ledger.end_run(run, "done", {"listed": listed}, complete=complete)

    ended(4, complete=False)
    ended(5, complete=None)
    assert ledger.listed_before(store.url) is None, "none of them met all that there was"
    ended(40, complete=True)
    ended(7, complete=False)
    assert ledger.listed_before(store.url) == 40
    assert ledger.listed_before("file:///other") is None
    assert total_of(ledger, store, monkeypatch) == (40, False)


def test_a_part_of_a_store_that_cannot_be_counted_has_no_total(
    ledger: SqlLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FakeStore({"a": b"1"})
    run = ledger.begin_run("scan", store.url, {"dry_run": True, "whole": True})
    ledger.end_run(run, "done", {"listed": 40}, complete=True)
    monkeypatch.setattr(app_progress, "_TICK_S", 0.01)
    for asked in ({"prefixes": ("a",)}, {"since": 1.0}):
        progress = PassProgress(ledger, store, ScanRequest(store.url, **asked), RunReport(1, store.url))
        with progress.told():
            time.sleep(0.1)
        assert progress.now().total is None


# --- where no terminal is


def test_a_line_a_minute_where_no_terminal_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown_progress.EVERY_S == 60.0
    monkeypatch.setattr(shown_progress, "EVERY_S", 0.02)
    said: list[str] = []
    enough = threading.Event()

    def say(line: str) -> None:
        said.append(line)
        if len(said) == 2:
            enough.set()

    with shown(lambda: [ONE], say):
        assert enough.wait(10)
    count = len(said)
    time.sleep(0.1)
    assert said[:2] == [pass_line(ONE)] * 2 and len(said) == count, "and none after it"


def test_the_page_tells_of_a_pass_that_is_under_way_and_breaks_its_place(
    tmp_path: Path,
) -> None:
    """A directory is one long word: on a phone it went over the edge of the page."""
    from fedi_safety.cli import run

    page, ledger = tmp_path / "report.html", open_ledger(tmp_path / "ledger.db", clock=SystemClock())
    with ledger.run_lock(), ledger.pass_under_way() as tell:
        tell(replace(ONE, place="<b>/" + "a" * 90 + "/", at=time.time(), dry_run=True))
        assert run(["report", "--html", str(page), "--ledger", str(tmp_path / "ledger.db")]) == 0
    ledger.dispose()
    found = page.read_text("utf-8")
    section = found[found.index('<section class="now">') :].partition("</section>")[0]
    assert "<h2>A dry run is under way</h2><p><strong>1,237 of 4,800 (25.7 %)" in section
    assert 'value="0.2577"' in section and "1,200 judged" in section and "at &lt;b&gt;/" in section
    assert re.search(r"\.now \{[^}]*overflow-wrap: anywhere", found)
