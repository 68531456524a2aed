"""Whole passes over a fake store with a real ledger: what is opened, judged, planned, removed and remembered."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from fedi_safety.core.decide import BreakerLimits
from fedi_safety.core.enums import ActKind, Detail, MediaType, PlanState, Reason, Recheck, Verdict
from fedi_safety.core.errors import StoreError
from fedi_safety.core.pipeline import Pipeline
from fedi_safety.core.policy import Policy, Rule
from fedi_safety.core.types import Decoded, Judged, Unscanned
from support.fakes import FakeStore, red_circles
from support.passes import CIRCLE, RED, RED_CIRCLE, Bench


@pytest.fixture
def store() -> FakeStore:
    return FakeStore({"a": RED_CIRCLE, "b": RED, "c": CIRCLE, "d": b"text", "e": b"bad corrupt"})


@pytest.fixture
def bench(tmp_path: Path, store: FakeStore) -> Iterator[Bench]:
    made = Bench(tmp_path / "ledger.db", store)
    yield made
    made.close()


def fake(bench: Bench) -> FakeStore:
    assert isinstance(bench.store, FakeStore)
    return bench.store


def test_a_real_run_removes_what_is_condemned_and_nothing_else(bench: Bench) -> None:
    tally, _ = bench.scan()
    assert (tally.listed, tally.judged, tally.block, tally.clear) == (5, 3, 1, 2)
    assert (tally.skipped, tally.unscanned) == ({"not_media": 1}, {"corrupt": 1})
    assert (tally.planned, tally.acted, tally.failed) == (1, 1, 0)
    assert tally.accounted
    assert sorted(fake(bench).objects) == ["b", "c", "d", "e"]
    assert bench.row("a").act_state is PlanState.DONE
    assert bench.row("a").state == "removed"


def test_a_second_scan_opens_nothing(bench: Bench) -> None:
    bench.scan(dry_run=True)
    fake(bench).fetched.clear()
    tally, _ = bench.scan(dry_run=True)
    assert fake(bench).fetched == []
    assert (tally.judged, tally.already_judged, tally.block) == (0, 3, 1)
    assert (tally.skipped, tally.unscanned) == ({"not_media": 1}, {"corrupt": 1})
    assert tally.planned == 1


def test_a_few_new_among_many_known_are_recorded_together(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two sweeps took 2 and 16 % less time without a transaction for each handful between known ones."""
    known = {f"{at:05}": f"pic red={at / 10_000}".encode() for at in range(3000)}
    new = {f"{at:05}-new": f"pic circle={at / 10_000}".encode() for at in range(0, 3000, 10)}
    fake(bench).objects = dict(known)
    bench.scan(dry_run=True)
    fake(bench).objects = known | new
    recorded: list[int] = []
    record = bench.ledger.record

    def counted(run: int, store: str, results: Sequence[Judged | Unscanned]) -> None:
        recorded.append(len(results))
        record(run, store, results)

    monkeypatch.setattr(bench.ledger, "record", counted)
    tally, _ = bench.scan(dry_run=True)
    assert (tally.judged, tally.already_judged) == (300, 3000)
    assert sum(recorded) == 300 and len([n for n in recorded if n]) <= 2, recorded


def test_a_pass_over_one_object_meets_no_other(bench: Bench) -> None:
    """Not those either whose keys begin like it; and it concludes nothing about the rest."""
    fake(bench).put("a.bak", RED_CIRCLE + b" kept")
    bench.scan(dry_run=True)
    before = sorted(fake(bench).objects)
    tally, done = bench.scan(keys=("a",))
    assert (tally.listed, tally.acted, tally.gone, done.listing) == (1, 1, 0, None)
    assert sorted(fake(bench).objects) == [key for key in before if key != "a"]


def test_a_dry_run_hides_nothing_from_a_real_run(bench: Bench) -> None:
    bench.scan(dry_run=True)
    assert "a" in fake(bench).objects
    tally, _ = bench.scan()
    assert tally.acted == 1
    assert "a" not in fake(bench).objects
    assert len(bench.rows(plan_state=PlanState.DONE)) == 1


def test_act_report_touches_nothing_and_plans_nothing(bench: Bench) -> None:
    tally, _ = bench.scan(act=None)
    assert (tally.block, tally.planned, tally.acted) == (1, 0, 0)
    assert "a" in fake(bench).objects


