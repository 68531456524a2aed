"""Intervals of shares: against values computed by hand from Wilson's formula, and what must hold of any."""

from __future__ import annotations

import pytest

from fedi_safety.reports.facts import wilson


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"),
    [
        (1, 1, 0.2065, 1.0),
        (0, 1, 0.0, 0.7935),
        (0, 10, 0.0, 0.2775),
        (5, 10, 0.2366, 0.7634),
        (50, 100, 0.4038, 0.5962),
        (0, 0, 0.0, 1.0),
    ],
)
def test_known_intervals(hits: int, of: int, low: float, high: float) -> None:
    assert wilson(hits, of) == pytest.approx((low, high), abs=5e-5)


def test_an_interval_holds_its_share_and_narrows_with_more() -> None:
    for of in (1, 2, 7, 50, 1000):
        for hits in range(of + 1):
            low, high = wilson(hits, of)
            assert 0 <= low <= hits / of <= high <= 1
            assert wilson(hits * 4, of * 4)[1] - wilson(hits * 4, of * 4)[0] < high - low
