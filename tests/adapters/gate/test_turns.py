"""Turns: each caller's uploads in their order, and the callers one after the other."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from functools import partial

from fedi_safety.judging.turns import Places, Turns, share


def drained(turns: Turns[str]) -> list[str]:
    found = []
    while len(turns):
        caller, item = next(turns.items())
        turns.take(caller, item)
        found.append(item)
    return found


def test_a_caller_with_much_waiting_does_not_keep_others() -> None:
    turns: Turns[str] = Turns()
    for i in range(4):
        turns.put("a", f"a{i}")
    turns.put("b", "b0")
    turns.put("c", "c0")
    assert [item for _, item in turns.items()] == ["a0", "b0", "c0", "a1", "a2", "a3"]
    assert (len(turns), turns.of("a"), turns.of("nobody")) == (6, 4, 0)
    turns.put("b", "b-first", first=True)
    assert drained(turns) == ["b-first", "a0", "c0", "b0", "a1", "a2", "a3"]


def test_any_thread_may_ask_how_many_wait_while_another_changes_that() -> None:
    turns: Turns[str] = Turns()
    turns.put("always", "x")
    over = threading.Event()

    def change() -> None:
        while not over.is_set():
            turns.put("sometimes", "y")
            turns.drop("sometimes", "y")

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    changing = threading.Thread(target=change)
    changing.start()
    try:
        until = time.monotonic() + 0.6
        while time.monotonic() < until:
            assert len(turns) in (1, 2) and turns.of("always") == 1
    finally:
        over.set()
        changing.join()
        sys.setswitchinterval(before)


def test_what_is_dropped_was_nobodys_turn() -> None:
    turns: Turns[str] = Turns()
    for item in ("a0", "a1", "b0"):
        turns.put(item[0], item)
    assert turns.drop("a", "a0") and not turns.drop("a", "a0") and not turns.drop("c", "a1")
    assert drained(turns) == ["a1", "b0"]


def test_a_share_leaves_a_quarter() -> None:
    assert [share(n) for n in (1, 2, 3, 4, 64)] == [1, 2, 3, 3, 48]


def test_places_are_given_by_turns_and_waited_for_no_longer_than_patience_lasts() -> None:
    async def test() -> None:
        places, free, entered = Places(), 0, []

        def enter(name: str) -> bool:
            nonlocal free
            if not free:
                return False
            free -= 1
            entered.append(name)
            return True

        until = time.monotonic() + 5
        waiting = [
            asyncio.create_task(places.wait(name[0], partial(enter, name), until)) for name in ("a0", "a1", "b0")
        ]
        await asyncio.sleep(0)
        free = 2
        places.changed()
        await asyncio.sleep(0)
        assert entered == ["a0", "b0"] and len(places) == 1
        begun = time.monotonic()
        assert not await places.wait("c", lambda: enter("c0"), begun + 0.1)
        assert 0.05 < time.monotonic() - begun < 20
        waiting[1].cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert not places

    asyncio.run(test())


def test_of_each_caller_whoever_is_due_first_enters_and_who_is_due_too_soon_is_passed_over() -> None:
    async def test() -> None:
        soonest, free, entered = 0.0, 0, []
        places = Places(lambda _caller: not free, lambda: soonest)

        def enter(name: str) -> bool:
            nonlocal free
            if not free:
                return False
            free -= 1
            entered.append(name)
            return True

        until = time.monotonic() + 5
        dues = {"a30": 30.0, "a10": 10.0, "b20": 20.0, "a20": 20.0}
        waiting = [
            asyncio.create_task(places.wait(name[0], partial(enter, name), until, due)) for name, due in dues.items()
        ]
        await asyncio.sleep(0)
        assert [places.ahead(caller) for caller in "abc"] == [4, 3, 2]
        free, soonest = 3, 10.0
        places.changed()
        assert entered == ["a20", "b20", "a30"] and len(places) == 1
        free = 1
        places.changed()
        assert len(entered) == 3, "it would come too late"
        soonest = 9.0
        places.changed()
        assert entered[3] == "a10" and not places
        assert await asyncio.gather(*waiting) == [True] * 4

    asyncio.run(test())


def test_whose_turn_it_was_comes_last_the_next_time() -> None:
    async def test() -> None:
        free, entered = 0, []
        places = Places(lambda _caller: not free)

        def enter(name: str) -> bool:
            nonlocal free
            if free:
                free -= 1
                entered.append(name)
                return True
            return False

        until = time.monotonic() + 5
        names = ("a0", "a1", "b0", "c0")
        waiting = [asyncio.create_task(places.wait(name[0], partial(enter, name), until)) for name in names]
        await asyncio.sleep(0)
        for _ in names:
            free = 1
            places.changed()
        assert entered == ["a0", "b0", "c0", "a1"]
        await asyncio.gather(*waiting)

    asyncio.run(test())


def test_every_one_can_be_tried_whatever_is_full_or_too_late() -> None:
    async def test() -> None:
        over = False
        places = Places(lambda _caller: True, lambda: 100.0)
        until = time.monotonic() + 5
        ends = [lambda: over, lambda: False, lambda: over]
        waiting = [asyncio.create_task(places.wait("a", end, until, 1.0)) for end in ends]
        await asyncio.sleep(0)
        over = True
        places.changed()
        assert len(places) == 3
        places.changed(every=True)
        assert len(places) == 1
        waiting[1].cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert not places

    asyncio.run(test())
