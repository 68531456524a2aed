"""Uploads that wait for workers: bounded, lent for a time, answered once, whatever the workers do."""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections.abc import Coroutine
from typing import Any
from uuid import uuid4

import pytest

from fedi_safety.core.enums import MediaType, Verdict
from fedi_safety.core.types import Judgement
from fedi_safety.judging.types import Answer, Unjudged, Upload
from fedi_safety.judging.worker_queue import Lease, QueueLimits, WorkerQueue
from support.corpus.photos import jpeg_bytes
from support.share import Share

STILLS = frozenset({MediaType.JPEG, MediaType.PNG})


def upload(data: bytes | None = None, *, seconds: float = 5.0) -> Upload:
    data = jpeg_bytes("coffee") if data is None else data
    now = time.monotonic()
    return Upload(uuid4().hex, "test", data, None, hashlib.sha256(data).digest(), now, now + seconds)


def clear(lease: Lease, by: str = "w") -> Answer:
    return Answer("clear", lease.upload.sha256, by, judgement=Judgement(Verdict.CLEAR))


def failed(lease: Lease, reason: Unjudged = Unjudged.ENGINE_FAILED) -> Answer:
    return Answer("unjudged", lease.upload.sha256, "w", reason)


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 30))


async def started(**limits: Any) -> WorkerQueue:
    queue = WorkerQueue(QueueLimits(**limits))
    await queue.start()
    return queue


def test_an_upload_is_lent_and_its_answer_comes_back() -> None:
    async def test() -> None:
        queue = await started()
        judging = asyncio.create_task(queue.judge(upload()))
        (lease,) = await queue.take("w", 8, 1)
        assert lease.media_type is MediaType.JPEG
        assert queue.figures().lent == 1
        assert queue.answer(lease.id, "w", clear(lease))
        answer = await judging
        assert (answer.outcome, answer.by) == ("clear", "w")
        figures = queue.figures()
        assert (figures.waiting, figures.lent, figures.bytes) == (0, 0, 0)

    run(test())


def test_a_worker_that_waits_is_woken_and_several_are_lent_at_once() -> None:
    async def test() -> None:
        queue = await started()
        first = asyncio.create_task(queue.take("a", 8, 30))
        second = asyncio.create_task(queue.take("b", 8, 30))
        await asyncio.sleep(0.01)
        begun = time.monotonic()
        judging = [asyncio.create_task(queue.judge(upload())) for _ in range(2)]
        leases = [*await first, *await second]
        assert time.monotonic() - begun < 20
        judging += [asyncio.create_task(queue.judge(upload())) for _ in range(5)]
        await asyncio.sleep(0)
        leases += await queue.take("a", 4)
        leases += await queue.take("b", 4)
        assert len({lease.upload.id for lease in leases}) == 7
        for lease in leases:
            assert queue.answer(lease.id, lease.worker, clear(lease))
        assert {a.outcome for a in await asyncio.gather(*judging)} == {"clear"}

    run(test())


def test_a_worker_that_waits_in_vain_is_let_go() -> None:
    async def test() -> None:
        queue = await started()
        begun = time.monotonic()
        assert await queue.take("w", 8, 0.2) == []
        assert 0.15 < time.monotonic() - begun < 20
        assert await queue.take("w", 8) == []

    run(test())


def test_what_a_dead_worker_held_is_lent_to_another_and_its_late_answer_is_refused() -> None:
    async def test() -> None:
        queue = await started(lease_s=0.1)
        judging = asyncio.create_task(queue.judge(upload()))
        (dead,) = await queue.take("dead", 1, 1)
        (lease,) = await queue.take("alive", 1, 1)
        assert lease.id != dead.id and lease.upload is dead.upload
        assert queue.answer(lease.id, "alive", clear(lease, "alive"))
        assert not queue.answer(dead.id, "dead", failed(dead))
        assert (await judging).by == "alive"
        assert not queue.answer(lease.id, "alive", clear(lease))  # nor is anything answered twice

    run(test())


