"""I3 and who put it there: an object is traced, on the record, before an act can take with it what tells whose it was.

A server that cannot be asked, hangs or fails holds up neither judging nor `delete`, and `purge` for a while only.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedi_safety.core.enums import ActKind, PlanState
from fedi_safety.core.errors import StoreError, TraceError
from fedi_safety.core.ports import FileOwner, Tracer
from fedi_safety.core.sightings import Names, Subject, Traced, TraceRecord, TraceState
from fedi_safety.core.tracing import TraceLimits, Tracing
from fedi_safety.core.types import Object, Removal
from fedi_safety.ledger.ledger import open_ledger
from support.fakes import FakeStore
from support.passes import RED, RED_CIRCLE, Bench
from support.tracers import SEEN, FakeOwner, FakeTracer

WAIT_S = 3600.0


class WatchfulStore(FakeStore):
    """Looks, at every removal, into the ledger as another process would."""

    def __init__(self, objects: dict[str, bytes], ledger: Path) -> None:
        super().__init__(objects)
        self._ledger = ledger
        self.known_at_removal: dict[str, list[TraceRecord]] = {}

    def remove(self, obj: Object, sha256: bytes) -> Removal:
        from support.fakes import FakeClock

        ledger = open_ledger(self._ledger, clock=FakeClock(), readonly=True)
        self.known_at_removal[obj.key] = ledger.traces_of([sha256]).get(sha256, [])
        ledger.dispose()
        return super().remove(obj, sha256)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    pictures = {"a": RED_CIRCLE + b" 1", "b": RED_CIRCLE + b" 2", "fine": RED}
    bench = Bench(tmp_path / "ledger.db", WatchfulStore(pictures, tmp_path / "ledger.db"))
    yield bench
    assert bench.ledger.verify().problem is None
    bench.close()


def trace_by(
    bench: Bench, tracer: Tracer | None, owner: FileOwner | None = None, *, limit_s: float = 5.0, wait_s: float = WAIT_S
) -> Tracing:
    """Have the bench's next passes trace by this server."""
    limits = TraceLimits(limit_s, wait_s)
    bench.tracing = Tracing(bench.ledger, bench.clock, bench.store.url, tracer=tracer, owner=owner, limits=limits)
    return bench.tracing


def store(bench: Bench) -> WatchfulStore:
    assert isinstance(bench.store, WatchfulStore)
    return bench.store


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def traces(bench: Bench, data: bytes = RED_CIRCLE + b" 1") -> list[TraceRecord]:
    return bench.ledger.traces_of([sha(data)]).get(sha(data), [])


def down(_subject: Subject) -> Traced:
    raise TraceError("fake", "the database cannot be reached", "start it")


@pytest.mark.parametrize("act", list(ActKind))
def test_what_is_removed_was_traced_and_recorded_before(bench: Bench, act: ActKind) -> None:
    tracer = FakeTracer()
    trace_by(bench, tracer, FakeOwner())
    tally, _ = bench.scan(act=act)
    assert tally.acted == 2
    assert set(store(bench).removed) == {"a", "b"}
    for key, known in store(bench).known_at_removal.items():
        (record,) = known
        assert (record.state, record.sightings) == (TraceState.FOUND, (SEEN,))
        assert record.subject.aliases == (f"alias-of-{key}",)
    assert {subject.key for subject in tracer.asked} == {"a", "b"}, "only what is condemned is asked about"


def test_a_dry_run_asks_nobody_and_its_plans_are_traced_when_they_are_carried_out(bench: Bench) -> None:
    tracer = FakeTracer()
    trace_by(bench, tracer)
    bench.scan(dry_run=True)
    assert tracer.asked == []
    bench.scan()
    assert len(tracer.asked) == 2
    assert all(store(bench).known_at_removal.values())


