"""The gate's life: puts its parts together from settings, starts them, and stops them in order.

Stopping: takes nothing more, answers what it holds, writes down what is owed. What was lent to workers goes with the
uploads that wait for it; waiting uploads are in the ledger, so that a restart loses none.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

# Here, before there are threads: the engine and what tells of lists import it at the same moment, each by another way
# into it, and one of them then finds half of it.
import numpy as np  # noqa: F401
from starlette.routing import BaseRoute, Route

from fedi_safety.app.engine import Engine, measurable, open_decoder, open_engine
from fedi_safety.app.known.figures import list_figures, source_figures
from fedi_safety.app.sharing.figures import publisher_figures
from fedi_safety.app.sharing.publishing import open_log
from fedi_safety.config.locations import sharing_folder
from fedi_safety.config.schema import Gate, Settings
from fedi_safety.core.enums import MediaType
from fedi_safety.core.errors import FediSafetyError
from fedi_safety.core.ledger.ports import UploadLedger
from fedi_safety.core.ledger.uploads import GATE_RUN, UploadState
from fedi_safety.core.policy import Policy
from fedi_safety.core.ports import Decoder
from fedi_safety.gate import edge, openapi
from fedi_safety.gate.admission import Admission, check
from fedi_safety.gate.app import create_app
from fedi_safety.gate.backlog.backlog import Backlog
from fedi_safety.gate.backlog.likeness import Likenesses
from fedi_safety.gate.backlog.writer import LedgerWriter
from fedi_safety.gate.fetching import Fetcher, Hosts
from fedi_safety.gate.hooks.mastodon import MastodonHook
from fedi_safety.gate.hooks.pdq import PdqHook
from fedi_safety.gate.in_hand import UploadsInHand
from fedi_safety.gate.keys import Keyring
from fedi_safety.gate.list_gauges import ListGauges
from fedi_safety.gate.memory import Memory
from fedi_safety.gate.moving import AVAILABLE, Elsewhere, MovingProtocol
from fedi_safety.gate.notice_gauges import NoticeGauges
from fedi_safety.gate.parts import Parts
from fedi_safety.gate.proxy.forwarding import Head
from fedi_safety.gate.proxy.handover import PassingProcess
from fedi_safety.gate.proxy.server import UpstreamProxy
from fedi_safety.gate.proxy.upstreams import Ports
from fedi_safety.gate.proxy.upstreams import check as check_upstreams
from fedi_safety.gate.shared_list import SharedList
from fedi_safety.gate.tally import Tally
from fedi_safety.gate.worker_api import WorkerApi
from fedi_safety.judging.engine import EngineJudge, EngineLimits
from fedi_safety.judging.metrics import Metrics
from fedi_safety.judging.remembered import LedgerFirst
from fedi_safety.judging.together import OWN, Together
from fedi_safety.judging.types import Judge
from fedi_safety.judging.worker_queue import QueueLimits, WorkerQueue
from fedi_safety.media import SandboxDecoder
from fedi_safety.media.sniff import sniff
from fedi_safety.service.priority import come_first, leave_one, take_back, weigh_own_session
from fedi_safety.service.systemd import Notifier
from fedi_safety.sharing.subscribers import Subscribers

log = logging.getLogger(__name__)

_BEAT_S = 10.0
_WEBHOOK_SECONDS = 15.0
# After which a thread that computes gives way to one that waits. Out of the box it is ten times that, and the event
# loop, which gives way at each call of the system, would stand behind a computing thread several times in a request.
_SWITCH_S = 0.0005


def engine_settings(settings: Settings) -> Settings:
    """Return the settings that the gate's engine is opened with: no decoding may outlast the uploader's patience."""
    limits = settings.limits
    seconds = min(limits.max_seconds, settings.gate.deadline_s / 2)
    return settings.model_copy(update={"limits": limits.model_copy(update={"max_seconds": seconds})})


class Serving:
    """One gate. `run` serves until it is told to stop."""

    def __init__(
        self,
        settings: Settings,
        ledger: UploadLedger,
        policy: Policy,
        listener: socket.socket,
        *,
        reload: Callable[[], Policy],
        load: Callable[[], Engine] | None = None,
        sniff: Callable[[bytes], MediaType] = sniff,
        extra_routes: Sequence[BaseRoute] = (),
        upstream_listeners: Mapping[str, socket.socket] | None = None,
        ended: Callable[[], object] = lambda: None,
        apart: bool = False,
        elsewhere: Elsewhere | None = None,
        in_hand: UploadsInHand | None = None,
    ) -> None:
        """Take over the ledger's use and the listening socket; `load` and `sniff` replace the engine's in tests.

        `ended` is called now and then, beside the serving: it decides anew what rests on entries whose time is over.

        `extra_routes` are other rooms', served beside the gate's own: usually a `Mount`, whose middleware (sessions,
        headers) and error pages are its own and touch no upload. The gate does not ask who calls them.
        `upstream_listeners` are the sockets of the servers behind it, by their names in `gate.upstream`; `apart`: what
        has no file is answered there by a process of its own, where that can be had. `elsewhere` answers some paths of
        the gate's own port. How many uploads are in hand is counted in `in_hand`.
        """
        self._settings = settings
        self._ledger = ledger
        self._policy = policy
        self._listener = listener
        self._reload = reload
        self._sniff = sniff
        self._load = load or partial(open_engine, engine_settings(settings), ledger.had_lists)
        self._metrics = Metrics()
        self._notifier = Notifier()
        self._extra_routes = tuple(extra_routes)
        self._upstream_listeners = dict(upstream_listeners or {})
        self._apart = apart and bool(upstream_listeners) and AVAILABLE
        self._elsewhere = elsewhere
        self._in_hand = UploadsInHand() if in_hand is None else in_hand
        self.passing: PassingProcess | None = None
        self._processors = frozenset[int]()  # of the event loop, where another process passes on; it leaves one of them
        self._ended = ended
        self._tally = Tally()
        self._own_decoder: SandboxDecoder | None = None
        self._opening = threading.Lock()
        self._stop = asyncio.Event()
        self.ready = asyncio.Event()

    # --- putting together

    def _build(self, run: int) -> None:
        settings, gate = self._settings, self._settings.gate
        self.writer = LedgerWriter(self._ledger, run, self._metrics)
        spare = gate.held_bytes // 4  # for what was answered already and is judged when there is time
        self._memory = Memory(gate.held_bytes - spare, gate.max_bytes)
        self._likenesses = Likenesses(self._hashing_decoder, self.writer)
        self._judge = self._make_judge(spare)
        media = Hosts("gate.mastodon_hosts", gate.mastodon_hosts)
        fetcher = Fetcher(media, gate.max_bytes, _WEBHOOK_SECONDS) if media else None
        self._backlog = Backlog(
            settings, self._ledger, self.writer, run, lambda: self._policy, self._judge, self._engine, fetcher
        )
        admission = Admission(gate)
        pictures = Hosts("gate.pdq_hosts", gate.pdq_hosts)
        described = openapi.describe(
            workers=self._queue is not None,
            pdq=bool(pictures),
            mastodon=gate.mastodon_secret is not None,
            sharing=settings.sharing.name is not None,
        )
        self._list_gauges = ListGauges(
            self._metrics,
            lambda: list_figures(settings, self._ledger),
            lambda: source_figures(settings),
            lambda: publisher_figures(settings),
            ended=self._ended,
        )
        self._notice_gauges = NoticeGauges(
            self._metrics, self._ledger, lambda: not self._is_ready, lambda: self._backlog.overdue
        )
        self._parts = Parts(
            gate,
            admission,
            self._judge,
            self._engine,
            self.writer,
            self._backlog,
            self._metrics,
            self._memory,
            self._likenesses,
            self._sniff,
            [*self._further_routes(admission, pictures, media), *self._extra_routes],
            described,
            openapi.page(described),
            self._tally,
            self._in_hand,
            late_sources=lambda: self._list_gauges.late,
            late_notices=lambda: self._notice_gauges.late,
        )
        self._add_gauges()
        self._server = self._make_server(admission)

    def _make_server(self, admission: Admission) -> edge.Server:
        """Make the server of all ports: the gate's own, and one for each server behind it."""
        gate = self._settings.gate
        app_ = create_app(self._parts)
        self.routes = tuple(route for route in app_.routes if isinstance(route, Route))
        self._proxies = {
            listener.getsockname()[1]: UpstreamProxy(name, gate.upstream[name], self._parts)
            for name, listener in self._upstream_listeners.items()
        }
        guard = edge.Edge(
            edge.affordable(gate.connections),
            lambda peer: admission.knows(peer) or any(proxy.knows(peer) for proxy in self._proxies.values()),
            frozenset(self._proxies),
        )
        app = Ports(app_, self._proxies)
        if (elsewhere := self._elsewhere) is None:
            return edge.make_server(app, guard)

        def passes(port: int, head: Head) -> bool:
            return port in self._proxies or not elsewhere.has(head.target)

        return edge.make_server(
            app, guard, MovingProtocol, passes=staticmethod(passes), take=staticmethod(elsewhere.take)
        )

    def _make_judge(self, spare_bytes: int) -> Judge:
        """Make the engine and the queue for workers, as configured, and return who is asked."""
        gate = self._settings.gate
        self._engine = None
        if gate.engine:
            limits = EngineLimits(gate.queue, spare_bytes, leaves_one=bool(gate.upstream))
            self._engine = EngineJudge(
                self._load, self._policy, self._ledger, self.writer.enqueue_verdict, self._metrics, limits
            )
        self._queue: WorkerQueue | None = None
        if gate.worker_keys:
            places = gate.worker_queue + (gate.queue if gate.engine and gate.worker_queue else 0)
            lent = QueueLimits(places, gate.held_bytes, missing_s=gate.worker_missing_s)
            self._queue = WorkerQueue(lent, own=OWN if gate.engine else None, sniff=self._sniff)
        if self._engine is None:
            assert self._queue is not None  # `check` has refused settings without either
            measured = measurable(self._settings)  # as workers with the same configuration have it
            return LedgerFirst(self._queue, self._ledger, lambda: measured.in_force(self._policy))
        return self._engine if self._queue is None else Together(self._engine, self._queue)

    def _further_routes(self, admission: Admission, pictures: Hosts, media: Hosts) -> Iterator[BaseRoute]:
        """Yield what is served besides uploads: for workers, and for servers that ask in their own way."""
        gate = self._settings.gate
        if self._queue is not None:
            keys = {name: key.get_secret_value() for name, key in gate.worker_keys.items()}
            yield from WorkerApi(self._queue, Keyring(keys), self._tally).routes()
        if pictures:
            yield from PdqHook(admission, Fetcher(pictures, gate.max_bytes), self._decoder).routes()
        if gate.mastodon_secret is not None:
            secret = gate.mastodon_secret.get_secret_value()
            yield from MastodonHook(secret, media, self.writer, self._backlog.hurry).routes()
        if self._settings.sharing.name is not None:
            subscribers = Subscribers(sharing_folder(self._settings), now=time.time)
            yield from SharedList(
                open_log(self._settings), subscribers, self._settings.sharing.requests_per_minute
            ).routes()

    def _decoder(self) -> Decoder | None:
        """Return the engine's decoder; a gate without an engine has one of its own, for hashes."""
        if self._engine is not None:
            return None if self._engine.engine is None else self._engine.engine.decoder
        return self._opened_decoder()

    def _opened_decoder(self) -> Decoder:
        with self._opening:
            if self._own_decoder is None:
                self._own_decoder = open_decoder(engine_settings(self._settings), 1)
            return self._own_decoder

    def _hashing_decoder(self) -> Decoder:
        """Return a decoder also while the engine's is not there yet. It may be called in any thread."""
        return self._decoder() or self._opened_decoder()

    def _add_gauges(self) -> None:
        m, backlog, engine, queue = self._metrics, self._backlog, self._engine, self._queue
        m.gauge("held_bytes", "Bytes of uploads that somebody waits for.", lambda: self._memory.taken_bytes)
        m.gauge(
            "ready",
            "1 if uploads are judged, and those let in without a verdict can be written down.",
            lambda: float(self._is_ready),
        )
        m.gauge("debt_oldest_seconds", "Age of the oldest waiting upload.", lambda: backlog.oldest_s)
        m.gauge("debt_alert", "1 if an upload waits for longer than gate.alert_s.", lambda: float(backlog.overdue))
        m.gauge("debt_unwritten", "Waiting uploads that are in memory only.", lambda: float(self.writer.unwritten))
        states = (UploadState.OWED, UploadState.HELD, UploadState.CONDEMNED)
        m.by_label(
            "debt", "Uploads let in without a verdict.", "state", backlog.counted, tuple(s.value for s in states)
        )
        if engine is not None:
            m.gauge("queue", "Uploads that wait for the engine.", lambda: engine.lengths()[0])
            m.gauge("queue_spare", "Answered uploads that are judged when there is time.", lambda: engine.lengths()[1])
        if queue is not None:
            m.gauge("workers", "Workers that asked for work lately.", lambda: queue.figures().workers)
            m.gauge("worker_queue", "Uploads that wait for workers.", lambda: queue.figures().waiting)
            m.gauge("worker_lent", "Uploads that workers have in hand.", lambda: queue.figures().lent)

    @property
    def _is_ready(self) -> bool:
        return not self._parts.stopping and self._judge.ready() is None and self.writer.failing is None

    # --- running

    async def run(self) -> None:
        """Serve until a signal, or `stop`. Raises `FediSafetyError` where the models cannot be loaded."""
        come_first()
        run = await asyncio.to_thread(self._ledger.begin_run, GATE_RUN, self._store_name, {"policy": self._policy.id})
        self._build(run)
        sys.setswitchinterval(_SWITCH_S)
        self.writer.start()
        with self._signals():
            upstreams = list(self._upstream_listeners.values())
            own = [self._listener] if self._apart else [self._listener, *upstreams]
            serving = asyncio.ensure_future(self._server.serve(sockets=own))
            if self._apart:
                self._set_apart()
            await self._judge.start()
            self._backlog.start()
            watching = asyncio.ensure_future(self._watch())
            counting = asyncio.ensure_future(self._list_gauges.run())
            telling = asyncio.ensure_future(self._notice_gauges.run())
            failure: FediSafetyError | None = None
            try:
                await self._until_stopped(serving)
            except FediSafetyError as error:
                failure = error
            await self._end(serving)
            self._tally.close()
            for task in (watching, counting, telling):
                task.cancel()
            await asyncio.gather(watching, counting, telling, return_exceptions=True)
            status = "failed" if failure is not None else "done"
            await asyncio.to_thread(self._close, run, status)
        if failure is not None:
            raise failure

    async def _until_stopped(self, serving: asyncio.Future[None]) -> None:
        stopped = asyncio.ensure_future(self._stop.wait())
        ends: list[asyncio.Future[Any]] = [stopped, serving]
        try:
            if self._engine is not None and (loaded := self._engine.loaded) is not None:
                await asyncio.wait([loaded, *ends], return_when=asyncio.FIRST_COMPLETED)
                if loaded.done():
                    loaded.result()  # raises what kept the models from being loaded
            if self._stop.is_set():
                return
            gc.freeze()  # what is there now stays: else it is gone through whenever many uploads come and go
            self.ready.set()
            self._notifier.send("READY=1", f"STATUS=listening on {edge.shown(self._listener)}")
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            gc.unfreeze()
            stopped.cancel()

    def _set_apart(self) -> None:
        """Have another process answer what has no file, and the gate stay behind where it judges."""
        gate, listeners = self._settings.gate, self._upstream_listeners
        own_session = self._engine is not None and weigh_own_session()
        try:
            self.passing = PassingProcess(
                gate, listeners, self._metrics, self._server.adopt, self._together, own_session=own_session
            )
            if self._engine is not None:
                # The event loop's thread as well: taking uploads in keeps a server waiting, too.
                self._processors = leave_one()
        except OSError as error:
            log.warning("no other process can be started: %s", (error.strerror or type(error).__name__).lower())
            self._together()

    def _together(self) -> None:
        """Answer here what the process for requests without a file answered, which has ended."""
        log.error("the process that answers requests without a file has ended; they are answered by the gate's own, "
                  "more slowly, until it is started anew")  # fmt: skip
        self.passing = None
        take_back(self._processors)
        self._listening = asyncio.ensure_future(self._server.listen(self._upstream_listeners.values()))

    def stop(self) -> None:
        """Stop in order. A second call does not wait for uploads in hand."""
        if self._stop.is_set():
            self._server.force_exit = True
            if self.passing is not None:
                self.passing.kill()
        self._stop.set()

    async def _end(self, serving: asyncio.Future[None]) -> None:
        self._parts.stopping = True
        self._notifier.send("STOPPING=1", "STATUS=answering the uploads in hand")
        if self._queue is not None:
            await self._queue.stop()  # workers can bring their answers only as long as the server listens
        self._server.should_exit = True
        # The server waits for its answers, which wait for the judges, whose engine the backlog may be using.
        await self._backlog.stop()
        ending = [] if self.passing is None else [self.passing.end()]
        await asyncio.gather(serving, self._judge.stop(), *ending, return_exceptions=True)
        await asyncio.gather(*(proxy.close() for proxy in self._proxies.values()), return_exceptions=True)

    def _close(self, run: int, status: str) -> None:
        self._likenesses.close()
        self.writer.close()
        if self._own_decoder is not None:
            self._own_decoder.close()
        counts = self.writer.counts
        figures = {"judged": counts.judged, "refused": counts.refused, "owed": counts.owed}
        try:
            self._ledger.end_run(run, status, figures)
        except FediSafetyError as error:
            log.error("the run's end is not recorded: %s", error.line())

    @property
    def _store_name(self) -> str:
        return "" if self._settings.gate.store is None else self._settings.gate.store

    async def _watch(self) -> None:
        """Tell systemd that it lives, as long as the event loop does."""
        pause = min(_BEAT_S, (self._notifier.watchdog_s or 60.0) / 3)
        while True:
            await asyncio.sleep(pause)
            state = self._judge.ready() or "ready"
            self._notifier.send("WATCHDOG=1", f"STATUS={state}; {self._backlog.state.owed} waiting")

    def _take_policy(self) -> None:
        try:
            policy = self._reload()
        except FediSafetyError as error:
            log.error("the policy stays as it was: %s", error.line())
            return
        self._policy = policy
        if self._engine is not None:
            self._engine.take_policy(policy)
        log.warning("policy reloaded: %s", policy.id)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        handlers = {signal.SIGINT: self.stop, signal.SIGTERM: self.stop, signal.SIGHUP: self._take_policy}
        taken = []
        for number, handler in handlers.items():
            with contextlib.suppress(ValueError, RuntimeError):  # not in the main thread: tests stop it themselves
                loop.add_signal_handler(number, handler)
                taken.append(number)
        try:
            yield
        finally:
            for number in taken:
                loop.remove_signal_handler(number)


def checked(gate: Gate, host: str) -> None:
    """Refuse settings that cannot be served. Raises `ConfigError`."""
    check(gate, host=host)
    check_upstreams(gate)
    Hosts("gate.pdq_hosts", gate.pdq_hosts)
    Hosts("gate.mastodon_hosts", gate.mastodon_hosts)
