"""Uploads that wait for workers elsewhere: bounded, lent for a time, answered once.

It is the `Judge` that has others judge. Media stays in memory; what it holds ends with the uploader's wait, so nothing
is kept over a restart. It knows no HTTP: `worker_api` speaks to the workers. All of it runs in one event loop.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from uuid import uuid4

from fedi_safety.core.enums import MediaType, Reason
from fedi_safety.core.errors import Unscannable
from fedi_safety.core.queues import ByteBudget
from fedi_safety.judging.types import Answer, Unjudged, Upload
from fedi_safety.media.sniff import sniff

log = logging.getLogger(__name__)

_HEAD_BYTES = 4096
_STOP_S = 5.0  # containers are killed after ten
_NEVER = float("-inf")
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


@dataclass(eq=False, slots=True)
class Lease:
    """One upload lent to one worker. Its `id` is given once, so an answer to it can mean no other upload."""

    id: str
    worker: str
    job: _Job
    lapses: asyncio.TimerHandle | None = None  # None once it has lapsed: its answer still counts if it is the first

    @property
    def upload(self) -> Upload:
        """Return what is lent."""
        return self.job.upload

    @property
    def media_type(self) -> MediaType:
        """Return its type, as its content tells."""
        return self.job.media_type


@dataclass(eq=False, slots=True)
class _Job:
    upload: Upload
    media_type: MediaType
    answer: asyncio.Future[Answer]
    leases: list[Lease] = field(default_factory=list)
    tries: int = 0


@dataclass(frozen=True, slots=True)
class QueueFigures:
    """What the queue holds now, for metrics."""

    waiting: int
    lent: int
    bytes: int
    workers: int


class WorkerQueue:
    """Lends uploads to workers and returns their answers to whoever waits. The first answer counts, no other."""

    def __init__(self, limits: QueueLimits | None = None) -> None:
        """Hold nothing yet."""
        self.limits = limits or QueueLimits()
        self._jobs: dict[str, _Job] = {}
        self._waiting: OrderedDict[str, _Job] = OrderedDict()
        self._leases: dict[str, Lease] = {}
        self._askers: list[asyncio.Event] = []  # workers that wait for work, the one that asked first at the front
        self._asked: dict[str, float] = {}
        self._asked_for: dict[MediaType | None, float] = {}  # when somebody last asked for a kind; None: for any
        self._budget = ByteBudget(self.limits.max_bytes)
        self._started = time.monotonic()
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
        try:
            async with asyncio.timeout(_STOP_S):
                await self._empty.wait()
        except TimeoutError:
            for job in list(self._jobs.values()):
                if not job.answer.done():
                    job.answer.set_result(_unjudged(job.upload, Unjudged.STOPPING))
            await self._empty.wait()
        for event in self._askers:
            event.set()

    @property
    def stopping(self) -> bool:
        """Whether it takes nothing more."""
        return self._stopping

    def ready(self) -> str | None:
        """Return None if a worker asked for work lately."""
        return Unjudged.NO_WORKER.value if self._missing() else None

    def figures(self) -> QueueFigures:
        """Return what it holds now."""
        lent = len(self._jobs) - len(self._waiting)
        recent = time.monotonic() - max(self.limits.missing_s, self.limits.lease_s)
        workers = sum(asked >= recent for asked in self._asked.values())
        return QueueFigures(len(self._waiting), lent, self._budget.taken_bytes, workers)

    async def judge(self, upload: Upload) -> Answer:
        """Have a worker judge. Answers by the deadline; a cancelled caller's upload is lent to nobody any more."""
        try:
            media_type = sniff(upload.data[:_HEAD_BYTES])
        except Unscannable as error:
            return _unjudged(upload, _unfit(upload, error.reason), error.detail)
        if upload.id in self._jobs:
            raise ValueError(f"upload {upload.id} is held already")
        if (refused := self._refusal(upload, media_type)) is not None:
            return refused
        job = _Job(upload, media_type, asyncio.get_running_loop().create_future())
        self._jobs[upload.id] = job
        self._empty.clear()
        self._put(job)
        try:
            async with asyncio.timeout(upload.deadline - _MARGIN_S - time.monotonic()):
                return await job.answer
        except TimeoutError:
            return _unjudged(upload, Unjudged.DEADLINE, f"lent {len(job.leases)} times")
        finally:
            self._forget(job)

    def _refusal(self, upload: Upload, media_type: MediaType) -> Answer | None:
        """Return the answer to what cannot be taken now; else its bytes are taken from the budget."""
        if self._stopping:
            return _unjudged(upload, Unjudged.STOPPING)
        if self._missing() and time.monotonic() - self._started > self.limits.missing_s:
            return _unjudged(upload, Unjudged.NO_WORKER)
        if self._missing(media_type) and not self._missing():
            return _unjudged(upload, Unjudged.UNSUPPORTED, f"no worker takes {media_type.value}")
        limits = self.limits
        full = 0 < limits.max_waiting < len(self._waiting)
        if full or not self._budget.try_take(len(upload.data)):
            return _unjudged(upload, Unjudged.QUEUE_FULL)
        return None

    def _missing(self, kind: MediaType | None = None) -> bool:
        """Whether no worker asked lately for work; with `kind`, none that takes such media."""
        if not self.limits.missing_s or self._askers:
            return False
        asked = self._asked_for.values() if kind is None else [self._asked_for.get(k, _NEVER) for k in (None, kind)]
        return max(asked, default=_NEVER) < time.monotonic() - self.limits.missing_s

    def _put(self, job: _Job, *, first: bool = False) -> None:
        self._waiting[job.upload.id] = job
        if first:
            self._waiting.move_to_end(job.upload.id, last=False)
        self._wake()

    def _forget(self, job: _Job) -> None:
        """Let go of an upload that is answered, or that nobody waits for any more."""
        self._waiting.pop(job.upload.id, None)
        for lease in job.leases:
            self._leases.pop(lease.id, None)
            if lease.lapses is not None:
                lease.lapses.cancel()
        if self._jobs.pop(job.upload.id, None) is not None:
            self._budget.give_back(len(job.upload.data))
        if not self._jobs:
            self._empty.set()

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
        woken = asyncio.Event()
        self.heard_of(worker, kinds)
        try:
            while not (leases := self._lend(worker, most, lease_s, kinds, max_bytes)):
                left = deadline - time.monotonic()
                if left <= 0 or (self._stopping and not self._jobs):
                    break
                woken.clear()
                self._askers.append(woken)
                try:
                    async with asyncio.timeout(left):
                        await woken.wait()
                except TimeoutError:
                    break
                finally:
                    self._askers.remove(woken)
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
                self._begin(lease, self.limits.lease_s)
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
        if answer.reason is not None and answer.reason.passing:
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
        for job in list(self._waiting.values()):
            if len(leases) >= most:
                break
            if kinds is not None and job.media_type not in kinds:
                continue
            size += len(job.upload.data)
            if leases and max_bytes is not None and size > max_bytes:
                break
            del self._waiting[job.upload.id]
            lease = Lease(str(uuid4()), worker, job)
            job.leases.append(lease)
            self._leases[lease.id] = lease
            self._begin(lease, lease_s or self.limits.lease_s)
            leases.append(lease)
        return leases

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
        log.info("job %s: %s did not answer; try %d", job.upload.id, lease.worker, job.tries)
        if job.tries < self.limits.tries:
            self._put(job, first=True)
        else:
            job.answer.set_result(_unjudged(job.upload, Unjudged.ENGINE_FAILED, f"{job.tries} workers did not answer"))

    def _wake(self) -> None:
        """Wake the worker that has waited longest."""
        for event in self._askers:
            if not event.is_set():
                event.set()
                return


def _unfit(upload: Upload, reason: Reason) -> Unjudged:
    if not upload.data:
        return Unjudged.EMPTY
    return Unjudged.UNSUPPORTED if reason is Reason.UNSUPPORTED else Unjudged.NOT_MEDIA


def _unjudged(upload: Upload, reason: Unjudged, detail: str = "") -> Answer:
    return Answer("unjudged", upload.sha256, "workers", reason, detail=detail)