def test_a_late_answer_counts_where_it_is_the_first() -> None:
    async def test() -> None:
        queue = await started(lease_s=0.05)
        judging = asyncio.create_task(queue.judge(upload()))
        (lease,) = await queue.take("slow", 1, 1)
        await asyncio.sleep(0.15)
        assert queue.figures().waiting == 1
        assert queue.answer(lease.id, "slow", clear(lease, "slow"))
        assert (await judging).by == "slow"
        assert await queue.take("other", 1) == []

    run(test())


def test_a_lease_that_is_renewed_does_not_lapse() -> None:
    async def test() -> None:
        queue = await started(lease_s=0.2)
        judging = asyncio.create_task(queue.judge(upload()))
        (lease,) = await queue.take("w", 1, 1)
        for _ in range(5):
            await asyncio.sleep(0.1)
            assert queue.renew("w", [lease.id]) == []
            assert await queue.take("other", 1) == []
        assert queue.renew("other", [lease.id]) == [lease.id]
        assert queue.renew("w", ["unknown"]) == ["unknown"]
        judging.cancel()  # the uploader went away
        await asyncio.gather(judging, return_exceptions=True)
        assert queue.renew("w", [lease.id]) == [lease.id]
        assert queue.figures().bytes == 0

    run(test())


def test_an_upload_that_kills_workers_is_not_lent_for_ever() -> None:
    async def test() -> None:
        queue = await started(lease_s=0.02, tries=3)
        judging = asyncio.create_task(queue.judge(upload()))
        for _ in range(3):
            assert await queue.take("w", 1, 1)
        answer = await judging
        assert (answer.outcome, answer.reason) == ("unjudged", Unjudged.ENGINE_FAILED)
        assert "3 workers" in answer.detail

    run(test())


def test_a_failure_of_the_worker_goes_to_another_and_one_of_the_medium_is_the_answer() -> None:
    async def test() -> None:
        queue = await started()
        judging = asyncio.create_task(queue.judge(upload()))
        (lease,) = await queue.take("a", 1, 1)
        assert queue.answer(lease.id, "a", failed(lease))
        (lease,) = await queue.take("b", 1, 1)
        assert queue.answer(lease.id, "b", failed(lease, Unjudged.DECODER_FAILED))
        assert (await judging).reason is Unjudged.DECODER_FAILED

    run(test())


def test_what_is_given_back_is_lent_again_and_counts_as_no_try() -> None:
    async def test() -> None:
        queue = await started(tries=1)
        judging = asyncio.create_task(queue.judge(upload()))
        for _ in range(3):
            (lease,) = await queue.take("w", 1, 1)
            assert not queue.give_back(lease.id, "other")
            assert queue.give_back(lease.id, "w")
        assert not queue.give_back(lease.id, "w")
        (lease,) = await queue.take("w", 1)
        assert queue.answer(lease.id, "w", clear(lease))
        assert (await judging).outcome == "clear"

    run(test())


def test_the_deadline_is_kept_whether_it_is_lent_or_not() -> None:
    async def test() -> None:
        queue = await started()
        await queue.take("w", 1)
        for lent in (False, True):
            item = upload(seconds=0.5)
            judging = asyncio.create_task(queue.judge(item))
            await asyncio.sleep(0)
            leases = await queue.take("w", 1) if lent else []
            answer = await judging
            assert time.monotonic() <= item.deadline
            assert answer.reason is Unjudged.DEADLINE
            assert all(not queue.answer(lease.id, "w", clear(lease)) for lease in leases)
        assert queue.figures().bytes == 0

    run(test())


def test_more_than_may_wait_is_refused_at_once() -> None:
    async def test() -> None:
        queue = await started(max_waiting=2)
        judging = [asyncio.create_task(queue.judge(upload(seconds=1))) for _ in range(4)]
        await asyncio.sleep(0)
        assert queue.figures().waiting == 3  # as the predecessor counts: full when *more* than so many wait
        assert (await judging[3]).reason is Unjudged.QUEUE_FULL
        leases = await queue.take("w", 1)
        judging.append(asyncio.create_task(queue.judge(upload())))
        await asyncio.sleep(0)
        assert queue.figures().waiting == 3
        leases += await queue.take("w", 9)
        for lease in leases:
            queue.answer(lease.id, "w", clear(lease))
        assert [a.outcome for a in await asyncio.gather(*judging)] == ["clear"] * 3 + ["unjudged", "clear"]

    run(test())