def test_the_same_content_is_judged_once_under_all_its_names(bench: Bench) -> None:
    for i in range(300):
        fake(bench).put(f"copy{i:03d}", RED)
    tally, _ = bench.scan(dry_run=True)
    assert bench.decoder.decoded.count(RED) == 1
    assert tally.judged == 303
    assert tally.frames == 3
    later, _ = bench.scan(dry_run=True)
    assert later.already_judged == 303
    fake(bench).put("yet another", RED)
    bench.scan(dry_run=True)
    assert bench.decoder.decoded.count(RED) == 1


def test_failures_are_unscanned_whatever_their_content_and_never_removed(bench: Bench) -> None:
    for reason in ("truncated", "too_large", "too_slow", "decoder_crashed", "unsupported"):
        fake(bench).put(f"bad-{reason}", b"bad " + reason.encode())
    fake(bench).put("unreadable", RED_CIRCLE + b" x")
    fake(bench).failing["unreadable"] = Reason.UNREADABLE
    fake(bench).put("poison", b"pic poison red=0.9 circle=0.9")
    before = dict(fake(bench).objects)
    tally, _ = bench.scan()
    assert set(before) - set(fake(bench).objects) == {"a"}
    assert tally.skipped == {"not_media": 1}
    assert tally.unscanned == {
        "corrupt": 1,
        "truncated": 1,
        "too_large": 1,
        "too_slow": 1,
        "decoder_crashed": 1,
        "unsupported": 1,
        "unreadable": 1,
        "detector_failed": 1,
    }
    assert tally.accounted


def test_transient_failures_are_tried_again_after_a_while_and_permanent_ones_are_not(bench: Bench) -> None:
    fake(bench).failing["b"] = Reason.UNREADABLE
    bench.scan(dry_run=True)
    fake(bench).failing.clear()
    fake(bench).fetched.clear()
    bench.scan(dry_run=True)
    assert fake(bench).fetched == []  # backing off
    bench.clock.advance(120)
    tally, _ = bench.scan(dry_run=True)
    assert fake(bench).fetched == ["b"]
    assert "unreadable" not in tally.unscanned


def test_a_changed_object_is_judged_again_and_its_old_plan_is_dropped(bench: Bench) -> None:
    bench.scan(dry_run=True)
    fake(bench).put("a", RED)
    fake(bench).put("b", RED_CIRCLE + b" ")
    tally, _ = bench.scan()
    assert fake(bench).removed == ["b"]
    assert tally.acted == 1
    assert bench.row("a").verdict is Verdict.CLEAR
    assert bench.row("a").act_state is PlanState.SUPERSEDED


def test_a_new_policy_is_applied_without_opening_anything(bench: Bench) -> None:
    bench.scan(dry_run=True)
    fake(bench).fetched.clear()
    lenient = Policy("lenient", red_circles().factors, (Rule("never", {"red": 0.95}, Verdict.BLOCK),))
    bench.policy = lenient
    tally, _ = bench.scan()
    assert fake(bench).fetched == []
    assert (tally.block, tally.acted) == (0, 0)
    assert bench.row("a").act_state is PlanState.SUPERSEDED
    bench.policy = Policy("harsh", red_circles().factors, (Rule("red", {"red": 0.9}, Verdict.BLOCK),))
    tally, _ = bench.scan(dry_run=True)
    assert fake(bench).fetched == []
    assert tally.block == 2


def test_recheck_never_keeps_old_verdicts(bench: Bench) -> None:
    bench.scan(dry_run=True)
    bench.policy = Policy("harsh", red_circles().factors, (Rule("red", {"red": 0.9}, Verdict.BLOCK),))
    tally, _ = bench.scan(dry_run=True, recheck=Recheck.NEVER)
    assert tally.block == 1


def test_recheck_all_scores_again(bench: Bench) -> None:
    bench.scan(dry_run=True)
    fake(bench).fetched.clear()
    tally, _ = bench.scan(dry_run=True, recheck=Recheck.ALL)
    assert fake(bench).fetched == ["a", "b", "c", "d", "e"]
    assert (tally.judged, tally.already_judged) == (3, 0)


def test_scores_that_the_cascade_left_out_are_measured_when_a_policy_needs_them(bench: Bench) -> None:
    bench.scan(dry_run=True)
    bench.policy = Policy("round", red_circles().factors, (Rule("round", {"circle": 0.5}, Verdict.BLOCK),))
    fake(bench).fetched.clear()
    tally, _ = bench.scan(dry_run=True)
    # `c` was settled by `a.red` alone; only it must be read again.
    assert fake(bench).fetched == ["c"]
    assert tally.block == 2
    assert bench.row("c").verdict is Verdict.BLOCK


