"""Altering the ledger's past behind its back is found, and left alone it verifies."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, text

from fedi_safety.core.enums import ActKind, MediaType, PlanState, Verdict
from fedi_safety.core.moderation import ActionState, Intended, TargetKind
from fedi_safety.core.sightings import Certainty, Sighting, SightingKind, SightingWay, Subject, TraceRecord, TraceState
from fedi_safety.core.types import (
    Content,
    Explanation,
    Judged,
    Judgement,
    Look,
    Object,
    Outcome,
    Receipt,
    RuleHit,
    Scores,
    Signal,
)
from fedi_safety.ledger import codec, planning
from fedi_safety.ledger.checks import apart, child
from fedi_safety.ledger.checks.chain import says
from fedi_safety.ledger.checks.judged import check_judgements
from fedi_safety.ledger.ledger import SqlLedger, open_ledger

STORE = "file:///srv/media"


class _Clock:
    def now(self) -> float:
        return 1_800_000_000.25

    def monotonic(self) -> float:
        return 0.0


RECEIPT: Receipt = {"aliases": ("a.png", "b.png"), "identifier": "01/x"}


def _judged(key: str, verdict: Verdict) -> Judged:
    digest = hashlib.sha256(key.encode()).digest()
    found = None if verdict is Verdict.CLEAR else Explanation((Look(0, 0, "", 1, 1),))
    scores = Scores({"test.red": Signal(0.7)}, {"test": "1"}, explanation=found)
    reasons = () if verdict is Verdict.CLEAR else (RuleHit("red", verdict, None, ()),)
    content = Content(digest, 1, MediaType.PNG, 1, 1, 1, scores)
    return Judged(Object(key, 1, 2, "3"), content, Judgement(verdict, (), reasons, "p"))


@pytest.fixture
def path(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(made, tmp_path))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger in which everything that has events has happened."""
    path = tmp_path_factory.mktemp("made") / "ledger.db"
    ledger = open_ledger(path, clock=_Clock())
    run = ledger.begin_run("scan", STORE, {"dry_run": False})
    items = [_judged(key, Verdict.BLOCK) for key in ("a", "b", "c", "d")]
    ledger.record(run, STORE, [*items, _judged("fine", Verdict.CLEAR)])
    plans = ledger.plan(run, STORE, [(i.object, i.content.sha256) for i in items], ActKind.DELETE)
    ledger.start(run, plans[:1])  # an act whose end is lost
    ledger.take_back(run, STORE)
    done = ledger.start(run, plans[:2])
    ledger.close(run, [Outcome(done[0], PlanState.DONE, "", RECEIPT), Outcome(done[1], PlanState.FAILED, "no")])
    ledger.confirm(items[2].content.sha256, "", "admin")
    ledger.dismiss(items[2].content.sha256, "a tomato")
    traced = _traces(items[0])
    ledger.record_traces(run, traced, [[], _intended()])
    ledger.confirm(items[0].content.sha256, "seen", "admin")
    for due in ledger.due_actions(STORE):
        begun = ledger.start_action(run, due, None, 0.0)
        assert begun is not None
        if due.action != "ban":
            ledger.close_action(run, begun, ActionState.DONE, "")
    ledger.take_back_actions(run, STORE)
    ledger.set_action_breaker(run, STORE, "too many")
    ledger.set_breaker(run, STORE, "too much")
    ledger.end_run(run, "breaker", {"listed": 5})
    ledger.dispose()
    return path


def _intended() -> list[Intended]:
    post = Intended("report", TargetKind.POST, "1", 0, "https://social.example/1", "7", "lemmy at social.example")
    return [post, replace(post, action="ban", target=TargetKind.PERSON, target_id="7", sighting=1)]


def _traces(item: Judged) -> list[TraceRecord]:
    subject = Subject(STORE, item.object.key, item.content.sha256, ("a.png",))
    found = tuple(
        Sighting(
            kind, SightingWay.DATABASE, Certainty.CERTAIN, "https://social.example/1", "@them", "far.example", False
        )
        for kind in (SightingKind.POST, SightingKind.COMMENT)
    )
    return [
        TraceRecord(subject, "server", 2.0, TraceState.FAILED, "it is down", retry_at=62.0),
        TraceRecord(subject, "server", 63.0, TraceState.FOUND, sightings=found),
    ]


