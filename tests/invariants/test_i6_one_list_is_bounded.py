"""I6: whatever one list of known images says, no more is removed for it within a day than the operator allows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fedi_safety.core.decide import BreakerLimits, lists_behind
from fedi_safety.core.enforcement import Acting
from fedi_safety.core.enums import ActKind, PlanState
from fedi_safety.core.known.types import Entry, HashKind, KnownList
from fedi_safety.core.presence import Presence
from fedi_safety.core.runs import Tally
from fedi_safety.core.types import Outcome, Plan
from fedi_safety.stores.local import LocalStore
from support.judged_before import World, pdq, sha


@dataclass
class Remembering:
    """An act that removes nothing and says that it did."""

    removed: list[str] = field(default_factory=list)

    @property
    def kind(self) -> ActKind:
        return ActKind.DELETE

    def perform(self, plan: Plan) -> Outcome:
        self.removed.append(plan.object.key)
        return Outcome(plan, PlanState.DONE)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.catalog.close()
    made.ledger.dispose()


def acting(world: World, act: Remembering, most: int, *, resumed: bool = False) -> Acting:
    store = LocalStore(str(world.folder / "store"))
    run = world.ledger.begin_run("apply", world.url, {})
    limits = None if resumed else BreakerLimits(1.0, 1, 1000, max_removed_by_list=most)
    return Acting(
        world.ledger, {ActKind.DELETE: act}, run, Tally(), presence=Presence(store, world.ledger), limits=limits
    )


def poisoned(world: World, count: int, list_name: str = "theirs") -> None:
    """Some harmless pictures, each of which a list names."""
    had = sum(1 for _ in world.ledger.matched())
    hashes = {f"{list_name} {number}": pdq() for number in range(had, had + count)}
    for key, value in hashes.items():
        world.judged(key, [value])
    world.take(KnownList(list_name), *(Entry(HashKind.PDQ, value, key) for key, value in hashes.items()))


def test_a_list_that_condemns_too_much_removes_nothing_and_says_so(world: World) -> None:
    poisoned(world, 6)
    act = Remembering()
    one = acting(world, act, 5)
    assert one.refuses(world.ledger.open_plans(world.url))
    assert one.tripped == "6 objects would be removed within a day for the list theirs alone, more than 5"
    assert (act.removed, world.ledger.breaker(world.url)) == ([], one.tripped)
    assert len(world.planned()) == 6


def test_it_stops_where_nobody_asked_before_and_a_day_counts_as_a_whole(world: World) -> None:
    poisoned(world, 4)
    act = Remembering()
    assert acting(world, act, 5).carry_out(list(world.ledger.open_plans(world.url)))
    poisoned(world, 4)  # and the first four are on the list no more
    one = acting(world, act, 5)
    assert not one.carry_out(list(world.ledger.open_plans(world.url)))
    assert one.tripped is not None and len(act.removed) == 5
    assert world.ledger.removed_by_list(world.url, 86_400) == {"theirs": len(act.removed)}


def test_lists_count_apart_and_a_persons_word_lets_them_go(world: World) -> None:
    poisoned(world, 4, "one")
    poisoned(world, 4, "two")
    act = Remembering()
    assert acting(world, act, 4).carry_out(list(world.ledger.open_plans(world.url)))
    assert len(act.removed) == 8
    poisoned(world, 9, "three")
    assert acting(world, act, 4, resumed=True).carry_out(list(world.ledger.open_plans(world.url)))
    assert len(act.removed) == 17


def test_what_something_else_condemns_as_well_is_not_the_lists_doing(world: World) -> None:
    poisoned(world, 1)
    judgement = world.ledger.contents([sha("theirs 0")])[sha("theirs 0")][1]
    assert lists_behind(judgement) == {"theirs"}
    from dataclasses import replace

    (hit,) = judgement.reasons
    other = replace(hit, rule="red", factors=(replace(hit.factors[0], matches=()),))
    assert lists_behind(replace(judgement, reasons=(hit, other))) == frozenset()
    assert lists_behind(replace(judgement, reasons=())) == frozenset()