def test_delete_goes_on_while_the_server_is_down_and_the_trace_is_made_again(bench: Bench) -> None:
    tracer = FakeTracer(down)
    trace_by(bench, tracer)
    tally, _ = bench.scan()
    assert tally.acted == 2
    (failed,) = traces(bench)
    assert failed.state is TraceState.FAILED
    assert "cannot be reached" in failed.detail
    shown = bench.ledger.show("a")
    assert shown is not None
    assert shown.traces == [failed], "a trace that failed is shown"
    asked = len(tracer.asked)
    bench.scan()
    assert len(tracer.asked) == asked, "not before its time"
    bench.clock.advance(61)
    tracer.answer = lambda _subject: Traced((SEEN,))
    bench.scan()
    assert [record.state for record in traces(bench)] == [TraceState.FAILED, TraceState.FOUND]
    bench.clock.advance(86_400)
    asked = len(tracer.asked)
    bench.scan()
    assert len(tracer.asked) == asked, "what is found is found"


def test_purge_waits_for_the_server_and_goes_on_once_it_answers(bench: Bench) -> None:
    tracer = FakeTracer(down)
    tracing = trace_by(bench, tracer)
    tally, _ = bench.scan(act=ActKind.PURGE)
    assert (tally.acted, tally.failed, tracing.held) == (0, 0, 2)
    assert store(bench).removed == []
    assert [plan.state for plan in bench.ledger.open_plans(bench.store.url)] == [PlanState.PLANNED] * 2
    tracer.answer = lambda _subject: Traced((SEEN,))
    bench.clock.advance(120)
    tally, _ = bench.scan(act=ActKind.PURGE)
    assert tally.acted == 2
    assert [record.state for record in store(bench).known_at_removal["a"]] == [TraceState.FAILED, TraceState.FOUND]


@pytest.mark.long
def test_purge_waits_no_longer_than_it_was_told_and_says_that_it_was_not_traced(bench: Bench) -> None:
    trace_by(bench, FakeTracer(down))
    for _ in range(59):
        tally, _ = bench.scan(act=ActKind.PURGE)
        assert tally.acted == 0, "before its time was over"
        bench.clock.advance(60)
    bench.clock.advance(61)
    tally, _ = bench.scan(act=ActKind.PURGE)
    assert tally.acted == 2
    known = store(bench).known_at_removal["a"]
    assert known[-1].state is TraceState.NOT_TRACED
    assert "cannot be reached" in known[-1].detail
    assert len(known) < 10, "it is not asked at every pass"


def test_a_poorer_way_holds_a_purge_and_no_delete(bench: Bench) -> None:
    trace_by(bench, FakeTracer(lambda _subject: Traced((SEEN,), closed=("the database is closed",))))
    tally, _ = bench.scan(act=ActKind.PURGE)
    assert tally.acted == 0
    assert traces(bench)[0].sightings == (SEEN,), "what the poorer way told is kept"
    tally, _ = bench.scan()
    assert tally.acted == 2


@pytest.mark.parametrize("traced", [Traced(), Traced(unknown="no path of its own")])
def test_an_answer_of_nothing_is_an_answer(bench: Bench, traced: Traced) -> None:
    trace_by(bench, FakeTracer(lambda _subject: traced))
    tally, _ = bench.scan(act=ActKind.PURGE)
    assert tally.acted == 2
    assert traces(bench)[0].state is (TraceState.UNKNOWN if traced.unknown else TraceState.NOTHING)


@pytest.mark.parametrize("act", list(ActKind))
def test_a_server_that_hangs_costs_no_more_than_its_limit_an_object(tmp_path: Path, act: ActKind) -> None:
    pictures = {f"{n:02}": RED_CIRCLE + b" %d" % n for n in range(6)} | {"fine": RED}
    bench = Bench(tmp_path / "ledger.db", FakeStore(pictures))
    let_go = threading.Event()

    def hang(_subject: Subject) -> Traced:
        let_go.wait(60)
        return Traced()

    limit_s = 0.5
    tracer = FakeTracer(hang)
    trace_by(bench, tracer, limit_s=limit_s, wait_s=0)
    try:
        began = time.monotonic()
        tally, _ = bench.scan(act=act)
        took = time.monotonic() - began
        assert (tally.judged, tally.block, tally.clear) == (7, 6, 1), "judged as ever"
        assert tally.acted == 6
        assert took < 6 * limit_s + 20  # it would hang for 60
        assert len(tracer.asked) == 1, "one question hangs, not six"
        assert all("hangs" in r.detail or "no answer within" in r.detail for r in traces(bench, RED_CIRCLE + b" 3"))
    finally:
        let_go.set()
        bench.close()


