"""The backlog: uploads that were let in without a verdict, judged as soon as the engine or a store can.

A waiting upload ends with a judgement in the ledger. What is condemned is removed by the ordinary acts, through an
ordinary pass over the few objects in question: recorded first, held back by the breaker. It decides no verdict.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from fedi_safety import __version__
from fedi_safety.app.acts import act_for
from fedi_safety.app.consent import remembered
from fedi_safety.app.engine import Engine
from fedi_safety.app.ledger import SystemClock
from fedi_safety.app.notices.conditions import say_error
from fedi_safety.app.scan import scan
from fedi_safety.app.stores import upload_store
from fedi_safety.app.tracing import opened_tracing
from fedi_safety.clients.mastodon import storage_prefixes
from fedi_safety.config.schema import Settings
from fedi_safety.core.decide import DAY_S
from fedi_safety.core.enforcement import Passing
from fedi_safety.core.enums import Reason, Recheck, Verdict
from fedi_safety.core.errors import FediSafetyError, LedgerError, StoreError
from fedi_safety.core.ledger.ports import UploadLedger
from fedi_safety.core.ledger.uploads import GONE, NOT_FOUND, REMOVED, BacklogEntry, Move, UploadFigures, UploadState
from fedi_safety.core.policy import Policy
from fedi_safety.core.ports import Store
from fedi_safety.core.runs import RunReport, ScanRequest
from fedi_safety.core.types import Object
from fedi_safety.core.wording.hints import hint
from fedi_safety.gate.backlog.finder import Finder, StoreSubset
from fedi_safety.gate.backlog.likeness import moves
from fedi_safety.gate.backlog.relay import ELSEWHERE, Relay, bystander
from fedi_safety.gate.backlog.writer import LedgerWriter
from fedi_safety.gate.fetching import Fetcher, FetchError
from fedi_safety.judging.engine import EngineJudge
from fedi_safety.judging.logs import named
from fedi_safety.judging.types import Judge, Unjudged, Upload

log = logging.getLogger(__name__)

_EVERY_S, _COUNT_S = 5.0, 1.5  # other gates change what there is to count
_TEND_S = 60.0
_TRACE_S = 10.0  # of a minute
_YOUNG_S = 3.0  # pict-rs still has to finish what it has just been told
_GONE_S = 600.0  # what pict-rs has not shown by then never came to be, or is gone
_RETRY_FIRST_S, _RETRY_MOST_S = 10.0, 600.0
_STOP_S = 4.0
_BESIDE = 4  # a pass shares the memory with uploads that are waited for
_MOST = 32  # waiting uploads of one round
_MOST_ALIKE = 1000  # waiting uploads that are compared with what a store has got since
_JUDGE_S = 60.0
_SWEEP_MARGIN_S = 60.0
_SAY_S = 3600.0
_TRANSIENT = frozenset(reason.value for reason in Reason if reason.transient)


@dataclass(slots=True)
class BacklogState:
    """The backlog as it was last counted."""

    figures: UploadFigures = field(default_factory=UploadFigures)
    unwritten: int = 0

    def oldest_s(self, now: float) -> float:
        """Return the age of the oldest waiting upload that can be judged here, 0 if there is none."""
        oldest = self.figures.oldest_at
        return 0.0 if oldest is None else max(0.0, now - oldest)

    @property
    def owed(self) -> int:
        """Return how many are owed."""
        return self.figures.owed.total() + self.unwritten


class Backlog:
    """Counts the backlog and works it off, when nobody waits for the engine."""

    def __init__(
        self,
        settings: Settings,
        ledger: UploadLedger,
        writer: LedgerWriter,
        run: int,
        policy: Callable[[], Policy],
        judge: Judge,
        engine: EngineJudge | None,
        fetcher: Fetcher | None,
    ) -> None:
        """Work off what `ledger` has, by `engine`, or without one by whatever workers `judge` has."""
        self.state = BacklogState()
        self._settings = settings
        self._ledger = ledger
        self._writer = writer
        self._run = run
        self._policy = policy
        self._judge = judge
        self._engine = engine
        self._fetcher = fetcher
        self._relay = Relay(judge, writer, settings.gate.max_bytes) if engine is None else None
        self._clock = SystemClock()
        self._finder = None if (target := upload_store(settings)) is None else Finder(target)
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._tended_at = float("-inf")
        self._said_at = float("-inf")
        self._trouble = ""
        self._refused = True  # as far as is known: an earlier process may have said so
        self._halt = threading.Event()
        self._halt_scan: Callable[[], None] = lambda: None

    # --- life

    def start(self) -> None:
        """Begin, in the running loop."""
        self._task = asyncio.get_running_loop().create_task(self._work())

    def hurry(self) -> None:
        """There is something that should not wait for the next round."""
        self._wake.set()

    async def stop(self) -> None:
        """Finish the object in hand and end."""
        self._halt.set()
        self._halt_scan()
        self._wake.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=_STOP_S)
            self._task.cancel()
        if self._finder is not None:
            await asyncio.to_thread(self._finder.close)

    async def _work(self) -> None:
        while not self._halt.is_set():
            full = False
            try:
                full = await self._round()
                self._trouble = ""
                if self._refused:
                    await self._say_refused(None)
            except FediSafetyError as error:
                self._say(error.line())
                if error.refused:
                    await self._say_refused(error)
            except Exception as error:  # noqa: BLE001 - a bug in one round must not end the counting
                self._say(f"internal error: {named(error)}")
            await self._rest(0.0 if full else _EVERY_S)

    async def _rest(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._wake.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left, _COUNT_S)):
                    await self._wake.wait()
            with suppress(FediSafetyError):  # a round says what is wrong
                await asyncio.to_thread(self.count)
        self._wake.clear()

    def _say(self, trouble: str) -> None:
        if trouble != self._trouble:
            log.warning("waiting uploads are not judged now: %s", trouble)
        self._trouble = trouble

    async def _say_refused(self, error: FediSafetyError | None) -> None:
        """Say that the store of the uploads refuses the credentials, or accepts them again."""
        self._refused = error is not None
        await asyncio.to_thread(say_error, self._ledger, "the store of the uploads", error)

    @property
    def overdue(self) -> bool:
        """Whether something has been owed for longer than the operator set."""
        return self.oldest_s >= self._settings.gate.alert_s

    @property
    def decoder(self) -> str | None:
        """Return what decides which media can be judged; None while that is not known."""
        if self._engine is None:
            return ELSEWHERE
        engine = self._engine.engine
        return None if engine is None else decoder_version(engine)

    @property
    def oldest_s(self) -> float:
        """Return the age of the oldest waiting upload that can be judged here."""
        return self.state.oldest_s(self._clock.now())

    def counted(self, state: str) -> float:
        """Return how many uploads are in an open state."""
        figures = self.state.figures
        counts = {UploadState.OWED: self.state.owed, UploadState.HELD: figures.held.total()}
        return float(counts.get(UploadState(state), figures.condemned))

    # --- one round

    async def _round(self) -> bool:
        """Try what is due; return whether there is more of it."""
        await asyncio.to_thread(self.count)
        if self._writer.failing is not None or self._halt.is_set():
            return False
        await self._tend_in_time()
        if not (self.state.figures.owed or self.state.figures.condemned):
            return False
        due = await asyncio.to_thread(self._due)
        for entry in [d for d in due if d.note.url is not None]:
            if not self._halt.is_set():
                await self._announced(entry)
        if not await self._judge_by_store([d for d in due if d.note.url is None]):
            return False
        await asyncio.to_thread(self._writer.flush)
        await asyncio.to_thread(self.count)
        return len(due) >= _MOST

    async def _tend_in_time(self) -> None:
        decoder = self.decoder
        if decoder is not None and time.monotonic() - self._tended_at >= _TEND_S:
            self._tended_at = time.monotonic()
            await asyncio.to_thread(self._tend, decoder)

    async def _judge_by_store(self, entries: Sequence[BacklogEntry]) -> bool:
        """Have these judged by what the store shows of them, where somebody can now; return whether that was tried."""
        if not entries or self._finder is None:
            return False
        engine = self._engine
        if engine is not None and engine.engine is not None and engine.idle:
            await asyncio.to_thread(self._through_store, entries, engine.engine)
            return True
        if self._relay is not None and self._judge.ready() is None:
            await self._through_workers(entries, self._finder, self._relay)
            return True
        return False

    def count(self) -> None:
        """Count the backlog, and say loudly when it is old."""
        now = self._clock.now()
        self.state = BacklogState(self._ledger.upload_figures(now), self._writer.unwritten)
        age = self.state.oldest_s(now)
        if self.overdue and time.monotonic() - self._said_at >= _SAY_S:
            self._said_at = time.monotonic()
            figures = self.state.figures
            log.error(
                "%d uploads let in without a verdict are not judged, the oldest for %d minutes; %d are condemned and "
                "not found yet; see %s", self.state.owed, age // 60, figures.condemned, hint("report"),
            )  # fmt: skip

    def _tend(self, decoder: str) -> None:
        store = None
        if self._finder is not None:
            with suppress(StoreError):  # those that need it say what is wrong
                store = self._finder.open()
        if store is not None:
            self._find_alike(store.url)  # before what a whole pass has not met is settled
        self._ledger.tend_uploads(None if store is None else store.url, decoder, _SWEEP_MARGIN_S)
        if store is not None and self._finder is not None:
            self._trace(self._finder.target.settings, store)

    def _find_alike(self, store: str) -> None:
        """Find what the store has written anew by what it shows."""
        waiting = [
            entry
            for state in (UploadState.CONDEMNED, UploadState.OWED)
            for entry in self._ledger.untried_entries(state, _MOST_ALIKE)
        ]
        self._writer.enqueue_moves(moves(self._ledger, store, waiting, self._clock.now()))
        self._writer.flush()

    def _trace(self, settings: Settings, store: Store) -> None:
        """Find out who sent what was refused, for a while: a server that is slow must not keep uploads waiting."""
        until = time.monotonic() + _TRACE_S
        with opened_tracing(settings, store, self._ledger, self._clock) as tracing:
            tracing.again(self._run, lambda: not self._halt.is_set() and time.monotonic() < until)

    def _due(self) -> list[BacklogEntry]:
        """Return what may be tried now, condemned ones first, then those that were not tried for the longest."""
        now = self._clock.now()
        found = [
            entry
            for state in (UploadState.CONDEMNED, UploadState.OWED)
            for entry in self._ledger.untried_entries(state, _MOST)
            if _is_due(entry, now)
        ]
        return found[:_MOST]

    # --- what a store shows

    def _through_store(self, entries: Sequence[BacklogEntry], engine: Engine) -> None:
        """Find these uploads in the store, and make an ordinary pass over what was found."""
        assert self._finder is not None
        try:
            objects = self._found(entries, self._finder)
            if objects:
                self._judge_found(self._finder.open(), objects, engine)
        except StoreError:
            self._finder.close()
            raise

    async def _through_workers(self, entries: Sequence[BacklogEntry], finder: Finder, relay: Relay) -> None:
        """Find these uploads in the store, have workers judge them, and make a pass over what they condemn."""
        try:
            objects = await asyncio.to_thread(self._found, entries, finder)
            if not objects:
                return
            store = await asyncio.to_thread(finder.open)
            fresh = {obj: entry for obj, entry in objects.items() if entry.note.state is UploadState.OWED}
            await relay.judge(store, fresh)
            await asyncio.to_thread(self._writer.flush)
            condemned = await asyncio.to_thread(self._condemned, objects)
            if condemned:
                await asyncio.to_thread(self._judge_found, store, condemned, bystander())
        except StoreError:
            finder.close()
            raise

    def _condemned(self, objects: dict[Object, BacklogEntry]) -> dict[Object, BacklogEntry]:
        """Return those whose content the ledger has as condemned."""
        contents = self._ledger.contents([d.note.sha256 for d in objects.values() if d.note.sha256 is not None])
        bad = {
            sha for sha, (_, judgement, decided) in contents.items() if decided and judgement.verdict is Verdict.BLOCK
        }
        return {obj: entry for obj, entry in objects.items() if entry.note.sha256 in bad}

    def _found(self, entries: Sequence[BacklogEntry], finder: Finder) -> dict[Object, BacklogEntry]:
        """Return where the store has these uploads, and note of the others that it has not. Raises `StoreError`."""
        now = self._clock.now()
        objects: dict[Object, BacklogEntry] = {}
        nowhere: list[BacklogEntry] = []
        for entry in entries:
            if self._halt.is_set():
                return {}
            if entry.note.state is UploadState.CONDEMNED and entry.verdict is not Verdict.BLOCK:
                self._writer.enqueue_moves([Move(entry.note.upload, UploadState.SETTLED, "dismissed")])
                continue
            found = finder.find(entry)
            if found:
                objects.update(dict.fromkeys(found, entry))
            elif found is not None and now - entry.note.at > _GONE_S:
                nowhere.append(entry)
            else:
                self._writer.enqueue_moves([Move(entry.note.upload)])
        if nowhere:
            over = finder.is_itself(self._ledger)
            if not over:
                self._say("the store has nothing of what is known of it: what is not found there waits")
            ended = (UploadState.SETTLED, NOT_FOUND) if over else (None, None)
            self._writer.enqueue_moves([Move(entry.note.upload, *ended) for entry in nowhere])
        return objects

    def _judge_found(self, store: Store, objects: dict[Object, BacklogEntry], engine: Engine) -> None:
        """Make a pass over these objects and note what became of each of them."""
        try:
            report = self._pass(StoreSubset(store, list(objects)), engine)
        except LedgerError:  # most likely another run, which will meet them itself
            self._writer.enqueue_moves([Move(entry.note.upload) for entry in objects.values()])
            raise
        if report.interrupted:
            return
        acts = report.act is not None
        for entry, known in zip(objects.values(), self._ledger.lookup(store.url, list(objects), None), strict=True):
            upload = entry.note.upload
            if known is None:  # removed, which has settled it; or it is not what was listed
                self._writer.enqueue_moves([Move(upload)])
            elif known.reason is not None:
                state = None if known.reason.transient else UploadState.HELD
                self._writer.enqueue_moves(
                    [Move(upload, state, detail=known.reason.value, decoder=decoder_version(engine))]
                )
            elif known.verdict is Verdict.BLOCK and acts:  # the breaker, or a failed act: it is tried again
                self._writer.enqueue_moves([Move(upload, UploadState.CONDEMNED, Verdict.BLOCK.value)])
            elif known.verdict is not None:
                self._writer.enqueue_moves([Move(upload, UploadState.SETTLED, known.verdict.value)])

    def _pass(self, store: Store, engine: Engine, prefixes: tuple[str, ...] = ()) -> RunReport:
        """Judge, record, plan and act as a scan does. Raises `LedgerError` where another run holds the ledger."""
        assert self._finder is not None
        settings = remembered(self._finder.target, self._ledger, store.url).settings
        planning = settings.act is None  # nobody chose an act yet: it is planned, and waits for a person
        request = ScanRequest(
            store.url,
            dry_run=planning,
            act=act_for(settings, store),
            prefixes=prefixes,
            redecide=False,
            recheck=Recheck.POLICY if engine.detectors else Recheck.NEVER,  # who measures nothing decides nothing
            removed_before=self._ledger.removed_since(store.url, self._clock.now() - DAY_S),
            beside=_BESIDE,
        )

        def on_start(pipeline: Passing, _progress: object) -> None:
            self._halt_scan = pipeline.halt

        self._writer.flush(2.0)  # verdicts that are on their way need not be judged again
        report = scan(
            settings,
            request,
            ledger=self._ledger,
            store=store,
            engine=engine,
            policy=self._policy(),
            on_start=on_start,
            run=self._run,
            clock=self._clock,
        )
        self._halt_scan = lambda: None
        tally = report.tally
        if tally.judged or tally.acted:
            log.info("waiting uploads: %d judged, %d condemned, %d removed", tally.judged, tally.block, tally.acted)
        if planning and tally.block:
            log.error("%d uploads are condemned and stay: no action is chosen for %s; %s, or set `act`",
                      tally.block, store.url, hint("apply {}", store.url))  # fmt: skip
        if report.breaker is not None and not planning:
            log.error("the breaker holds removals back: %s", report.breaker)
        for outcome in report.failures:
            log.warning("not removed: %s: %s", outcome.plan.object.key, outcome.detail)
        return report

    # --- what a webhook announced

    async def _announced(self, entry: BacklogEntry) -> None:
        url = entry.note.url or ""
        engine = None if self._engine is None else self._engine.engine
        if self._finder is not None and engine is not None and (prefixes := storage_prefixes(url)):
            try:
                if await asyncio.to_thread(self._at, prefixes, entry, engine):
                    return
            except (StoreError, LedgerError) as error:
                log.info("%s is fetched by its address: %s", url, error.line())
        if entry.note.sha256 is None:
            await self._fetched(entry, url)

    def _at(self, prefixes: tuple[str, ...], entry: BacklogEntry, engine: Engine) -> bool:
        """Make a pass over what lies there; return whether anything did."""
        assert self._finder is not None
        report = self._pass(self._finder.open(), engine, prefixes)
        tally = report.tally
        if not tally.listed or report.interrupted:
            return False
        judged = tally.judged + tally.already_judged
        if not judged:
            state = None if set(tally.unscanned) & _TRANSIENT else UploadState.HELD
            why = ", ".join(sorted([*tally.unscanned, *tally.skipped]))
            self._writer.enqueue_moves([Move(entry.note.upload, state, detail=why, decoder=decoder_version(engine))])
        else:
            outcome = Verdict.BLOCK if tally.block else Verdict.REVIEW if tally.review else Verdict.CLEAR
            still = tally.block > tally.acted + tally.gone and report.act is not None
            over = UploadState.CONDEMNED if still else UploadState.SETTLED
            how = REMOVED if tally.acted else GONE if tally.gone else outcome.value
            self._writer.enqueue_moves([Move(entry.note.upload, over, how)])
        return True

    async def _fetched(self, entry: BacklogEntry, url: str) -> None:
        """Fetch by the address, and judge."""
        note = entry.note
        if self._fetcher is None:
            self._writer.enqueue_moves([Move(note.upload, detail="no host is listed to fetch from")])
            return
        try:
            data = await self._fetcher.get(url)
        except FetchError as error:
            over = error.absent and self._clock.now() - note.at > _GONE_S
            state = UploadState.SETTLED if over else None
            self._writer.enqueue_moves([Move(note.upload, state, NOT_FOUND if over else None, detail=error.message)])
            return
        now = time.monotonic()
        digest = hashlib.sha256(data).digest()
        answer = await self._judge.judge(Upload(note.upload, note.sender, data, None, digest, now, now + _JUDGE_S))
        if answer.judgement is not None:
            verdict = answer.judgement.verdict
            condemned = verdict is Verdict.BLOCK
            if condemned:
                log.error("%s is condemned; it is removed when a pass over its store meets it", url)
            state = UploadState.CONDEMNED if condemned else UploadState.SETTLED
            self._writer.enqueue_moves([Move(note.upload, state, verdict.value, sha256=digest, size=len(data))])
            return
        assert answer.reason is not None
        again = answer.reason.passing or answer.reason is Unjudged.DEADLINE
        self._writer.enqueue_moves([
            Move(note.upload, None if again else UploadState.HELD, detail=answer.reason.value,
                 sha256=digest, size=len(data), decoder=self.decoder)
        ])  # fmt: skip


def decoder_version(engine: Engine) -> str:
    """Return what decides which media can be judged."""
    return f"fedi-safety {__version__}, {engine.decoder.version}"


def _is_due(entry: BacklogEntry, now: float) -> bool:
    if entry.tried_at is None:
        return entry.note.url is not None or now - entry.note.at >= _YOUNG_S or entry.note.at > now
    pause = min(_RETRY_MOST_S, _RETRY_FIRST_S * 2.0 ** min(entry.tries, 10))
    return not 0 <= now - entry.tried_at < pause
