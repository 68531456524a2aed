"""The short measurement of `doctor`: it counts what was scored, by as many threads as a scan has."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import pytest

from fedi_safety.config.loading import load_settings
from fedi_safety.core.errors import DeviceError
from fedi_safety.core.types import Evidence, Scored
from fedi_safety.evaluation.speed import clip_speeds, measure, measured
from support.fakes import FakeDetector, text_frame

PICTURE = Evidence(text_frame(0, b"red=1"))


class Slow(FakeDetector):
    """Takes ten milliseconds a batch, and knows how many threads were in it at once."""

    def __init__(self, failing: bool = False) -> None:
        super().__init__("slow", ("a.red",), max_batch=5)
        self.failing = failing
        self.most = self.inside = 0
        self.counting = threading.Lock()

    def score(self, batch: Sequence[Evidence]) -> list[Scored]:
        with self.counting:
            self.inside += 1
            self.most = max(self.most, self.inside)
        time.sleep(0.01)
        with self.counting:
            self.inside -= 1
        if self.failing:
            raise DeviceError("device 'cuda'", "it was lost", "look after it")
        return super().score(batch)


def test_the_rate_is_that_of_all_hands_together() -> None:
    """Five pictures in at least ten milliseconds; a machine that is busy just then is asked again."""
    rates: list[tuple[float, float]] = []
    while not (rates and rates[-1][0] > 100 and rates[-1][1] > 1.3 * rates[-1][0]):
        assert len(rates) < 20, rates
        one, two = Slow(), Slow()
        rates.append((measure(one, PICTURE, 1, 0.3), measure(two, PICTURE, 2, 0.3)))
        assert (one.most, two.most) == (1, 2)
        assert rates[-1][0] <= 500
        assert all(size == 5 for size in one.batches)


def test_at_least_one_batch_is_measured_however_long_it_takes() -> None:
    assert measure(Slow(), PICTURE, 1, 0.0) > 0


def test_a_failure_is_told_and_ends_nothing() -> None:
    speed = measured(Slow(failing=True), PICTURE, 2)
    assert speed.images_per_second == 0 and "it was lost" in speed.problem


def test_number_formats_that_cannot_run_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    found = clip_speeds(load_settings(), ("fp32", "int8"), PICTURE, 1)
    assert [(s.how, s.images_per_second) for s in found] == [("fp32", 0.0), ("int8", 0.0)]
    assert all("models fetch" in s.problem for s in found)
