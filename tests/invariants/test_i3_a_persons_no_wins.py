"""I3: a person's no wins over any plan in any state, and so does a policy that condemns no more. Stop means stop.

Whatever became of a plan before, it is asked once more in the transaction that starts its act.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from fedi_safety.core.enforcement import Acting
from fedi_safety.core.enums import ActKind, PlanState, Verdict
from fedi_safety.core.policy import Rule
from fedi_safety.core.runs import Tally
from fedi_safety.core.types import Outcome, Plan
from support.fakes import FakeStore, red_circles
from support.passes import RED_CIRCLE, Bench

KEYS = [f"picture-{i:02}" for i in range(12)]


@dataclass
class Remover:
    """Removes from the fake store; `before` is called ahead of every removal."""

    store: FakeStore
    before: Callable[[Plan], None] = lambda _plan: None
    kind: ActKind = ActKind.DELETE
    done: list[str] = field(default_factory=list)

    def perform(self, plan: Plan) -> Outcome:
        self.before(plan)
        removal = self.store.remove(plan.object, plan.sha256)
        self.done.append(plan.object.key)
        return Outcome(plan, removal.state, removal.detail)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A store of condemned pictures, each with a plan of a dry run."""
    store = FakeStore({key: RED_CIRCLE + b" " + key.encode() for key in KEYS})
    made = Bench(tmp_path / "ledger.db", store)
    made.scan(dry_run=True)
    yield made
    made.close()


def store_of(bench: Bench) -> FakeStore:
    assert isinstance(bench.store, FakeStore)
    return bench.store


def plans_of(bench: Bench) -> list[Plan]:
    return list(bench.ledger.open_plans(bench.store.url))


def leave_planned(_bench: Bench) -> None:
    """As the dry run left it."""


def leave_started(bench: Bench) -> None:
    """As a run leaves it that was killed before it acted."""
    run = bench.ledger.begin_run("scan", bench.store.url, {})
    bench.ledger.start(run, plans_of(bench))


def leave_failed(bench: Bench) -> None:
    """As a run leaves it whose act failed."""
    run = bench.ledger.begin_run("scan", bench.store.url, {})
    started = bench.ledger.start(run, plans_of(bench))
    bench.ledger.close(run, [Outcome(plan, PlanState.FAILED, "down") for plan in started])


def leave_failed_then_started(bench: Bench) -> None:
    leave_failed(bench)
    leave_started(bench)


STATES = [leave_planned, leave_started, leave_failed, leave_failed_then_started]


def dismiss(bench: Bench, keys: list[str]) -> None:
    for plan in plans_of(bench):
        if plan.object.key in keys:
            bench.ledger.dismiss(plan.sha256, "harmless")


def apply_everything(bench: Bench) -> list[str]:
    """Carry out what is open, as `apply` does, and return what was removed."""
    remover = Remover(store_of(bench))
    run = bench.ledger.begin_run("apply", bench.store.url, {})
    bench.ledger.take_back(run, bench.store.url)
    Acting(bench.ledger, {ActKind.DELETE: remover}, run, Tally()).carry_out(bench.ledger.open_plans(bench.store.url))
    return remover.done


def scan_for_real(bench: Bench) -> list[str]:
    bench.scan()
    return store_of(bench).removed


@pytest.mark.sampled(3)
@pytest.mark.parametrize("by", [apply_everything, scan_for_real])
@pytest.mark.parametrize("leave", STATES)
def test_dismissed_is_never_removed_whatever_the_plans_state(
    leave: Callable[[Bench], None], by: Callable[[Bench], list[str]], bench: Bench
) -> None:
    leave(bench)
    dismiss(bench, KEYS[:5])
    assert sorted(by(bench)) == KEYS[5:]
    assert set(KEYS[:5]) <= store_of(bench).objects.keys()
    assert plans_of(bench) == [] and bench.ledger.verify().problem is None


@pytest.mark.sampled(3)
@pytest.mark.parametrize("by", [apply_everything, scan_for_real])
@pytest.mark.parametrize("leave", STATES)
def test_a_milder_policy_is_heard_whatever_the_plans_state(
    leave: Callable[[Bench], None], by: Callable[[Bench], list[str]], bench: Bench
) -> None:
    leave(bench)
    own = red_circles()
    bench.policy = replace(own, rules=(Rule("red circle", {"red": 0.95, "circle": 0.95}, Verdict.BLOCK),))
    bench.scan(dry_run=True)
    assert by(bench) == []
    assert plans_of(bench) == [] and bench.ledger.verify().problem is None


