"""I8 at the gate: under more uploads than can be judged the judges are busy, and with what is judged in time.

The gate's own engine queue in virtual time, and judges that take as long as they are told: the same on every machine.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from fedi_safety.app.engine import Engine
from fedi_safety.core.enums import Verdict
from fedi_safety.core.nulls import NoMemory
from fedi_safety.core.types import Judgement
from fedi_safety.judging import engine as engine_module
from fedi_safety.judging.engine import EngineJudge, EngineLimits
from fedi_safety.judging.engine_queue import Work
from fedi_safety.judging.metrics import Metrics
from fedi_safety.judging.types import Answer, Upload
from support import virtual_time
from support.fakes import FakeDecoder, detectors, red_circles

JUDGES, BATCH = 2, 4
FULL = 32.0  # uploads a second that the judges get through
DEADLINE_S, PATIENCE_S = 17.0, 10.0  # as `serve` has them out of the box


@dataclass
class Told:
    """What became of an upload, and when; times since the start."""

    sender: str
    begun: float
    ended: float
    answer: Answer

    @property
    def code(self) -> str:
        return self.answer.reason.value if self.answer.reason is not None else "clear"

    @property
    def waited(self) -> float:
        return self.ended - self.begun


@dataclass
class Overload:
    """An engine's queue, and judges beside it that are part of the test."""

    judge: EngineJudge
    cost_s: Callable[[float], float] = lambda _at: JUDGES / FULL
    deadline_s: float = DEADLINE_S
    told: list[Told] = field(default_factory=list)
    waiting: dict[str, Upload] = field(default_factory=dict)
    begun: set[bytes] = field(default_factory=set)
    late: int = 0
    idle_beside_work: int = 0
    spare_beside_waiting: int = 0
    over: bool = False

    @property
    def at(self) -> float:
        return time.monotonic() - virtual_time.START_S

    async def upload(self, number: int, sender: str, body_s: float) -> None:
        begun = time.monotonic()
        await asyncio.sleep(body_s)
        data = b"pic %d" % number
        name = hashlib.sha256(data)
        deadline, patience = begun + self.deadline_s, begun + PATIENCE_S
        upload = Upload(name.hexdigest(), sender, data, None, name.digest(), begun, deadline, patience)
        self.waiting[upload.id] = upload
        answer = await self.judge.judge(upload)
        del self.waiting[upload.id]
        if answer.reason is not None:
            self.judge.later(upload)  # as `serve` does with what it lets in unseen
        self.told.append(Told(sender, begun - virtual_time.START_S, self.at, answer))

    async def judges(self) -> None:
        queue, places = self.judge._queue, self.judge._places
        while not self.over:
            batch: list[tuple[Work, bool]] = []
            while len(batch) < BATCH and (work := queue.try_take()) is not None:
                batch.append((work, work.waiters > 0))
                self.begun.add(work.sha256)
                self.spare_beside_waiting += not work.waiters and len(places) > 0
                places.changed()  # as the thread that decodes has it done
            cost = self.cost_s(self.at)
            if not batch:
                soonest = time.monotonic() + cost
                self.idle_beside_work += any(
                    u.deadline > soonest and u.sha256 not in self.begun for u in self.waiting.values()
                )
                await asyncio.sleep(0.01)
                continue
            await asyncio.sleep(cost * len(batch))
            for work, awaited in batch:
                self.late += awaited and not work.waiters
                clear = Answer("clear", work.sha256, "engine", judgement=Judgement(Verdict.CLEAR))
                self.judge._resolve(work, clear, time.monotonic())

    async def run(self, arrivals: Iterator[tuple[float, str, float]]) -> None:
        """Have uploads arrive: when, whose, and how long their bodies take."""
        judging = [asyncio.create_task(self.judges()) for _ in range(JUDGES)]
        sent = []
        for number, (at, sender, body_s) in enumerate(arrivals):
            await asyncio.sleep(max(0.0, at - self.at))
            sent.append(asyncio.create_task(self.upload(number, sender, body_s)))
        await asyncio.gather(*sent)
        self.over = True
        await asyncio.gather(*judging)

    def codes(self) -> Counter[str]:
        return Counter(one.code for one in self.told)

    def judged(self, since: float, until: float) -> float:
        """Return how many a second were judged in time then."""
        return sum(one.code == "clear" and since <= one.ended < until for one in self.told) / (until - since)


