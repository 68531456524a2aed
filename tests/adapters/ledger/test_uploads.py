"""Waiting uploads in the ledger: how they come and go, and how the report tells of them."""

from __future__ import annotations

import pytest

from fedi_safety.cli.report.figures import as_json, csv_rows
from fedi_safety.core.enums import ActKind, MediaType, PlanState, Reason, Verdict
from fedi_safety.core.ledger.uploads import Move, UploadNote, UploadState
from fedi_safety.core.types import Content, Judged, Judgement, Object, Outcome, Scores, Signal, Unscanned
from fedi_safety.ledger.ledger import SqlLedger
from fedi_safety.ledger.uploads import RETAIN_S
from fedi_safety.reports.facts import Report, gate_rows, span_text, warnings
from fedi_safety.reports.page import render
from support.fakes import FakeClock
from support.ledgers import Opener

STORE = "pictrs+http://pictrs:8080"


@pytest.fixture
def ledger(opener: Opener) -> SqlLedger:
    return opener()


def digest(number: int) -> bytes:
    return bytes([number]) * 32


def owed(number: int, at: float = 1_700_000_000.0, state: UploadState = UploadState.OWED) -> UploadNote:
    return UploadNote(f"upload-{number}", at, "lemmy", state, "queue_full", "gate", digest(number), 10, "image/png")


def verdict(number: int, verdict: Verdict, key: str = "") -> Judged:
    content = Content(digest(number), 10, MediaType.PNG, 1, 1, 1, Scores({"red": Signal(0.5)}, {"a": "1"}))
    return Judged(Object(key, 10, 1), content, Judgement(verdict, policy="p@1"))


def states(ledger: SqlLedger) -> dict[str, UploadState]:
    every = list(UploadState)
    return {entry.note.upload: entry.note.state for state in every for entry in ledger.untried_entries(state, 500)}


def test_the_gates_own_verdicts_settle_or_condemn(ledger: SqlLedger) -> None:
    run = ledger.begin_run("gate", "", {})
    ledger.record_uploads(run, [], [owed(1), owed(2), owed(3), owed(4, state=UploadState.HELD)])
    ledger.record_uploads(run, [verdict(1, Verdict.CLEAR), verdict(2, Verdict.BLOCK), verdict(4, Verdict.REVIEW)], [])
    assert states(ledger) == {
        "upload-1": UploadState.SETTLED,
        "upload-2": UploadState.CONDEMNED,
        "upload-3": UploadState.OWED,
        "upload-4": UploadState.SETTLED,
    }
    found = ledger.upload_figures(1_700_000_000.0)
    assert (found.judged, found.blocked, found.condemned) == (3, 1, 1)
    assert ledger.verify().problem is None


def test_a_verdict_that_came_first_counts_too(ledger: SqlLedger) -> None:
    run = ledger.begin_run("gate", "", {})
    ledger.record_uploads(run, [verdict(1, Verdict.CLEAR), verdict(2, Verdict.BLOCK)], [])
    ledger.record_uploads(run, [], [owed(1), owed(2)])
    assert states(ledger) == {"upload-1": UploadState.SETTLED, "upload-2": UploadState.CONDEMNED}


def test_a_scan_settles_what_it_meets_and_an_act_what_it_removes(ledger: SqlLedger) -> None:
    run = ledger.begin_run("scan", STORE, {"whole": True})
    ledger.record_uploads(run, [], [owed(1), owed(2)])
    judged = [verdict(1, Verdict.CLEAR, "one"), verdict(2, Verdict.BLOCK, "two")]
    ledger.record(run, STORE, judged)
    assert states(ledger) == {"upload-1": UploadState.SETTLED, "upload-2": UploadState.CONDEMNED}
    plans = ledger.plan(run, STORE, [(judged[1].object, digest(2))], ActKind.PURGE)
    started = ledger.start(run, plans)
    ledger.close(run, [Outcome(started[0], PlanState.FAILED, "down")])
    assert states(ledger)["upload-2"] is UploadState.CONDEMNED
    started = ledger.start(run, plans)
    ledger.close(run, [Outcome(started[0], PlanState.DONE)])
    assert states(ledger)["upload-2"] is UploadState.SETTLED
    assert ledger.upload_figures(0).settled == {"clear": 1, "removed": 1}


def test_one_upload_is_noted_once(ledger: SqlLedger) -> None:
    run = ledger.begin_run("gate", "", {})
    ledger.record_uploads(run, [], [owed(1), owed(1)])
    ledger.record_uploads(run, [], [owed(1), owed(2)])
    assert len(ledger.untried_entries(UploadState.OWED, 500)) == 2


def test_a_late_move_does_not_undo_a_verdict(ledger: SqlLedger) -> None:
    run = ledger.begin_run("gate", "", {})
    ledger.record_uploads(run, [], [owed(1), owed(2), owed(3)])
    ledger.record_uploads(run, [verdict(1, Verdict.BLOCK), verdict(2, Verdict.CLEAR)], [])
    moves = [Move("upload-1"), Move("upload-1", UploadState.HELD), Move("upload-2", UploadState.HELD), Move("upload-3")]
    ledger.record_uploads(run, [], [], moves)
    assert states(ledger) == {
        "upload-1": UploadState.CONDEMNED,
        "upload-2": UploadState.SETTLED,
        "upload-3": UploadState.OWED,
    }
    (third,) = ledger.untried_entries(UploadState.OWED, 500)
    assert third.tries == 1


def test_those_never_tried_come_first(ledger: SqlLedger) -> None:
    run = ledger.begin_run("gate", "", {})
    ledger.record_uploads(run, [], [owed(i) for i in range(1, 6)])
    ledger.record_uploads(run, [], [], [Move("upload-1"), Move("upload-2")])
    assert [d.note.upload for d in ledger.untried_entries(UploadState.OWED, 4)] == [
        "upload-3", "upload-4", "upload-5", "upload-1",
    ]  # fmt: skip