def test_bytes_are_bounded_even_where_the_number_is_not() -> None:
    async def test() -> None:
        size = len(jpeg_bytes("coffee"))
        queue = await started(max_waiting=0, max_bytes=2 * size)
        judging = [asyncio.create_task(queue.judge(upload(seconds=0.5))) for _ in range(3)]
        await asyncio.sleep(0)
        assert (await judging[2]).reason is Unjudged.QUEUE_FULL
        assert queue.figures().bytes == 2 * size
        (lease, *more) = await queue.take("w", 9, max_bytes=size)
        assert more == []
        assert queue.answer(lease.id, "w", clear(lease))
        await asyncio.gather(*judging)

    run(test())


def test_without_a_worker_it_says_so_at_once_after_a_moment_of_patience() -> None:
    async def test() -> None:
        queue = await started(missing_s=2.0)
        assert queue.ready() == "no_worker"
        judging = asyncio.create_task(queue.judge(upload()))
        (lease,) = await queue.take("w", 1, 1)
        assert queue.answer(lease.id, "w", clear(lease))
        assert (await judging).outcome == "clear"
        assert queue.ready() is None
        await asyncio.sleep(2.2)
        assert queue.ready() == "no_worker"
        begun = time.monotonic()
        assert (await queue.judge(upload())).reason is Unjudged.NO_WORKER
        assert time.monotonic() - begun < 1.9
        waiting = asyncio.create_task(queue.take("w", 1, 1))
        await asyncio.sleep(0.4)
        assert queue.ready() is None  # as long as one waits for work, it is there
        waiting.cancel()
        queue = await started(missing_s=0)
        assert queue.ready() is None

    run(test())


def test_kinds_that_no_worker_decodes_are_not_kept_waiting() -> None:
    webp = b"RIFF\x1a\0\0\0WEBPVP8 " + bytes(18)

    async def test() -> None:
        queue = await started()
        await queue.take("old", 1, kinds=STILLS)
        assert (await queue.judge(upload(webp))).reason is Unjudged.UNOPENED
        judging = asyncio.create_task(queue.judge(upload()))
        await asyncio.sleep(0)
        await queue.take("new", 0)
        both = asyncio.create_task(queue.judge(upload(webp, seconds=1)))
        await asyncio.sleep(0)
        (lease,) = await queue.take("old", 5, kinds=STILLS)
        assert lease.media_type is MediaType.JPEG
        queue.answer(lease.id, "old", clear(lease))
        (lease,) = await queue.take("new", 5)
        queue.answer(lease.id, "new", clear(lease))
        assert {(await judging).outcome, (await both).outcome} == {"clear"}

    run(test())


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"", Unjudged.EMPTY), (b"a,b\n", Unjudged.NOT_MEDIA), (b"8BPS\0" + bytes(99), Unjudged.UNSUPPORTED)],
)
def test_what_no_worker_could_judge_is_not_lent(data: bytes, reason: Unjudged) -> None:
    async def test() -> None:
        assert (await (await started()).judge(upload(data))).reason is reason

    run(test())


def test_stopping_finishes_what_is_held_and_takes_nothing_more() -> None:
    async def test() -> None:
        queue = await started()
        judging = asyncio.create_task(queue.judge(upload()))
        idle = asyncio.create_task(queue.take("idle", 1, 30))
        await asyncio.sleep(0)
        (lease,) = await idle
        waiting = asyncio.create_task(queue.take("idle", 1, 30))
        stopping = asyncio.create_task(queue.stop())
        await asyncio.sleep(0.05)
        assert not stopping.done()
        assert (await queue.judge(upload())).reason is Unjudged.STOPPING
        assert queue.give_back(lease.id, "idle")
        (lease,) = await waiting
        assert queue.answer(lease.id, "idle", clear(lease))
        await stopping
        assert (await judging).outcome == "clear"
        assert await queue.take("idle", 1, 30) == []  # at once

    run(test())


