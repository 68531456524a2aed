"""How fast a gate's engine is, told by what it did last."""

from __future__ import annotations

from fedi_safety.judging.engine_queue import Pace


def test_batches_count_as_so_many_uploads_and_idle_time_not_at_all() -> None:
    pace = Pace()
    now = 100.0
    for number in range(160):
        if number % 8 == 0:
            now += 0.8  # eight at once
        pace.begin(now - 0.8)
        pace.done(now, more=number != 79)
        if number == 79:
            now += 1000.0  # nothing is in hand
    assert 7.0 <= pace.wait_s(80) <= 11.0
    assert pace.wait_s(0) == 0.0


def test_it_says_nothing_before_it_has_seen_some() -> None:
    pace = Pace()
    pace.begin(0.0)
    for number in range(15):
        pace.done(float(number + 1), more=True)
    assert pace.wait_s(1000) == 0.0
    pace.done(16.0, more=True)
    assert pace.wait_s(10) == 10.0