def test_a_tracer_with_a_bug_is_a_record_and_ends_nothing(bench: Bench) -> None:
    def bug(_subject: Subject) -> Traced:
        raise ZeroDivisionError("a bug")

    trace_by(bench, FakeTracer(bug))
    tally, _ = bench.scan()
    assert tally.acted == 2
    assert "ZeroDivisionError" in traces(bench)[0].detail


def test_the_owners_names_are_stored_before_any_purge_with_or_without_a_server(bench: Bench) -> None:
    trace_by(bench, None, FakeOwner())
    tally, _ = bench.scan(act=ActKind.PURGE)
    assert tally.acted == 2
    for key, (record,) in store(bench).known_at_removal.items():
        assert (record.state, record.subject.aliases) == (TraceState.NAMES, (f"alias-of-{key}",))
        assert record.subject.origins == ("https://far.example/1.png",)


def test_an_owner_that_fails_is_named_and_asked_again(bench: Bench) -> None:
    def refuse(_obj: Object) -> Names:
        raise StoreError("pict-rs", "it cannot be reached")

    owner = FakeOwner(refuse)
    store(bench).refusing = {"a", "b"}
    trace_by(bench, None, owner)
    bench.scan(act=ActKind.PURGE)
    assert "it cannot be reached" in traces(bench)[0].detail
    owner.answer = lambda _obj: Names(("now",))
    bench.scan(act=ActKind.PURGE)
    assert store(bench).known_at_removal["a"][-1].subject.aliases == ("now",)


@pytest.mark.parametrize("act", list(ActKind))
def test_names_that_were_learnt_are_used_when_their_owner_has_forgotten_them(bench: Bench, act: ActKind) -> None:
    tracer = FakeTracer(down)
    trace_by(bench, tracer, FakeOwner())
    bench.scan(act=act)
    tracer.answer = lambda _subject: Traced((SEEN,))
    bench.clock.advance(61)
    trace_by(bench, tracer, FakeOwner(lambda _obj: Names()))
    bench.scan(act=act)
    assert {subject.aliases for subject in tracer.asked} == {("alias-of-a",), ("alias-of-b",)}


def test_what_comes_back_after_a_removal_is_traced_anew(bench: Bench) -> None:
    tracer = FakeTracer()
    trace_by(bench, tracer)
    bench.scan()
    store(bench).put("a", RED_CIRCLE + b" 1")
    bench.scan()
    assert [subject.key for subject in tracer.asked].count("a") == 2, "somebody else may have put it there"


def test_what_a_person_dismissed_is_not_traced(bench: Bench) -> None:
    tracer = FakeTracer()
    bench.scan(dry_run=True)
    plans = list(bench.ledger.open_plans(bench.store.url))
    bench.ledger.dismiss(sha(RED_CIRCLE + b" 1"), "a tomato")  # after the pass has read its plans
    tracing = trace_by(bench, tracer)
    tracing.ready(bench.ledger.begin_run("apply", bench.store.url, {}), plans, lambda: True)
    assert [subject.key for subject in tracer.asked] == ["b"]


def test_after_a_stop_nothing_more_is_traced_or_removed(bench: Bench) -> None:
    stops = iter([True, True, False])  # before the group, before its one plan, and after it was traced
    tracer = FakeTracer()
    tracing = trace_by(bench, tracer)
    bench.scan(dry_run=True)
    from fedi_safety.acts.delete import Remove
    from fedi_safety.core.enforcement import Acting
    from fedi_safety.core.runs import Tally

    run = bench.ledger.begin_run("apply", bench.store.url, {})
    acting = Acting(bench.ledger, {ActKind.DELETE: Remove(bench.store)}, run, Tally(), tracing=tracing)
    assert not acting.carry_out(bench.ledger.open_plans(bench.store.url), lambda: next(stops, False))
    assert len(tracer.asked) == 1
    assert store(bench).removed == []
