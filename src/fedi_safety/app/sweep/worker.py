"""One worker of a sweep: judges parts of a store and records what it finds. It acts on nothing, and knows no Ray.

It is another machine's process, so it takes part only where it judges as the pass does (`sameness`), and writes only
while that pass is under way: whoever was given up for dead and is not records nothing any more.
"""

from __future__ import annotations

import logging
import os
import pickle
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from fedi_safety import __version__
from fedi_safety.app.engine import Engine, open_engine
from fedi_safety.app.ledger import SystemClock, open_settings_ledger
from fedi_safety.app.passes import breaker_limits
from fedi_safety.app.scan import in_force, pipeline_of
from fedi_safety.app.sweep.messages import Failure, Opened, Orders, Part, PartCensus, Said, Shard, packed
from fedi_safety.app.sweep.parts import PartOfStore
from fedi_safety.app.sweep.sameness import check_named, check_program, check_store, named
from fedi_safety.core import coredumps
from fedi_safety.core.decide import Mode
from fedi_safety.core.enforcement import Acting, Enforcement
from fedi_safety.core.errors import FediSafetyError
from fedi_safety.core.ledger.ports import Ledger
from fedi_safety.core.pipeline import Pipeline
from fedi_safety.core.policy import Policy
from fedi_safety.core.ports import Store
from fedi_safety.core.runs import Tally
from fedi_safety.core.types import Plan
from fedi_safety.stores import open_store

_LOGGER = "fedi_safety"
_SAID_MOST = 1000  # lines of the log that one part brings back
_SAID_CHARS = 2000


class SweepWorker:
    """Judges shards, one at a time. `now` and `halt` may be called meanwhile, by other threads."""

    def __init__(self) -> None:
        """Be nothing yet: what fails is told by `open`."""
        self._orders: Orders
        self._store: Store
        self._ledger: Ledger
        self._engine: Engine
        self._policy: Policy
        self._clock = SystemClock()
        self._closing = ExitStack()
        self._lock = threading.Lock()
        self._pipeline: Pipeline | None = None
        self._tally = Tally()
        self._halted = False

    def open(self, program: str, orders: bytes, cpus: int, beside: int) -> Opened:
        """Load what judges, and say whether it is as the pass has it.

        `orders` are read once the program is known to be the same. `cpus` are this worker's; `beside` counts the
        workers that share the machine's memory.
        """
        try:
            check_program(program, __version__)
            self._open(pickle.loads(orders), cpus, beside)
        except FediSafetyError as error:
            self.close()
            return Opened(refusal=Failure.of(error))
        return Opened(self._engine.device)

    def _open(self, orders: Orders, cpus: int, beside: int) -> None:
        coredumps.forbid()
        if os.path.isdir(orders.folder):  # noqa: PTH112 - where it is not, relative paths lead nowhere
            os.chdir(orders.folder)
        settings = orders.settings
        settings = settings.model_copy(update={"jobs": min(settings.jobs or cpus, cpus)})
        logging.getLogger(_LOGGER).setLevel(settings.log_level.upper())
        self._orders = replace(orders, settings=settings, request=replace(orders.request, beside=beside))
        self._ledger = open_settings_ledger(settings)
        self._closing.callback(self._ledger.dispose)
        self._store = open_store(orders.store, settings)
        self._closing.callback(self._store.close)
        check_store(self._store, orders)
        judging = settings.model_copy(update={"detectors": ["known"]}) if orders.request.hashes_only else settings
        self._engine = open_engine(judging, self._ledger.had_lists)
        self._closing.callback(self._engine.close)
        self._policy = in_force(settings, orders.request, self._engine, orders.policy)
        check_named(orders.named, named(self._engine, self._policy))
        self._ledger.hold_to(orders.run)

    def judge(self, shard: Shard) -> Part:
        """List a part of the store, judge what is new, and record it with what is planned. Does no act."""
        part = PartOfStore(self._store, shard, self._clock)
        last = self._orders.last_row
        census = None if last is None else PartCensus(self._store.url, last, 0, 0)
        pipeline = pipeline_of(
            self._orders.settings,
            self._orders.request,
            self._ledger,
            part,
            self._engine,
            self._policy,
            self._clock,
            None if census is None else lambda: census,
        )
        plans: list[Plan] = []
        enforcement = self._enforcement(plans)
        failure = None
        with self._under_way(pipeline, enforcement.tally), _heard() as said:
            try:
                enforcement.consume(pipeline)
            except FediSafetyError as error:
                failure = Failure.of(error)
        return Part(
            part.rest,
            enforcement.tally,
            met=packed(census.rows if census else ()),
            adopted=packed(census.adopted_rows if census else ()),
            closed=tuple(census.closed if census else ()),
            crowded=census is not None and census.crowded,
            plans=packed(plan.id for plan in plans),
            stages=dict(pipeline.stages.seconds),
            said=tuple(said),
            failure=failure,
        )

    def _enforcement(self, plans: list[Plan]) -> Enforcement:
        """Return what records and plans; as in a dry run it has no act to carry out."""
        orders, tally = self._orders, Tally()
        return Enforcement(
            ledger=self._ledger,
            acting=Acting(self._ledger, {}, orders.run, tally),
            clock=self._clock,
            store=self._store.url,
            mode=Mode(orders.request.act, dry_run=True),
            limits=breaker_limits(orders.settings),
            run=orders.run,
            tally=tally,
            on_planned=plans.extend,
        )

    @contextmanager
    def _under_way(self, pipeline: Pipeline, tally: Tally) -> Iterator[None]:
        with self._lock:
            self._pipeline, self._tally = pipeline, tally
            if self._halted:
                pipeline.halt()
        try:
            yield
        finally:
            with self._lock:
                self._pipeline = None

    def now(self) -> Tally:
        """Return the counts of the part in hand; they grow until `judge` returns them."""
        return self._tally

    def halt(self) -> None:
        """List nothing more, now and from now on; what is in hand is judged and recorded."""
        with self._lock:
            self._halted = True
            if self._pipeline is not None:
                self._pipeline.halt()

    def close(self) -> None:
        """End the decoder's processes, and close store and ledger. May be called twice."""
        self._closing.close()


class _Heard(logging.Handler):
    """Keeps what is logged, up to a number of lines."""

    def __init__(self, said: list[Said]) -> None:
        super().__init__()
        self._said = said

    def emit(self, record: logging.LogRecord) -> None:
        if len(self._said) < _SAID_MOST:
            self._said.append(Said(record.name, record.levelno, record.getMessage()[:_SAID_CHARS]))


@contextmanager
def _heard() -> Iterator[list[Said]]:
    """Keep what this program logs while the block runs from the worker's own log, for the driver's."""
    said: list[Said] = []
    logger, handler = logging.getLogger(_LOGGER), _Heard(said)
    before, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield said
    finally:
        logger.removeHandler(handler)
        logger.propagate = before
