"""The driver of a sweep: gives parts of a store to workers until all is judged, and then does the acts.

What a worker had in hand when it died is given to another. Nothing is concluded from a pass whose parts were not all
listed to their end, and no act is done by anyone but this process, under one breaker.
"""

from __future__ import annotations

import logging
import os
import pickle
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from fedi_safety import __version__
from fedi_safety.app.progress import PassProgress
from fedi_safety.app.scan import Parts
from fedi_safety.app.sweep.messages import (
    Failure,
    Opened,
    Orders,
    Part,
    Place,
    Shard,
    met,
    numbers,
)
from fedi_safety.app.sweep.parts import cut, samples
from fedi_safety.app.sweep.sameness import named
from fedi_safety.config.locations import ledger_path
from fedi_safety.core.enforcement import Enforcement
from fedi_safety.core.enums import PlanState
from fedi_safety.core.errors import LedgerError, LedgerUsageError, StoreUsageError, SupersededError, SweepError
from fedi_safety.core.keys import KeyRange
from fedi_safety.core.ledger.census import Census
from fedi_safety.core.pipeline import Stages
from fedi_safety.core.runs import Tally, add_tally
from fedi_safety.core.types import Plan

log = logging.getLogger(__name__)

_PARTS_A_WORKER = 4  # so that all end at about the same time; a single one has one, for each begins with empty queues
_AT_BEST_S = 0.2  # how long is waited for an answer before everything is looked at again
_PLACES_S = 2.0  # how often machines that came and went are looked for
_ASKED_S = 1.0  # how often workers are asked how far they are
_CUT_AGAIN_S = 5.0  # how often the rest of a part is parted for workers that have nothing to do
_DEATHS_MOST = 8  # workers that one part may end
_LONGEST_PAUSE_S = 30.0
_WAITED = "wait for workers"  # until the first of them had loaded what judges; as a stage of the pass


class Lost(Exception):
    """A worker is gone, with what it had in hand; the message says why, as far as anybody knows."""


class Cluster(Protocol):
    """Where workers run: Ray, or threads in tests. A reference is what stands for an answer that is to come."""

    def places(self) -> list[Place]:
        """Return where a worker could run now. Raises `SweepError` where the cluster does not answer."""
        ...

    def start(self, place: Place) -> Any:
        """Start a worker there; it may come up later, or never."""
        ...

    def call(self, worker: Any, method: str, *arguments: Any) -> Any:
        """Begin a call of a `SweepWorker`'s method, and return its reference."""
        ...

    def answered(self, references: Sequence[Any], wait_s: float) -> list[Any]:
        """Return those that are answered, or whose worker is gone, after so many seconds at most."""
        ...

    def answer(self, reference: Any) -> Any:
        """Return an answer. Raises `Lost` where its worker is gone, `SweepError` where it cannot run at all."""
        ...

    def end(self, worker: Any) -> None:
        """End a worker at once, whatever it does."""
        ...


@dataclass(frozen=True, slots=True)
class Patience:
    """How long is waited for what does not come, in seconds."""

    worker: float = 600.0  # for the first worker to be ready, or another one after all were lost
    silent: float = 60.0  # for a sign of a worker, before it is said that there is none
    dead: float = 300.0  # before it counts as gone
    outside: float = 600.0  # for store or ledger to work again, at all workers
    halt: float = 120.0  # for what is in hand after a halt


@dataclass(slots=True, eq=False)
class _Worker:
    """A worker as the driver sees it."""

    place: Place
    handle: Any
    began: float
    heard: float
    opening: Any = None  # the reference of its first answer; None once it is ready
    shard: Shard | None = None
    judging: Any = None
    asking: Any = None
    asked: float = 0.0
    device: str = ""
    live: Tally = field(default_factory=Tally)
    said_silent: bool = False

    @property
    def idle(self) -> bool:
        return self.opening is None and self.judging is None

    @property
    def references(self) -> list[Any]:
        return [each for each in (self.opening, self.judging, self.asking) if each is not None]


