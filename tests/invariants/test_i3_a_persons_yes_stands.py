"""I3, I7: what a person condemned is removed like anything else, and no scan, policy or breaker takes their word back.

Until they take it back themselves, or dismiss it: a person's no wins.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fedi_safety.core.decide import BreakerLimits
from fedi_safety.core.enums import Recheck, Verdict
from fedi_safety.core.policy import Policy, Rule, by_a_person
from support.fakes import FakeStore, red_circles
from support.passes import RED, RED_CIRCLE, Bench

KEYS = ["copy", "one"]


def policy(rule: Rule) -> Policy:
    return replace(red_circles(), rules=(rule,))


SENDS = policy(Rule("red", {"red": 0.5}, Verdict.REVIEW))
CLEARS = policy(Rule("very red", {"red": 0.99}, Verdict.BLOCK))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """Two copies of one content that a rule sends to review, and what a person says of it."""
    made = Bench(tmp_path / "ledger.db", FakeStore(dict.fromkeys(KEYS, RED)), policy=SENDS)
    made.scan(dry_run=True)
    yield made
    assert made.ledger.verify().problem is None
    made.close()


def sha_of(bench: Bench) -> bytes:
    known = bench.ledger.list_objects()
    return next(row.sha256 for row in known if row.sha256 is not None)


def removed(bench: Bench) -> list[str]:
    assert isinstance(bench.store, FakeStore)
    return bench.store.removed


@pytest.mark.parametrize("recheck", [Recheck.POLICY, Recheck.ALL, Recheck.NEVER])
@pytest.mark.parametrize("then", [SENDS, CLEARS], ids=["the same policy", "a milder policy"])
def test_a_scan_removes_it_whatever_the_policy_says(bench: Bench, recheck: Recheck, then: Policy) -> None:
    bench.scan()
    assert removed(bench) == [], "nothing is removed for being sent to review"
    bench.ledger.confirm(sha_of(bench), "", "ada")
    bench.policy = then
    tally, _ = bench.scan(recheck=recheck)
    assert (tally.block, tally.acted, sorted(removed(bench))) == (2, 2, KEYS)
    assert by_a_person(bench.ledger.contents([sha_of(bench)])[sha_of(bench)][1])


def test_a_new_copy_of_it_is_condemned_without_being_judged(bench: Bench) -> None:
    bench.ledger.confirm(sha_of(bench), "", "ada")
    assert isinstance(bench.store, FakeStore)
    bench.store.objects["later"] = RED
    bench.policy = CLEARS
    bench.scan()
    assert sorted(removed(bench)) == ["copy", "later", "one"]


def test_its_removal_is_bounded_like_any_other(bench: Bench) -> None:
    bench.limits = BreakerLimits(max_removed=1)
    bench.ledger.confirm(sha_of(bench), "", "ada")
    _, sweep = bench.scan()
    assert removed(bench) == [] and sweep.tripped is not None


def test_it_is_taken_back_until_it_was_carried_out(bench: Bench) -> None:
    bench.ledger.confirm(sha_of(bench), "", "ada")
    bench.scan(dry_run=True)
    assert len(list(bench.ledger.open_plans(bench.store.url))) == 2
    bench.ledger.unconfirm(sha_of(bench), "", "ada")
    assert list(bench.ledger.open_plans(bench.store.url)) == []
    bench.scan()
    assert removed(bench) == []
    bench.ledger.confirm(sha_of(bench), "", "ada")
    bench.ledger.dismiss(sha_of(bench), "")
    bench.scan(recheck=Recheck.ALL)
    assert removed(bench) == []


def test_what_a_policy_condemned_and_a_person_confirmed_follows_the_policy(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "ledger.db", FakeStore({"one": RED_CIRCLE}))
    bench.scan(dry_run=True)
    bench.ledger.confirm(sha_of(bench), "", "ada")
    bench.policy = CLEARS
    bench.scan()
    assert removed(bench) == [], "the word was about the rule, which holds no more"
    bench.close()
