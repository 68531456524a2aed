"""Uploads judged by the engine in this process: what waits together is judged together, in threads.

It is the pipeline's back half (decode, score, judge) with a deadline; what a score means is the policy's. Contents that
were judged before are answered from memory or the ledger at once, and the same content in hand twice is judged once.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from fedi_safety.app.engine import Engine
from fedi_safety.app.ledger import SystemClock
from fedi_safety.core.enums import MediaType, Reason
from fedi_safety.core.errors import FediSafetyError, LedgerError, ModelError, Unscannable
from fedi_safety.core.examine import DecodedMedium, Examiner
from fedi_safety.core.ledger.ports import Verdicts
from fedi_safety.core.policy import Policy
from fedi_safety.core.ports import Clock
from fedi_safety.core.queues import Pipe, Stopped
from fedi_safety.core.testcard import draw_test_card
from fedi_safety.core.types import Content, Evidence, Judgement
from fedi_safety.judging.engine_queue import Waiting, Work
from fedi_safety.judging.logs import named
from fedi_safety.judging.metrics import Metrics
from fedi_safety.judging.pace import AT_ONCE, MOST_BEFORE, Pace
from fedi_safety.judging.remembered import Known
from fedi_safety.judging.turns import Places
from fedi_safety.judging.types import Answer, Unjudged, Upload, judged, unjudged
from fedi_safety.service.cpus import cpu_count
from fedi_safety.service.priority import leave_one, step_back

log = logging.getLogger(__name__)

_HEAD_BYTES = 4096
_BATCH = 8
_MOMENT_S = 2.0
_STOP_S = 8.0  # how long a stop waits for what is in hand; containers are killed after ten
_JOIN_S = 20.0  # a batch ends by itself; a thread that outlives the interpreter can crash it
_TROUBLE = 3  # failures of the engine in a row, after which it does not count as ready

_MEANS = {
    Reason.NOT_MEDIA: Unjudged.NOT_MEDIA,
    Reason.UNSUPPORTED: Unjudged.UNSUPPORTED,
    Reason.EMPTY: Unjudged.EMPTY,
} | {Reason.DETECTOR_FAILED: Unjudged.ENGINE_FAILED}


@dataclass(slots=True)
class _Stages:
    """Books the threads' time on the metrics."""

    metrics: Metrics

    @contextmanager
    def timed(self, stage: str, clock: Clock) -> Iterator[None]:
        """Add the time spent inside to `stage`."""
        start = clock.monotonic()
        try:
            yield
        finally:
            self.metrics.stages.labels(stage).inc(clock.monotonic() - start)


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """How much may wait for the engine, and whether it leaves a processor to servers that it stands before."""

    queue: int = 64
    before: int = MOST_BEFORE  # uploads that may wait for a place in the queue
    spare_bytes: int = 128 << 20  # of uploads that were answered without a verdict and are judged when there is time
    leaves_one: bool = False


