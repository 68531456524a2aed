"""Uploads that wait for workers: bounded, lent for a time, answered once.

It is the `Judge` that has others judge: workers elsewhere, and beside them the engine in this process. Media stays in
memory; what it holds ends with the uploader's wait, so nothing is kept over a restart. It knows no HTTP: `worker_api`
speaks to the workers. All of it runs in one event loop.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from uuid import uuid4

from fedi_safety.core.enums import MediaType, Reason
from fedi_safety.core.errors import Unscannable
from fedi_safety.core.queues import ByteBudget
from fedi_safety.judging.pace import MOST_BEFORE, Pace
from fedi_safety.judging.turns import Places, Turns, share
from fedi_safety.judging.types import Answer, Unjudged, Upload
from fedi_safety.media.sniff import sniff

log = logging.getLogger(__name__)

_HEAD_BYTES = 4096
_STOP_S = 5.0  # containers are killed after ten
_NEVER = float("-inf")
_SHORTEST_LEASE_S = 2.0  # a worker says every third of it that it lives
_LOOK_S, _OFTENEST_S = 0.5, 0.05  # how often it is looked whether the workers are still there
_MARGIN_S = 0.2  # before the deadline, so that the answer can still be sent


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """How much may wait, and for how long it is lent."""

    max_waiting: int = (
        10  # uploads are answered `queue_full` when more than this wait already; 0: bounded by bytes only
    )
    max_bytes: int = 256 << 20  # of all uploads that are held, lent ones included
    lease_s: float = 5.0  # a worker that was not heard of for so long has died: what it holds is lent to another
    old_lease_s: float = 10.0  # the same for predecessors' workers, which cannot say that they are still at it
    missing_s: float = 5.0  # no worker asked for work for so long: there is none; 0: there always is one
    tries: int = 3  # workers that may die of one upload

    @property
    def renewed_s(self) -> float:
        """Return for how long is lent: no longer than until a worker that is silent counts as gone."""
        return min(self.lease_s, max(self.missing_s, _SHORTEST_LEASE_S)) if self.missing_s else self.lease_s


@dataclass(eq=False, slots=True)
class Lease:
    """One upload lent to one worker. Its `id` is given once, so an answer to it can mean no other upload."""

    id: str
    worker: str
    job: _Job
    begun: float = 0.0  # `time.monotonic()`
    lapses: asyncio.TimerHandle | None = None  # None once it has lapsed: its answer still counts if it is the first

    @property
    def upload(self) -> Upload:
        """Return what is lent."""
        return self.job.upload

    @property
    def media_type(self) -> MediaType:
        """Return its type, as its content tells."""
        return self.job.media_type

    def when_over(self, then: Callable[[], object]) -> None:
        """Have `then` called when nobody waits for the answer any more, whoever gave it."""
        self.job.answer.add_done_callback(lambda _: then())


@dataclass(eq=False, slots=True)
class _Job:
    upload: Upload
    media_type: MediaType
    answer: asyncio.Future[Answer]
    leases: list[Lease] = field(default_factory=list)
    tries: int = 0
    had: set[str] = field(default_factory=set)  # who failed with it, or is still at it beyond its lease


@dataclass(eq=False, frozen=True, slots=True)
class _Asker:
    """A worker that waits for work."""

    woken: asyncio.Event
    kinds: Collection[MediaType] | None


@dataclass(frozen=True, slots=True)
class QueueFigures:
    """What the queue holds now, for metrics."""

    waiting: int
    lent: int
    bytes: int
    workers: int


class WorkerQueue:
    """Lends uploads to workers and returns their answers to whoever waits. The first answer counts, no other.

    Callers have their turns, and each a share of the places.
    """

    def __init__(
        self,
        limits: QueueLimits | None = None,
        *,
        own: str | None = None,
        sniff: Callable[[bytes], MediaType] = sniff,
    ) -> None:
        """Hold nothing yet. `own` is a worker in this process: it is always there, and does not die."""
        self.limits = limits or QueueLimits()
        self._own = own
        self._sniff = sniff
        self._jobs: dict[str, _Job] = {}
        self._waiting: Turns[_Job] = Turns()
        self._pace = Pace()
        self._before = Places(self._full, self._soonest)
        self._leases: dict[str, Lease] = {}
        self._askers: list[_Asker] = []  # workers that wait for work, the one that asked first at the front
        self._asked: dict[str, float] = {}
        self._asked_for: dict[MediaType | None, float] = {}  # when somebody last asked for a kind; None: for any
        self._budget = ByteBudget(self.limits.max_bytes)
        self._started = time.monotonic()
        self._looking: asyncio.TimerHandle | None = None
        self._stopping = False
        self._empty = asyncio.Event()
        self._empty.set()

    # --- the side of the uploads

    async def start(self) -> None:
        """Begin: for a while uploads wait although no worker has asked yet."""
        self._stopping = False
        self._started = time.monotonic()

    async def stop(self) -> None:
        """Take nothing more, give the workers some seconds for what is held, answer the rest, and let them go."""
        self._stopping = True
        self._before.changed(every=True)
        try:
            async with asyncio.timeout(_STOP_S):
                await self._empty.wait()
        except TimeoutError:
            for job in list(self._jobs.values()):
                if not job.answer.done():
                    job.answer.set_result(_unjudged(job.upload, Unjudged.STOPPING))
            await self._empty.wait()
        self._wake_all()

    @property
    def stopping(self) -> bool:
        """Whether it takes nothing more."""
        return self._stopping

    @property
    def over(self) -> bool:
        """Whether it takes nothing more and holds nothing more."""
        return self._stopping and not self._jobs

    def ready(self) -> str | None:
        """Return None if a worker asked for work lately."""
        return Unjudged.NO_WORKER.value if self._missing() else None

    def figures(self) -> QueueFigures:
        """Return what it holds now."""
        lent = len(self._jobs) - len(self._waiting)
        workers = sum(name != self._own for name in self._lately())
        return QueueFigures(len(self._waiting), lent, self._budget.taken_bytes, workers)

    def _lately(self) -> list[str]:
        """Return the workers that were heard of lately."""
        recent = time.monotonic() - max(self.limits.missing_s, self.limits.lease_s)
        return [name for name, asked in self._asked.items() if asked >= recent]

    async def judge(self, upload: Upload) -> Answer:
        """Have a worker judge. Answers by the deadline; a cancelled caller's upload is lent to nobody any more."""
        try:
            media_type = self._sniff(upload.data[:_HEAD_BYTES])
        except Unscannable as error:
            return _unjudged(upload, _unfit(upload, error.reason), error.detail)
        if upload.id in self._jobs:
            raise ValueError(f"upload {upload.id} is held already")
        job = _Job(upload, media_type, asyncio.get_running_loop().create_future())
        try:
            if not self._enter(job):
                before = self._before.ahead(upload.sender)
                if len(self._before) >= MOST_BEFORE and self._pace.in_vain(upload, before, len(self._jobs)):
                    return _unjudged(upload, Unjudged.QUEUE_FULL, "it could not be judged in time")
                entered = self._before.wait(upload.sender, lambda: self._enter(job), upload.patience, upload.deadline)
                if not await entered:
                    return _unjudged(upload, Unjudged.QUEUE_FULL)
            async with asyncio.timeout(upload.deadline - _MARGIN_S - time.monotonic()):
                return await job.answer
        except TimeoutError:
            return _unjudged(upload, Unjudged.DEADLINE, f"lent {len(job.leases)} times")
        finally:
            self._forget(job)

    def _enter(self, job: _Job) -> bool:
        """Answer what cannot be taken, or take it, where there is a place; return whether either was done."""
        upload = job.upload
        if (reason := self._hopeless(job)) is not None:
            job.answer.set_result(reason)
            return True
        if self._full(upload.sender) or upload.deadline <= self._soonest():
            return False
        if not self._budget.try_take(len(upload.data)):
            return False
        self._jobs[upload.id] = job
        self._pace.begin(time.monotonic())
        self._empty.clear()
        self._put(job)
        self._look()
        return True

    def _full(self, caller: str) -> bool:
        """Whether there is no place for one of this caller."""
        most, places = self.limits.max_waiting, self._waiting
        return bool(most) and (len(places) > most or places.of(caller) > share(most))

    def _soonest(self) -> float:
        """Return by when what enters now is judged."""
        return self._pace.soonest(len(self._jobs))

    def _hopeless(self, job: _Job) -> Answer | None:
        """Return the answer to what nobody will judge, as it looks now."""
        if self._stopping:
            return _unjudged(job.upload, Unjudged.STOPPING)
        if not self._missing(job.media_type):
            return None
        if not self._missing():
            return _unjudged(job.upload, Unjudged.UNOPENED, f"no worker takes {job.media_type.value}")
        patience = self.limits.missing_s
        return _unjudged(job.upload, Unjudged.NO_WORKER) if time.monotonic() - self._started > patience else None

    def _missing(self, kind: MediaType | None = None) -> bool:
        """Whether no worker asked lately for work, or is at work; with `kind`, none that takes such media."""
        if self._own is not None or not self.limits.missing_s:
            return False
        if kind is None:
            there = self._askers or any(lease.lapses is not None for lease in self._leases.values())
            asked = list(self._asked_for.values())
        else:
            there = [asker for asker in self._askers if asker.kinds is None or kind in asker.kinds]
            asked = [self._asked_for.get(k, _NEVER) for k in (None, kind)]
        return not there and max(asked, default=_NEVER) < time.monotonic() - self.limits.missing_s

    def _look(self) -> None:
        """End what waits for workers that are gone, as soon as they count as gone; again while something is held."""
        if self._looking is not None or self._own is not None or not self.limits.missing_s:
            return

        def look() -> None:
            self._looking = None
            for _, job in self._waiting.items():
                if not job.answer.done() and not self._stopping and (answer := self._hopeless(job)) is not None:
                    job.answer.set_result(answer)
            self._before.changed(every=True)
            if self._jobs or self._before:
                self._look()

        pause_s = max(_OFTENEST_S, min(_LOOK_S, self.limits.missing_s / 4))
        self._looking = asyncio.get_running_loop().call_later(pause_s, look)

    def _put(self, job: _Job, *, first: bool = False) -> None:
        self._waiting.put(job.upload.sender, job, first=first)
        if job.had:
            self._wake_all()  # the one that has waited longest may be one of those
        else:
            self._wake()

    def _forget(self, job: _Job) -> None:
        """Let go of an upload that is answered, or that nobody waits for any more."""
        self._waiting.drop(job.upload.sender, job)
        for lease in job.leases:
            self._leases.pop(lease.id, None)
            if lease.lapses is not None:
                lease.lapses.cancel()
        if self._jobs.pop(job.upload.id, None) is not None:
            self._count(job)
            self._budget.give_back(len(job.upload.data))
            self._before.changed()
        if not self._jobs:
            self._empty.set()

    def _count(self, job: _Job) -> None:
        """Count an upload for the pace, if a worker has answered it."""
        answered = job.answer.done() and not job.answer.cancelled() and bool(job.leases)
        if answered:
            self._pace.done(time.monotonic(), more=bool(self._jobs), begun=job.leases[-1].begun)
        elif not self._jobs:
            self._pace.idle()

    # --- the side of the workers

    async def take(
        self,
        worker: str,
        most: int,
        wait_s: float = 0.0,
        *,
        lease_s: float | None = None,
        kinds: Collection[MediaType] | None = None,
        max_bytes: int | None = None,
    ) -> list[Lease]:
        """Lend the worker up to `most` uploads, the oldest first; wait `wait_s` if there is none.

        `kinds` are those the worker can decode, None if it must be asked about each. More than one upload is lent only
        within `max_bytes`. Cancelling it lends nothing.
        """
        deadline = time.monotonic() + wait_s
        asker = _Asker(asyncio.Event(), kinds)
        self.heard_of(worker, kinds)
        try:
            while not (leases := self._lend(worker, most, lease_s, kinds, max_bytes)):
                left = deadline - time.monotonic()
                if left <= 0 or self.over:
                    break
                asker.woken.clear()
                self._askers.append(asker)
                try:
                    async with asyncio.timeout(left):
                        await asker.woken.wait()
                except TimeoutError:
                    break
                finally:
                    self._askers.remove(asker)
            return leases
        finally:
            self.heard_of(worker, kinds)
            if self._waiting:
                self._wake()  # whoever was woken for what is still there may be gone

    def heard_of(self, worker: str, kinds: Iterable[MediaType] | None = None) -> None:
        """Note that the worker lives."""
        now = time.monotonic()
        self._asked[worker] = now
        for kind in [None] if kinds is None else kinds:
            self._asked_for[kind] = now
        if len(self._asked) > 1000:
            old = now - 3600
            self._asked = {name: asked for name, asked in self._asked.items() if asked >= old}

    def renew(self, worker: str, leases: Iterable[str]) -> list[str]:
        """Lend on what the worker still holds; return those that nobody waits for any more, or that are another's."""
        self.heard_of(worker)
        over = []
        for lease_id in leases:
            lease = self._leases.get(lease_id)
            if lease is None or lease.worker != worker or lease.job.answer.done():
                over.append(lease_id)
            elif lease.lapses is not None:
                lease.lapses.cancel()
                self._begin(lease, self.limits.renewed_s)
        return over

    def lent(self, lease_id: str, worker: str) -> Upload | None:
        """Return what was lent to the worker under this id, None if nobody waits for it any more."""
        lease = self._leases.get(lease_id)
        return None if lease is None or lease.worker != worker or lease.job.answer.done() else lease.upload

    def answer(self, lease_id: str, worker: str, answer: Answer) -> bool:
        """Take a worker's answer; return false where it came too late, or to something that was not lent to it.

        An answer that says nothing of the upload itself (the worker failed) has the upload lent to another.
        """
        lease = self._leases.get(lease_id)
        if lease is None or lease.worker != worker or lease.job.answer.done():
            return False
        alone = worker == self._own and set(self._lately()) <= lease.job.had | {worker}
        if answer.reason is not None and answer.reason.passing and not alone:
            self._lapse(lease)
        else:
            lease.job.answer.set_result(answer)
        return True

    def give_back(self, lease_id: str, worker: str) -> bool:
        """Take back what the worker has not begun; it is lent to the next, as if it never had been."""
        lease = self._leases.get(lease_id)
        if lease is None or lease.worker != worker or lease.lapses is None:
            return False
        lease.job.tries -= 1
        self._lapse(lease)
        lease.job.had.discard(worker)
        return True

    def _lend(
        self,
        worker: str,
        most: int,
        lease_s: float | None,
        kinds: Collection[MediaType] | None,
        max_bytes: int | None,
    ) -> list[Lease]:
        leases: list[Lease] = []
        size = 0
        most = min(most, math.ceil(len(self._waiting) / (1 + len(self._askers))))  # the idle ones get their part
        lately = set(self._lately())
        for sender, job in self._in_time():
            if len(leases) >= most:
                break
            if kinds is not None and job.media_type not in kinds:
                continue
            if worker in job.had and (worker == self._own or lately - job.had):
                continue  # another may do better
            size += len(job.upload.data)
            if leases and max_bytes is not None and size > max_bytes:
                break
            self._waiting.take(sender, job)
            lease = Lease(str(uuid4()), worker, job, time.monotonic())
            job.leases.append(lease)
            self._leases[lease.id] = lease
            self._begin(lease, lease_s or self.limits.renewed_s)
            leases.append(lease)
        if leases:
            self._before.changed()
        return leases

    def _in_time(self) -> list[tuple[str, _Job]]:
        """Return what waits, by turns, but last what can be answered in time no more: nobody would read the answer."""
        soonest = time.monotonic() + self._pace.took_s + _MARGIN_S
        waiting = list(self._waiting.items())
        return sorted(waiting, key=lambda entry: entry[1].upload.deadline <= soonest)

    def _begin(self, lease: Lease, seconds: float) -> None:
        lease.lapses = asyncio.get_running_loop().call_later(seconds, self._lapse, lease)

    def _lapse(self, lease: Lease) -> None:
        """The worker is gone, or could not: lend the upload to another, unless too many went that way."""
        if lease.lapses is None:
            return
        lease.lapses.cancel()
        lease.lapses = None
        job = lease.job
        if job.answer.done():
            return
        job.tries += 1
        job.had.add(lease.worker)
        log.info("job %s: %s did not answer; try %d", job.upload.id, lease.worker, job.tries)
        if job.tries < self.limits.tries:
            self._put(job, first=True)
        else:
            job.answer.set_result(_unjudged(job.upload, Unjudged.ENGINE_FAILED, f"{job.tries} workers did not answer"))

    def _wake(self) -> None:
        """Wake the worker that has waited longest."""
        for asker in self._askers:
            if not asker.woken.is_set():
                asker.woken.set()
                return

    def _wake_all(self) -> None:
        for asker in self._askers:
            asker.woken.set()


def _unfit(upload: Upload, reason: Reason) -> Unjudged:
    if not upload.data:
        return Unjudged.EMPTY
    return Unjudged.UNSUPPORTED if reason is Reason.UNSUPPORTED else Unjudged.NOT_MEDIA


def _unjudged(upload: Upload, reason: Unjudged, detail: str = "") -> Answer:
    return Answer("unjudged", upload.sha256, "workers", reason, detail=detail)
