"""`scan`: one pass over a store, or over several side by side. The passes themselves are `fedi_safety.app`'s."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedi_safety.cli.consent import Given, settled
from fedi_safety.cli.options import (
    AcceptGoneOption,
    ActOption,
    CascadeOption,
    ClosingJsonOption,
    ConceptsOption,
    ConfigOption,
    DetectorsOption,
    DeviceOption,
    FailOnOption,
    FramesOption,
    JobsOption,
    KeepOption,
    LedgerOption,
    LogLevelOption,
    PolicyOption,
    PrecisionOption,
    PrefixOption,
    QuietOption,
    ResumeOption,
    SkippedOption,
    StoreArgument,
    WithoutDryRunOption,
    YesOption,
)
from fedi_safety.cli.shell import Shell, on_stop, shell, worst, write_json
from fedi_safety.core.enums import FailOn, Recheck, ScanEngine, act_word
from fedi_safety.core.errors import ExitCode, FediSafetyError, UsageError
from fedi_safety.core.wording.hints import command
from fedi_safety.service.heap import loading

if TYPE_CHECKING:
    from fedi_safety.app.notices.telling import Telling
    from fedi_safety.app.progress import PassProgress
    from fedi_safety.app.scan import Parts, Sweep
    from fedi_safety.app.stores import Target
    from fedi_safety.core.enforcement import Passing
    from fedi_safety.core.ledger.progress import Progress
    from fedi_safety.core.ports import Store
    from fedi_safety.core.runs import RunReport, ScanRequest


def scan(
    store: StoreArgument = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Judge and plan, but do nothing; `apply` can do it later.")
    ] = False,
    without_dry_run: WithoutDryRunOption = False,
    act: ActOption = None,
    prefix: PrefixOption = None,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="20m|DATE", help="Only objects modified since: 30s, 20m, 12h, 7d, or a date."),
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Look at no more objects than this.")] = None,
    recheck: Annotated[
        Recheck,
        typer.Option(
            "--recheck",
            help="Judged before: leave as is, decide stored scores anew (no file is opened), or score anew.",
        ),
    ] = Recheck.POLICY,
    engine: Annotated[
        ScanEngine,
        typer.Option("--engine", help="This process, or workers that Ray places: here, or where --address says."),
    ] = ScanEngine.LOCAL,
    address: Annotated[
        str | None,
        typer.Option("--address", metavar="HOST:PORT", help="With --engine ray: the cluster's head, or auto."),
    ] = None,
    hashes_only: Annotated[
        bool, typer.Option("--hashes-only", help="Hash what was judged and not hashed yet; no network is loaded.")
    ] = False,
    detectors: DetectorsOption = None,
    policy: PolicyOption = None,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    jobs: JobsOption = None,
    frames: FramesOption = None,
    cascade: CascadeOption = True,
    concepts: ConceptsOption = None,
    keep_embeddings: KeepOption = None,
    resume_acts: ResumeOption = False,
    accept_gone: AcceptGoneOption = False,
    skipped_as_unscanned: SkippedOption = False,
    fail_on: FailOnOption = None,
    json_output: ClosingJsonOption = False,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Judge everything that a store holds, and act on what the policy condemns."""
    if accept_gone and (prefix or since is not None or limit is not None):
        cause = "only a pass over all of the store can tell what is gone"
        raise UsageError("--accept-gone", cause, "leave out --prefix, --since and --limit")
    if hashes_only and accept_gone:
        raise UsageError("--accept-gone", "--hashes-only does not tell what is gone", "leave one of them out")
    if address is not None and engine is not ScanEngine.RAY:
        raise UsageError("--address", "only Ray has workers elsewhere", "add --engine ray")
    if engine is ScanEngine.RAY and limit is not None:
        raise UsageError("--limit", "workers look at all parts of a store at once", "leave it out, or name a --prefix")
    names = None if detectors is None else [name.strip() for name in detectors.split(",") if name.strip()]
    limits = None if frames is None else {"frames": frames}
    clip = {"concepts": concepts, "keep_embeddings": keep_embeddings}
    chosen = {"act": act, "detectors": names, "policy": policy, "device": device, "precision": precision, "jobs": jobs}
    sh = shell(config, ledger, log_level, quiet, yes, **chosen, limits=limits, clip=clip)
    return run_scan(
        sh,
        store,
        {
            "dry_run": dry_run,
            "prefixes": tuple(prefix or ()),
            "since": None if since is None else parse_since(since),
            "limit": limit,
            "recheck": recheck,
            "cascade": cascade,
            "resume_acts": resume_acts,
            "accept_gone": accept_gone,
            "hashes_only": hashes_only,
        },
        given=Given.NO_DRY_RUN if without_dry_run else Given.NOTHING,
        skipped_as_unscanned=skipped_as_unscanned,
        fail_on=fail_on,
        json_output=json_output,
        workers=Workers(address) if engine is ScanEngine.RAY else None,
    )