class EngineJudge:
    """Judges uploads with one engine. Its coroutines belong to one event loop; the work is done in threads."""

    def __init__(
        self,
        load: Callable[[], Engine],
        policy: Policy,
        ledger: Verdicts,
        record: Callable[[Content, Judgement, bool], None],
        metrics: Metrics,
        limits: EngineLimits | None = None,
    ) -> None:
        """Prepare; `load` opens the engine, in a thread, after `start`. `record` remembers a verdict."""
        limits = limits or EngineLimits()
        self._load = load
        self._policy = policy
        self._ledger = ledger
        self._record = record
        self._metrics = metrics
        self._clock = SystemClock()
        self._pace = Pace()
        self._queue = Waiting(limits.queue, limits.spare_bytes, self._pace, crowded=lambda: bool(self._places))
        self._places = Places(lambda caller: not self._stopping and self._queue.full(caller), self._soonest)
        self._most_before = limits.before
        self._leaves_one = limits.leaves_one
        self._works: dict[bytes, Work] = {}
        self._known = Known(ledger, record, lambda: self._examiner, lambda: bool(self._places))
        self._threads: list[threading.Thread] = []
        self._to_score: Pipe[tuple[Work, DecodedMedium]] | None = None
        self._examiner: Examiner | None = None  # exchanged as a whole when the policy is read again
        self._stopping = False
        self._failures = 0
        self._opening: asyncio.Task[None] | None = None
        self.engine: Engine | None = None
        self.loaded: asyncio.Future[Engine] | None = None

    # --- life

    async def start(self) -> None:
        """Load the models in a thread. Uploads may come meanwhile; `loaded` tells when it is done, or failed."""
        self._loop = asyncio.get_running_loop()
        self.loaded = self._loop.create_future()
        self._opening = self._loop.create_task(self._open(self.loaded))

    async def _open(self, loaded: asyncio.Future[Engine]) -> None:
        try:
            engine = await self._opened()
        except FediSafetyError as error:
            if not loaded.done():
                loaded.set_exception(error)
            return
        except Exception as error:  # noqa: BLE001 - a bug ends the gate as well, and says what it is
            if not loaded.done():
                loaded.set_exception(ModelError("the engine", f"cannot be started: {named(error)}"))
            return
        if loaded.done() or self._stopping:
            engine.close()
            return
        self.engine = engine
        self.take_policy(self._policy)
        self._batch = max([_BATCH, *(detector.max_batch for detector in engine.detectors)])
        self._queue.busy = self._batch
        self._to_score = Pipe(2 * self._batch, engine.jobs)
        stages: list[tuple[Callable[..., None], str]] = [(self._decode, "decode"), (self._score, "score")]
        for work, name in stages:
            for i in range(engine.jobs):
                args = self._to_score, self._batch
                thread = threading.Thread(target=work, args=args, name=f"gate-{name}-{i}", daemon=True)
                thread.start()
                self._threads.append(thread)
        loaded.set_result(engine)

    async def _opened(self) -> Engine:
        """Open the engine in threads that step back: its own threads, and the decoder's processes, are theirs."""
        behind = ThreadPoolExecutor(cpu_count(), "gate-open", initializer=self._step_back)
        try:
            engine = await self._loop.run_in_executor(behind, self._load)
            await asyncio.gather(*(self._loop.run_in_executor(behind, _warm, engine) for _ in range(engine.jobs)))
        finally:
            behind.shutdown(wait=False)
        return engine

    def take_policy(self, policy: Policy) -> None:
        """Judge by this policy from now on."""
        self._policy = policy
        if self.engine is not None:
            own = self.engine.in_force(policy)
            stages = _Stages(self._metrics)
            self._examiner = Examiner(self.engine.decoder, self.engine.cascade(own), own, stages, self._clock)
            self._known.clear()

    def ready(self) -> str | None:
        """Return None if uploads are judged, else why not."""
        if self._examiner is None:
            return "models_loading"
        return Unjudged.ENGINE_FAILED.value if self._failures >= _TROUBLE else None

    async def stop(self) -> None:
        """Take nothing more; give what is in hand some seconds, answer the rest `stopping`, end the threads."""
        self._stopping = True
        if self.loaded is not None and not self.loaded.done():
            self.loaded.cancel()
        self._places.changed()
        until = time.monotonic() + _STOP_S
        while any(work.waiters for work in self._works.values()) and time.monotonic() < until:
            await asyncio.sleep(0.02)
        for work in list(self._works.values()):
            self._resolve(work, unjudged(work.sha256, "engine", Unjudged.STOPPING), until)
        self._queue.close()
        if self._to_score is not None:
            self._to_score.abort()
        self._known.close()
        if self.engine is not None:
            await asyncio.to_thread(self.engine.close)  # ends the decoder's children, and with them the threads' waits
        until = time.monotonic() + _JOIN_S
        for thread in self._threads:
            await asyncio.to_thread(thread.join, max(0.0, until - time.monotonic()))

    # --- uploads

    @property
    def idle(self) -> bool:
        """Whether nobody waits for the engine."""
        return not (self._places or any(work.waiters for work in self._works.values()))

    def lengths(self) -> tuple[int, int]:
        """Return how many uploads wait for a decoder, and how many that were answered already."""
        return self._queue.lengths()

    async def judge(self, upload: Upload) -> Answer:
        """Judge one upload; see `Judge.judge`. Past the deadline it is judged all the same, when there is time."""
        if self._stopping:
            return unjudged(upload.sha256, "engine", Unjudged.STOPPING)
        if self.engine is None and (missing := await self._until_loaded(upload)) is not None:
            return missing
        if upload.sha256 not in self._works and (known := await self._known.get(upload.sha256)) is not None:
            return known
        entered = await self._enter(upload)
        return entered if isinstance(entered, Answer) else await self._wait(entered, upload.deadline)

    async def known(self, sha256: bytes) -> Answer | None:
        """Return the verdict on a content that was judged before, None if there is none or the models still load."""
        return None if self._stopping or self.engine is None else await self._known.get(sha256)

    def room(self) -> int:
        """Return how many uploads in hand keep the engine busy: what it gets through in a moment, a batch at most."""
        assert self.engine is not None
        jobs, pace_s = self.engine.jobs, self._pace.wait_s(1)
        return max(jobs, min(_BATCH + 2 * jobs, int(_MOMENT_S / pace_s) if pace_s else _BATCH))

    async def _until_loaded(self, upload: Upload) -> Answer | None:
        """Wait for the models; None when they are there."""
        assert self.loaded is not None
        await asyncio.wait([self.loaded], timeout=max(0.0, upload.deadline - time.monotonic()))
        if not self.loaded.done():
            return unjudged(upload.sha256, "engine", Unjudged.DEADLINE, "the models are still being loaded")
        if self.loaded.cancelled() or self.loaded.exception() is not None:
            return unjudged(upload.sha256, "engine", Unjudged.ENGINE_FAILED, "the models could not be loaded")
        return None

    async def _enter(self, upload: Upload) -> Work | Answer:
        """Return the work on this content, with a place in the queue or beyond it, and one more who waits for it.

        Where there is no place it waits for one as long as the upload's patience lasts.
        """
        fresh = self._fresh(upload)
        if isinstance(fresh, Answer):
            return fresh
        entered: list[Work] = []

        def enter() -> bool:
            if self._stopping:
                return True
            work = self._works.get(upload.sha256)  # another may have come before
            if not (self._put(fresh, upload) if work is None else self._put_again(work)):
                return False
            entered.append(work or fresh)
            entered[0].waiters += 1
            entered[0].due = max(entered[0].due, upload.deadline)
            return True

        if not enter():
            before = self._places.ahead(upload.sender)
            in_vain = self._pace.in_vain(upload, before, self._ahead, self._together)
            if len(self._places) >= self._most_before and in_vain:
                return unjudged(upload.sha256, "engine", Unjudged.QUEUE_FULL, "it could not be judged in time")
            try:
                patience = min(upload.patience, upload.deadline)
                await self._places.wait(upload.sender, enter, patience, upload.deadline)
            except asyncio.CancelledError:
                for work in entered:
                    self._leave(work)
                raise
        if entered:
            return entered[0]
        return unjudged(upload.sha256, "engine", Unjudged.STOPPING if self._stopping else Unjudged.QUEUE_FULL)

    def _fresh(self, upload: Upload) -> Work | Answer:
        """Return the work that an upload makes, or why there is nothing to judge in it."""
        if not upload.data:
            return unjudged(upload.sha256, "engine", Unjudged.EMPTY)
        assert self.engine is not None
        try:
            media_type = self.engine.decoder.sniff(upload.data[:_HEAD_BYTES])
        except Unscannable as error:
            if not self._knows_bytes():
                return unjudged(upload.sha256, "engine", _MEANS.get(error.reason, Unjudged.NOT_MEDIA), error.detail)
            media_type = MediaType.OTHER
        return self._work(upload, media_type)

    def _knows_bytes(self) -> bool:
        """Whether bytes may be on a list although nothing in them is media; also where that cannot be told."""
        try:
            return self._examiner is not None and self._examiner.knows_bytes
        except Unscannable:
            return True

    def _refused(self, work: Work) -> Unscannable | None:
        """Return why there is nothing in it to decode."""
        assert self.engine is not None
        if work.media_type is MediaType.OTHER:
            try:
                self.engine.decoder.sniff(work.data[:_HEAD_BYTES])
            except Unscannable as error:
                return error
        return None

    def _put(self, work: Work, upload: Upload) -> bool:
        """Give it a place in the queue, if there is one and its turn would come in time."""
        if upload.deadline <= self._soonest() or not self._queue.put(work):
            return False
        self._hold(work)
        return True

    def _put_again(self, work: Work) -> bool:
        """Have those for whom a content is in hand already wait for it; what nobody waited for gets a place."""
        if work.waiters or not self._queue.drop(work) or self._queue.put(work):
            return True
        self._queue.put_spare(work)
        return False

    @property
    def _ahead(self) -> int:
        """Return how many are in hand that somebody waits for, or that are being judged."""
        return len(self._works) - self._queue.lengths()[1]

    @property
    def _together(self) -> int:
        assert self.engine is not None
        return self.engine.jobs * self._batch

    def _soonest(self) -> float:
        """Return by when what enters now is judged."""
        return AT_ONCE if self._stopping else self._pace.soonest(self._ahead, self._together)

    def _hold(self, work: Work) -> None:
        self._works[work.sha256] = work
        self._pace.begin(time.monotonic())

    def _work(self, upload: Upload, media_type: MediaType) -> Work:
        future: asyncio.Future[Answer] = self._loop.create_future()
        return Work(upload.sha256, upload.data, media_type, len(upload.data), future, upload.sender)

    async def _wait(self, work: Work, deadline: float) -> Answer:
        """Wait as one of the work's waiters, which `_enter` has counted."""
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                return await asyncio.shield(work.future)
        except TimeoutError:
            # Those who still wait come first; whom nobody waits for is judged when there is time, if there is room.
            if work.waiters == 1 and self._queue.drop(work) and not self._queue.put_spare(work):
                self._let_go(work)
            return unjudged(work.sha256, "engine", Unjudged.DEADLINE)
        finally:
            self._leave(work)

    def _leave(self, work: Work) -> None:
        """One waits no longer; what nobody waits for, and is neither begun nor to be judged later, is let go of."""
        work.waiters -= 1
        if not work.waiters:
            if self._queue.drop_urgent(work):
                self._let_go(work)
            self._places.changed()

    def _let_go(self, work: Work) -> None:
        if self._works.get(work.sha256) is work:
            del self._works[work.sha256]
        if not self._works:
            self._pace.idle()

    def later(self, upload: Upload) -> bool:
        """Judge an upload that was answered already, when nobody waits; return false if there is no room for it."""
        if self._stopping or self.engine is None:
            return False
        if upload.sha256 in self._works:
            return True
        try:
            work = self._work(upload, self.engine.decoder.sniff(upload.data[:_HEAD_BYTES]))
        except Unscannable:
            return False
        if not self._queue.put_spare(work):
            return False
        self._hold(work)
        return True

    # --- the threads

    def _step_back(self) -> None:
        step_back()
        if self._leaves_one:
            leave_one()

    def _decode(self, to_score: Pipe[tuple[Work, DecodedMedium]], _batch: int) -> None:
        self._step_back()
        try:
            while (work := self._queue.take()) is not None:
                assert self._examiner is not None
                if self._places:
                    self._in_loop(self._places.changed)
                try:
                    medium = self._examiner.decode(work.sha256, work.data, work.media_type, self._refused(work))
                except Unscannable as error:
                    reason = _MEANS.get(error.reason, Unjudged.DECODER_FAILED)
                    self._done(work, unjudged(work.sha256, "engine", reason, error.detail))
                except Exception as error:  # noqa: BLE001 - a bug concerns this upload; the thread must live
                    self._bug(work, error)
                else:
                    work.data = b""  # the medium has it where it is needed again
                    to_score.put((work, medium))
        except Stopped:
            pass
        finally:
            to_score.finish()

    def _score(self, to_score: Pipe[tuple[Work, DecodedMedium]], most: int) -> None:
        self._step_back()
        try:
            for batch in to_score.batches(most):
                self._metrics.batch.observe(len(batch))
                try:
                    self._judge(batch)
                except Exception as error:  # noqa: BLE001 - as above
                    for work, _ in batch:
                        self._bug(work, error)
        except Stopped:
            pass

    def _judge(self, batch: Sequence[tuple[Work, DecodedMedium]]) -> None:
        assert self._examiner is not None
        examined = self._examiner.examine([medium for _, medium in batch], self._dismissed)
        for (work, _), found in zip(batch, examined, strict=True):
            if isinstance(found, Unscannable):
                reason = _MEANS.get(found.reason, Unjudged.ENGINE_FAILED)
                self._done(work, unjudged(work.sha256, "engine", reason, found.detail))
                continue
            content, judgement = found
            self._record(content, judgement, True)
            self._done(work, judged(judgement, content, "engine"))

    def _dismissed(self, sha256s: Sequence[bytes]) -> set[bytes]:
        """Ask the ledger; where it cannot be read nobody's word is known, and the rules decide."""
        try:
            return self._ledger.dismissed(sha256s)
        except LedgerError:
            return set()

    def _bug(self, work: Work, error: Exception) -> None:
        text = error.line() if isinstance(error, FediSafetyError) else named(error)
        if not self._stopping:
            log.error("the engine failed: %s", text)
        self._done(work, unjudged(work.sha256, "engine", Unjudged.ENGINE_FAILED, text))

    def _done(self, work: Work, answer: Answer) -> None:
        self._in_loop(self._resolve, work, answer, time.monotonic())

    def _in_loop(self, call: Callable[..., object], *arguments: object) -> None:
        with suppress(RuntimeError):  # the loop has ended: nobody waits any more
            self._loop.call_soon_threadsafe(call, *arguments)

    def _resolve(self, work: Work, answer: Answer, at: float) -> None:
        """Answer those who wait for a work that was done at this moment."""
        if self._works.get(work.sha256) is work:
            del self._works[work.sha256]
            self._pace.done(at, more=bool(self._works), begun=work.begun)
        self._queue.done(work)
        self._failures = self._failures + 1 if answer.reason is Unjudged.ENGINE_FAILED else 0
        self._known.put(answer)
        if not work.future.done():
            work.future.set_result(answer)
        self._places.changed()


def _warm(engine: Engine) -> None:
    """Have a decoder's child started and every network run once, so that the first upload need not wait for that."""
    with suppress(Unscannable):  # whatever it says of the test card
        decoded = engine.decoder.decode(draw_test_card(), MediaType.PNG)
        for detector in engine.detectors:
            detector.score([Evidence(frame) for frame in decoded.frames])