def test_a_whole_pass_settles_what_it_did_not_meet_unless_it_could_not_judge_it(ledger: SqlLedger) -> None:
    clock = ledger.clock
    assert isinstance(clock, FakeClock)
    run = ledger.begin_run("gate", "", {})
    ledger.record_uploads(run, [], [owed(1), owed(2)])
    clock.advance(30)
    early = ledger.begin_run("scan", STORE, {"whole": True})
    ledger.end_run(early, "done", {})
    ledger.tend_uploads(STORE, "d", 60)
    assert set(states(ledger).values()) == {UploadState.OWED}, "it began too soon after the upload"
    clock.advance(100)
    scan = ledger.begin_run("scan", STORE, {"whole": True})
    ledger.record(scan, STORE, [Unscanned(Object("x", 10, 1), Reason.CORRUPT, "", digest(2))])
    ledger.end_run(scan, "interrupted", {})
    ledger.tend_uploads(STORE, "d", 60)
    assert set(states(ledger).values()) == {UploadState.OWED}, "it did not end"
    again = ledger.begin_run("scan", STORE, {"whole": True})
    ledger.end_run(again, "done", {})
    ledger.tend_uploads(STORE, "d", 60)
    assert states(ledger) == {"upload-1": UploadState.SETTLED, "upload-2": UploadState.HELD}


@pytest.mark.parametrize("how", ["breaker", "dry run", "failed", "unread", "another store"])
def test_an_upload_that_a_pass_met_ends_by_a_verdict_carried_through_alone(how: str, ledger: SqlLedger) -> None:
    """A complete pass proves nothing of what it met, and still has there."""
    clock = ledger.clock
    assert isinstance(clock, FakeClock)
    gate_run = ledger.begin_run("gate", "", {})
    ledger.record_uploads(gate_run, [], [owed(1), owed(2)])
    clock.advance(1000)
    store = "file:///elsewhere" if how == "another store" else STORE
    whole = ledger.begin_run("scan", STORE, {"whole": True, "dry_run": how == "dry run"})
    if how == "unread":
        ledger.record(whole, store, [Unscanned(Object("x", 10, 1), Reason.FETCH_FAILED, "", digest(1))])
    else:
        condemned = verdict(1, Verdict.BLOCK, "x")
        ledger.record(whole, store, [condemned])
        (plan,) = ledger.plan(whole, store, [(condemned.object, digest(1))], ActKind.DELETE)
        if how == "failed":
            ledger.close(whole, [Outcome(p, PlanState.FAILED, "down") for p in ledger.start(whole, [plan])])
        if how == "breaker":
            ledger.set_breaker(whole, store, "too much")
    ledger.end_run(whole, "done", {})
    ledger.tend_uploads(STORE, "d", 60)
    expected = UploadState.OWED if how == "unread" else UploadState.CONDEMNED
    assert states(ledger) == {"upload-1": expected, "upload-2": UploadState.SETTLED}
    if how != "unread":
        later = ledger.begin_run("apply", store, {})
        ledger.close(later, [Outcome(p, PlanState.DONE) for p in ledger.start(later, list(ledger.open_plans(store)))])
        assert ledger.upload_figures(0).settled == {"removed": 1, "not found": 1}


def test_the_old_is_forgotten_but_no_debt(ledger: SqlLedger) -> None:
    run = ledger.begin_run("gate", "", {})
    notes = [owed(1), owed(2, state=UploadState.REFUSED), owed(3, state=UploadState.CONDEMNED)]
    ledger.record_uploads(run, [], [*notes, owed(4)])
    ledger.record_uploads(run, [verdict(4, Verdict.CLEAR)], [])
    clock = ledger.clock
    assert isinstance(clock, FakeClock)
    clock.advance(RETAIN_S + 1)
    ledger.tend_uploads(None, "d", 60)
    assert list(states(ledger)) == ["upload-1", "upload-3"]


def test_the_report_tells_it_and_says_when_it_is_old(ledger: SqlLedger) -> None:
    run = ledger.begin_run("gate", "", {})
    notes = [owed(1), owed(2), owed(3, state=UploadState.REFUSED), owed(4, state=UploadState.HELD)]
    ledger.record_uploads(run, [verdict(2, Verdict.BLOCK)], notes)

    def report(now: float) -> Report:
        gate = ledger.upload_figures(now)
        return Report(ledger.figures(), ledger.acts_by_store(), now, "1", gate=gate)

    young, old = report(1_700_000_100.0), report(1_700_007_200.0)
    assert [w for w in warnings(young) if "not judged since" in w] == []
    (said,) = [w for w in warnings(old) if "not judged since" in w]
    assert said.startswith("1 upload was let in without a verdict") and "the oldest for 2 h" in said
    assert any("condemned since and not removed" in w for w in warnings(young))
    assert ("waiting", 1, "the oldest for 100 s") in gate_rows(ledger.upload_figures(1_700_000_100.0), 1_700_000_100.0)
    page = render(old)
    assert "The gate" in page and "queue_full" in page
    assert as_json(old)["gate"]["owed"] == {"queue_full": 1} and as_json(old)["gate"]["condemned"] == 1
    assert ("", "gate held", "queue_full", "1") in list(csv_rows(old))


def test_spans() -> None:
    assert [span_text(s) for s in (0, 119, 120, 7199, 7200, 172_799, 172_800)] == [
        "0 s", "119 s", "2 min", "119 min", "2 h", "47 h", "2 days",
    ]  # fmt: skip
