"""What a ledger tells of the past: since when objects stand as they do, what happened by day, who has a content."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pytest

from fedi_safety.core.enums import ActKind, MediaType, PlanState, Reason, Verdict
from fedi_safety.core.ledger.history import Happened
from fedi_safety.core.ledger.ports import WholeLedger
from fedi_safety.core.ledger.records import Filters
from fedi_safety.core.types import (
    Content,
    FactorHit,
    Judged,
    Judgement,
    Object,
    Outcome,
    RuleHit,
    Scores,
    Signal,
    Unscanned,
)
from support.fakes import FakeClock
from support.ledgers import Opener

STORE, OTHER = "file:///srv/media", "file:///srv/other"
DAY = 86_400.0
MONDAY = 20_832 * DAY  # 2027-01-14 00:00 UTC


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(MONDAY + 3600)


@pytest.fixture
def ledger(opener: Opener, clock: FakeClock) -> WholeLedger:
    return opener(clock=clock)


def sha(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def judged(key: str, *rules: str, policy: str = "p@1", of: str | None = None) -> Judged:
    content = Content(sha(of or key), 9, MediaType.PNG, 8, 8, 1, Scores({"red": Signal(0.9)}, {"red": "1"}))
    hits = tuple(RuleHit(rule, Verdict.BLOCK, None, (FactorHit("red", 0.5, 0.9, "red", 0),)) for rule in rules)
    return Judged(Object(key, 9, 1), content, Judgement(Verdict.BLOCK if rules else Verdict.CLEAR, (), hits, policy))


def ended(ledger: WholeLedger, run: int, item: Judged, state: PlanState, store: str = STORE) -> None:
    plans = ledger.plan(run, store, [(item.object, item.content.sha256)], ActKind.DELETE)
    ledger.close(run, [Outcome(plan, state) for plan in ledger.start(run, plans)])


def keys(ledger: WholeLedger, since: float, **more: str) -> list[str]:
    return [row.key for row in ledger.list_objects(Filters(since=since, **more))]  # type: ignore[arg-type]


def times(ledger: WholeLedger) -> dict[str, float | None]:
    return {row.key: row.at for row in ledger.list_objects()}


def test_an_object_stands_so_since_it_was_judged_removed_or_met(ledger: WholeLedger, clock: FakeClock) -> None:
    start = clock.now()
    run = ledger.begin_run("scan", STORE, {})
    bad, lost = judged("bad", "rule"), judged("lost", "rule")
    half = Unscanned(Object("half", 9, 1), Reason.TRUNCATED)
    ledger.record(run, STORE, [judged("good"), bad, lost, half, Unscanned(Object("csv", 9, 1), Reason.NOT_MEDIA)])
    assert set(times(ledger).values()) == {start}
    clock.advance(DAY)
    ended(ledger, run, bad, PlanState.DONE)
    ended(ledger, run, lost, PlanState.GONE)
    ledger.record(run, STORE, [half])  # again in vain: it stands so since it was met
    assert times(ledger) == {"good": start, "bad": start + DAY, "lost": start + DAY, "half": start, "csv": start}
    assert keys(ledger, start + 1) == ["bad", "lost"]
    assert keys(ledger, start + 1, state="removed") == ["bad"]
    assert keys(ledger, start) == ["good", "bad", "lost", "half", "csv"]
    assert keys(ledger, start + DAY + 1) == []


def test_a_verdict_that_changed_counts_from_its_change(ledger: WholeLedger, clock: FakeClock) -> None:
    """By another policy, which opens no object, and by a person."""
    start = clock.now()
    run = ledger.begin_run("scan", STORE, {})
    ledger.record(run, STORE, [judged("a"), judged("b"), judged("c", "rule"), judged("d", "rule")])
    clock.advance(DAY)
    condemned, cleared = (judged("a", *rules, policy="p@2").judgement for rules in (("rule",), ()))
    ledger.redecide(run, "p@2", lambda digest, _scores: cleared if digest == sha("b") else condemned)
    clock.advance(DAY)
    ledger.dismiss(sha("c"), "a tomato")
    assert times(ledger) == {"a": start + DAY, "b": start, "c": start + 2 * DAY, "d": start}
    assert keys(ledger, start + 1, verdict=Verdict.BLOCK) == ["a"]
    assert keys(ledger, start + 1) == ["a", "c"]


def test_what_a_pass_did_not_meet_has_no_time(ledger: WholeLedger) -> None:
    run = ledger.begin_run("scan", STORE, {})
    ledger.record(run, STORE, [judged("a")])
    census = ledger.census(STORE)
    assert ledger.mark_gone(run, census) == 1
    assert times(ledger) == {"a": None} and keys(ledger, 0.0) == []


def test_what_happened_is_told_by_day_and_by_store(ledger: WholeLedger, clock: FakeClock) -> None:
    run = ledger.begin_run("scan", STORE, {})
    ledger.record(run, STORE, [judged("early", "rule")])
    clock.advance(DAY)  # the first day is before what is asked for
    since = MONDAY + DAY
    run = ledger.begin_run("scan", STORE, {})
    items = [judged("a", "rule", "known image"), judged("b", "rule"), judged("c", "rule"), judged("good")]
    ledger.record(run, STORE, items)
    ended(ledger, run, items[0], PlanState.DONE)
    ended(ledger, run, items[1], PlanState.FAILED)
    clock.advance(2 * DAY)
    other = ledger.begin_run("scan", OTHER, {})
    ledger.record(other, OTHER, [judged("x", "rule"), judged("same as c", "rule", of="c")])
    ended(ledger, other, judged("x", "rule"), PlanState.GONE, OTHER)
    ledger.dismiss(sha("b"), "a tomato")
    ledger.dismiss(sha("b"), "a tomato")
    ledger.restore(sha("b"))  # condemned as before: that is no new hit
    gone = ledger.mark_gone(run, ledger.census(STORE))
    assert gone == 4  # early, b, c and good: a is removed
    found = ledger.history(since)
    assert found.days == {
        "2027-01-15": Happened(runs=1, judged=4, condemned=3, removed=1, failed=1),
        "2027-01-17": Happened(runs=1, judged=2, condemned=1, gone=5, dismissed=1, restored=1),
    }
    assert found.rules == {"rule": 4, "known image": 1}
    assert found.total == Happened(runs=2, judged=6, condemned=4, removed=1, failed=1, gone=5, dismissed=1, restored=1)
    of_store = ledger.history(since, STORE)
    assert of_store.days["2027-01-15"] == found.days["2027-01-15"]
    assert of_store.days["2027-01-17"] == Happened(gone=4, dismissed=1, restored=1)
    assert ledger.history(since, OTHER).days == {
        "2027-01-15": Happened(condemned=1),  # its content was condemned elsewhere first
        "2027-01-17": Happened(runs=1, judged=2, condemned=1, gone=1),
    }
    assert ledger.history(clock.now() + 1).days == {}


def test_a_content_that_stays_condemned_is_no_new_hit(ledger: WholeLedger, clock: FakeClock) -> None:
    run = ledger.begin_run("scan", STORE, {})
    ledger.record(run, STORE, [judged("a", "rule")])
    for policy, rules in (("p@2", ("other",)), ("p@3", ()), ("p@4", ("rule",))):
        clock.advance(DAY)
        ledger.record(run, STORE, [judged("a", *rules, policy=policy)])
    assert [(day, said.condemned) for day, said in ledger.history(0.0).days.items()] == [
        ("2027-01-14", 1), ("2027-01-17", 1),
    ]  # fmt: skip


def test_who_has_a_content_is_told_as_long_as_it_is_there(ledger: WholeLedger) -> None:
    run = ledger.begin_run("scan", STORE, {})
    one, two = judged("a", "rule"), judged("b", "rule", of="a")
    ledger.record(run, STORE, [one, two])
    ledger.record(run, OTHER, [judged("c", "rule", of="a")])
    asked: Sequence[bytes] = [sha("a"), sha("none")]
    assert ledger.objects_with(asked) == {sha("a"): [(STORE, "a"), (STORE, "b"), (OTHER, "c")]}
    ended(ledger, run, one, PlanState.DONE)
    assert ledger.objects_with(asked) == {sha("a"): [(STORE, "b"), (OTHER, "c")]}
    assert ledger.objects_with([]) == {}


def test_what_stands_condemned_is_told_with_its_times_the_latest_first(ledger: WholeLedger, clock: FakeClock) -> None:
    start = clock.now()
    run = ledger.begin_run("scan", STORE, {"whole": True})
    removed, failed, wrong = judged("removed", "one", "two"), judged("failed", "one"), judged("wrong", "one")
    ledger.record(run, STORE, [judged("good"), removed, failed, wrong, judged("idle", "one")])
    ledger.record(run, OTHER, [judged("other", "one")])
    ledger.dismiss(wrong.content.sha256, "harmless")
    clock.advance(DAY)
    ended(ledger, run, removed, PlanState.DONE)
    ended(ledger, run, failed, PlanState.FAILED)
    told = ledger.condemned(None, limit=9)
    assert [(one.key, one.store, one.stands) for one in told] == [
        ("removed", STORE, "removed"), ("failed", STORE, "failed"), ("idle", STORE, ""), ("other", OTHER, ""),
    ]  # fmt: skip
    assert (told[0].condemned_at, told[0].removed_at, told[0].rules) == (start, start + DAY, ("one", "two"))
    assert (told[1].condemned_at, told[1].removed_at) == (start, None)
    assert [one.key for one in ledger.condemned(start + 1, limit=9)] == ["removed"]
    assert [one.key for one in ledger.condemned(None, OTHER, limit=9)] == ["other"]
    assert len(ledger.condemned(None, limit=2)) == 2


def test_the_last_pass_that_met_all_of_a_store_is_known(ledger: WholeLedger, clock: FakeClock) -> None:
    assert ledger.last_passes() == {}
    for complete in (True, True, False, None):
        run = ledger.begin_run("scan", STORE, {"whole": True})
        clock.advance(60)
        ledger.end_run(run, "done", {}, complete=complete)
    ledger.begin_run("scan", OTHER, {"whole": True})
    (store, last), *none = ledger.last_passes().items()
    assert (store, none, last.ended_at - last.began_at) == (STORE, [], 60)
    assert last.ended_at == MONDAY + 3600 + 120