@given(
    st.dictionaries(
        st.sampled_from(("plan", "sha256", "state", "rules")),
        st.integers(-3, 120)
        | st.none()
        | st.sampled_from(('"plan":1,', 'x","state":"y', "\\", "y", ""))
        | st.text(max_size=6),
    ),
    st.sampled_from(("plan", "sha256", "state")),
    st.integers(-3, 120) | st.none() | st.sampled_from(("y", "x", "", "\\")),
)
def test_what_an_event_says_by_its_letters_it_says(
    cells: dict[str, int | str | None], name: str, value: int | str | None
) -> None:
    payload = codec.dumps(cells)
    assert not says(payload, name, value) or cells.get(name) == value
    assert all(says(payload, own, said) for own, said in cells.items() if said is not None)


@pytest.fixture
def reopened(path: Path) -> Iterator[SqlLedger]:
    ledger = open_ledger(path, clock=_Clock())
    yield ledger
    ledger.dispose()


def test_an_untouched_ledger_verifies(reopened: SqlLedger) -> None:
    found = reopened.verify()
    assert found.problem is None and found.length > 15 and len(found.head) == 64
    assert found.not_covered[0] == "labels, reasons, scores and explanations of 2 clear contents"


TAMPERINGS = {
    "event payload": ("UPDATE events SET payload = replace(payload, 'block', 'clear') WHERE seq = 2", "event 2"),
    "event kind": ("UPDATE events SET kind = 'planned' WHERE seq = 2", "event 2"),
    "event time": ("UPDATE events SET at = at + 1 WHERE seq = 3", "event 3"),
    "event hash": ("UPDATE events SET hash = zeroblob(32) WHERE seq = 3", "event 3"),
    "event pointer": ("UPDATE events SET sha256 = NULL WHERE seq = 2", "points to something else"),
    "event gone": ("DELETE FROM events WHERE seq = 4", "event 4 is missing"),
    "events swapped": ("UPDATE events SET seq = 1000 - seq WHERE seq = 2", "event 2 is missing"),
    "last event gone": ("DELETE FROM events WHERE seq = (SELECT max(seq) FROM events)", "some at the end are missing"),
    "chain rewound": ("UPDATE chain SET length = length - 1", "some at the end are missing, or were added"),
    "plan state": ("UPDATE plans SET state = 'done', open = 0 WHERE state = 'failed'", "its last event says failed"),
    "plan hidden": ("UPDATE plans SET open = 0 WHERE state = 'planned'", "its last event says planned"),
    "plan aimed elsewhere": ("UPDATE plans SET object_id = object_id + 1 WHERE id = 1", "not about what was planned"),
    "plan of other bytes": ("UPDATE plans SET content_id = content_id + 1 WHERE id = 1", "not about what was planned"),
    "plan act": ("UPDATE plans SET act = 'report' WHERE id = 4", "not about what was planned"),
    "plan gone": ("DELETE FROM plans WHERE id = 4", "events tell of 4 plans, and there are 3"),
    "act gone": ("DELETE FROM acts WHERE id = 3", "events tell of 3 actions, and there are 2"),
    "act outcome": ("UPDATE acts SET outcome = 'gone' WHERE outcome = 'done'", "no event that says it ended so"),
    "act receipt": ("UPDATE acts SET receipt = replace(receipt, 'a.png', 'z.png')", "no event that says it ended so"),
    "act receipt gone": ("UPDATE acts SET receipt = NULL WHERE outcome = 'done'", "no event that says it ended so"),
    "act receipt made up": (
        "UPDATE acts SET receipt = '{}' WHERE outcome = 'failed'",
        "no event that says it ended so",
    ),
    "act detail": ("UPDATE acts SET detail = 'fine' WHERE outcome = 'failed'", "no event that says it ended so"),
    "act run": ("UPDATE acts SET started_at = started_at - 9", "no event that says it was started"),
    "judgement verdict": ("UPDATE judgements SET verdict = 'review' WHERE id = 1", "judgement 1"),
    "judgement reasons": ("UPDATE judgements SET reasons = '[]' WHERE id = 1", "judgement 1"),
    "judgement scores": ("UPDATE judgements SET signals = '{}' WHERE id = 1", "judgement 1"),
    "detector version": ("UPDATE detector_sets SET body = '{}'", "judgement 1"),
    "judgement gone": ("DELETE FROM judgements WHERE id = 1", "judgements, and there are"),
    "judgement made up": (
        "INSERT INTO judgements (content_id, at, verdict, policy, labels, reasons, detectors_id) "
        "VALUES (5, 1, 'block', 'p', '[]', '[]', 1)",
        "judgement",
    ),
    "names of scores": ("UPDATE signal_names SET body = '[\"x\"]'", "judgement 1"),
    "no names of scores": ("DELETE FROM signal_names", "judgement 1"),
    "shape of reasons": ("UPDATE reason_shapes SET body = replace(body, 'red', 'blue')", "judgement 1"),
    "judgement twice, another gone": (
        "DELETE FROM judgements WHERE id = (SELECT min(j.id) FROM judgements j JOIN judgements k"
        " ON k.content_id = j.content_id AND k.id > j.id); "
        "INSERT INTO judgements (content_id, run_id, at, verdict, policy, labels, reasons, signals, detectors_id,"
        " event_seq) SELECT content_id, run_id, at, verdict, policy, labels, reasons, signals, detectors_id, event_seq"
        " FROM judgements ORDER BY id DESC LIMIT 1",
        "two judgements rest on event",
    ),
    "content cleared": ("UPDATE contents SET verdict = 'clear' WHERE id = 1", "its last event says block"),
    "content condemned": ("UPDATE contents SET verdict = 'block' WHERE verdict = 'clear'", "its last event says clear"),
    "content in force for another reason": (
        "UPDATE contents SET shape_id = NULL, reasons = '[]' WHERE id = 1",
        "in force of it",
    ),
    "content in force with another label": ("UPDATE contents SET labels = '[\"x\"]' WHERE id = 1", "in force of it"),
    "content in force under another policy": ("UPDATE contents SET policy = 'q' WHERE id = 1", "is not block for what"),
    "content in force with other scores": ("UPDATE contents SET scores = X'0000000000' WHERE id = 1", "in force of it"),
    "content in force by other detectors": (
        "INSERT INTO detector_sets VALUES (9, '{}'); UPDATE contents SET detectors_id = 9 WHERE id = 1",
        "is not block for what",
    ),
    "content explained otherwise": (
        "UPDATE explanations SET body = replace(body, '1', '2') WHERE content_id = 1",
        "is explained otherwise than its last event says",
    ),
    "content explained no more": (
        "DELETE FROM explanations WHERE content_id = 2",
        "is explained otherwise than its last event says",
    ),
    "run of another kind": ("UPDATE runs SET kind = 'apply'", "run 1 is not what its events say"),
    "run of another store": ("UPDATE runs SET store = 'file:///else'", "run 1 is not what its events say"),
    "run made a dry one": ("UPDATE runs SET dry_run = 1", "run 1 is not what its events say"),
    "run made a whole one": ("UPDATE runs SET whole = 1", "run 1 is not what its events say"),
    "run of an act that nobody chose": ("UPDATE runs SET act = 'delete'", "run 1 is not what its events say"),
    "run settings": ("UPDATE runs SET settings = '{}'", "run 1 is not what its events say"),
    "run begun at another time": ("UPDATE runs SET started_at = 1", "run 1 is not what its events say"),
    "run status": ("UPDATE runs SET status = 'done'", "run 1 is not what its events say"),
    "run figures": ("UPDATE runs SET summary = '{\"listed\":4}'", "run 1 is not what its events say"),
    "run ended at another time": ("UPDATE runs SET ended_at = 1", "run 1 is not what its events say"),
    "run made up": (
        "INSERT INTO runs (id, kind, store, dry_run, settings, started_at) VALUES (9, 'scan', 's', 0, '{}', 1)",
        "events tell of 1 runs, and there are 2",
    ),
    "run gone": ("PRAGMA foreign_keys = OFF; DELETE FROM runs", "run 1 is gone"),
    "breaker of actions let go": (
        "UPDATE stores SET action_breaker = NULL",
        "the breaker of actions of file:///srv/media",
    ),
    "app action gone": (
        "DELETE FROM app_actions WHERE id = 2",
        "events tell of 2 actions through the app, and there are 1",
    ),
    "app action of another person": ("UPDATE app_actions SET target_id = '8' WHERE id = 2", "action 2 through the app"),
    "app action of another content": ("UPDATE app_actions SET sha256 = zeroblob(32) WHERE id = 1", "action 1 through"),
    "app action of another kind": ("UPDATE app_actions SET action = 'ban' WHERE id = 1", "action 1 through the app"),
    "app action at another server": ("UPDATE app_actions SET server = 'x' WHERE id = 1", "action 1 through the app"),
    "app action undone": (
        "UPDATE app_actions SET state = 'planned', open = 1 WHERE id = 1",
        "action 1 through the app",
    ),
    "app action begun at another time": (
        "UPDATE app_actions SET begun_at = 0 WHERE id = 1",
        "action 1 through the app",
    ),
    "app action rewound": (
        "UPDATE app_actions SET event_seq = (SELECT min(seq) FROM events WHERE kind = 'action.planned') WHERE id = 1",
        "action 1 through the app",
    ),
    "confirmation by another": ("UPDATE confirmations SET by = 'me' WHERE id = 2", "the confirmation of content"),
    "confirmation for another reason": (
        "UPDATE confirmations SET reason = '' WHERE id = 2",
        "the confirmation of content",
    ),
    "confirmation taken back": ("UPDATE confirmations SET undone_at = 9 WHERE id = 2", "the confirmation of content"),
    "confirmation back again": (
        "UPDATE confirmations SET undone_at = NULL WHERE id = 1",
        "the confirmation of content",
    ),
    "confirmation gone": ("DELETE FROM confirmations WHERE id = 2", "the confirmation of a content is gone"),
    "confirmation made up": (
        "INSERT INTO confirmations VALUES (9, zeroblob(32), 1, 'me', '', NULL)",
        "the confirmation of content",
    ),
    "trace gone": (
        "PRAGMA foreign_keys = OFF; DELETE FROM sightings; DELETE FROM traces WHERE id = 2",
        "events tell of 2 traces, and there are 1",
    ),
    "trace of another object": ("UPDATE traces SET key = 'z' WHERE id = 2", "trace 2 is not what its event says"),
    "trace of another store": ("UPDATE traces SET store_id = NULL WHERE id = 2", "trace 2 is not what its event says"),
    "trace that did not fail": ("UPDATE traces SET state = 'found' WHERE id = 1", "trace 1 is not what its event says"),
    "trace for another reason": ("UPDATE traces SET detail = '' WHERE id = 1", "trace 1 is not what its event says"),
    "trace by other names": ("UPDATE traces SET names = '{}' WHERE id = 1", "trace 1 is not what its event says"),
    "trace by another server": ("UPDATE traces SET server = 'x' WHERE id = 1", "trace 1 is not what its event says"),
    "trace of another run": ("UPDATE traces SET run_id = NULL WHERE id = 1", "trace 1 is not what its event says"),
    "trace at another time": ("UPDATE traces SET at = 5 WHERE id = 1", "trace 1 is not what its event says"),
    "trace made up": (
        "INSERT INTO traces (id, names, server, at, state, detail) VALUES (9, '{}', 's', 1, 'found', '')",
        "events tell of 2 traces, and there are 3",
    ),
    "sighting of another person": ("UPDATE sightings SET person = '@me' WHERE id = 1", "trace 2 is not what"),
    "sighting elsewhere": ("UPDATE sightings SET instance = 'near.example' WHERE id = 1", "trace 2 is not what"),
    "sighting made local": ("UPDATE sightings SET local = 1 WHERE id = 2", "trace 2 is not what its event says"),
    "sighting gone": ("DELETE FROM sightings WHERE id = 2", "trace 2 is not what its event says"),
    "sighting made up": (
        "INSERT INTO sightings (id, trace_id, kind, way, certainty) VALUES (9, 1, 'post', 'api', 'certain')",
        "trace 1 is not what its event says",
    ),
    "sighting of no trace": (
        "PRAGMA foreign_keys = OFF; INSERT INTO sightings (id, trace_id, kind, way, certainty) "
        "VALUES (9, 9, 'post', 'api', 'certain')",
        "there are sightings of no trace",
    ),
    "breaker let go": ("UPDATE stores SET breaker = NULL", "the breaker of file:///srv/media"),
    "breaker for another reason": ("UPDATE stores SET breaker = 'nothing'", "the breaker of file:///srv/media"),
    "dismissal for another reason": ("UPDATE dismissals SET reason = 'a cat'", "the dismissal of content"),
    "dismissal at another time": (
        "UPDATE dismissals SET at = 1; UPDATE contents SET dismissed_at = 1 WHERE dismissed_at IS NOT NULL",
        "the dismissal of content",
    ),
    "dismissal undone": ("UPDATE dismissals SET undone_at = 1", "the dismissal of content"),
    "dismissal made up": (
        "UPDATE contents SET dismissed_at = 1 WHERE id = 1",
        "contents stand dismissed that nobody dismissed",
    ),
}