class SweepPass:
    """One pass by workers; it stands where a pipeline stands in `app.scan.scan`. `consume` may be called once."""

    def __init__(
        self,
        parts: Parts,
        cluster: Cluster,
        *,
        say: Callable[[str], None] = lambda _line: None,
        patience: Patience = Patience(),
    ) -> None:
        """Take what the pass is made of, and where its workers run. `say` tells a person what they should know."""
        self.census: Census | None = None
        self.listed_all = False
        self.stages = Stages()
        self._parts, self._cluster, self._say, self._patience = parts, cluster, say, patience
        self._halt = threading.Event()
        self._told_halt = 0.0
        self._todo: deque[Shard] = deque()
        self._workers: dict[str, _Worker] = {}
        self._refused: dict[str, Failure] = {}
        self._rests: dict[str, float] = {}  # places, until when no worker is started there
        self._falls: Counter[str] = Counter()  # workers lost at a place, since one of them ended a part
        self._deaths: Counter[KeyRange] = Counter()
        self._devices: Counter[str] = Counter()
        self._plans: set[int] = set()
        self._failing: tuple[float, Failure] | None = None
        self._pause_until = 0.0
        self._began = self._without = self._looked = self._cut_at = time.monotonic()
        self._orders = b""

    # --- as a pipeline

    def halt(self) -> None:
        """Begin nothing more; what workers have in hand is recorded. Safe in a signal handler."""
        self._halt.set()

    @property
    def halted(self) -> bool:
        """Whether `halt` was called."""
        return self._halt.is_set()

    @property
    def device(self) -> str:
        """What was judged on, with the number of workers."""
        return ", ".join(f"{device} x {count}" for device, count in sorted(self._devices.items())) or "no worker"

    def consume(self, enforcement: Enforcement, progress: PassProgress) -> None:
        """Have every part judged and recorded, conclude what follows from all of them, and do the due acts.

        Raises `SweepError` where workers cannot be had or do not end, and what store or ledger raised at all of them
        for longer than anybody waits; what was judged before is recorded.
        """
        enforcement.begin(self)
        progress.beyond = self._live
        parts = self._parts
        if parts.request.whole:
            self.census = parts.ledger.census(parts.store.url)
        try:
            self._prepare()
            while self._todo or any(worker.judging for worker in self._workers.values()):
                self._step(enforcement, progress)
                if self.halted and self._halted_all():
                    return
        finally:
            progress.beyond = Tally
            self._end_all()
        self.listed_all = True
        enforcement.finish(self, self._due)

    def _due(self) -> Iterator[Plan]:
        """Yield from the ledger the plans of what this pass met."""
        act, store = self._parts.request.act, self._parts.store.url
        retry = self._parts.request.retry_acts
        for plan in self._parts.ledger.open_plans(store, act):
            if plan.id in self._plans and (retry or plan.state is not PlanState.FAILED):
                yield plan

    def _live(self) -> Tally:
        tally = Tally()
        for worker in list(self._workers.values()):
            if worker.judging is not None:
                add_tally(tally, worker.live)
        return tally

    def _prepare(self) -> None:
        """Write the workers' orders, and part the store."""
        parts = self._parts
        settings = parts.settings.model_copy(update={"ledger": _whole_name(str(ledger_path(parts.settings)))})
        orders = Orders(
            store=parts.store.url,
            settings=settings,
            request=parts.request,
            policy=parts.as_written,
            named=named(parts.engine, parts.policy),
            run=parts.report.run_id,
            last_row=None if self.census is None else self.census.last,
            samples=samples(parts.store, parts.request.prefixes),
            folder=os.getcwd(),  # noqa: PTH109 - as it is written, links and all
        )
        self._orders = pickle.dumps(orders)
        places = len(self._look())
        self._todo.extend(cut(parts.store, KeyRange(), _PARTS_A_WORKER * places if places > 1 else 1))

    # --- one round

    def _step(self, enforcement: Enforcement, progress: PassProgress) -> None:
        now = time.monotonic()
        if now - self._looked >= _PLACES_S:
            self._look()
        self._hand_out(now)
        references = {each: worker for worker in self._workers.values() for each in worker.references}
        if references:
            for reference in self._cluster.answered(list(references), _AT_BEST_S):
                self._hear(references[reference], reference, enforcement, progress)
        else:
            time.sleep(_AT_BEST_S)
        self._watch(time.monotonic())
        progress.noted()

    def _look(self) -> list[Place]:
        """Start workers where there are none, and let go of those whose machine is gone."""
        self._looked = now = time.monotonic()
        places = self._cluster.places()
        there = {place.id for place in places}
        for id_, worker in list(self._workers.items()):
            if id_ not in there:
                self._lose(worker, "its machine is gone")
        beside = Counter(place.machine for place in places)
        for place in places:
            free = place.id not in self._workers and place.id not in self._refused
            if free and not self.halted and self._rests.get(place.id, 0.0) <= now:
                handle = self._cluster.start(place)
                worker = _Worker(place, handle, now, now)
                arguments = (__version__, self._orders, place.cpus, beside[place.machine])
                worker.opening = self._cluster.call(handle, "open", *arguments)
                self._workers[place.id] = worker
        return places

    def _hand_out(self, now: float) -> None:
        if self.halted or now < self._pause_until:
            return
        for worker in self._workers.values():
            if worker.idle and self._todo:
                worker.shard = self._todo.popleft()
                worker.live, worker.heard = Tally(), now
                worker.judging = self._cluster.call(worker.handle, "judge", worker.shard)

    def _hear(self, worker: _Worker, reference: Any, enforcement: Enforcement, progress: PassProgress) -> None:
        if self._workers.get(worker.place.id) is not worker:
            return  # lost a moment ago
        try:
            answer = self._cluster.answer(reference)
        except Lost as error:
            self._lose(worker, str(error))
            return
        worker.heard, worker.said_silent = time.monotonic(), False
        if reference is worker.opening:
            self._opened(worker, answer)
        elif reference is worker.asking:
            worker.asking = None
            worker.live = answer
        elif reference is worker.judging:
            self._take(worker, answer, enforcement, progress)

    def _opened(self, worker: _Worker, answer: Opened) -> None:
        if answer.refusal is None:
            if not self.stages.seconds:
                self.stages.seconds[_WAITED] = time.monotonic() - self._began
            worker.opening, worker.device = None, answer.device
            self._devices[answer.device] += 1
            return
        if isinstance(error := answer.refusal.error, SupersededError):
            raise error
        if isinstance(error, LedgerError) and not isinstance(error, LedgerUsageError):
            self._lose(worker, answer.refusal.error.line())  # another try may do
            return
        self._refused[worker.place.id] = answer.refusal
        self._drop(worker)
        self._say(f"{worker.place.host} takes no part: {answer.refusal.error.line()}")

    def _take(self, worker: _Worker, part: Part, enforcement: Enforcement, progress: PassProgress) -> None:
        """Take what came of a part into the pass; what failed is to be done again."""
        shard, worker.shard, worker.judging = worker.shard, None, None
        assert shard is not None
        for said in part.said:
            logging.getLogger(said.logger).log(said.level, "%s", said.text)
        if part.failure is not None:
            self._todo.appendleft(shard)
            self._fail(worker, part.failure)
            return
        self._failing = None
        self._falls.pop(worker.place.id, None)
        self._deaths.pop(shard.within, None)
        add_tally(enforcement.tally, part.tally)
        for stage, seconds in part.stages.items():
            self.stages.seconds[stage] += seconds
        if self.census is not None:
            met(self.census, part)
        self._plans.update(numbers(part.plans))
        if part.rest is not None:
            self._todo.extend(self._rest(part.rest))
            if part.rest.after is not None:
                progress.noted(part.rest.after.decode("utf-8", "surrogateescape"))

    def _rest(self, rest: KeyRange) -> list[Shard]:
        """Return what is left of a part as further ones: as many as there are workers with nothing to do."""
        idle = sum(worker.idle for worker in self._workers.values()) - len(self._todo)
        now = time.monotonic()
        if idle < 2 or now - self._cut_at < _CUT_AGAIN_S or self.halted:
            return [Shard(rest)]
        self._cut_at = now
        return cut(self._parts.store, rest, idle)

    # --- what goes wrong

    def _fail(self, worker: _Worker, failure: Failure) -> None:
        """Wait before store or ledger is asked again; raise where that has not helped for long."""
        error = failure.error
        if isinstance(error, SupersededError):
            raise error
        if isinstance(error, StoreUsageError):  # this machine's way to it is wrong
            self._refused[worker.place.id] = failure
            self._drop(worker)
            self._say(f"{worker.place.host} takes no part any more: {error.line()}")
            return
        now = time.monotonic()
        since = now if self._failing is None else self._failing[0]
        if self._failing is None:
            self._say(f"{worker.place.host}: {error.line()}; waiting for it")
        self._failing = since, failure
        if now - since > self._patience.outside:
            raise error
        if not (failure.of_store or isinstance(error, LedgerError)):
            self._lose(worker, error.line())  # its networks or its decoder: another process may do better
        else:
            self._pause_until = now + min(_LONGEST_PAUSE_S, max(1.0, now - since))

    def _lose(self, worker: _Worker, why: str) -> None:
        """Give what a lost worker had in hand to another one. Raises `SweepError` where a part ends them all."""
        self._drop(worker)
        id_ = worker.place.id
        self._falls[id_] += 1
        self._rests[id_] = time.monotonic() + min(_LONGEST_PAUSE_S, 2.0 ** (self._falls[id_] - 1) - 1)
        if self.halted:
            return
        self._say(f"{worker.place.host} lost a worker ({why}); what it had in hand is done again")
        if worker.shard is None:
            return
        self._todo.appendleft(worker.shard)
        self._deaths[worker.shard.within] += 1
        if self._deaths[worker.shard.within] >= _DEATHS_MOST:
            within = worker.shard.within
            cause = f"{_DEATHS_MOST} workers were lost over the objects behind {_spoken(within.after)}"
            raise SweepError(
                "sweep", f"{cause}; the last one: {why}", "scan that part by --prefix without --engine ray"
            )

    def _drop(self, worker: _Worker) -> None:
        del self._workers[worker.place.id]
        if worker.opening is None:
            self._devices[worker.device] -= 1
        self._devices += Counter()
        self._cluster.end(worker.handle)

    def _watch(self, now: float) -> None:
        """Ask workers how far they are; say who is silent, and give up who is so for too long."""
        if any(worker.opening is None for worker in self._workers.values()):
            self._without = now
        elif now - self._without > self._patience.worker or (self._refused and not self._workers and not self._rests):
            raise self._no_worker()
        for worker in list(self._workers.values()):
            silent = now - worker.heard
            if worker.judging is not None and worker.asking is None and now - worker.asked >= _ASKED_S:
                worker.asked, worker.asking = now, self._cluster.call(worker.handle, "now")
            if worker.judging is None or silent < self._patience.silent:
                continue
            if not worker.said_silent:
                worker.said_silent = True
                self._say(f"{worker.place.host} has said nothing for {silent:.0f} s")
            if silent >= self._patience.dead:
                self._lose(worker, f"it said nothing for {silent:.0f} s")

    def _no_worker(self) -> SweepError:
        """Return the error of a pass that no worker takes part in."""
        if self._refused:
            id_, failure = next(iter(self._refused.items()))
            first = failure.error
            count = f" ({len(self._refused)} of them)" if len(self._refused) > 1 else ""
            kind = type(first) if isinstance(first, SweepError) else SweepError
            return kind(f"worker at {id_}", f"refused{count}: {first.thing}: {first.cause}", first.remedy)
        cause = f"no worker was ready within {self._patience.worker:.0f} s"
        return SweepError("sweep", cause, "see `ray status`: a machine with free processors is needed")

    # --- the end

    def _halted_all(self) -> bool:
        """Tell workers once that nothing more is wanted; return whether all of them have ended what was in hand."""
        busy = [worker for worker in self._workers.values() if worker.judging is not None]
        now = time.monotonic()
        if not self._told_halt:
            self._told_halt = now
            for worker in busy:
                self._cluster.call(worker.handle, "halt")
        return not busy or now - self._told_halt > self._patience.halt

    def _end_all(self) -> None:
        for worker in list(self._workers.values()):
            self._cluster.end(worker.handle)
        self._workers.clear()


def _whole_name(ledger: str) -> str:
    """Return a ledger's name so that it is the same from every folder."""
    return ledger if "://" in ledger else os.path.abspath(os.path.expanduser(ledger))  # noqa: PTH100, PTH111


def _spoken(key: bytes | None) -> str:
    return "the beginning" if key is None else key.decode("utf-8", "backslashreplace")
