"""Judges for gates elsewhere: fetches jobs from several at once, gives each its turn, and brings the answers back.

It only calls out, so it may stand behind any router. One engine serves all gates; media stays in memory. A gate that
cannot be reached is asked again and disturbs no other. Not rarely: a gate whose worker is away may let everything pass.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from fedi_safety.clients.pictrs_safety import GateUnreachable, KeyRefused
from fedi_safety.core.errors import FediSafetyError, StoreError
from fedi_safety.judging.types import Answer, Judge, Unjudged, Upload
from fedi_safety.worker.gates import Job, RemoteGate, too_large

log = logging.getLogger(__name__)

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 2.0
_REFUSED_PAUSE_S = 10.0  # a key does not become right by asking often
_LOOK_S = 0.2
_GATHER_S = 0.002  # answers that come together travel together
_WAY_BACK_S = 0.3
_HELD_BYTES = 256 << 20
_STOP_S = 10.0
_ON_ITS_WAY_S = 1.0


@dataclass(slots=True)
class Figures:
    """What one gate has had from this worker. One writer."""

    judged: int = 0
    blocked: int = 0
    unjudged: int = 0
    late: int = 0
    lost: int = 0  # answers that could not be brought back in time


@dataclass(eq=False, slots=True)
class Link:
    """One gate: how it is reached, what of it is in hand. `open` finds out what it speaks."""

    name: str
    open: Callable[[], Awaitable[tuple[RemoteGate, list[Job]]]]
    gate: RemoteGate | None = None
    trouble: FediSafetyError | None = None
    figures: Figures = field(default_factory=Figures)
    waiting: deque[Job] = field(default_factory=deque)
    in_hand: dict[str, Job] = field(default_factory=dict)
    answers: asyncio.Queue[tuple[Job, Answer | None]] = field(default_factory=asyncio.Queue)
    has_room: asyncio.Event = field(default_factory=asyncio.Event)


class Worker:
    """Serves its links until it is stopped. `judge` must have been started."""

    def __init__(self, links: Sequence[Link], judge: Judge, *, room: int, held_bytes: int = _HELD_BYTES) -> None:
        """Hold at most `room` jobs of each gate, judge at most `room` at once, and keep to `held_bytes` of media.

        The last holds but for what one answer of each gate brings beyond it.
        """
        self.links = list(links)
        self._judge = judge
        self._room = room
        self._held_bytes = held_bytes
        self._slots = asyncio.Semaphore(room)
        self._arrived = asyncio.Event()
        self._judging: set[asyncio.Task[None]] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._stop = asyncio.Event()

    @property
    def busy(self) -> bool:
        """Whether an upload of any gate is in hand. It may be asked in any thread."""
        return any(link.in_hand for link in self.links)

    async def run(self) -> None:
        """Work until `stop`; then finish what has begun and hand the rest back."""
        stopped = asyncio.create_task(self._stop.wait())
        fetching = [asyncio.create_task(self._fetch(link)) for link in self.links]
        lasting = [asyncio.create_task(self._dispatch())]
        lasting += [asyncio.create_task(work(link)) for link in self.links for work in (self._renew, self._bring)]
        try:
            done, _ = await asyncio.wait({stopped, *fetching, *lasting}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # but for `stopped` none ends by itself: one that does has a bug to tell
            await self._end_fetching(fetching)
            await self._hand_back()
        finally:
            await _end([stopped, *fetching, *lasting, *self._judging])
            for link in self.links:
                if link.gate is not None:
                    await link.gate.close()
            await asyncio.gather(*self._closing, return_exceptions=True)

    async def _end_fetching(self, fetching: Sequence[asyncio.Task[None]]) -> None:
        """Break off asking for more, but not where what is on its way would be lost."""
        asking = {
            task
            for link, task in zip(self.links, fetching, strict=True)
            if link.gate is not None and not link.gate.takes_back
        }
        if asking:
            await asyncio.wait(asking, timeout=_ON_ITS_WAY_S)
        await _end(fetching)

    def stop(self) -> None:
        """Fetch nothing more and let `run` end."""
        self._stop.set()

    async def _hand_back(self) -> None:
        """Give back what has not begun, where another will judge it, and wait for the rest."""
        for link in self.links:
            while link.waiting and (link.gate is None or link.gate.takes_back):
                link.answers.put_nowait((link.waiting.popleft(), None))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOP_S):
                while self._judging or any(link.in_hand for link in self.links if link.trouble is None):
                    await asyncio.sleep(0.01)
        for link in self.links:
            if link.waiting:
                log.warning("%s: no verdict on %d uploads: the worker was stopped", link.name, len(link.waiting))

    # --- fetching

    async def connect(self, link: Link) -> StoreError | None:
        """Ask a gate what it speaks, once; return why not. `run` does the same, and goes on trying."""
        try:
            link.gate, jobs = await link.open()
        except StoreError as error:
            link.trouble = error
            return error
        self._hold(link, jobs)
        return None

    def _hold(self, link: Link, jobs: Sequence[Job]) -> None:
        link.in_hand |= {job.id: job for job in jobs}
        link.waiting.extend(jobs)
        if jobs:
            self._arrived.set()

    async def _fetch(self, link: Link) -> None:
        pause_s = _FIRST_PAUSE_S
        while not self._stop.is_set():
            if link.gate is not None and link.gate.outgrown:
                await self._leave(link)
            try:
                if link.gate is None:
                    link.gate, jobs = await link.open()
                elif (room := self._room_for(link)) or await self._without_room(link):
                    jobs = await link.gate.take(room or 1)
                else:
                    continue
            except StoreError as error:
                self._say(link, error)
                await self._leave(link)
                longest = _REFUSED_PAUSE_S if isinstance(error, KeyRefused) else _LONGEST_PAUSE_S
                await asyncio.sleep(pause_s * (0.5 + 0.5 * random.random()))
                pause_s = min(2 * pause_s, longest)
                continue
            self._say(link, None)
            pause_s = _FIRST_PAUSE_S
            self._hold(link, jobs)
            if not jobs and link.gate.idle_s:
                await asyncio.sleep(link.gate.idle_s)

    async def _without_room(self, link: Link) -> bool:
        """Wait until there may be room; return whether to ask for one more without it, lest the gate think us gone."""
        assert link.gate is not None
        link.has_room.clear()
        ask_s = link.gate.ask_s if len(link.in_hand) < 2 * self._room else math.inf
        try:
            async with asyncio.timeout(None if ask_s == math.inf else ask_s):
                await link.has_room.wait()
        except TimeoutError:
            return True
        return False

    async def _leave(self, link: Link) -> None:
        """Close a gate with which nothing is in hand; it may come back as another kind."""
        if link.gate is not None and not link.in_hand:
            gate, link.gate = link.gate, None
            closing = asyncio.create_task(gate.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
            await asyncio.shield(closing)  # who stops amid this would leave connections open

    def _room_for(self, link: Link) -> int:
        held = sum(len(job.data or b"") for other in self.links for job in other.in_hand.values())
        if held >= self._held_bytes:
            return 0
        return max(0, self._room - len(link.in_hand))

    def _say(self, link: Link, error: StoreError | None) -> None:
        """Log that a gate was lost or is back, once."""
        if error is None and link.trouble is not None:
            log.warning("%s: reached again", link.name)
        elif error is not None and (link.trouble is None or link.trouble.cause != error.cause):
            log.warning("%s", error.line())
        link.trouble = error

    # --- judging

    async def _dispatch(self) -> None:
        """Give every gate its turn: whoever has much waiting does not keep others from their share."""
        turns = deque(self.links)
        while True:
            await self._slots.acquire()
            while (link := next((one for one in turns if one.waiting), None)) is None:
                self._arrived.clear()
                await self._arrived.wait()
            turns.remove(link)
            turns.append(link)
            task = asyncio.create_task(self._judge_one(link, link.waiting.popleft()))
            self._judging.add(task)
            task.add_done_callback(self._judging.discard)

    async def _judge_one(self, link: Link, job: Job) -> None:
        try:
            if job.data is None:
                answer = too_large(job)
            else:
                answer = await self._judge.judge(_upload(link, job, job.data))
        except Exception as error:
            log.error("%s: internal error: %s: %s", link.name, type(error).__name__, error)
            log.debug("internal error", exc_info=error)
            answer = Answer("unjudged", job.sha256, "worker", Unjudged.ENGINE_FAILED, detail=type(error).__name__)
        finally:
            self._slots.release()
        link.answers.put_nowait((job, answer))

    # --- bringing back

    async def _renew(self, link: Link) -> None:
        """Keep the leases of what is in hand; drop what nobody waits for any more."""
        renewed = 0.0
        while True:
            await asyncio.sleep(_LOOK_S)
            if link.gate is None or not link.in_hand or time.monotonic() - renewed < link.gate.renew_s:
                continue
            renewed = time.monotonic()
            with contextlib.suppress(StoreError):  # fetching sees the same, and says it
                for job_id in await link.gate.renew(list(link.in_hand)):
                    job = link.in_hand.get(job_id)
                    if job is not None and job in link.waiting:
                        link.waiting.remove(job)
                        self._forget(link, job)

    async def _bring(self, link: Link) -> None:
        while True:
            batch = [await link.answers.get()]
            await asyncio.sleep(_GATHER_S)
            while not link.answers.empty() and len(batch) < 64:
                batch.append(link.answers.get_nowait())
            told = await self._tell(link, batch)
            for job, answer in batch:
                self._forget(link, job)
                self._count(link, answer, told)

    async def _tell(self, link: Link, batch: Sequence[tuple[Job, Answer | None]]) -> bool:
        """Bring the answers, again after a lost connection as long as somebody waits for one of them."""
        pause_s = 0.1
        deadline = max(job.deadline for job, _ in batch)
        while True:
            try:
                if link.gate is None:
                    raise GateUnreachable(link.name)
                link.figures.late += await link.gate.tell([(job.id, answer) for job, answer in batch])
                return True
            except StoreError as error:
                if time.monotonic() + pause_s > deadline:
                    log.warning("%s: %d answers could not be brought back", error.line(), len(batch))
                    return False
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, 2.0)

    def _forget(self, link: Link, job: Job) -> None:
        link.in_hand.pop(job.id, None)
        for other in self.links:  # the bytes are shared
            other.has_room.set()

    def _count(self, link: Link, answer: Answer | None, told: bool) -> None:
        figures = link.figures
        if not told:
            figures.lost += 1
        elif answer is not None:
            figures.judged += answer.outcome != "unjudged"
            figures.blocked += answer.outcome == "block"
            figures.unjudged += answer.outcome == "unjudged"
            if answer.reason is not None:
                log.warning("%s: no verdict: %s", link.name, ": ".join(filter(None, (answer.reason, answer.detail))))


def _upload(link: Link, job: Job, data: bytes) -> Upload:
    deadline = job.deadline - _WAY_BACK_S
    return Upload(uuid4().hex, link.name, data, job.claimed_type, job.sha256, time.monotonic(), deadline)


async def _end(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