@dataclass(frozen=True, slots=True)
class Workers:
    """That Ray's workers make the passes: those of the cluster at an address, or of this machine."""

    address: str | None


def run_scan(
    sh: Shell,
    named: str | None,
    wanted: dict[str, Any],
    *,
    given: Given = Given.NOTHING,
    skipped_as_unscanned: bool = False,
    fail_on: FailOn | None = None,
    json_output: bool = False,
    workers: Workers | None = None,
) -> int:
    """Scan one store, or all that are configured side by side, and tell how it went. Returns the exit code.

    Also serves the predecessor's script names.
    """
    from fedi_safety.app.notices.telling import telling

    # numpy's own threads, which nothing here is large enough for: being started, they spin for a while each.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    with telling(sh.settings, sh.note) as told:
        chosen, keys = _chosen(sh, named, wanted)
        if workers is not None:
            _refuse_for_workers(sh, keys, workers)
        passes: list[_Pass] = []
        try:
            _scan(sh, chosen, passes, {"keys": keys, **wanted}, given, told, workers)
            if skipped_as_unscanned:
                for each in passes:
                    if each.report is not None:
                        each.report.tally.take_skipped_as_unscanned()
            code = _tell(sh, passes, json_output=json_output)
        finally:
            _note(told, passes)
    condemned = any(each.report is not None and each.report.tally.block for each in passes)
    return worst([code, ExitCode.CONDEMNED]) if fail_on is FailOn.CONDEMNED and condemned else code


def _note(told: Telling, passes: Sequence[_Pass]) -> None:
    """Note how every pass ended that was begun."""
    for each in passes:
        if each.report is not None or isinstance(each.error, FediSafetyError):
            told.ended(each.target.name, each.error if isinstance(each.error, FediSafetyError) else None)
    if all(each.error is None for each in passes):
        told.completed([each.report for each in passes if each.report is not None])


def _scan(
    sh: Shell,
    chosen: Sequence[Target],
    passes: list[_Pass],
    wanted: dict[str, Any],
    given: Given,
    told: Telling,
    workers: Workers | None,
) -> None:
    """Make the passes, each with its store open."""
    with ExitStack() as closing:
        with loading():
            parts = _begun(sh, chosen, passes, wanted, given, told, closing)
        if workers is not None:
            parts["sweep"] = _sweeping(sh, workers, closing)
        with _live(sh) as live:
            runs = [partial(each.run, live, **parts) for each in passes]
            if workers is None:
                _side_by_side(runs)
            else:
                for run in runs:  # each of them has all workers
                    run()
        if not wanted["dry_run"]:
            from fedi_safety.app.known.lists import keep_removals

            keep_removals(sh.settings, parts["ledger"])