def test_what_a_policy_left_undecided_is_not_removed(bench: Bench) -> None:
    """A rule asks for a signal that nobody has measured: until it is, nothing is condemned by it."""
    run = bench.ledger.begin_run("scan", bench.store.url, {})
    bench.ledger.redecide(run, "stricter@0", lambda _sha256, _scores: None)
    assert apply_everything(bench) == []
    assert len(plans_of(bench)) == len(KEYS), "they wait until it is decided"


def test_a_no_in_the_middle_of_the_acts_is_heard(bench: Bench) -> None:
    """Acts are started in small groups: what is dismissed while the first ones run is not touched."""
    store = store_of(bench)
    dismissed: list[str] = []

    def before(plan: Plan) -> None:
        if not dismissed:
            dismissed.extend(key for key in KEYS[-6:] if key != plan.object.key)
            dismiss(bench, dismissed)

    remover = Remover(store, before)
    run = bench.ledger.begin_run("apply", store.url, {})
    Acting(bench.ledger, {ActKind.DELETE: remover}, run, Tally()).carry_out(bench.ledger.open_plans(store.url))
    assert dismissed and not set(dismissed) & set(remover.done)
    assert set(dismissed) <= store.objects.keys()


# --- stop means stop


@pytest.mark.sampled(3)
@pytest.mark.parametrize("after", range(len(KEYS)))
def test_after_a_stop_at_most_the_act_in_hand_is_finished(after: int, bench: Bench) -> None:
    stopped: list[bool] = []
    count = itertools.count()

    def before(_plan: Plan) -> None:
        if next(count) == after:
            stopped.append(True)

    remover = Remover(store_of(bench), before)
    run = bench.ledger.begin_run("apply", bench.store.url, {})
    acting = Acting(bench.ledger, {ActKind.DELETE: remover}, run, Tally())
    finished = acting.carry_out(bench.ledger.open_plans(bench.store.url), lambda: not stopped)
    assert len(remover.done) == after + 1
    assert finished == (after + 1 == len(KEYS))
    waiting = plans_of(bench)
    assert [plan.state for plan in waiting] == [PlanState.PLANNED] * (len(KEYS) - after - 1), (
        "the rest waits as planned"
    )
    assert bench.ledger.verify().problem is None
    assert sorted(remover.done + apply_everything(bench)) == KEYS


def test_a_scan_that_is_stopped_while_it_acts_finishes_one(bench: Bench) -> None:
    store = store_of(bench)
    remove = store.remove
    halt: list[Callable[[], None]] = []

    def stopping(obj: object, sha256: bytes) -> object:
        halt[0]()
        return remove(obj, sha256)  # type: ignore[arg-type]

    store.remove = stopping  # type: ignore[method-assign, assignment]
    bench.scan(on_start=lambda pipeline: halt.append(pipeline.halt))
    assert len(store.removed) == 1
    assert {plan.state for plan in plans_of(bench)} == {PlanState.PLANNED}


@pytest.mark.sampled(1)
@pytest.mark.parametrize("how", [KeyboardInterrupt, SystemExit, ConnectionError])
def test_what_ends_at_once_leaves_the_acts_that_were_done_closed(how: type[BaseException], bench: Bench) -> None:
    """The second signal does not wait; what it broke off is done again by the next run, the rest waits."""
    count = itertools.count()

    def before(_plan: Plan) -> None:
        if next(count) == 4:
            raise how

    remover = Remover(store_of(bench), before)
    run = bench.ledger.begin_run("apply", bench.store.url, {})
    acting = Acting(bench.ledger, {ActKind.DELETE: remover}, run, Tally())
    with pytest.raises(how):
        acting.carry_out(bench.ledger.open_plans(bench.store.url))
    states = [plan.state for plan in plans_of(bench)]
    assert states.count(PlanState.STARTED) == 1 and states.count(PlanState.PLANNED) == len(KEYS) - 5
    assert sorted(remover.done + apply_everything(bench)) == KEYS
    assert bench.ledger.verify().problem is None
