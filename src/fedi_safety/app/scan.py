"""The composition root: builds stores, decoders, detectors, ledger and acts from settings, and runs whole passes.

It speaks to nobody: what a person sees is the shell's (cli/).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

from fedi_safety.acts.delete import Remove
from fedi_safety.app.engine import Engine, concept_source, measurable, open_engine
from fedi_safety.app.replay import Preview, Rejudge
from fedi_safety.app.replay import preview as preview_pages
from fedi_safety.concepts.rescoring import ConceptRescorer
from fedi_safety.config.schema import Settings, ledger_path
from fedi_safety.core.cascade import Cascade
from fedi_safety.core.decide import BreakerLimits, Mode, breaker_opinion
from fedi_safety.core.enforcement import Acting, Sweep
from fedi_safety.core.errors import FediSafetyError, UsageError
from fedi_safety.core.pipeline import TEST_CARD_SIGNAL, Options, Pipeline
from fedi_safety.core.policy import Policy
from fedi_safety.core.ports import Act, Clock, Store
from fedi_safety.core.runs import RunReport, ScanRequest, add_tally, summed
from fedi_safety.core.testcard import TEST_CARD_SHA256
from fedi_safety.core.types import ActKind, Outcome, Plan, PlanState, Recheck, Tally
from fedi_safety.policies import load_policy

if TYPE_CHECKING:
    from fedi_safety.evaluation.scores import Sample
    from fedi_safety.ledger.ledger import SqlLedger
    from fedi_safety.ledger.statistics import StoreCounts

log = logging.getLogger(__name__)


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> float:
        """Return seconds since the Unix epoch, UTC."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()


def act_for(settings: Settings, store_url: str) -> ActKind:
    """Return the configured act; out of the box `delete`, and `purge` where the store is a pict-rs.

    Raises `UsageError` if that is `purge` and there is no pict-rs to purge through.
    """
    is_pictrs = store_url.startswith("pictrs+")
    if settings.act is None:
        return ActKind.PURGE if is_pictrs else ActKind.DELETE
    if settings.act == "purge" and not is_pictrs and settings.pictrs.url is None:
        raise UsageError(
            "purge",
            f"{store_url} is no pict-rs, and the one that owns its files is not configured",
            "set `pictrs.url` and `pictrs.api_key`, or choose `delete`",
        )
    return ActKind(settings.act)


def acts_for(settings: Settings, store: Store) -> dict[ActKind, Act]:
    """Return the acts that can be carried out on a store, by the kind that plans name."""
    from fedi_safety.acts.purge import PurgeUnavailable, RemovePurging, open_purge

    acts: dict[ActKind, Act] = {ActKind.DELETE: Remove(store)}
    if store.url.startswith("pictrs+"):
        acts[ActKind.PURGE] = RemovePurging(store)
    elif settings.pictrs.url is None:
        acts[ActKind.PURGE] = PurgeUnavailable()
    else:
        acts[ActKind.PURGE] = open_purge(store, settings.pictrs)
        if act_for(settings, store.url) is ActKind.DELETE:
            _warn_of_delete(store.url)
    return acts


@cache
def _warn_of_delete(store_url: str) -> None:
    """Say once per process that a pict-rs is configured and will not learn of what is deleted."""
    log.warning(
        "%s: objects will be deleted, and pict-rs will not know: aliases and thumbnails stay, and the same picture "
        "cannot be uploaded again; if they are its files, choose the act `purge`",
        store_url,
    )


def open_settings_ledger(settings: Settings, *, readonly: bool = False) -> SqlLedger:
    """Open the configured ledger. Raises `LedgerError` or `LedgerUsageError`."""
    from fedi_safety.ledger.embeddings import Keep
    from fedi_safety.ledger.ledger import open_ledger

    keep = Keep(settings.clip.keep_embeddings)
    return open_ledger(ledger_path(settings), clock=SystemClock(), readonly=readonly, keep=keep)


def preview(settings: Settings, policy: Policy, ledger: SqlLedger) -> Preview:
    """Decide the whole ledger anew under a policy, with the detectors that are configured. Changes nothing."""
    from fedi_safety.detectors import CLIP

    known = measurable(settings)
    rescorer = ConceptRescorer(concept_source(settings)) if CLIP in settings.detectors else None
    return preview_pages(Rejudge(known.in_force(policy), known.signals), ledger.score_pages(rescorer=rescorer))


def breaker_limits(settings: Settings) -> BreakerLimits:
    """Return the breaker's limits as the core wants them."""
    return BreakerLimits(**settings.breaker.model_dump())


