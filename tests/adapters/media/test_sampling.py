"""Choosing moments: the bounds, the scene changes, and the odds that docs/media.md states."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedi_safety.media.decoder.frames.sampling import Moment, choose, odds, runs


def steady(count: int, *, rate: float = 25, gop: int = 50) -> list[Moment]:
    """Return the table of a clip in which nothing stands out."""
    return [Moment(i / rate, 5000 if i % gop == 0 else 300 + 7 * (i * 37 % 11), i % gop == 0) for i in range(count)]


_moment = st.builds(Moment, st.floats(0, 1e6), st.integers(0, 1 << 30), st.booleans())


@given(st.lists(_moment, min_size=1, max_size=300), st.integers(1, 40), st.integers())
def test_bounds(moments: list[Moment], budget: int, seed: int) -> None:
    """Whatever a table says: no more than the budget, no fewer than there are, in order, each once."""
    chosen = choose(moments, budget, Random(seed))
    assert len(chosen) == min(budget, len(moments))
    assert chosen == sorted(set(chosen))
    assert all(0 <= index < len(moments) for index in chosen)
    if budget >= 3:
        assert {0, len(moments) - 1} <= set(chosen)


@given(st.lists(_moment, min_size=1, max_size=100), st.integers(1, 40))
def test_runs_begin_at_keys(moments: list[Moment], budget: int) -> None:
    """Every chosen moment is reached, from the key before it."""
    chosen = choose(moments, budget, Random(1))
    grouped = runs(moments, chosen)
    assert sorted(index for _, wanted in grouped for index in wanted) == chosen
    for start, wanted in grouped:
        assert start == 0 or moments[start].key
        assert not any(moments[index].key for index in range(start + 1, wanted[-1] + 1))


def test_one_a_second_while_the_budget_lasts() -> None:
    """A clip of a few seconds is divided into stretches of a second at most, and each gives a frame."""
    for seed in range(50):
        chosen = choose(steady(225), 16, Random(seed))
        assert all(b - a < 2 * 25 for a, b in pairwise(chosen))


def test_a_burst_does_not_take_the_budget() -> None:
    """The grid is one of time."""
    moments = [Moment(i / 1000, 100, True) for i in range(1000)] + [Moment(float(s), 100, True) for s in range(2, 60)]
    assert sum(moments[index].time_s >= 2 for index in choose(moments, 16, Random(5))) >= 8


@pytest.mark.parametrize("useless", [[0.0] * 400, [float(i % 7) for i in range(400)]])
def test_times_that_are_no_use(useless: list[float]) -> None:
    """Without times the table itself is divided."""
    moments = [Moment(time, 100, False) for time in useless]
    chosen = choose(moments, 16, Random(7))
    assert all(b - a < 130 for a, b in pairwise(chosen))


@pytest.mark.parametrize("at", [1, 2, 217, 397, 398])
def test_what_is_unusually_large_is_looked_at_with_the_one_before(at: int) -> None:
    """A flashed picture needs many bytes, or the return from it does."""
    moments = steady(400)
    moments[at] = Moment(at / 25, 9000, False)
    for seed in range(5):
        chosen = choose(moments, 16, Random(seed))
        assert at in chosen
        assert at - 1 in chosen


def test_what_is_unusually_small_is_looked_at() -> None:
    """A flat picture among busy ones needs few."""
    moments = [Moment(i / 25, 12_000 + i * 37 % 500, i == 0) for i in range(400)]
    moments[150] = Moment(6, 80, False)
    assert 150 in choose(moments, 16, Random(1))


def test_key_frames_out_of_turn_are_looked_at() -> None:
    """Encoders put one where a new scene begins."""
    moments = [Moment(i / 25, 100, i % 100 == 0 or i == 333) for i in range(1000)]
    assert 333 in choose(moments, 16, Random(1))


@pytest.mark.long
@pytest.mark.parametrize("budget", [16, 64])
@pytest.mark.parametrize("seconds", [0.04, 0.5, 2.0, 5.0])
def test_the_stated_odds_hold(seconds: float, budget: int) -> None:
    """Something shown anywhere for so long is drawn at least as often as the formula says."""
    length = 60.0
    moments = [Moment(i / 25, 1000, True) for i in range(int(length * 25))]  # nothing is told by sizes or keys
    place, found, tries = Random(11), 0, 1500
    for seed in range(tries):
        start = place.random() * (length - seconds)
        drawn = choose(moments, budget, Random(seed))
        found += any(start <= moments[i].time_s < start + seconds for i in drawn)
    stated = odds(seconds, length, budget)
    assert found / tries >= stated - 0.03
    assert stated >= 0.4 * found / tries, "so low that it says nothing"


def test_the_odds_are_what_the_page_says() -> None:
    """Certain from two stretches on; nothing is hidden by more frames."""
    assert odds(20, 60, 16) == 1.0
    assert odds(1 / 30, 60, 16) < odds(1 / 30, 60, 64) < odds(1 / 30, 60, 256) < 1


def test_nobody_can_work_out_where_nobody_looks() -> None:
    """Each look draws anew; after enough of them every frame was looked at."""
    moments = steady(100)
    seen: set[int] = set()
    for seed in range(200):
        seen.update(choose(moments, 16, Random(seed)))
    assert len(seen) == 100