def _begun(
    sh: Shell,
    chosen: Sequence[Target],
    passes: list[_Pass],
    wanted: dict[str, Any],
    given: Given,
    told: Telling,
    closing: ExitStack,
) -> dict[str, Any]:
    """Open stores, ledger and detectors, and return what every pass shares."""
    from fedi_safety.app.acts import act_for
    from fedi_safety.app.engine import open_engine
    from fedi_safety.app.known.lists import apply_ended
    from fedi_safety.app.ledger import SharedRunLock, open_settings_ledger
    from fedi_safety.cli.text.progress import waiting
    from fedi_safety.core.runs import ScanRequest
    from fedi_safety.policies import load_policy

    policy = load_policy(sh.settings.policy)
    passes.extend(_Pass(target, closing.enter_context(_opened(target, told))) for target in chosen)
    ledger = open_settings_ledger(sh.settings)
    closing.callback(ledger.dispose)
    apply_ended(sh.settings, ledger)
    for each in passes:
        store = each.store
        each.target = settled(sh, ledger, each.target, store, dry_run=wanted["dry_run"], given=given)
        act = act_for(each.target.settings, store)
        each.request = ScanRequest(store.url, act=act, beside=len(passes), **wanted)
    judging = sh.settings.model_copy(update={"detectors": ["known"]}) if wanted.get("hashes_only") else sh.settings
    with waiting("loading models", quiet=sh.quiet):
        engine = open_engine(judging, ledger.had_lists)
    closing.callback(engine.close)
    return {"ledger": ledger, "engine": engine, "policy": policy, "lock": SharedRunLock(ledger)}


def _refuse_for_workers(sh: Shell, keys: Sequence[str], workers: Workers) -> None:
    from fedi_safety.config.locations import ledger_path

    if keys:
        raise UsageError("--engine ray", "a single file is no work for many", "leave it out")
    ledger = str(ledger_path(sh.settings))
    if workers.address is not None and not ledger.startswith(("postgresql:", "postgres:")):
        cause = "is a file of this machine, and the cluster's workers record into one ledger"
        raise UsageError(ledger, cause, "give a PostgreSQL ledger (docs/scale.md), or leave out --address")


def _sweeping(sh: Shell, workers: Workers, closing: ExitStack) -> Callable[[Parts], Sweep]:
    """Join Ray's cluster, or start one, and return what makes passes with its workers."""
    from fedi_safety.app.sweep.cluster import opened_cluster
    from fedi_safety.app.sweep.driver import SweepPass
    from fedi_safety.cli.text.progress import waiting

    with waiting("joining Ray" if workers.address else "starting Ray", quiet=sh.quiet):
        cluster = closing.enter_context(opened_cluster(sh.settings, workers.address))
    return partial(SweepPass, cluster=cluster, say=sh.warn)


def _chosen(sh: Shell, named: str | None, wanted: dict[str, Any]) -> tuple[Sequence[Target], tuple[str, ...]]:
    """Return the stores that are meant; of one of which a single file was named, also that file's key."""
    from fedi_safety.app.ledger import known_stores
    from fedi_safety.app.stores import file_target, targets

    if named is None or file_target(sh.settings, named) is None:
        return targets(sh.settings, named), ()
    if wanted.get("prefixes") or wanted.get("accept_gone"):
        raise UsageError(named, "a single file takes no --prefix or --accept-gone", "leave them out")
    found = file_target(sh.settings, named, known_stores(sh.settings))
    assert found is not None
    return [found[0]], (found[1],)


@contextmanager
def _opened(target: Target, told: Telling) -> Iterator[Store]:
    try:
        store = target.open()
    except FediSafetyError as error:
        told.ended(target.name, error)
        raise
    try:
        yield store
    finally:
        store.close()


class _Pass:
    """The scan of one store among several, and how it ended."""

    def __init__(self, target: Target, store: Store) -> None:
        self.target = target
        self.store = store
        self.request: ScanRequest
        self.report: RunReport | None = None
        self.error: BaseException | None = None

    @property
    def removes(self) -> bool:
        return self.request.act is not None and not self.request.dry_run

    def run(self, live: _Live, **parts: Any) -> None:
        """Scan. What goes wrong is kept, so that it does not end the others."""
        from fedi_safety.app.scan import scan as scan_store

        try:
            self.report = scan_store(
                self.target.settings,
                self.request,
                store=self.store,
                on_start=live.start,
                **parts,
            )
        except BaseException as error:  # noqa: BLE001 - raised or told by the caller
            self.error = error


