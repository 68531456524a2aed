"""Learning a head: the optimum against scikit-learn's, areas and intervals, and what cross-validation must not see."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from fedi_safety.core.errors import UsageError
from fedi_safety.core.ledger.records import Stand, Standing
from fedi_safety.evaluation import heads
from fedi_safety.evaluation.heads import MOST_FRAMES, NEEDED, check_enough, learn
from fedi_safety.evaluation.logistic import Line, fit, logistic, path
from fedi_safety.evaluation.ranking import area, interval

DIM = 24
Vectors = NDArray[np.float32]


def unit(rows: NDArray[np.float64]) -> Vectors:
    made: Vectors = (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)
    return made


def standing(media: Sequence[Vectors]) -> Standing:
    """Contents in the order of hashes that say nothing of them."""
    return Standing(len(media), len(media), [(i.to_bytes(32), media[i]) for i in range(len(media))])


def drawn(seed: int, counts: dict[Stand, int], apart: float, frames: int = 1, dim: int = DIM) -> dict[Stand, Standing]:
    """Contents by kind around a point of their own; `apart` is how far dismissed ones lie from condemned ones."""
    random = np.random.default_rng(seed)
    step, aside = np.eye(dim)[:2]
    middles = {Stand.DISMISSED: apart * step, Stand.CONDEMNED: -apart * step, Stand.CLEAR: 2 * aside}
    found = {}
    for stand, count in counts.items():
        own = middles[stand] + random.standard_normal((count, 1, dim)) / 2
        found[stand] = standing(list(unit(own + random.standard_normal((count, frames, dim)) / 50)))
    return found


COUNTS = {Stand.DISMISSED: 30, Stand.CONDEMNED: 40, Stand.CLEAR: 60}


# --- the optimum


@pytest.mark.long
@pytest.mark.parametrize("ridge", [1e-1, 1e-3, 1e-5])
def test_the_line_is_scikit_learns(ridge: float) -> None:
    from sklearn.linear_model import LogisticRegression

    random = np.random.default_rng(7)
    rows = unit(random.standard_normal((90, 12))).astype(np.float64)
    ones = random.random(90) < logistic(6 * rows[:, 0] - 1)
    shares = random.random(90)
    shares /= shares.sum()
    line = fit(rows, ones, shares, ridge)
    other = LogisticRegression(C=1 / ridge, solver="newton-cholesky", tol=1e-12, max_iter=500)
    other.fit(rows, ones, sample_weight=shares)
    assert line.weights == pytest.approx(other.coef_[0], rel=1e-4, abs=1e-5)
    assert line.bias == pytest.approx(other.intercept_[0], rel=1e-4, abs=1e-5)


def test_what_a_line_can_part_perfectly_stays_finite_and_a_path_finds_the_same() -> None:
    rows = np.array([[1.0, 0.0], [0.9, 0.1], [-1.0, 0.0], [-0.8, 0.3]])
    ones, shares = np.array([True, True, False, False]), np.full(4, 0.25)
    for ridge, line in path(rows, ones, shares, (1.0, 1e-3, 1e-5)):
        again = fit(rows, ones, shares, ridge)
        assert np.isfinite(line.weights).all() and line.weights == pytest.approx(again.weights, rel=1e-2)
        assert ((line.logits(rows) > 0) == ones).all()


def test_the_optimum_is_found_from_wherever_the_search_begins() -> None:
    """Whole steps of Newton's would run away from here."""
    random = np.random.default_rng(0)
    rows = random.standard_normal((60, 3))
    ones, shares = random.random(60) < logistic(2 * rows[:, 0]), np.full(60, 1 / 60)
    line = fit(rows, ones, shares, 1e-4)
    far = fit(rows, ones, shares, 1e-4, Line(np.array([-30.0, 20.0, 9.0]), 25.0))
    assert (*far.weights, far.bias) == pytest.approx((*line.weights, line.bias), abs=1e-4)


# --- areas


@pytest.mark.long
@pytest.mark.parametrize("seed", range(4))
def test_an_area_is_scikit_learns_ties_and_all(seed: int) -> None:
    from sklearn.metrics import roc_auc_score

    random = np.random.default_rng(seed)
    higher, lower = random.integers(2, 12, 31) / 10.0, random.integers(0, 9, 17) / 10.0
    expected = roc_auc_score([1] * 31 + [0] * 17, np.concatenate([higher, lower]))
    assert area(higher, lower).area == pytest.approx(expected)


