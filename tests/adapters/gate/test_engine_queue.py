"""How fast a gate's engine is, told by what it did last, and what it takes next."""

from __future__ import annotations

import asyncio
import time

import pytest

from fedi_safety.core.enums import MediaType
from fedi_safety.judging.engine_queue import Waiting, Work
from fedi_safety.judging.pace import AT_ONCE, Pace
from fedi_safety.judging.types import Answer, Upload


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


def test_idle_time_is_none_of_the_pace_also_when_what_was_in_hand_was_let_go_of() -> None:
    pace = Pace()
    for number in range(16):
        pace.begin(float(number))
        pace.done(number + 0.5, more=False)
    pace.begin(20.0)
    pace.idle()  # its uploader went away
    pace.begin(5000.0)
    pace.done(5000.5, more=False)
    assert pace.wait_s(10) == 5.0


def test_what_is_ahead_tells_by_when_one_more_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 100.0)
    pace = Pace()
    assert pace.soonest(50) == AT_ONCE, "nothing is known yet"
    for number in range(16):
        pace.begin(float(number))
        pace.done(number + 0.75, more=False)
    assert pace.soonest(0) == AT_ONCE
    assert pace.soonest(9) == 110.0 and pace.soonest(9, together=16) == 119.0
    waits = Upload("1", "a", b"x", None, b"x", 100.0, deadline=120.0, patience=110.0)
    assert not pace.in_vain(waits, before=9, ahead=9) and pace.in_vain(waits, before=9, ahead=10)
    assert pace.in_vain(waits, before=10, ahead=0), "it would enter too late"


def test_a_caller_has_its_share_of_the_places_and_no_more() -> None:
    async def test() -> None:
        waiting = Waiting(8, 0, Pace())
        works(waiting, {f"a{number}": 1.0 for number in range(6)})
        assert waiting.full("a") and not waiting.full("b")
        works(waiting, {"b0": 1.0, "c0": 1.0})
        assert waiting.full("b") and waiting.full("d")

    asyncio.run(test())


def test_what_nobody_waits_for_is_taken_only_when_there_is_time() -> None:
    async def test() -> None:
        crowd = True
        waiting = Waiting(64, 1000, Pace(), crowded=lambda: crowd)
        waiting.busy = 2
        works(waiting, {"a1": 1.0})
        for name in (b"s1", b"s2", b"s3"):
            future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
            assert waiting.put_spare(Work(name, name, MediaType.PNG, len(name), future))
        urgent = waiting.try_take()
        assert urgent is not None and urgent.sha256 == b"a1"
        assert waiting.try_take() is None, "others wait for a place"
        crowd = False
        first = waiting.try_take()
        assert first is not None and first.sha256 == b"s1"
        assert waiting.try_take() is None, "two are in hand"
        waiting.done(urgent)
        waiting.done(urgent)
        second = waiting.try_take()
        assert second is not None and second.sha256 == b"s2"
        assert waiting.try_take() is None
        works(waiting, {"b1": 1.0})
        assert taken(waiting) == "b1", "somebody waits for it"

    asyncio.run(test())


def works(waiting: Waiting, dues: dict[str, float]) -> None:
    for name, due in dues.items():
        data = name.encode()
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        assert waiting.put(Work(data, data, MediaType.PNG, len(data), future, name[0], 1, due))


def taken(waiting: Waiting) -> str:
    work = waiting.take()
    assert work is not None and work.begun
    return work.sha256.decode()


def test_what_cannot_be_judged_in_time_takes_no_judge_while_another_can() -> None:
    async def test() -> None:
        pace = Pace()
        now = time.monotonic()
        waiting = Waiting(64, 0, pace)
        works(waiting, {"a1": now + 1.0, "a9": now + 9.0, "b1": now + 1.0, "b9": now + 9.0})
        assert taken(waiting) == "a1", "nothing is known of how long they take"
        works(waiting, {"a2": now + 1.5})
        for took in (1.0, 3.0) * 8:
            pace.done(now, more=True, begun=now - took)
        assert [taken(waiting) for _ in range(2)] == ["b9", "a9"]
        assert {taken(waiting) for _ in range(2)} == {"b1", "a2"}, "rather than that a judge stands idle"
        assert waiting.lengths() == (0, 0)

    asyncio.run(test())