def _side_by_side(jobs: Sequence[Callable[[], None]]) -> None:
    """Run all at once. A single one stays in this thread, so that a second Ctrl-C ends it."""
    if len(jobs) == 1:
        jobs[0]()
        return
    threads = [threading.Thread(target=job, daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(0.5)


def _tell(sh: Shell, passes: Sequence[_Pass], *, json_output: bool) -> int:
    """Print each store's outcome, and with `--json` the sum as the last line. Returns the exit code."""
    from fedi_safety.cli.text.summary import ledger_line
    from fedi_safety.core.runs import summed

    codes: list[int] = []
    for each in passes:
        if each.error is not None and not (len(passes) > 1 and isinstance(each.error, FediSafetyError)):
            raise each.error
        if isinstance(each.error, FediSafetyError):
            sh.warn(f"{each.target.name}: {each.error.line()}")
            codes.append(each.error.exit_code)
        elif each.report is not None:
            if len(passes) > 1 and json_output:
                write_json({"store": each.target.name} | each.report.as_json())
            elif len(passes) > 1:
                sh.say(f"{each.target.name}:")
            _print_report(sh, each, each.report, table=not (json_output or sh.quiet))
            codes.append(each.report.exit_code)
    reports = [each.report for each in passes if each.report is not None]
    if json_output and reports:
        write_json((reports[0] if len(passes) == 1 else summed(reports)).as_json())
    elif reports:
        sh.say(ledger_line(reports[0].ledger))
    return worst(codes)


class _Live:
    """The passes that run, how far they are, and the way to stop them."""

    def __init__(self, sh: Shell) -> None:
        self._sh = sh
        self._passes: list[PassProgress] = []
        self._pipelines: list[Passing] = []
        self._stopping = False

    def start(self, pipeline: Passing, progress: PassProgress) -> None:
        """Show this pass as well; from now on a signal stops the pipeline in order."""
        self._pipelines.append(pipeline)
        self._passes.append(progress)
        if self._stopping:  # the signal came before this one began
            pipeline.halt()

    def stop(self) -> None:
        """Handle SIGINT and SIGTERM: finish what is in hand. A second one does not wait for that."""
        if self._stopping or not self._pipelines:
            raise KeyboardInterrupt
        self._stopping = True
        self._sh.note("stopping: finishing the objects in hand (again to stop at once)")
        for pipeline in self._pipelines:
            pipeline.halt()

    def now(self) -> list[Progress]:
        """Return how far each of them is."""
        return [each.now() for each in list(self._passes)]


@contextmanager
def _live(sh: Shell) -> Iterator[_Live]:
    """Show progress unless nobody wants to see any, and take over the signals while the scan runs."""
    from fedi_safety.cli.text.progress import shown

    live = _Live(sh)
    with on_stop(live.stop), nullcontext() if sh.quiet else shown(live.now, sh.note):
        yield live


def _print_report(sh: Shell, each: _Pass, report: RunReport, *, table: bool) -> None:
    from fedi_safety.cli.text.summary import closing_commands, closing_notes, closing_table

    if table:
        sh.out.print(closing_table(report, removes=each.removes))
        for line in closing_commands(report):
            sh.say(line)
        if report.dry_run and report.tally.planned:
            chosen = "" if each.target.settings.act is not None else f" --act {act_word(report.act)}"
            sh.say(f"to remove what is planned: {command(f'apply {{}}{chosen}', report.named)}")
    for note in closing_notes(report):
        sh.warn(note)


def parse_since(text: str) -> float:
    """Return the epoch seconds that `20m`, `12h`, `7d`, or an ISO date (local time) stands for. Raises `UsageError`."""
    import re
    import time

    if found := re.fullmatch(r"(\d{1,9})\s*([smhdw])", text.strip()):
        return time.time() - int(found[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}[found[2]]
    try:
        return datetime.fromisoformat(text.strip()).timestamp()
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"--since {text}", "neither a span nor a date", "write 30s, 20m, 12h, 7d or 2026-01-31"
        ) from error
