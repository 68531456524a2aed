"""One watched store: what each cycle looks at, the high-water mark, errors and their back-off. Starts no thread.

A cycle looks back from the start of the last complete one, so that a stop, crash or outage of any length leaves no gap.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from fedi_safety.app.acts import act_for
from fedi_safety.app.apply import carry_out
from fedi_safety.app.engine import Engine
from fedi_safety.app.ledger import SharedRunLock
from fedi_safety.app.notices.conditions import kind_of, say, say_error, say_heard
from fedi_safety.app.passes import breaker_limits
from fedi_safety.app.scan import scan
from fedi_safety.app.stores import Target
from fedi_safety.core.decide import DAY_S, breaker_opinion, tells_of_gone
from fedi_safety.core.enforcement import Passing
from fedi_safety.core.enums import ActKind, Listing, act_word
from fedi_safety.core.errors import FediSafetyError, StoreError
from fedi_safety.core.ledger.ports import WatchLedger
from fedi_safety.core.ledger.records import Watermark
from fedi_safety.core.notices.transitions import Condition
from fedi_safety.core.policy import Policy
from fedi_safety.core.ports import Clock, Store
from fedi_safety.core.presence import Presence, Standing, remedy
from fedi_safety.core.runs import RunReport, ScanRequest, Tally, add_tally
from fedi_safety.core.wording.hints import hint

log = logging.getLogger(__name__)

BACK_OFF_MOST_S = 600.0
_RETRIES = 64  # failed objects, and failed acts, that one cycle tries again
_EVER = -float(2**33)  # before everything: times are counted in 64 bits of nanoseconds
_TOLD_FAILURES = 2  # in a row, before the operator is told: one may pass by itself
_BACK_S = 1.0  # a mark further ahead than this means that the clock was set back


_SUMS = ("judged", "planned", "acted", "gone", "failed")
_COUNTS = (*_SUMS, "unscanned", "skipped")
"""Since the daemon started; `unscanned` and `skipped` are of the last complete cycle."""


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often, how far back, and how often everything. Seconds."""

    every_s: float = 30.0
    overlap_s: float = 1200.0
    sweep_s: float = 86_400.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What every cycle is asked for beyond the settings."""

    dry_run: bool = False
    cascade: bool = True
    prefixes: tuple[str, ...] = ()
    skipped_as_unscanned: bool = False


@dataclass(slots=True)
class Shared:
    """What all watched stores use together. `policy` is replaced by a reload."""

    ledger: WatchLedger
    engine: Engine
    policy: Policy
    lock: SharedRunLock
    clock: Clock
    rhythm: Rhythm = Rhythm()
    wanted: Wanted = Wanted()
    beside: int = 1
    # What must be known of a person before a store's first cycle; for stores that cannot be opened at the start.
    settle: Callable[[Target, Store], Target] = lambda target, _store: target
    stop: threading.Event = field(default_factory=threading.Event)
    changed: Callable[[], None] = lambda: None  # something that the health file shows
    completed: Callable[[], None] = lambda: None  # a pass came to its end, and nothing was wrong with it


@dataclass(slots=True)
class Health:
    """What is told of one store. Times are epoch seconds."""

    state: str = "starting"
    error: str | None = None
    last_start: float | None = None
    last_end: float | None = None
    high_water: float | None = None
    swept_at: float | None = None
    retry_at: float | None = None
    cycles: int = 0
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_COUNTS, 0))


def look_back(mark: Watermark | None, basis: str, now: float, rhythm: Rhythm) -> float | None:
    """Return the epoch seconds from which a cycle looks at objects, or None when it must look at all of them.

    All of them: at first, on another basis, when the clock was set back (then no time of the past can be relied on),
    and when a sweep is due.
    """
    if mark is None or mark.basis != basis or max(mark.high_water, mark.swept_at) > now + _BACK_S:
        return None
    if now - mark.swept_at >= rhythm.sweep_s:
        return None
    return min(mark.high_water, now) - rhythm.overlap_s


class StoreWatch:
    """The cycles of one store, one after another, in one thread."""

    def __init__(self, target: Target, shared: Shared, store: Store | None = None) -> None:
        """Take a target, and its store if it is open already, and settled. Reaches for nothing yet."""
        self.target = target
        self.health = Health()
        self.cut_short = False
        self.policy: Policy = shared.policy
        self._shared = shared
        self._store = store
        self._settled = store is not None
        self._run: int | None = None
        self._url = ""
        self._sum = Tally()
        self._started_s = 0.0
        self._first = True
        self._errors = 0
        self._retried: tuple[float, int] = (0.0, 0)
        self._pipeline: Passing | None = None

    # --- one step of the daemon

    def step(self, touched: Sequence[str] = ()) -> float:
        """Make a cycle, over `touched` keys alone if there are any; return the seconds to rest.

        No error gets out: it is logged with its cause, shown in `health`, and backed off.
        """
        began = self._shared.clock.monotonic()
        try:
            self.cycle(touched)
        except FediSafetyError as error:
            return self._failed(error.line(), error)
        except Exception as error:  # a bug in one cycle must not end the watch: it is said and backed off
            log.debug("internal error", exc_info=error)
            return self._failed(f"internal error: {type(error).__name__}: {error}", error)
        self._errors = 0
        if self.health.state == "failing":
            say(self._shared.ledger, Condition.FAILING, self.target.name, "removals failed, and are tried again")
        else:
            say_error(self._shared.ledger, self.target.name, None)
        say_heard(self._shared.ledger)
        took = self._shared.clock.monotonic() - began
        every = self._shared.rhythm.every_s
        # Where a cycle is long, no more than a quarter of the time goes into cycles.
        return max(every - took, min(every, 3 * took))

    @property
    def failing(self) -> bool:
        """Whether the last cycle failed; then file events do not shorten the back-off."""
        return self._errors > 0

    def _failed(self, why: str, error: Exception) -> float:
        self._errors += 1
        if isinstance(error, FediSafetyError) and error.refused:
            say_error(self._shared.ledger, self.target.name, error)
        elif self._errors >= _TOLD_FAILURES:
            say(self._shared.ledger, Condition.FAILING, self.target.name, kind_of(error))
        rest = min(BACK_OFF_MOST_S, max(1.0, self._shared.rhythm.every_s) * 2.0 ** min(self._errors - 1, 20))
        self._close_store()  # the next cycle connects anew
        self._tell("failing", f"failing: {why}")
        self.health.retry_at = self._shared.clock.now() + rest
        log.warning("%s: failing: %s (failure %d, tried again in %.0f s)", self.target.name, why, self._errors, rest)
        return rest

    def _tell(self, state: str, error: str | None) -> None:
        self.health.state, self.health.error = state, error
        self._shared.changed()

    # --- one cycle

    def cycle(self, touched: Sequence[str] = ()) -> list[RunReport]:
        """Look at what is new, or at `touched` keys; move the high-water mark when all of it was looked at.

        A store that is not the one that is remembered moves no mark. Raises `FediSafetyError`. Returns a report for
        each pass that it made.
        """
        shared = self._shared
        start = shared.clock.now()
        self.health.last_start, self.health.retry_at = start, None
        self.policy = shared.policy
        store = self._open()
        act = act_for(self.target.settings, store)
        mark = shared.ledger.watermark(store.url)
        basis, empty = self._basis(act), self._basis(act, "empty")
        was_empty = mark is not None and mark.basis == empty
        since = look_back(mark, empty if was_empty else basis, start, shared.rhythm)
        if self._first and store.local_root is not None:
            since = None  # moved directories keep the times of their files; looking at all names costs little here
        if was_empty and since is not None:
            since = _EVER  # perhaps it was not there yet: what comes may be of any age
        if mark is None or since is None:
            reports = [self._pass(store, act, whole=True)]
            self._check(store, reports[0])
            mark = Watermark(start, start, basis if reports[0].tally.listed else empty)
        elif touched:
            reports = [self._pass(store, act, prefixes=tuple(touched))]
            mark = None
        else:
            reports = [self._pass(store, act, since=since), *self._retry(store, act), *self._act_again(store, act)]
            self._check(store, reports[0])
            mark = Watermark(start, mark.swept_at, empty if was_empty and not reports[0].tally.listed else basis)
        if any(report.interrupted for report in reports):
            self.cut_short = True
            return reports
        if mark is not None:
            shared.ledger.set_watermark(store.url, mark)
            self._first = False
            self.health.high_water, self.health.swept_at = mark.high_water, mark.swept_at
        self._finished(reports, moved=mark is not None)
        if store.local_root is not None:
            self._close_store()  # an open root would show the old tree after a new mount
        if self.health.state == "ok" and all(report.status == "done" for report in reports):
            shared.completed()
        return reports

    def _check(self, store: Store, report: RunReport) -> None:
        """Raise `StoreError` unless the store that was looked at is the one that is remembered."""
        if report.listing is Listing.DOUBTED:
            raise StoreError(report.store, report.breaker or "", remedy(self.target.name))
        # A pass over everything has looked for itself, and one that met something known needs not to.
        if report.listing is not None or report.interrupted or report.tally.already_judged:
            return
        presence = Presence(store, self._shared.ledger)
        if self._shared.ledger.known_objects(store.url, 1) and presence.standing() is Standing.OTHER:
            raise presence.stranger("none of the known objects that were asked for is there")

    def _open(self) -> Store:
        if self._store is None:
            self._store = self.target.open()
        if not self._settled:
            self.target = self._shared.settle(self.target, self._store)
            self._settled = True
        self._url = self._store.url
        return self._store

    def _close_store(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None

    def _basis(self, act: ActKind | None, *more: str) -> str:
        """Return what a verdict and an act rest on, and the store on: when it changes, all has to be met again.

        With `more` it is the basis of a mark that was set while the store was as that says.
        """
        wanted = self._shared.wanted
        versions = {d.name: d.version for d in self._shared.engine.detectors}
        policy = self._shared.engine.in_force(self.policy).id
        root = self._open().identity
        parts = [act_word(act), wanted.dry_run, wanted.cascade, list(wanted.prefixes), policy, versions, root, *more]
        return json.dumps(parts, sort_keys=True)

    def _pass(
        self,
        store: Store,
        act: ActKind | None,
        *,
        whole: bool = False,
        since: float | None = None,
        prefixes: tuple[str, ...] = (),
    ) -> RunReport:
        """Scan: the whole store, in a run of its own, or something new, as a part of the daemon's run."""
        shared, wanted = self._shared, self._shared.wanted
        request = ScanRequest(
            store.url,
            dry_run=wanted.dry_run,
            act=act,
            prefixes=prefixes or wanted.prefixes,
            since=since,
            cascade=wanted.cascade,
            redecide=whole,
            retry_acts=whole,
            removed_before=shared.ledger.removed_since(store.url, self._a_day_ago()),
            beside=shared.beside,
        )
        if whole:
            self.end_run()
        with shared.lock.on(store.url):
            report = scan(
                self.target.settings,
                request,
                ledger=shared.ledger,
                store=store,
                engine=shared.engine,
                policy=self.policy,
                on_start=self._on_start,
                lock=shared.lock,
                run=None if whole else self._begun(store.url, act),
                clock=shared.clock,
            )
            self._pipeline = None
            if not whole:
                add_tally(self._sum, report.tally)
                self._hold_the_day(store.url, act, report)
        return report

    def _on_start(self, pipeline: Passing, _progress: object) -> None:
        self._pipeline = pipeline
        if self._shared.stop.is_set():
            pipeline.halt()

    def halt(self) -> None:
        """Let the pass in hand finish what it has begun, and end. Safe in a signal handler."""
        if (pipeline := self._pipeline) is not None:
            pipeline.halt()

    def _retry(self, store: Store, act: ActKind | None) -> list[RunReport]:
        """Try failed objects again whose time has come, however old they are."""
        due = self._shared.ledger.due_retries(store.url, self._retried, _RETRIES)
        if not due or self._shared.stop.is_set():
            return []
        prefixes = self._shared.wanted.prefixes
        keys = tuple(r.object.key for r in due if not prefixes or r.object.key.startswith(prefixes))
        oldest_s = min(r.object.mtime_ns for r in due) / 1e9 - 1
        reports = [self._pass(store, act, prefixes=keys, since=oldest_s)] if keys else []
        self._retried = due[-1].place
        return reports

    def _act_again(self, store: Store, act: ActKind | None) -> list[RunReport]:
        """Carry out what failed and is due again, and what a cycle that broke off has left, however old the objects."""
        shared, wanted = self._shared, self._shared.wanted
        if wanted.dry_run or act is None or shared.stop.is_set():
            return []
        due = shared.ledger.due_plans(store.url, act, _RETRIES)
        due = [plan for plan in due if not wanted.prefixes or plan.object.key.startswith(wanted.prefixes)]
        if not due or shared.ledger.breaker(store.url) is not None:
            return []
        with shared.lock.on(store.url):
            report = carry_out(
                self.target.settings,
                due,
                ledger=shared.ledger,
                store=store,
                run=self._begun(store.url, act),
                keep_going=lambda: not shared.stop.is_set(),
            )
            add_tally(self._sum, report.tally)
            self._hold_the_day(store.url, act, report)
        return [report]

    def _finished(self, reports: Sequence[RunReport], *, moved: bool) -> None:
        health = self.health
        health.cycles += 1
        health.last_end = self._shared.clock.now()
        for report in reports:
            fresh = report.tally
            if self._shared.wanted.skipped_as_unscanned:
                fresh.take_skipped_as_unscanned()
            for name in _SUMS:
                health.counts[name] += getattr(fresh, name)
            for outcome in report.failures:
                log.warning("%s: not removed: %s: %s", self.target.name, outcome.plan.object.key, outcome.detail)
            if fresh.judged or fresh.acted:
                log.info("%s: judged %d, removed %d", self.target.name, fresh.judged, fresh.acted)
            if fresh.gone:
                log.info("%s: gone by other hands %d", self.target.name, fresh.gone)
            for failure in report.action_failures:
                log.warning("%s: not done: %s", self.target.name, failure)
            if report.action_breaker is not None:
                then = f"see {hint('show KEY')}, then {hint('apply {} --resume-actions', self.target.name)}"
                held = "%s: the breaker of actions through the app holds them back: %s; %s"
                log.warning(held, self.target.name, report.action_breaker, then)
        if moved:
            health.counts["unscanned"] = reports[0].tally.unscanned_total
            health.counts["skipped"] = reports[0].tally.skipped_total
        # A breaker that the cycle's own count tripped is in the ledger, but not yet in a report.
        why = None if self._shared.wanted.dry_run else self._shared.ledger.breaker(self._url)
        if why is not None:
            name = self.target.name
            then = f"see {hint('list {} --verdict block', name)}, then {hint('apply {} --resume-acts', name)}"
            told = remedy(name) if tells_of_gone(why) else then
            log.warning("%s: the breaker holds removals back: %s; %s", name, why, told)
        failed = 0 if self._shared.wanted.dry_run else self._shared.ledger.failed_acts(self._url)
        if why is None and failed:
            self._tell("failing", f"failing: {failed} removals failed")
        else:
            self._tell("ok" if why is None else "breaker", why)

    # --- the daemon's run in the ledger, and its breaker

    def _begun(self, url: str, act: ActKind | None) -> int:
        """Return the run that the small cycles belong to; a row for each of them would fill the ledger."""
        if self._run is None:
            wanted = self._shared.wanted
            settings = {"dry_run": wanted.dry_run, "whole": False, "act": act_word(act), "policy": self.policy.id}
            self._run = self._shared.ledger.begin_run("watch", url, settings)
            self._sum, self._started_s = Tally(), self._shared.clock.monotonic()
        return self._run

    def end_run(self) -> None:
        """Close the run of the small cycles, if one is open."""
        if self._run is None:
            return
        run, self._run = self._run, None
        seconds = self._shared.clock.monotonic() - self._started_s
        report = RunReport(run, self._url, tally=self._sum, seconds=seconds, policy=self.policy.id)
        report.ledger = self._shared.ledger.name
        self._shared.ledger.end_run(run, "done", report.as_json() | {"breaker": self._shared.ledger.breaker(self._url)})

    def close(self) -> None:
        """End the run and close the store."""
        try:
            self.end_run()
        except FediSafetyError as error:
            log.warning("%s: %s", self.target.name, error.line())
        self._close_store()

    def _a_day_ago(self) -> float:
        return self._shared.clock.now() - DAY_S

    def _hold_the_day(self, url: str, act: ActKind | None, report: RunReport) -> None:
        """Hold the last day's cycles together against the breaker: each of them alone is too small to trip it."""
        if act is None or self._shared.wanted.dry_run or report.breaker is not None or not report.tally.acted:
            return
        ledger, after = self._shared.ledger, self._a_day_ago()
        judged = ledger.judged_since(url, after)
        seen = Tally(listed=judged, judged=judged, block=ledger.removed_since(url, after))
        why = breaker_opinion(breaker_limits(self.target.settings), seen)
        if why is not None:
            self._shared.ledger.set_breaker(report.run_id, url, f"in one day of watching, {why}")