def test_what_the_engine_is_at_for_too_long_goes_to_the_worker_that_waits_behind_it() -> None:
    async def test() -> None:
        queue = WorkerQueue(QueueLimits(lease_s=0.2, missing_s=0), own="engine")
        await queue.start()
        judging = asyncio.create_task(queue.judge(upload()))
        (slow,) = await queue.take("engine", 1, 1)
        engine = asyncio.create_task(queue.take("engine", 1, 5))
        await asyncio.sleep(0)
        (lease,) = await asyncio.wait_for(queue.take("w", 1, 5), 2)
        assert lease.upload is slow.upload
        assert queue.answer(lease.id, "w", clear(lease))
        assert (await judging).by == "w"
        assert queue.figures().workers == 1  # the engine is none
        engine.cancel()
        await asyncio.gather(engine, return_exceptions=True)

    run(test())


def test_a_failure_goes_to_whoever_has_not_had_it() -> None:
    async def test() -> None:
        queue = await started()
        judging = asyncio.create_task(queue.judge(upload()))
        queue.heard_of("b")
        (lease,) = await queue.take("a", 1, 1)
        assert queue.answer(lease.id, "a", failed(lease))
        assert await queue.take("a", 1) == []
        (lease,) = await queue.take("b", 1)
        assert queue.answer(lease.id, "b", failed(lease))
        (lease,) = await queue.take("a", 1)  # all have had it: again, up to the last try
        assert queue.answer(lease.id, "a", failed(lease))
        assert (await judging).reason is Unjudged.ENGINE_FAILED

    run(test())


def test_a_clock_that_jumps_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        queue = await started()
        judging = asyncio.create_task(queue.judge(upload()))
        (lease,) = await queue.take("w", 1, 1)
        real = time.time
        for jump in (-1e9, 1e9):
            monkeypatch.setattr(time, "time", lambda jump=jump: real() + jump)
            await asyncio.sleep(0.05)
            assert queue.ready() is None
            assert queue.renew("w", [lease.id]) == []
        assert queue.answer(lease.id, "w", clear(lease))
        assert (await judging).outcome == "clear"

    run(test())


@pytest.mark.long
def test_no_upload_is_lost_or_answered_twice_whatever_workers_do(share: Share) -> None:
    """Workers that die with what they hold, answer late or twice, give back, fail; uploaders that go away."""
    rounds = share.of(5, 1000)
    for number in range(rounds):
        whatever_workers_do(random.Random(f"{share.seed} {number}"))
    share.figure(f"{rounds} rounds of 60 uploads among 4 workers that misbehave")


def whatever_workers_do(dice: random.Random) -> None:
    """One round, in which every upload has its one answer."""
    accepted: list[str] = []

    async def worker(queue: WorkerQueue, name: str) -> None:
        while not queue.stopping:
            for lease in await queue.take(name, dice.randint(1, 4), 0.1):
                await asyncio.sleep(dice.random() * 0.02)
                mood = dice.random()
                if mood < 0.2:
                    continue  # dies with it
                if mood < 0.3:
                    queue.give_back(lease.id, name)
                    continue
                if mood < 0.4:
                    await asyncio.sleep(0.08)  # past the lease
                for _ in range(dice.choice((1, 2))):
                    if queue.answer(lease.id, name, clear(lease, name)):
                        accepted.append(lease.upload.id)

    async def test() -> None:
        queue = await started(max_waiting=0, lease_s=0.05, tries=100)
        workers = [asyncio.create_task(worker(queue, f"w{i}")) for i in range(4)]
        uploads = [upload(seconds=20) for _ in range(60)]
        judging = [asyncio.create_task(queue.judge(item)) for item in uploads]
        await asyncio.sleep(0.05)
        for gone in judging[::10]:
            gone.cancel()
        answers = await asyncio.gather(*judging, return_exceptions=True)
        await queue.stop()
        await asyncio.gather(*workers)
        for i, (item, answer) in enumerate(zip(uploads, answers, strict=True)):
            if isinstance(answer, BaseException):
                assert i % 10 == 0
            else:
                assert answer.outcome == "clear"
                assert answer.sha256 == item.sha256
                assert accepted.count(item.id) == 1
        figures = queue.figures()
        assert (figures.waiting, figures.lent, figures.bytes) == (0, 0, 0)

    run(test())