@contextmanager
def _run(ledger: SqlLedger, kind: str, report: RunReport, settings: Mapping[str, Any]) -> Iterator[RunReport]:
    """Open a run in the ledger and close it with what became of it, whatever happens."""
    started = time.monotonic()
    report.run_id = ledger.begin_run(kind, report.store, settings)
    try:
        yield report
    except FediSafetyError as error:
        ledger.end_run(report.run_id, "failed", {"error": error.line()})
        raise
    report.seconds = time.monotonic() - started
    summary = report.as_json() | {"breaker": report.breaker, "stages": dict(report.stages)}
    ledger.end_run(report.run_id, report.status, summary)


@contextmanager
def _part(run: int, report: RunReport) -> Iterator[RunReport]:
    """Count a pass that belongs to a longer run."""
    started = time.monotonic()
    report.run_id = run
    yield report
    report.seconds = time.monotonic() - started


class SharedRunLock:
    """The ledger's run lock for several scans of one process: the first takes it, the last gives it back."""

    def __init__(self, ledger: SqlLedger) -> None:
        """Hold nothing yet."""
        self._ledger = ledger
        self._mutex = threading.Lock()
        self._held: AbstractContextManager[None] | None = None
        self._holders = 0

    def __enter__(self) -> None:
        """Take the lock, or a share of it. Raises `LedgerError` if another process has it."""
        with self._mutex:
            if not self._holders:
                held = self._ledger.run_lock()
                held.__enter__()
                self._held = held
            self._holders += 1

    def __exit__(self, *_error: object) -> None:
        """Give the share back."""
        with self._mutex:
            self._holders -= 1
            if not self._holders and self._held is not None:
                held, self._held = self._held, None
                held.__exit__(None, None, None)


def scan(
    settings: Settings,
    request: ScanRequest,
    *,
    ledger: SqlLedger,
    store: Store,
    engine: Engine,
    policy: Policy,
    on_start: Callable[[Pipeline, Tally], None] | None = None,
    on_batch: Callable[[], None] | None = None,
    lock: AbstractContextManager[None] | None = None,
    run: int | None = None,
    clock: Clock | None = None,
) -> RunReport:
    """Make one pass over a store: judge what is new, plan, and carry out what the mode allows.

    `on_start` is given the pipeline (whose `halt` may be called from a signal handler) and the live tally. `lock` takes
    the place of the ledger's run lock where several scans of one process share it. With `run` the pass is a part of
    that run, which the caller began and ends.
    """
    clock = clock or SystemClock()
    policy = engine.in_force(policy)
    cascade = Cascade(engine.detectors, policy, enabled=request.cascade)
    pipeline = Pipeline(
        store=store,
        decoder=engine.decoder,
        cascade=cascade,
        ledger=ledger,
        policy=policy,
        options=Options(
            prefixes=request.prefixes,
            since=request.since,
            limit=request.limit,
            recheck=request.recheck,
            max_bytes=settings.limits.max_bytes,
            held_bytes=(256 << 20) // request.beside,
            fetchers=max(store.hands, engine.jobs),
            decoders=engine.jobs,
            scorers=engine.jobs,
            max_batch=engine.media_at_once,
        ),
        clock=clock,
        marks={TEST_CARD_SHA256: TEST_CARD_SIGNAL},
    )
    report = RunReport(0, store.url, request.dry_run, request.act, device=engine.device, policy=policy.id)
    report.detectors = cascade.versions
    recorded = {
        "dry_run": request.dry_run,
        "whole": not request.prefixes and request.since is None and request.limit is None,
        "act": request.act.value,
        "policy": policy.id,
        "prefixes": list(request.prefixes),
        "since": request.since,
        "limit": request.limit,
        "recheck": request.recheck.value,
        "cascade": request.cascade,
        "resume_acts": request.resume_acts,
    }
    limits = replace(
        breaker_limits(settings), max_removed=max(0, settings.breaker.max_removed - request.removed_before)
    )
    within = _run(ledger, "scan", report, recorded) if run is None else _part(run, report)
    with lock or ledger.run_lock(), within:
        if request.recheck is Recheck.POLICY and request.redecide:
            decide = Rejudge(policy, cascade.available, cascade=request.cascade)
            ledger.redecide(report.run_id, policy.id, decide, quiet=decide.quiet, rescorer=engine.rescorer)
        acting = Acting(ledger, acts_for(settings, store), report.run_id, report.tally, _noting(report))
        sweep = Sweep(
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
            on_batch=None if on_batch is None else lambda _batch: on_batch(),
        )
        if on_start is not None:
            on_start(pipeline, report.tally)
        sweep.consume(pipeline)
        report.breaker = sweep.tripped
        if request.dry_run and request.act.removes:
            report.breaker = breaker_opinion(limits, report.tally)
        report.interrupted = pipeline.halted
        report.stages = dict(pipeline.stages.seconds)
    return report