@pytest.mark.sampled(30)
@pytest.mark.parametrize(("statement", "problem"), TAMPERINGS.values(), ids=TAMPERINGS.keys())
def test_tampering_is_found(path: Path, statement: str, problem: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for part in statement.split("; "):
            assert connection.execute(part).rowcount != 0
    ledger = open_ledger(path, clock=_Clock(), readonly=True)
    found = ledger.verify().problem
    ledger.dispose()
    assert found is not None and problem in found


def test_what_two_writers_did_to_each_other_is_found(path: Path) -> None:
    """Even where the database was kept from preventing it."""
    ledger = open_ledger(path, clock=_Clock())
    run = ledger.begin_run("scan", STORE, {"dry_run": False})
    with ledger.database.write() as connection:
        connection.execute(text("DROP INDEX uq_plans_one_open"))
        plan = next(plan for plan in planning.open_page(connection, 0, STORE, None) if plan.object.key == "d")
        ids = connection.execute(text("SELECT object_id, content_id FROM plans WHERE id = :id"), {"id": plan.id}).one()
        target = [(ids[0], plan.object, plan.sha256)]
        planning._insert(connection, 1.0, run, STORE, {plan.sha256: ids[1]}, target, plan.act)
    assert ledger.verify().problem == f"object {ids[0]} has two open plans"
    ledger.dispose()


def test_an_act_that_another_run_closed_is_found(path: Path) -> None:
    """The chain is whole; what it says is that somebody closed what was not theirs."""
    ledger = open_ledger(path, clock=_Clock())
    run, other = (ledger.begin_run("scan", STORE, {"dry_run": False}) for _ in range(2))
    plan = next(plan for plan in ledger.open_plans(STORE) if plan.object.key == "d")
    (mine,) = ledger.start(run, [plan])
    with ledger.database.write() as connection:
        connection.execute(text("UPDATE acts SET run_id = :other WHERE closed_at IS NULL"), {"other": other})
        planning.close(connection, 1.0, other, [Outcome(mine, PlanState.DONE)])
        connection.execute(text("UPDATE acts SET run_id = :run WHERE run_id = :other"), {"run": run, "other": other})
    assert "was closed by run" in (ledger.verify().problem or "")
    ledger.dispose()


@pytest.mark.parametrize("name", [None, "judgement verdict", "judgement reasons"])
def test_another_process_checks_judgements_to_the_same_end(
    path: Path, name: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name is not None:
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(TAMPERINGS[name][0])
    ledger = open_ledger(path, clock=_Clock(), readonly=True)
    here = ledger.verify()
    monkeypatch.setattr(apart, "LEAST_EVENTS", 0)
    monkeypatch.setattr(apart, "check_judgements", None)  # nobody here does
    assert ledger.verify() == here and (here.problem is None) == (name is None)
    ledger.dispose()


def test_judgements_are_checked_here_where_no_other_process_says_anything(
    reopened: SqlLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apart, "LEAST_EVENTS", 0)
    monkeypatch.setattr(apart, "_MODULE", "fedi_safety.nowhere")
    asked: list[int] = []

    def asked_here(connection: Connection, told: int) -> bool:
        asked.append(told)
        return check_judgements(connection, told)

    monkeypatch.setattr(apart, "check_judgements", asked_here)
    assert reopened.verify().problem is None and asked


def test_both_see_one_state_of_a_ledger_that_is_written_to(
    reopened: SqlLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apart, "LEAST_EVENTS", 0)
    monkeypatch.setattr(apart, "check_judgements", None)
    seen = list[object]()

    def state_of(connection: Connection) -> list[object]:
        seen.append(state := child.state_of(connection))
        return ["another"] if len(seen) == 2 else state  # the first is asked how long the chain is

    monkeypatch.setattr(apart, "state_of", state_of)
    assert reopened.verify().problem is None and len(seen) == 3