@asynccontextmanager
async def overload(monkeypatch: pytest.MonkeyPatch, **limits: Any) -> Any:
    class NoThread(threading.Thread):
        def start(self) -> None:
            """The test judges."""

        def join(self, timeout: float | None = None) -> None:
            """There is nothing to wait for."""

    monkeypatch.setattr(engine_module, "_warm", lambda _engine: None)
    monkeypatch.setattr("fedi_safety.judging.engine.threading.Thread", NoThread)
    engine = Engine(FakeDecoder(), list(detectors()), "fake", JUDGES)
    judge = EngineJudge(lambda: engine, red_circles(), NoMemory(), lambda *_: None, Metrics(), EngineLimits(**limits))
    await judge.start()
    assert judge.loaded is not None
    await judge.loaded
    yield Overload(judge)
    await judge.stop()


def stream(rate: float, seconds: float, seed: int, sender: str = "flood") -> Iterator[tuple[float, str, float]]:
    """Yield uploads at random moments, one in ten of which takes its time to arrive."""
    dice = random.Random(seed)
    at = dice.expovariate(rate)
    while at < seconds:
        yield at, sender, dice.choice([0.01] * 9 + [dice.uniform(0.0, 0.95 * PATIENCE_S)])
        at += dice.expovariate(rate)


@pytest.mark.sampled(1)
@pytest.mark.parametrize(("times", "deadline_s"), [(1.5, DEADLINE_S), (4, DEADLINE_S), (2, PATIENCE_S + 1.0)])
def test_what_is_judged_is_judged_in_time_and_no_judge_stands_idle(
    times: float, deadline_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        async with overload(monkeypatch) as load:
            load.deadline_s = deadline_s
            await load.run(stream(times * FULL, 40.0, seed=1))
        assert load.late == 0 and load.idle_beside_work == 0 and load.spare_beside_waiting == 0
        assert set(load.codes()) <= {"clear", "queue_full"}, load.codes()
        assert load.judged(10.0, 40.0) >= 0.97 * FULL
        # Of those that are not judged hardly any waits for what does not come.
        in_vain = [one for one in load.told if one.code == "queue_full" and one.waited > PATIENCE_S - 0.1]
        assert len(in_vain) <= 0.1 * len(load.told), (len(in_vain), load.codes())

    virtual_time.run(test(), monkeypatch)


@pytest.mark.long
def test_when_the_judges_slow_down_what_is_late_costs_no_other_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """For ten seconds they take six times as long: what waits then cannot all be done, and is not tried in turn."""

    async def test() -> None:
        async with overload(monkeypatch) as load:
            load.cost_s = lambda at: JUDGES / FULL * (6 if 20 <= at < 30 else 1)
            await load.run(stream(2.5 * FULL, 50.0, seed=2))
        assert load.idle_beside_work == 0
        assert load.judged(20.0, 30.0) >= 0.6 * FULL / 6
        assert load.judged(33.0, 50.0) >= 0.97 * FULL, load.codes()

    virtual_time.run(test(), monkeypatch)


def test_one_that_floods_keeps_no_other_caller_from_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        async with overload(monkeypatch) as load:
            flood, quiet = stream(3 * FULL, 30.0, seed=3), stream(2.0, 30.0, seed=4, sender="quiet")
            await load.run(iter(sorted([*flood, *quiet])))
        mine = [one for one in load.told if one.sender == "quiet"]
        assert len(mine) > 40 and {one.code for one in mine} == {"clear"}
        assert load.late == 0

    virtual_time.run(test(), monkeypatch)


def test_fewer_than_the_line_holds_all_wait_whatever_the_pace_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is turned away because of a guess before there are very many."""

    async def test() -> None:
        async with overload(monkeypatch) as load:
            load.cost_s = lambda at: 0.25 if at < 7 else JUDGES / FULL
            slow = [(0.1 * i, "a", 0.0) for i in range(24)]
            await load.run(iter([*slow, *((6.0, "a", 0.0) for _ in range(200))]))
        assert load.codes() == {"clear": 224}, load.codes()

    virtual_time.run(test(), monkeypatch)