def carry_out(
    settings: Settings,
    plans: Sequence[Plan],
    *,
    ledger: SqlLedger,
    store: Store,
    run: int,
    keep_going: Callable[[], bool],
) -> RunReport:
    """Carry out these plans as a part of a run that the caller began, and whose lock it holds."""
    report = RunReport(run, store.url)
    acting = Acting(ledger, acts_for(settings, store), run, report.tally, _noting(report))
    report.interrupted = not acting.carry_out(plans, keep_going)
    return report


def score_sample(
    settings: Settings,
    store: Store,
    policy: Policy,
    *,
    count: int,
    seed: int,
    on_start: Callable[[Pipeline, int], None],
    on_progress: Callable[[int], None],
) -> tuple[Policy, Mapping[str, str], Sample]:
    """Score objects of a store drawn by chance; return the policy in force, the detectors' versions and the scores.

    Nothing is written anywhere. `on_start` is also given how many objects were drawn.
    """
    from fedi_safety.evaluation.sampling import draw
    from fedi_safety.evaluation.scores import sample_scores

    engine = open_engine(settings)
    try:
        drawn = draw(store.list(), count, seed)
        in_force = engine.in_force(policy)
        options = Options(
            max_bytes=settings.limits.max_bytes,
            fetchers=max(store.hands, engine.jobs),
            decoders=engine.jobs,
            scorers=engine.jobs,
            max_batch=engine.media_at_once,
        )
        sample = sample_scores(
            store,
            engine.decoder,
            engine.detectors,
            in_force,
            drawn,
            options,
            SystemClock(),
            on_start=lambda pipeline: on_start(pipeline, len(drawn.objects)),
            on_progress=on_progress,
        )
        return in_force, {d.name: d.version for d in engine.detectors}, sample
    finally:
        engine.close()


def apply(
    settings: Settings,
    *,
    ledger: SqlLedger,
    store: Store,
    resume_acts: bool = False,
    keep_going: Callable[[], bool] = lambda: True,
    on_outcome: Callable[[Outcome], None] | None = None,
) -> RunReport:
    """Carry out what earlier runs planned for a store and nobody dismissed. Judges nothing and opens no model."""
    from fedi_safety.ledger.statistics import store_counts

    if not act_for(settings, store.url).removes:
        raise UsageError("apply", f"`act = {settings.act}` is configured, and apply removes", "configure another act")
    report = RunReport(0, store.url)
    with ledger.run_lock(), _run(ledger, "apply", report, {"resume_acts": resume_acts}):
        counts = store_counts(ledger.database, store.url)
        report.tally.planned = counts.open_removals
        report.breaker = _apply_breaker(settings, ledger, report, counts, resume_acts)
        if report.breaker is None:
            note = _noting(report)

            def noted(outcome: Outcome) -> None:
                note(outcome)
                if on_outcome is not None:
                    on_outcome(outcome)

            acting = Acting(ledger, acts_for(settings, store), report.run_id, report.tally, noted)
            report.interrupted = not acting.carry_out(_removals(ledger.open_plans(store.url)), keep_going)
    return report


def _removals(plans: Iterator[Plan]) -> Iterator[Plan]:
    return (plan for plan in plans if plan.act.removes)


def _apply_breaker(
    settings: Settings, ledger: SqlLedger, report: RunReport, counts: StoreCounts, resume_acts: bool
) -> str | None:
    """Hold the plans against the store's judged objects, as the run that made them would have."""
    held = ledger.breaker(report.store)
    if resume_acts:
        if held is not None:
            ledger.set_breaker(report.run_id, report.store, None)
        return None
    if held is not None:
        return held
    seen = Tally(
        listed=counts.judged + counts.unscanned,
        judged=counts.judged,
        unscanned={"all": counts.unscanned},
        block=counts.open_removals,
    )
    why = breaker_opinion(breaker_limits(settings), seen)
    if why is not None:
        ledger.set_breaker(report.run_id, report.store, why)
    return why


def _noting(report: RunReport) -> Callable[[Outcome], None]:
    """Count objects that were left alone, and keep the first failed acts, so that the shell can name them."""

    def note(outcome: Outcome) -> None:
        if outcome.state is PlanState.CHANGED:
            report.changed += 1
        if outcome.state.open and len(report.failures) < 20:
            report.failures.append(outcome)

    return note


__all__ = [
    "RunReport",
    "ScanRequest",
    "SharedRunLock",
    "SystemClock",
    "add_tally",
    "apply",
    "breaker_limits",
    "carry_out",
    "load_policy",
    "open_settings_ledger",
    "scan",
    "summed",
]