def test_no_sample_makes_certain_and_a_larger_one_surer() -> None:
    sure = area(np.ones(20), np.zeros(20))
    assert sure.area == sure.high == 1.0 and 0.85 < sure.low < 0.95
    widths = [high - low for low, high in (interval(0.8, n, n) for n in (20, 80, 320))]
    assert widths[0] > 1.8 * widths[1] > 3 * widths[2]
    low, high = interval(0.0, 20, 20)
    assert low == 0.0 and high == pytest.approx(1 - sure.low)


def test_the_interval_holds_the_true_area_as_often_as_it_says() -> None:
    random = np.random.default_rng(3)
    true = 0.8556  # of two normal distributions, 1.5 apart
    found = [area(random.normal(1.5, 1, 25), random.normal(0, 1, 30)) for _ in range(400)]
    assert 0.92 < sum(each.low <= true <= each.high for each in found) / 400 <= 0.99


# --- learning


def test_what_tells_them_apart_is_found_and_counted() -> None:
    learned = learn(drawn(1, COUNTS, 1.5))
    assert learned.contents == COUNTS and learned.tells
    assert learned.condemned.area > 0.95 and learned.clear.area > 0.9
    counts = [row.counts for row in learned.below]
    assert all(a[s] <= b[s] for a, b in pairwise(counts) for s in Stand)
    assert counts[2][Stand.DISMISSED] > 25 and counts[2][Stand.CONDEMNED] < 4
    fresh = drawn(2, COUNTS, 1.5)  # what it never saw at all
    chances = {
        stand: logistic(learned.line.logits(np.concatenate([v for _, v in found.sample]).astype(np.float64)))
        for stand, found in fresh.items()
    }
    assert (chances[Stand.DISMISSED] < 0.5).mean() > 0.85 and (chances[Stand.CONDEMNED] >= 0.5).mean() > 0.85


def test_learning_is_the_same_every_time_and_in_fewer_numbers_than_rows() -> None:
    """More dimensions than rows: the search is made in the span of the rows, and the line is that of all dimensions."""
    few = dict.fromkeys(Stand, 20)
    standings = drawn(4, few, 1.5, dim=80)
    learned = learn(standings)
    assert learned.line.weights.shape == (80,)
    assert (learn(standings).line.weights == learned.line.weights).all()
    rows = np.concatenate([v for found in standings.values() for _, v in found.sample]).astype(np.float64)
    shares = np.concatenate([np.full(20, share / 20) for share in (0.5, 0.25, 0.25)])
    plain = fit(rows, np.arange(60) >= 20, shares, learned.ridge)
    assert learned.line.weights == pytest.approx(plain.weights, abs=1e-4)


@pytest.mark.long
@pytest.mark.parametrize("frames", [1, 3])
def test_cross_validation_finds_nothing_where_there_is_nothing(frames: int) -> None:
    """Dismissed and condemned ones are alike. Frames of a content are nearly one: none teaches what judges another."""
    areas = []
    for seed in range(4):
        learned = learn(drawn(10 + seed, {Stand.DISMISSED: 40, Stand.CONDEMNED: 40, Stand.CLEAR: 40}, 0.0, frames))
        areas.append(learned.condemned.area)
    assert 0.38 < np.mean(areas) < 0.62, areas


def test_a_content_counts_once_however_many_frames_it_has() -> None:
    random = np.random.default_rng(0)
    standings = drawn(5, COUNTS, 1.5)
    (sha256, first), *rest = standings[Stand.CLEAR].sample
    many = np.repeat(first, 50, axis=0)
    standings[Stand.CLEAR] = Standing(60, 60, [(sha256, many), *rest])
    assert learn(standings).line.weights == pytest.approx(learn(drawn(5, COUNTS, 1.5)).line.weights, abs=1e-5)
    assert len(heads._some(random.standard_normal((50, 3)))) == MOST_FRAMES


@pytest.mark.parametrize("short", list(Stand))
def test_too_few_are_said_with_how_many_it_takes(short: Stand) -> None:
    enough = {stand: Standing(least, least) for stand, least in NEEDED.items()}
    check_enough(enough)
    enough[short] = Standing(70, NEEDED[short] - 1)
    with pytest.raises(UsageError) as caught:
        check_enough(enough)
    assert f"{NEEDED[short] - 1} {short.value} (70 in all) of {NEEDED[short]}" in caught.value.line()