def test_a_dismissed_content_is_clear_everywhere_for_good(bench: Bench) -> None:
    fake(bench).put("z", RED_CIRCLE)
    bench.scan(dry_run=True)
    bench.ledger.dismiss(hashlib.sha256(RED_CIRCLE).digest(), "a road sign")
    fake(bench).put("new copy", RED_CIRCLE)
    tally, _ = bench.scan()
    assert (tally.block, tally.acted) == (0, 0)
    tally, _ = bench.scan(recheck=Recheck.ALL)
    assert (tally.block, tally.acted) == (0, 0)
    assert {"a", "z", "new copy"} <= set(fake(bench).objects)


def test_a_failed_act_is_counted_and_tried_again(bench: Bench) -> None:
    fake(bench).refusing.add("a")
    tally, _ = bench.scan()
    assert (tally.acted, tally.failed) == (0, 1)
    assert bench.row("a").act_state is PlanState.FAILED
    fake(bench).refusing.clear()
    tally, _ = bench.scan()
    assert (tally.acted, tally.failed) == (1, 0)
    assert bench.row("a").act_state is PlanState.DONE


def test_an_object_that_changed_between_verdict_and_act_is_left_alone(bench: Bench) -> None:
    bench.scan(dry_run=True)
    (plan,) = bench.ledger.open_plans("fake://store")
    store = fake(bench)
    store.put("a", RED)
    run = bench.ledger.begin_run("apply", store.url, {})
    from fedi_safety.acts.delete import Remove
    from fedi_safety.core.enforcement import Acting
    from fedi_safety.core.runs import Tally

    tally = Tally()
    Acting(bench.ledger, {ActKind.DELETE: Remove(store)}, run, tally).carry_out([plan])
    assert "a" in store.objects
    assert (tally.acted, tally.failed) == (0, 0)
    assert bench.row("a").act_state is PlanState.CHANGED


@pytest.mark.long
def test_a_halt_finishes_what_is_in_hand_and_acts_no_further(bench: Bench) -> None:
    for i in range(2000):
        fake(bench).put(f"m{i:04d}", b"pic red=0.1 n=%d" % i)
    seen = threading.Event()

    def halt_soon(pipeline: Pipeline) -> None:
        def before_fetch(key: str) -> None:
            if key == "m0100":
                seen.set()
                pipeline.halt()

        fake(bench).before_fetch = before_fetch

    tally, _ = bench.scan(on_start=halt_soon)
    assert seen.is_set()
    assert 100 <= tally.listed < 1000
    assert tally.accounted
    assert tally.acted == 0
    assert "a" in fake(bench).objects
    assert len(bench.rows(verdict=Verdict.BLOCK, plan_state=PlanState.PLANNED)) == 1
    fake(bench).before_fetch = lambda _key: None
    fake(bench).fetched.clear()
    rest, _ = bench.scan()
    assert rest.listed == 2005
    assert rest.acted == 1
    assert len(fake(bench).fetched) == 2005 - tally.listed + 0
    assert rest.accounted


