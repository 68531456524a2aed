"""The composition root: builds stores, decoders, detectors, ledger and acts from settings, and runs whole passes.

It speaks to nobody: what a person sees is the shell's (cli/).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

from fedi_safety.app.actions import act_through_app, opened_actions, pressed_by_hand
from fedi_safety.app.acts import opened_acts
from fedi_safety.app.consent import chosen_act
from fedi_safety.app.engine import Engine, measurable
from fedi_safety.app.ledger import SharedRunLock, SystemClock
from fedi_safety.app.notices.conditions import say_coverage, say_ending
from fedi_safety.app.passes import breaker_limits, noting, part_of_run, recorded_run
from fedi_safety.app.progress import PassProgress
from fedi_safety.app.replay import Rejudge
from fedi_safety.app.sealing import destroy_ended
from fedi_safety.app.stores import spoken_name
from fedi_safety.app.tracing import opened_tracing
from fedi_safety.config.schema import Settings
from fedi_safety.core.classes import dataclass
from fedi_safety.core.decide import BreakerLimits, Mode, breaker_opinion
from fedi_safety.core.enforcement import Acting, Enforcement, Passing
from fedi_safety.core.enums import ActKind, Listing, Recheck, act_word
from fedi_safety.core.ledger.census import Census
from fedi_safety.core.ledger.ports import Ledger
from fedi_safety.core.pipeline import Options, Pipeline, Stages
from fedi_safety.core.policy import Policy
from fedi_safety.core.ports import Act, Clock, ReadableStore, Store
from fedi_safety.core.presence import Presence
from fedi_safety.core.runs import RunReport, ScanRequest
from fedi_safety.core.tracing import Tracing


class FetchedStore(ReadableStore, Protocol):
    """What a pipeline reads, and how many objects of it at once."""

    @property
    def concurrency(self) -> int:
        """See `Store`."""
        ...


@dataclass(frozen=True, slots=True)
class Parts:
    """What a pass is made of, for what makes it in the pipeline's place. `as_written` is the policy's file."""

    settings: Settings
    request: ScanRequest
    ledger: Ledger
    store: Store
    engine: Engine
    as_written: Policy
    policy: Policy
    report: RunReport


class Sweep(Passing, Protocol):
    """A pass that others make: workers, of which each judges and records a part of the store."""

    @property
    def stages(self) -> Stages:
        """The time that they spent in each stage."""
        ...

    @property
    def device(self) -> str:
        """What they judge on."""
        ...

    def consume(self, enforcement: Enforcement, progress: PassProgress) -> None:
        """Have every part judged and recorded, and then the due acts done; see `Enforcement.consume`."""
        ...


def scan(
    settings: Settings,
    request: ScanRequest,
    *,
    ledger: Ledger,
    store: Store,
    engine: Engine,
    policy: Policy,
    on_start: Callable[[Passing, PassProgress], None] | None = None,
    lock: SharedRunLock | None = None,
    run: int | None = None,
    clock: Clock | None = None,
    sweep: Callable[[Parts], Sweep] | None = None,
) -> RunReport:
    """Make one pass over a store: judge what is new, plan, and carry out what the mode allows.

    `on_start` is given the pipeline, or the sweep that takes its place where `sweep` makes one, and how far the pass
    is; its `halt` may be called from a signal handler. `lock` takes the place of the ledger's run lock where several
    scans of one process share it. With `run` the pass is a part of that run, which the caller began and ends; what it
    does not meet is then never concluded to be gone.
    """
    clock = clock or SystemClock()
    as_written, policy = policy, in_force(settings, request, engine, policy)
    cascade = engine.cascade(policy, enabled=request.cascade)
    report = RunReport(0, store.url, request.dry_run, request.act, device=engine.device, policy=policy.id)
    report.named, report.detectors, report.ledger = spoken_name(store), cascade.versions, ledger.name
    limits = replace(breaker_limits(settings), removed_before=request.removed_before)
    recorded = _recorded(settings, request, policy)
    within = recorded_run(ledger, "scan", report, recorded) if run is None else part_of_run(run, report)
    pipeline: Pipeline | Sweep
    if sweep is None:
        census = partial(ledger.census, store.url) if request.whole and run is None else None
        pipeline = pipeline_of(settings, request, ledger, store, engine, policy, clock, census)
    else:
        pipeline = sweep(Parts(settings, request, ledger, store, engine, as_written, policy, report))
    with (
        opened_tracing(settings, store, ledger, clock) as tracing,
        opened_actions(settings, store.url, ledger, clock) as actions,
        opened_acts(settings, store, ledger) as acts,
        ledger.run_lock(store.url) if lock is None else lock.on(store.url),
        within,
    ):
        if request.recheck is Recheck.POLICY and request.redecide and not request.hashes_only:
            decide = Rejudge(policy, cascade.available, cascade=request.cascade)
            ledger.redecide(report.run_id, policy.id, decide, outcomes=decide.outcomes, rescorer=engine.rescorer)
        progress = PassProgress(ledger, store, request, report)
        enforcement = _enforcement(acts, request, ledger, store, report, limits, tracing, clock, progress)
        if on_start is not None:
            on_start(pipeline, progress)
        with progress.told():
            if isinstance(pipeline, Pipeline):
                enforcement.consume(pipeline)
            else:
                pipeline.consume(enforcement, progress)
        if not request.dry_run:
            tracing.again(report.run_id, lambda: not pipeline.halted)
            destroy_ended(settings, ledger, report.run_id, lambda: not pipeline.halted)
            say_ending(settings, ledger)
        _tell(report, request, pipeline, enforcement, tracing)
        if report.listing is Listing.COMPLETE:
            say_coverage(settings, ledger, report)
        report.by_hand = pressed_by_hand(settings, tracing.seen)
        if enforcement.mode.removes:
            act_through_app(actions, report, lambda: not pipeline.halted, only_due=not request.retry_acts)
        elif actions is not None and request.act is not None:
            report.would_do = actions.names
    return report


def in_force(settings: Settings, request: ScanRequest, engine: Engine, policy: Policy) -> Policy:
    """Return the policy as a pass judges by it."""
    # Without detectors what was judged by the configured ones stays as they have it.
    return (measurable(settings) if request.hashes_only else engine).in_force(policy)


def pipeline_of(
    settings: Settings,
    request: ScanRequest,
    ledger: Ledger,
    store: FetchedStore,
    engine: Engine,
    policy: Policy,
    clock: Clock,
    census: Callable[[], Census] | None = None,
) -> Pipeline:
    """Return what judges a store, or a part of one, under a policy as it is in force."""
    describer = "" if engine.recognizer is None else engine.recognizer.model
    return Pipeline(
        store=store,
        decoder=engine.decoder,
        cascade=engine.cascade(policy, enabled=request.cascade),
        ledger=ledger,
        policy=policy,
        options=_options(settings, request, store, engine),
        clock=clock,
        census=census,
        hashed=partial(ledger.hashed_among, model=describer) if request.hashes_only else None,
    )


def _options(settings: Settings, request: ScanRequest, store: FetchedStore, engine: Engine) -> Options:
    return Options(
        prefixes=request.prefixes,
        keys=frozenset(request.keys),
        since=request.since,
        limit=request.limit,
        recheck=request.recheck,
        max_bytes=settings.limits.max_bytes,
        held_bytes=(256 << 20) // request.beside,
        fetchers=max(store.concurrency, engine.jobs),
        decoders=engine.jobs,
        scorers=engine.jobs,
        max_batch=engine.media_at_once,
    )


def _recorded(settings: Settings, request: ScanRequest, policy: Policy) -> dict[str, Any]:
    """Return what the ledger keeps of how a run was asked for."""
    return {
        "dry_run": request.dry_run,
        "whole": request.whole,
        "act": act_word(request.act),
        "chosen_act": chosen_act(settings),
        "policy": policy.id,
        "prefixes": list(request.prefixes),
        "keys": list(request.keys),
        "since": request.since,
        "limit": request.limit,
        "recheck": request.recheck.value,
        "cascade": request.cascade,
        "resume_acts": request.resume_acts,
        "accept_gone": request.accept_gone,
        "hashes_only": request.hashes_only,
    }


def _enforcement(
    acts: Mapping[ActKind, Act],
    request: ScanRequest,
    ledger: Ledger,
    store: Store,
    report: RunReport,
    limits: BreakerLimits,
    tracing: Tracing,
    clock: Clock,
    progress: PassProgress,
) -> Enforcement:
    acting = Acting(
        ledger,
        acts,
        report.run_id,
        report.tally,
        noting(report),
        Presence(store, ledger, accepted=request.accept_gone),
        None if request.resume_acts else limits,
        tracing=tracing,
    )
    return Enforcement(
        ledger=ledger,
        acting=acting,
        clock=clock,
        store=store.url,
        mode=Mode(request.act, request.dry_run),
        limits=limits,
        run=report.run_id,
        tally=report.tally,
        resume_acts=request.resume_acts,
        retry_acts=request.retry_acts,
        on_batch=progress.note,
    )


def _tell(
    report: RunReport, request: ScanRequest, pipeline: Pipeline | Sweep, enforcement: Enforcement, tracing: Tracing
) -> None:
    """Say in the report how the pass ended."""
    report.held = tracing.held
    report.breaker, report.listing = enforcement.tripped, enforcement.listing
    if request.dry_run and request.act is not None and report.breaker is None:
        report.breaker = breaker_opinion(enforcement.limits, report.tally)
    report.interrupted = pipeline.halted
    report.stages = dict(pipeline.stages.seconds)
    if not isinstance(pipeline, Pipeline):
        report.device = pipeline.device
