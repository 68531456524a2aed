"""The breaker and the choice to act, as tables."""

from __future__ import annotations

import pytest

from fedi_safety.core.decide import CHECKPOINT_OBJECTS, BreakerLimits, Mode, acts_due, breaker_opinion, wants_act
from fedi_safety.core.enums import ActKind, Verdict
from fedi_safety.core.runs import Tally


def tally(judged: int = 0, block: int = 0, unscanned: int = 0, known: int = 0) -> Tally:
    return Tally(
        listed=judged + unscanned + known,
        judged=judged,
        already_judged=known,
        block=block,
        unscanned={"corrupt": unscanned} if unscanned else {},
    )


@pytest.mark.parametrize(
    ("seen", "trips"),
    [
        (tally(judged=199, block=199), False),  # too few to judge by a share
        (tally(judged=200, block=10), False),  # exactly 5 %
        (tally(judged=200, block=11), True),
        (tally(judged=100, known=100, block=11), True),  # judged before counts as well
        (tally(judged=1_000_000, block=1000), False),
        (tally(judged=1_000_000, block=1001), True),
        (tally(judged=99, unscanned=100), False),  # 199 listed
        (tally(judged=100, unscanned=100), False),  # exactly half
        (tally(judged=99, unscanned=101), True),
    ],
)
def test_the_breaker_trips_beyond_its_limits_and_not_at_them(seen: Tally, trips: bool) -> None:
    assert (breaker_opinion(BreakerLimits(), seen) is not None) is trips


def test_the_breaker_names_the_figures() -> None:
    assert breaker_opinion(BreakerLimits(), tally(judged=200, block=30)) == (
        "30 of 200 judged objects would be removed, more than 5 %"
    )


@pytest.mark.parametrize(
    ("verdict", "act", "wanted"),
    [
        (Verdict.BLOCK, ActKind.DELETE, True),
        (Verdict.BLOCK, None, False),
        (Verdict.REVIEW, ActKind.DELETE, False),
        (Verdict.CLEAR, ActKind.DELETE, False),
    ],
)
def test_only_block_asks_for_an_act(verdict: Verdict, act: ActKind | None, wanted: bool) -> None:
    assert wants_act(verdict, act) is wanted


def test_a_dry_run_never_removes() -> None:
    assert not Mode(ActKind.DELETE, dry_run=True).removes
    assert Mode(ActKind.DELETE, dry_run=False).removes
    assert not Mode(None, dry_run=False).removes


def test_acts_wait_for_a_checkpoint_or_the_end() -> None:
    assert not acts_due(CHECKPOINT_OBJECTS - 1, 0, finished=False)
    assert acts_due(CHECKPOINT_OBJECTS, 0, finished=False)
    assert not acts_due(CHECKPOINT_OBJECTS + 5, CHECKPOINT_OBJECTS, finished=False)
    assert acts_due(3, 0, finished=True)
