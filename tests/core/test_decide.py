"""The breaker and the choice to act, as tables."""

from __future__ import annotations

import pytest

from fedi_safety.core.decide import (
    CHECKPOINT_OBJECTS,
    BreakerLimits,
    Compared,
    Mode,
    acts_due,
    breaker_opinion,
    gone_acts_opinion,
    listing_opinion,
    stranger_opinion,
    tells_of_gone,
    wants_act,
)
from fedi_safety.core.enums import ActKind, Root, Verdict
from fedi_safety.core.runs import Tally


def tally(judged: int = 0, block: int = 0, unscanned: int = 0, known: int = 0, skipped: int = 0) -> Tally:
    return Tally(
        listed=judged + unscanned + known + skipped,
        judged=judged,
        already_judged=known,
        block=block,
        skipped={"not_media": skipped} if skipped else {},
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
        (tally(judged=99, unscanned=101, skipped=1000), True),  # of the media, not of all that is listed
        (tally(unscanned=199, skipped=1000), False),  # 199 media
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


@pytest.mark.parametrize(
    ("listed", "known", "met", "root", "stranger", "too_short"),
    [
        (0, 0, 0, Root.UNTOLD, False, False),  # nothing was there, and nothing is
        (5, 0, 0, Root.UNTOLD, False, False),  # a first pass
        *((0, 1, 0, root, True, False) for root in Root),  # an empty store proves nothing, whatever it stands on
        (50, 10, 0, Root.UNTOLD, True, False),  # another store
        (50, 10, 1, Root.UNTOLD, False, False),
        (50, 10, 0, Root.SAME, False, False),  # all of it was replaced
        (50, 100, 50, Root.SAME, False, False),  # exactly half
        (49, 100, 49, Root.SAME, False, True),
        (49, 100, 49, Root.UNTOLD, False, True),
        (49, 100, 49, Root.OTHER, True, True),
        (100, 100, 10, Root.OTHER, False, False),  # remounted, and most of a cache was replaced
        (100, 100, 9, Root.OTHER, True, False),
        (4, 10, 4, Root.SAME, False, False),  # too few to judge by a share
        (4, 10, 4, Root.OTHER, True, False),
    ],
)
def test_what_a_listing_proves(listed: int, known: int, met: int, root: Root, stranger: bool, too_short: bool) -> None:
    found, limits = Compared(listed, known, met, root), BreakerLimits()
    assert (stranger_opinion(limits, found) is not None) is stranger
    assert known < limits.min_known or (listing_opinion(limits, found) is not None) is too_short
    assert listing_opinion(BreakerLimits(max_gone_share=1.0), found) is None


def test_acts_that_find_too_much_gone() -> None:
    limits = BreakerLimits()
    assert gone_acts_opinion(limits, 0, 19) is None  # too few
    assert gone_acts_opinion(limits, 10, 10) is None  # exactly half
    assert tells_of_gone(gone_acts_opinion(limits, 9, 11) or "")
    assert not tells_of_gone(breaker_opinion(limits, tally(judged=200, block=30)) or "")


def test_a_dry_run_never_removes() -> None:
    assert not Mode(ActKind.DELETE, dry_run=True).removes
    assert Mode(ActKind.DELETE, dry_run=False).removes
    assert not Mode(None, dry_run=False).removes


def test_acts_wait_for_a_checkpoint_or_the_end() -> None:
    assert not acts_due(CHECKPOINT_OBJECTS - 1, 0, finished=False)
    assert acts_due(CHECKPOINT_OBJECTS, 0, finished=False)
    assert not acts_due(CHECKPOINT_OBJECTS + 5, CHECKPOINT_OBJECTS, finished=False)
    assert acts_due(3, 0, finished=True)
