"""The promises of the ledger's ports, for every kind of database that `opener` opens one on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import pytest

from fedi_safety.core.enums import ActKind, MediaType, PlanState, Reason, Verdict
from fedi_safety.core.errors import LedgerError
from fedi_safety.core.ledger.ports import Ledger, WholeLedger
from fedi_safety.core.sightings import (
    Certainty,
    Sighting,
    SightingKind,
    SightingWay,
    Source,
    SourceKind,
    Subject,
    TraceRecord,
    TraceState,
)
from fedi_safety.core.types import (
    Content,
    FactorHit,
    Judged,
    Judgement,
    Object,
    Outcome,
    Plan,
    Receipt,
    RuleHit,
    Scores,
    Signal,
    Unscanned,
)
from fedi_safety.ledger import database
from support.ledgers import KINDS, Opener

STORE = "file:///srv/media"
OTHER = "file:///srv/other"
OLD, NEW = "test@1", "test@2"


@dataclass
class FixedClock:
    """A clock that moves only when told to."""

    time: float = 1_800_000_000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


Reopen = Callable[[], WholeLedger]


@pytest.fixture
def reopen(opener: Opener, clock: FixedClock) -> Reopen:
    """Open the one ledger of the test, again if wanted: what was not committed is then not there."""
    return partial(opener, clock=clock)


@pytest.fixture
def ledger(reopen: Reopen) -> WholeLedger:
    return reopen()


@pytest.fixture
def run(ledger: WholeLedger) -> int:
    return ledger.begin_run("scan", STORE, {"dry_run": False})


def obj(key: str, version: int = 1) -> Object:
    return Object(key, 1000 + version, 10**18 + version, f"tag-{version}")


def sha(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


def judgement(verdict: Verdict = Verdict.CLEAR, policy: str = OLD) -> Judgement:
    if verdict is Verdict.CLEAR:
        return Judgement(verdict, (), (), policy)
    hit = FactorHit("round", 0.5, 0.9, "test.red", 3)
    return Judgement(verdict, ("red",), (RuleHit("red circle", verdict, "red", (hit,)),), policy)


def judged(
    key: str,
    verdict: Verdict = Verdict.CLEAR,
    *,
    of: str | None = None,
    version: int = 1,
    policy: str = OLD,
    fresh: bool = True,
    value: float = 0.1 + 0.2,
) -> Judged:
    scores = Scores({"test.red": Signal(value, 3), "test.round": Signal(0.25)}, {"test": "1+abc"})
    content = Content(sha(of or key), 1000, MediaType.PNG, 64, 32, 5, scores)
    return Judged(obj(key, version), content, judgement(verdict, policy), fresh)


def block(ledger: Ledger, run: int, *keys: str, act: ActKind = ActKind.DELETE) -> list[Plan]:
    items = [judged(key, Verdict.BLOCK) for key in keys]
    ledger.record(run, STORE, items)
    return ledger.plan(run, STORE, [(item.object, item.content.sha256) for item in items], act)


def states(ledger: Ledger) -> list[tuple[str, PlanState]]:
    return [(plan.object.key, plan.state) for plan in ledger.open_plans(STORE)]


def test_every_kind_of_database_is_asked() -> None:
    assert set(KINDS) == set(database.KINDS)


# --- what is remembered


def test_a_recorded_verdict_is_remembered_by_another_process(ledger: WholeLedger, run: int, reopen: Reopen) -> None:
    ledger.record(run, STORE, [judged("a"), judged("b", Verdict.BLOCK)])
    known = reopen().lookup(STORE, [obj("b"), obj("new"), obj("a")], OLD)
    assert [k and (k.sha256, k.verdict, k.settled) for k in known] == [
        (sha("b"), Verdict.BLOCK, True),
        None,
        (sha("a"), Verdict.CLEAR, True),
    ]


@pytest.mark.parametrize(
    "changed",
    [Object("a", 9, 10**18 + 1, "tag-1"), Object("a", 1001, 9, "tag-1"), Object("a", 1001, 10**18 + 1, "other")],
    ids=["size", "time", "tag"],
)
def test_a_changed_object_is_new(ledger: WholeLedger, run: int, changed: Object) -> None:
    ledger.record(run, STORE, [judged("a")])
    assert ledger.lookup(STORE, [changed], OLD) == [None]


def test_stores_do_not_share_objects_but_contents(ledger: WholeLedger, run: int) -> None:
    ledger.record(run, STORE, [judged("a")])
    assert ledger.lookup(OTHER, [obj("a")], OLD) == [None]
    assert set(ledger.contents([sha("a"), sha("unknown")])) == {sha("a")}


def test_keys_keep_every_byte(ledger: WholeLedger, run: int) -> None:
    keys = ["\udcff\udcfe", "a\nb", "ü", "u\u0308", "A", "a", " "]
    ledger.record(run, STORE, [judged(key, of=f"content {i}") for i, key in enumerate(keys)])
    known = ledger.lookup(STORE, [obj(key) for key in keys], OLD)
    assert [k and k.sha256 for k in known] == [sha(f"content {i}") for i in range(len(keys))]
    plan = ledger.plan(run, STORE, [(obj("\udcff\udcfe"), sha("content 0"))], ActKind.DELETE)[0]
    assert plan.object.key == "\udcff\udcfe" == next(ledger.open_plans(STORE)).object.key


def test_another_policy_makes_a_verdict_unsettled(ledger: WholeLedger, run: int) -> None:
    ledger.record(run, STORE, [judged("a")])
    settled = [ledger.lookup(STORE, [obj("a")], policy)[0] for policy in (OLD, NEW, None)]
    assert [k and k.settled for k in settled] == [True, False, True]


def test_a_content_comes_back_as_it_was_given(ledger: WholeLedger, run: int) -> None:
    item = judged("a", Verdict.BLOCK)
    ledger.record(run, STORE, [item])
    assert ledger.contents([sha("a")]) == {sha("a"): (item.content, item.judgement, True)}


@pytest.mark.long
def test_more_objects_than_one_statement_takes(ledger: WholeLedger, run: int) -> None:
    keys = [f"{i:05}" for i in range(2500)]
    ledger.record(run, STORE, [judged(key) for key in keys])
    known = ledger.lookup(STORE, [obj(key) for key in keys], OLD)
    assert [k and k.sha256 for k in known] == [sha(key) for key in keys]
    assert len(ledger.contents([sha(key) for key in keys])) == 2500


@pytest.mark.long
def test_many_threads_may_read_while_one_writes(ledger: WholeLedger, run: int) -> None:
    ledger.record(run, STORE, [judged("a")])

    def read(_: int) -> bool:
        known = ledger.lookup(STORE, [obj("a")], OLD)[0]
        return known is not None and set(ledger.contents([sha("a")])) == {sha("a")} == {known.sha256}

    with ThreadPoolExecutor(16) as pool:
        answers = pool.map(read, range(400))
        for i in range(40):
            ledger.record(run, STORE, [judged(f"{i}-{j}", Verdict.BLOCK) for j in range(20)])
        assert all(answers)
    assert ledger.verify().problem is None


# --- recording


def test_a_batch_may_name_contents_and_objects_twice(ledger: WholeLedger, run: int) -> None:
    twins = [judged("a", of="same"), judged("b", of="same"), judged("a", of="later", version=2)]
    ledger.record(run, STORE, twins)
    known = ledger.lookup(STORE, [obj("a", 2), obj("b")], OLD)
    assert [k and k.sha256 for k in known] == [sha("later"), sha("same")]


def test_a_judgement_read_from_the_ledger_is_not_written_again(ledger: WholeLedger, run: int) -> None:

    ledger.record(run, STORE, [judged("a", of="same")])
    ledger.record(run, STORE, [judged("b", of="same", fresh=False)])
    shown = ledger.show(sha("same"))
    assert shown and len(shown.judgements) == 1 and [row.key for row in shown.rows] == ["a", "b"]
    ledger.record(run, STORE, [judged("c", of="same", fresh=False, policy=NEW)])
    shown = ledger.show(sha("same"))
    assert shown and [past.judgement.policy for past in shown.judgements] == [OLD, NEW]


def test_an_object_with_new_bytes_gets_their_verdict_and_loses_its_plan(ledger: WholeLedger, run: int) -> None:
    block(ledger, run, "a")
    ledger.record(run, STORE, [judged("a", of="other bytes", version=2)])
    known = ledger.lookup(STORE, [obj("a", 2)], OLD)[0]
    assert known and (known.sha256, known.verdict) == (sha("other bytes"), Verdict.CLEAR)
    assert states(ledger) == []


def test_transient_failures_back_off_and_permanent_ones_do_not(
    ledger: WholeLedger, run: int, clock: FixedClock
) -> None:
    waits = []
    for _ in range(14):
        ledger.record(run, STORE, [Unscanned(obj("a"), Reason.UNREADABLE, "no\nway")])
        known = ledger.lookup(STORE, [obj("a")], OLD)[0]
        assert known and known.reason is Reason.UNREADABLE and known.verdict is None and known.retry_at is not None
        waits.append(known.retry_at - clock.now())
    assert waits == [min(86400.0, 60.0 * 2**i) for i in range(14)]
    ledger.record(run, STORE, [Unscanned(obj("a", 2), Reason.UNREADABLE), Unscanned(obj("b"), Reason.CORRUPT)])
    first, permanent = ledger.lookup(STORE, [obj("a", 2), obj("b")], OLD)
    assert first and first.attempts == 1 and first.retry_at == clock.now() + 60
    assert permanent and permanent.retry_at is None and permanent.reason is Reason.CORRUPT


def test_the_hash_of_unscanned_bytes_is_kept(ledger: WholeLedger, run: int) -> None:
    ledger.record(run, STORE, [Unscanned(obj("a"), Reason.CORRUPT, "", sha("bad"))])
    known = ledger.lookup(STORE, [obj("a")], OLD)[0]
    assert known and known.sha256 == sha("bad")


def test_a_failure_ends_with_the_next_verdict(ledger: WholeLedger, run: int) -> None:
    ledger.record(run, STORE, [Unscanned(obj("a"), Reason.TOO_SLOW)])
    ledger.record(run, STORE, [judged("a")])
    known = ledger.lookup(STORE, [obj("a")], OLD)[0]
    assert known and (known.verdict, known.reason, known.attempts) == (Verdict.CLEAR, None, 0)


def test_a_rescore_that_clears_takes_back_the_plans(ledger: WholeLedger, run: int) -> None:
    block(ledger, run, "a")
    ledger.record(run, STORE, [judged("a", Verdict.CLEAR, value=0.01)])
    assert states(ledger) == []
    assert ledger.contents([sha("a")])[sha("a")][0].scores.signals["test.red"] == Signal(0.01, 3)


# --- plans and acts


def test_planning_twice_gives_the_same_plans_in_order(ledger: WholeLedger, run: int, reopen: Reopen) -> None:
    first = block(ledger, run, "a", "b", "c")
    wanted = [(plan.object, plan.sha256) for plan in reversed(first)]
    assert reopen().plan(run, STORE, wanted, ActKind.DELETE) == first[::-1]
    assert [plan.id for plan in ledger.open_plans(STORE)] == [plan.id for plan in first]


def test_a_plan_of_another_kind_is_superseded(ledger: WholeLedger, run: int) -> None:
    purges = block(ledger, run, "a", act=ActKind.PURGE)
    deletes = ledger.plan(run, STORE, [(purges[0].object, purges[0].sha256)], ActKind.DELETE)
    assert [(plan.id, plan.act) for plan in ledger.open_plans(STORE)] == [(deletes[0].id, ActKind.DELETE)]


def test_open_plans_are_told_apart_by_store_and_act(ledger: WholeLedger, run: int) -> None:
    block(ledger, run, "a")
    ledger.record(run, OTHER, [judged("a", Verdict.BLOCK, fresh=False)])
    ledger.plan(run, OTHER, [(obj("a"), sha("a"))], ActKind.PURGE)
    assert [plan.act for plan in ledger.open_plans(None)] == [ActKind.DELETE, ActKind.PURGE]
    assert [plan.act for plan in ledger.open_plans(OTHER)] == [ActKind.PURGE]
    assert list(ledger.open_plans(OTHER, ActKind.DELETE)) == []


@pytest.mark.long
def test_plans_may_be_closed_while_they_are_listed(ledger: WholeLedger, run: int) -> None:
    block(ledger, run, *(f"{i:04}" for i in range(1200)))
    seen = []
    for plan in ledger.open_plans(STORE):
        seen.append(plan.object.key)
        if len(seen) % 3 == 0:
            ledger.close(run, [Outcome(p, PlanState.FAILED, "later") for p in ledger.start(run, [plan])])
    assert seen == [f"{i:04}" for i in range(1200)]


@pytest.mark.parametrize("end", [PlanState.DONE, PlanState.GONE])
def test_an_object_that_was_removed_is_new_when_it_comes_back(ledger: WholeLedger, run: int, end: PlanState) -> None:
    plans = ledger.start(run, block(ledger, run, "a"))
    assert [plan.state for plan in plans] == [PlanState.STARTED]
    ledger.close(run, [Outcome(plans[0], end)])
    assert states(ledger) == [] and ledger.lookup(STORE, [obj("a")], OLD) == [None]


def test_an_object_that_changed_under_the_act_loses_its_verdict(ledger: WholeLedger, run: int) -> None:
    plans = ledger.start(run, block(ledger, run, "a"))
    ledger.close(run, [Outcome(plans[0], PlanState.CHANGED)])
    assert states(ledger) == [] and ledger.lookup(STORE, [obj("a")], OLD) == [None]
    assert sha("a") in ledger.contents([sha("a")])


def test_a_failed_act_is_tried_again(ledger: WholeLedger, run: int) -> None:
    plans = ledger.start(run, block(ledger, run, "a"))
    ledger.close(run, [Outcome(plans[0], PlanState.FAILED, "read-only")])
    assert states(ledger) == [("a", PlanState.FAILED)]
    again = ledger.start(run, list(ledger.open_plans(STORE)))
    ledger.close(run, [Outcome(again[0], PlanState.DONE)])
    assert states(ledger) == [] and ledger.verify().problem is None


def test_what_was_learnt_while_acting_is_kept_as_data(ledger: WholeLedger, run: int) -> None:
    plans = ledger.start(run, block(ledger, run, "a", "b"))
    learnt: Receipt = {"aliases": ("a.png", "\udcff.png"), "origins": ("https://elsewhere.test/é",), "picture": "12"}
    ledger.close(run, [Outcome(plans[0], PlanState.FAILED, "later", learnt), Outcome(plans[1], PlanState.DONE)])
    again = ledger.start(run, list(ledger.open_plans(STORE)))
    ledger.close(run, [Outcome(again[0], PlanState.GONE)])
    found = [ledger.show(sha(key)) for key in "ab"]
    assert [[act["receipt"] for act in shown.acts] for shown in found if shown] == [[learnt, {}], [{}]]
    assert ledger.verify().problem is None


def test_an_act_whose_end_was_lost_is_found_and_done_again(ledger: WholeLedger, run: int, reopen: Reopen) -> None:

    ledger.start(run, block(ledger, run, "a"))
    ledger.dispose()  # as if killed here
    after = reopen()
    assert states(after) == [("a", PlanState.STARTED)]
    later = after.begin_run("scan", STORE, {})
    assert after.start(later, list(after.open_plans(STORE))) == [], "somebody may still be doing it"
    (lost,) = after.take_back(later, STORE)
    assert lost.state is PlanState.PLANNED and states(after) == [("a", PlanState.PLANNED)]
    after.dispose()  # as if this one was killed as well, before it came to it
    after = reopen()
    later = after.begin_run("scan", STORE, {})
    assert after.take_back(later, STORE) == [lost]
    after.close(later, [Outcome(p, PlanState.GONE) for p in after.start(later, [lost])])
    assert after.take_back(later, STORE) == []
    shown = after.show("a")
    assert shown and [act["outcome"] for act in shown.acts] == ["interrupted", "gone"]
    assert states(after) == [] and after.verify().problem is None


def test_ends_are_recorded_even_if_the_acts_break_off(ledger: WholeLedger, run: int) -> None:
    plans = ledger.start(run, block(ledger, run, "a", "b"))

    def acts() -> Iterator[Outcome]:
        yield Outcome(plans[0], PlanState.DONE)
        raise ConnectionError

    with pytest.raises(ConnectionError):
        ledger.close(run, acts())
    assert states(ledger) == [("b", PlanState.STARTED)]


def test_an_act_that_was_not_started_cannot_be_closed(ledger: WholeLedger, run: int) -> None:
    plans = block(ledger, run, "a")
    with pytest.raises(ValueError, match="not started"):
        ledger.close(run, [Outcome(plans[0], PlanState.DONE)])
    assert states(ledger) == [("a", PlanState.PLANNED)]


# --- people


def test_a_dismissed_content_is_clear_for_good(ledger: WholeLedger, run: int, reopen: Reopen) -> None:
    plans = block(ledger, run, "a")
    ledger.record(run, OTHER, [judged("copy", Verdict.BLOCK, of="a", fresh=False)])
    ledger.plan(run, OTHER, [(obj("copy"), sha("a"))], ActKind.DELETE)
    assert ledger.dismiss(sha("a"), "a tomato") == 2
    after = reopen()
    assert after.dismissed([sha("a"), sha("b")]) == {sha("a")}
    assert list(after.open_plans(None)) == [] and after.start(run, plans) == []
    after.record(run, STORE, [judged("a", Verdict.BLOCK, policy=NEW, value=0.99)])
    for policy in (OLD, NEW, "third"):
        known = after.lookup(STORE, [obj("a")], policy)[0]
        assert known and known.verdict is Verdict.CLEAR and known.settled
    assert after.plan(run, STORE, [(obj("a"), sha("a"))], ActKind.DELETE) == []
    assert after.redecide(run, NEW, lambda *_: judgement(Verdict.BLOCK, NEW)) == 0
    assert after.contents([sha("a")])[sha("a")][1].verdict is Verdict.CLEAR


def test_a_dismissal_can_be_taken_back(ledger: WholeLedger, run: int) -> None:
    block(ledger, run, "a")
    ledger.dismiss(sha("a"), "a tomato")
    assert ledger.restore(sha("a")) and not ledger.restore(sha("a"))
    known = ledger.lookup(STORE, [obj("a")], OLD)[0]
    assert known and (known.verdict, known.settled) == (Verdict.BLOCK, False)
    ledger.record(run, STORE, [judged("a", Verdict.BLOCK)])
    known = ledger.lookup(STORE, [obj("a")], OLD)[0]
    assert known and known.settled and ledger.dismissed([sha("a")]) == set()
    assert ledger.verify().problem is None


def test_what_the_ledger_does_not_know_cannot_be_dismissed(ledger: WholeLedger) -> None:
    with pytest.raises(LedgerError, match="is not in the ledger"):
        ledger.dismiss(sha("a"), "")


# --- policies


def test_redeciding_changes_verdicts_and_closes_plans(ledger: WholeLedger, run: int) -> None:
    block(ledger, run, "a", "b", "c")
    ledger.record(run, STORE, [judged("new", policy=NEW), judged("d")])
    asked: list[bytes] = []

    def judge(sha256: bytes, scores: Scores) -> Judgement | None:
        asked.append(sha256)
        assert scores.signals["test.red"] == Signal(0.1 + 0.2, 3) and scores.detectors == {"test": "1+abc"}
        answers = {sha("a"): judgement(Verdict.BLOCK, NEW), sha("b"): judgement(Verdict.CLEAR, NEW), sha("c"): None}
        return answers.get(sha256, judgement(Verdict.REVIEW, NEW))

    assert ledger.redecide(run, NEW, judge) == 3
    assert asked == [sha("a"), sha("b"), sha("c"), sha("d")]
    found = ledger.lookup(STORE, [obj(key) for key in "abcd"], NEW)
    assert [k and (k.verdict, k.settled) for k in found] == [
        (Verdict.BLOCK, True),
        (Verdict.CLEAR, True),
        (Verdict.BLOCK, False),  # open: its old verdict stands until it is read again
        (Verdict.REVIEW, True),
    ]
    undecided = ledger.lookup(STORE, [obj("c")], None)[0]
    assert undecided and not undecided.settled and not ledger.contents([sha("c")])[sha("c")][2]
    assert [key for key, _ in states(ledger)] == ["a", "c"]
    assert ledger.redecide(run, NEW, judge) == 0  # the undecided one is asked again, and again there is no answer
    assert asked[4:] == [sha("c")]
    ledger.record(run, STORE, [judged("c", policy=NEW)])
    settled = ledger.lookup(STORE, [obj("c")], NEW)[0]
    assert settled and settled.settled and ledger.verify().problem is None


def test_redeciding_pages_through_everything(ledger: WholeLedger, run: int) -> None:
    ledger.record(run, STORE, [judged(f"{i:04}") for i in range(1201)])
    assert ledger.redecide(run, NEW, lambda *_: judgement(Verdict.CLEAR, NEW)) == 1201


def test_scores_can_be_read_for_a_preview(ledger: WholeLedger, run: int) -> None:
    ledger.record(run, STORE, [judged("a", of="same"), judged("b", of="same"), judged("c", policy=NEW)])
    (page,) = ledger.score_pages()
    cells = zip(page.cells["sha256"], page.cells["verdict"], page.cells["objects"], strict=True)
    found = {
        sha256: (verdict, count, page.scores(i).signals["test.red"].value)
        for i, (sha256, verdict, count) in enumerate(cells)
    }
    verdict = judged("c").judgement.verdict.value
    assert found == {sha("same"): (verdict, 2, 0.1 + 0.2), sha("c"): (verdict, 1, 0.1 + 0.2)}
    assert [list(page.cells["sha256"]) for page in ledger.score_pages(NEW)] == [[sha("same")]]


def test_a_preview_counts_no_object_that_was_removed(ledger: WholeLedger, run: int) -> None:
    """Not even where none is left that is judged."""
    plans = block(ledger, run, "a")
    ledger.close(run, [Outcome(plan, PlanState.DONE) for plan in ledger.start(run, plans)])
    (page,) = ledger.score_pages()
    assert list(page.cells["objects"]) == [0]
    ledger.record(run, STORE, [judged("b"), judged("c", of="content of b and c")])
    assert [list(page.cells["objects"]) for page in ledger.score_pages()] == [[0, 1, 1]]


# --- runs, the breaker, the lock


def test_only_a_finished_dry_scan_counts_as_a_dry_run(ledger: WholeLedger) -> None:
    for kind, dry, status, store in (
        ("scan", False, "done", STORE),
        ("scan", True, "interrupted", STORE),
        ("apply", True, "done", STORE),
        ("scan", True, "done", OTHER),
    ):
        ledger.end_run(ledger.begin_run(kind, store, {"dry_run": dry}), status, {})
    ledger.begin_run("scan", STORE, {"dry_run": True})
    assert not ledger.was_dry_run(STORE) and ledger.was_dry_run(OTHER)
    ledger.end_run(ledger.begin_run("scan", STORE, {"dry_run": True}), "done", {"listed": 3})
    assert ledger.was_dry_run(STORE)


def test_a_dry_run_of_a_part_is_none(ledger: WholeLedger, reopen: Reopen) -> None:
    ledger.end_run(ledger.begin_run("scan", STORE, {"dry_run": True, "whole": False}), "done", {})
    assert not ledger.was_dry_run(STORE)
    ledger.end_run(ledger.begin_run("scan", STORE, {"dry_run": True, "whole": True}), "done", {})
    assert reopen().was_dry_run(STORE)


def test_the_latest_chosen_act_of_a_store_is_remembered(ledger: WholeLedger, reopen: Reopen) -> None:
    for store, settings in (
        (STORE, {"dry_run": True, "chosen_act": "purge"}),
        (OTHER, {"dry_run": True, "chosen_act": "purge"}),
        (STORE, {"dry_run": True, "chosen_act": "delete"}),
        (STORE, {"dry_run": False, "act": "purge", "chosen_act": None}),
    ):
        ledger.begin_run("scan", store, settings)
    after = reopen()
    assert (after.chosen_act(STORE), after.chosen_act(OTHER)) == (ActKind.DELETE, ActKind.PURGE)
    assert after.chosen_act("file:///never/seen") is None


@pytest.mark.parametrize(
    ("settings", "counts"),
    [
        ({"dry_run": False, "whole": True, "chosen_act": "delete"}, True),
        ({"dry_run": False, "whole": True, "chosen_act": None}, False),
        ({"dry_run": False, "whole": False, "chosen_act": "delete"}, False),
        ({"dry_run": False, "chosen_act": "delete"}, False),
        ({"dry_run": True, "whole": True, "chosen_act": "delete"}, False),
    ],
)
def test_a_real_run_is_a_pass_over_the_whole_store_by_a_chosen_act(
    ledger: WholeLedger, settings: dict[str, object], counts: bool
) -> None:
    ledger.begin_run("scan", STORE, settings)
    assert ledger.was_real_run(STORE) is counts
    assert not ledger.was_real_run(OTHER)


def test_the_breaker_holds_until_it_is_reset(ledger: WholeLedger, run: int, reopen: Reopen) -> None:
    assert ledger.breaker(STORE) is None
    ledger.set_breaker(run, STORE, "too much")
    after = reopen()
    assert (after.breaker(STORE), after.breaker(OTHER)) == ("too much", None)
    after.set_breaker(run, STORE, None)
    assert ledger.breaker(STORE) is None


def test_one_run_at_a_time(ledger: WholeLedger, reopen: Reopen) -> None:
    other = reopen()
    refused = pytest.raises(LedgerError, match=r"another fedi-safety run \(pid \d+( on \S+)?\)")
    with ledger.run_lock(), refused, other.run_lock():
        raise AssertionError("two runs at once")
    with other.run_lock():
        pass


# --- who put it there


def attempt(
    key: str,
    state: TraceState,
    *sightings: Sighting,
    at: float = 1.0,
    retry_at: float | None = None,
    store: str = STORE,
) -> TraceRecord:
    subject = Subject(store, key, sha(key), ("alias.png",), ("https://far.example/1.png",))
    return TraceRecord(subject, "server at social.example", at, state, "", sightings, retry_at)


def seen(person: str, instance: str, *, local: bool = False) -> Sighting:
    return Sighting(
        SightingKind.POST,
        SightingWay.DATABASE,
        Certainty.CERTAIN,
        f"https://{instance}/post/1",
        person,
        instance,
        local,
        1_700_000_000.5,
        "media/7",
        "1",
        "42",
    )


def test_what_a_trace_found_is_remembered_whole(ledger: WholeLedger, run: int, reopen: Reopen) -> None:
    block(ledger, run, "a", "caf\udce9")
    found = [
        attempt(key, TraceState.FOUND, seen("@x", "far.example"), seen("@y", "y.example")) for key in ("a", "caf\udce9")
    ]
    ledger.record_traces(run, found)
    again = reopen()
    assert again.traces_of([sha("a"), sha("caf\udce9"), sha("none")]) == {
        sha("a"): [found[0]],
        sha("caf\udce9"): [found[1]],
    }
    shown = again.show("a")
    assert shown is not None
    assert shown.traces == [found[0]]
    assert again.verify().problem is None


def test_a_failed_trace_is_due_until_it_was_made_again(ledger: WholeLedger, run: int, clock: FixedClock) -> None:
    now = clock.now()
    ledger.record_traces(run, [attempt("a", TraceState.FAILED, at=now, retry_at=now + 60)])
    ledger.record_traces(run, [attempt("a", TraceState.FAILED, at=now, retry_at=now + 60, store=OTHER)])
    assert ledger.due_traces(STORE, 9) == []
    clock.time += 60
    (due,) = ledger.due_traces(STORE, 9)
    assert (due.subject.key, due.subject.aliases) == ("a", ("alias.png",))
    ledger.record_traces(None, [attempt("a", TraceState.FOUND, seen("@x", "far.example"), at=clock.now())])
    assert ledger.due_traces(STORE, 9) == []
    assert [record.state for record in ledger.traces_of([sha("a")])[sha("a")]] == [
        TraceState.FAILED,
        TraceState.FAILED,
        TraceState.FOUND,
    ]


def test_sources_count_condemned_contents_each_once(ledger: WholeLedger, run: int) -> None:
    block(ledger, run, "a", "b", "c", "wrong")
    ledger.record(run, STORE, [judged("fine")])
    far, near = seen("@x@far.example", "far.example"), seen("@me", "social.example", local=True)
    records = [attempt("a", TraceState.FOUND, far, far, near), attempt("a", TraceState.FOUND, far, at=2.0)]
    records += [attempt(key, TraceState.FOUND, far) for key in ("b", "wrong", "fine")]
    ledger.record_traces(run, [*records, attempt("c", TraceState.FAILED, retry_at=5.0)])
    ledger.dismiss(sha("wrong"), "a tomato")
    assert ledger.sources(SourceKind.INSTANCE) == [
        Source("far.example", False, 2, 2, 2.0),
        Source("social.example", True, 1, 2, 1.0),
    ]
    assert [(s.name, s.contents) for s in ledger.sources(SourceKind.PERSON, STORE)] == [
        ("@x@far.example", 2),
        ("@me", 1),
    ]
    assert ledger.sources(SourceKind.PERSON, OTHER) == []
