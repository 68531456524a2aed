"""Memory for uploads: bounded, shared, and never such that two uploads wait for each other."""

from __future__ import annotations

import asyncio
import random

import pytest

from fedi_safety.gate.memory import Memory
from support.share import Share

LARGEST, LIMIT = 100, 150


def run(test: object) -> None:
    asyncio.run(asyncio.wait_for(test, 30))  # type: ignore[arg-type]


def test_whatever_arrives_ends_and_the_bound_is_kept(share: Share) -> None:
    """Uploads of every size up to the largest, in pieces, of several callers, without anybody knowing their sizes."""
    rounds = share.of(20, 2000)
    for number in range(rounds):
        run(whatever_arrives(random.Random(f"{share.seed} {number}")))
    share.figure(f"{rounds} rounds of 40 uploads that share memory")


async def whatever_arrives(dice: random.Random) -> None:
    memory = Memory(LIMIT, LARGEST)
    most = 0

    async def upload(caller: str) -> None:
        nonlocal most
        holding = memory.hold(caller)
        left = dice.choice((1, 10, 40, LARGEST, dice.randint(1, LARGEST)))
        try:
            while left:
                piece = min(left, dice.choice((1, 7, 30)))
                await holding.take(piece)
                left -= piece
                most = max(most, memory.taken_bytes)
                if dice.random() < 0.3:
                    await asyncio.sleep(0)
            holding.whole()
            for _ in range(dice.randint(0, 3)):
                await asyncio.sleep(0)  # it is judged
        finally:
            holding.let_go()

    tasks = [asyncio.create_task(upload(dice.choice("abc"))) for _ in range(40)]
    await asyncio.sleep(0)
    for task in tasks[::9]:
        task.cancel()  # its caller went away
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(end is None or isinstance(end, asyncio.CancelledError) for end in ended)
    assert LARGEST <= most <= LIMIT
    assert memory.taken_bytes == 0


def test_a_caller_that_floods_leaves_others_their_part() -> None:
    async def test() -> None:
        memory = Memory(LIMIT, LARGEST)
        judged = []
        for _ in range(20):
            holding = memory.hold("flood")
            judged.append(holding)
            taking = asyncio.ensure_future(holding.take(20))
            await asyncio.sleep(0)
            if not taking.done():
                taking.cancel()
                break
            holding.whole()
        assert memory.taken_bytes <= LIMIT - LIMIT // 4
        other = memory.hold("other")
        await asyncio.wait_for(other.take(30), 1)

    run(test())


def test_those_who_hold_least_come_first() -> None:
    async def test() -> None:
        memory = Memory(LIMIT, LARGEST)
        first, second = memory.hold("flood"), memory.hold("flood")
        for holding, size in ((first, 80), (second, 20)):
            await holding.take(size)
            holding.whole()
        order: list[str] = []

        async def ask(caller: str) -> None:
            await memory.hold(caller).take(60)
            order.append(caller)

        asking = [asyncio.create_task(ask(caller)) for caller in ("flood", "flood", "other")]
        await asyncio.sleep(0)
        assert order == []
        first.let_go()
        await asyncio.sleep(0.01)
        assert order[0] == "other"
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    run(test())


def test_the_largest_must_fit() -> None:
    with pytest.raises(ValueError, match="fit"):
        Memory(10, 11)