def test_a_store_that_fails_midway_ends_the_run_and_keeps_what_is_known(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    listing = fake(bench).list

    def broken(prefixes: tuple[str, ...] = (), since: float | None = None) -> Iterator[object]:
        yield from list(listing())[:3]
        raise StoreError("fake://store", "connection lost", "try again")

    monkeypatch.setattr(bench.store, "list", broken)
    threads = threading.active_count()
    with pytest.raises(StoreError, match="connection lost"):
        bench.scan()
    assert "a" in fake(bench).objects
    assert threading.active_count() == threads
    assert sorted(row.key for row in bench.rows()) == ["a", "b", "c"]
    assert bench.row("a").verdict is Verdict.BLOCK


def test_a_store_that_stops_giving_bytes_costs_no_second_judgement(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was fetched when the store went away is still judged and recorded; it is not fetched and judged again."""
    store = fake(bench)
    store.objects = {f"k{i:03}": f"pic red=0.{i:03}".encode() for i in range(200)}
    fetched: list[str] = []
    down = [True]

    def failing(key: str) -> None:
        fetched.append(key)
        if down and len(fetched) > 60:
            raise StoreError("fake://store", "connection lost", "try again")

    decode = bench.decoder.decode

    def slowly(data: bytes, media_type: MediaType, detail: Detail) -> Decoded:
        time.sleep(0.002)
        return decode(data, media_type, detail)

    store.before_fetch = failing
    monkeypatch.setattr(bench.decoder, "decode", slowly)
    threads = threading.active_count()
    with pytest.raises(StoreError, match="connection lost"):
        bench.scan()
    assert threading.active_count() == threads
    assert 60 <= len(fetched) < 70  # nobody went on asking
    assert len(bench.rows()) == len(bench.decoder.decoded) == 60
    down.clear()
    tally, _ = bench.scan()
    assert tally.accounted and len(bench.rows()) == 200
    assert len(bench.decoder.decoded) == len(set(bench.decoder.decoded)) == 200


def test_the_first_objects_are_fetched_while_a_slow_store_still_lists(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = fake(bench)
    store.objects = {f"k{i:03}": f"pic red=0.{i:03}".encode() for i in range(200)}
    listing, fetching, began = store.list, threading.Event(), []

    def slow(prefixes: tuple[str, ...] = (), since: float | None = None) -> Iterator[object]:
        for number, item in enumerate(listing()):
            if number == 20:
                began.append(fetching.wait(10))
            yield item

    store.before_fetch = lambda _key: fetching.set()
    monkeypatch.setattr(store, "list", slow)
    assert bench.scan()[0].judged == 200
    assert began == [True]


def test_limit_and_prefix(bench: Bench) -> None:
    tally, _ = bench.scan(dry_run=True, limit=2)
    assert tally.listed == 2
    tally, _ = bench.scan(dry_run=True, prefixes=("c",))
    assert tally.listed == 1


class TestBreaker:
    """I6, seen from a whole pass."""

    @pytest.fixture
    def bench(self, tmp_path: Path) -> Iterator[Bench]:
        store = FakeStore({f"clean{i:03d}": b"pic red=0.1 n=%d" % i for i in range(180)})
        for i in range(20):
            store.put(f"z-bad{i:03d}", RED_CIRCLE + b" n=%d" % i)
        made = Bench(tmp_path / "ledger.db", store)
        yield made
        made.close()

    def test_it_stops_the_acts_and_not_the_scan(self, bench: Bench) -> None:
        tally, enforcement = bench.scan()
        assert enforcement.tripped == "20 of 200 judged objects would be removed, more than 5 %"
        assert (tally.listed, tally.judged, tally.planned, tally.acted) == (200, 200, 20, 0)
        assert len(fake(bench).objects) == 200

    def test_it_holds_until_the_operator_resumes(self, bench: Bench) -> None:
        bench.scan()
        tally, enforcement = bench.scan(limit=200, prefixes=("z-bad00",))
        assert enforcement.tripped is not None
        assert tally.acted == 0
        tally, enforcement = bench.scan(resume_acts=True)
        assert enforcement.tripped is None
        assert tally.acted == 20
        assert bench.ledger.breaker("fake://store") is None

    def test_a_dry_run_does_not_trip_it(self, bench: Bench) -> None:
        _, enforcement = bench.scan(dry_run=True)
        assert enforcement.tripped is None
        assert bench.ledger.breaker("fake://store") is None

    def test_a_number_stops_as_well(self, bench: Bench) -> None:
        bench.limits = BreakerLimits(max_removed=19, max_removed_share=1)
        tally, enforcement = bench.scan()
        assert enforcement.tripped == "20 objects would be removed, more than 19"
        assert tally.acted == 0

    @pytest.mark.long
    def test_many_unscanned_stop_the_acts(self, bench: Bench) -> None:
        for i in range(250):
            fake(bench).put(f"y{i}", b"bad corrupt %d" % i)
        bench.limits = BreakerLimits(max_removed_share=1)
        tally, enforcement = bench.scan()
        assert enforcement.tripped is not None
        assert "unscanned" in enforcement.tripped
        assert tally.acted == 0

    def test_what_is_no_media_stops_nothing(self, bench: Bench) -> None:
        for i in range(250):
            fake(bench).put(f"y{i}", b"text %d" % i)
        bench.limits = BreakerLimits(max_removed_share=1)
        tally, enforcement = bench.scan()
        assert (enforcement.tripped, tally.acted, tally.skipped) == (None, 20, {"not_media": 250})
