"""`watch`: the daemon. Asks what there is to ask, loads the engine, and hands over to `fedi_safety.watch.daemon`."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedi_safety.cli.consent import Given, settled
from fedi_safety.cli.options import (
    ActOption,
    CascadeOption,
    ConceptsOption,
    ConfigOption,
    DetectorsOption,
    DeviceOption,
    FramesOption,
    JobsOption,
    KeepOption,
    LedgerOption,
    LogLevelOption,
    PolicyOption,
    PrecisionOption,
    PrefixOption,
    QuietOption,
    SkippedOption,
    StoreArgument,
    WithoutDryRunOption,
    YesOption,
)
from fedi_safety.cli.shell import Shell, on_stop, shell, worst
from fedi_safety.core.errors import ExitCode, FediSafetyError, StoreError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fedi_safety.app.notices.telling import Telling
    from fedi_safety.app.stores import Target
    from fedi_safety.config.schema import Settings
    from fedi_safety.core.ledger.ports import WholeLedger
    from fedi_safety.core.policy import Policy
    from fedi_safety.core.ports import Store
    from fedi_safety.core.runs import RunReport
    from fedi_safety.watch.cycles import Rhythm, Shared, StoreWatch, Wanted
    from fedi_safety.watch.lists import ListWatch


def watch(
    store: StoreArgument = None,
    every: Annotated[
        str, typer.Option("--every", metavar="SPAN", help="How often new objects are looked for: 30s, 5m.")
    ] = "30s",
    minutes: Annotated[
        int, typer.Option("--minutes", min=1, help="How far each cycle looks back before the last one, in minutes.")
    ] = 20,
    sweep: Annotated[
        str, typer.Option("--sweep", metavar="SPAN", help="How often everything is looked at: 24h, 7d.")
    ] = "24h",
    once: Annotated[bool, typer.Option("--once", help="Make one cycle and end.")] = False,
    health_file: Annotated[
        Path | None, typer.Option("--health-file", metavar="FILE", help="Keep a JSON file that says how it goes.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Judge and plan, but do nothing.")] = False,
    without_dry_run: WithoutDryRunOption = False,
    act: ActOption = None,
    prefix: PrefixOption = None,
    detectors: DetectorsOption = None,
    policy: PolicyOption = None,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    jobs: JobsOption = None,
    frames: FramesOption = None,
    cascade: CascadeOption = True,
    concepts: ConceptsOption = None,
    keep_embeddings: KeepOption = None,
    skipped_as_unscanned: SkippedOption = False,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Run until stopped: judge what is new in every store, and act on what the policy condemns."""
    from fedi_safety.watch.cycles import Rhythm, Wanted

    names = None if detectors is None else [name.strip() for name in detectors.split(",") if name.strip()]
    limits = None if frames is None else {"frames": frames}
    clip = {"concepts": concepts, "keep_embeddings": keep_embeddings}
    chosen = {"act": act, "detectors": names, "policy": policy, "device": device, "precision": precision, "jobs": jobs}
    sh = shell(config, ledger, log_level, quiet, yes, **chosen, limits=limits, clip=clip)
    rhythm = Rhythm(parse_span("--every", every), 60.0 * minutes, parse_span("--sweep", sweep))
    wanted = Wanted(dry_run, cascade, tuple(prefix or ()), skipped_as_unscanned)
    given = Given.NO_DRY_RUN if without_dry_run else Given.NOTHING
    return run_watch(sh, store, rhythm, wanted, given=given, once=once, health_file=health_file)


def run_watch(
    sh: Shell,
    named: str | None,
    rhythm: Rhythm,
    wanted: Wanted,
    *,
    given: Given = Given.NOTHING,
    once: bool = False,
    health_file: Path | None = None,
) -> int:
    """Watch as asked. Also serves the predecessor's script names."""
    from fedi_safety.app.notices.telling import telling

    if not once:
        return _run_watch(sh, named, rhythm, wanted, given, health_file, None)
    with telling(sh.settings, sh.note) as told:
        return _run_watch(sh, named, rhythm, wanted, given, health_file, told)


def _run_watch(
    sh: Shell,
    named: str | None,
    rhythm: Rhythm,
    wanted: Wanted,
    given: Given,
    health_file: Path | None,
    once: Telling | None,
) -> int:
    """Watch until stopped; make one cycle of each store where it is to be `once`."""
    from fedi_safety.app.engine import open_engine
    from fedi_safety.app.ledger import SharedRunLock, SystemClock, open_settings_ledger
    from fedi_safety.app.notices.channels import checked
    from fedi_safety.app.notices.sending import sending
    from fedi_safety.app.stores import targets
    from fedi_safety.cli.text.progress import waiting
    from fedi_safety.policies import load_policy
    from fedi_safety.watch.cycles import Shared, StoreWatch
    from fedi_safety.watch.daemon import Daemon

    settings = sh.settings
    policy = load_policy(settings.policy)
    lines = [] if once is not None else checked(settings)
    chosen = targets(settings, named)
    _check_place(health_file)
    ledger = open_settings_ledger(settings)
    try:
        opened = [(target, _open(target, alone=len(chosen) == 1)) for target in chosen]
        if all(store is None for _, store in opened):
            chosen[0].open()  # says what is wrong
        settle = partial(settled, sh, ledger, dry_run=wanted.dry_run, given=given)
        opened = [(target if store is None else settle(target, store), store) for target, store in opened]
        with waiting("loading models", quiet=sh.quiet):
            engine = open_engine(settings, ledger.had_lists)
        try:
            shared = Shared(
                ledger,
                engine,
                engine.in_force(policy),
                SharedRunLock(ledger),
                SystemClock(),
                rhythm,
                wanted,
                len(chosen),
                settle=partial(settle, ask=False),
            )
            watches = [StoreWatch(target, shared, store) for target, store in opened]
            lists = _lists(settings, ledger, shared)
            if once is not None:
                return _once(sh, watches, shared, lists, once)

            def reload() -> Policy:
                return engine.in_force(load_policy(settings.policy))

            shared.completed = _heart(settings, watches)
            daemon = Daemon(watches, shared, reload=reload, health_file=health_file, lists=lists)
            names = ", ".join(target.name for target in chosen)
            sh.note(f"watching {names} every {rhythm.every_s:g} s; ledger {ledger.name}; stop with Ctrl-C or SIGTERM")
            with sending(ledger, lines, settings.notify.name):
                return ExitCode.INTERRUPTED if daemon.run() else ExitCode.DONE
        finally:
            engine.close()
    finally:
        ledger.dispose()


def _open(target: Target, *, alone: bool) -> Store | None:
    """Open a store. One of several that cannot be reached now is tried again by its cycles."""
    try:
        return target.open()
    except StoreError:
        if alone:
            raise
        return None


def _lists(settings: Settings, ledger: WholeLedger, shared: Shared) -> ListWatch:
    """Return what fetches lists beside the stores' cycles."""
    from fedi_safety.watch.lists import ListWatch

    return ListWatch(
        settings, ledger, shared.clock, keep_going=lambda: not shared.stop.is_set(), changed=lambda: shared.changed()
    )


def _heart(settings: Settings, watches: Sequence[StoreWatch]) -> Callable[[], None]:
    """Return what is called after each completed pass: it asks the heartbeat's address while all stores are well."""
    from fedi_safety.watch.health import overall

    if settings.notify.heartbeat_url is None:
        return lambda: None
    from fedi_safety.notify.heartbeat import Heartbeat

    heart = Heartbeat(settings.notify.heartbeat_url.get_secret_value())
    return lambda: heart.beat() if overall(watches) == "ok" else None


def _once(sh: Shell, watches: list[StoreWatch], shared: Shared, lists: ListWatch, told: Telling) -> int:
    """Fetch the lists that are due, make one cycle of each store, one after another, and tell how it went."""
    from fedi_safety.cli.text.summary import ledger_line

    codes: list[int] = []
    made: list[RunReport] = []
    failed = False

    def stop() -> None:
        if shared.stop.is_set():
            raise KeyboardInterrupt
        shared.stop.set()
        for watch in watches:
            watch.halt()

    with on_stop(stop):
        lists.step()
        for watch in watches:
            try:
                for report in watch.cycle():
                    made.append(report)
                    tally = report.tally
                    sh.say(
                        f"{watch.target.name}: {tally.listed:,} seen, {tally.judged:,} judged, {tally.block:,} "
                        f"condemned, {tally.acted:,} removed, {tally.gone:,} gone, "
                        f"{tally.unscanned_total:,} unscanned, {tally.skipped_total:,} skipped"
                    )
                    codes.append(report.exit_code)
                told.ended(watch.target.name, None)
            except FediSafetyError as error:
                told.ended(watch.target.name, error)
                if len(watches) == 1:
                    raise
                sh.warn(f"{watch.target.name}: {error.line()}")
                codes.append(error.exit_code)
                failed = True
            finally:
                watch.close()
    if not failed:
        told.completed(made)
    sh.say(ledger_line(shared.ledger.name))
    return worst(codes)


def parse_span(option: str, text: str) -> float:
    """Return the seconds that `30s`, `5m`, `24h` or `7d` stands for; at least one. Raises `UsageError`."""
    found = re.fullmatch(r"(\d{1,7})\s*([smhdw])", text.strip())
    seconds = int(found[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}[found[2]] if found else 0
    if seconds < 1:
        raise UsageError(f"{option} {text}", "not a span of time", "write 30s, 5m, 24h or 7d")
    return float(seconds)


def _check_place(health_file: Path | None) -> None:
    if health_file is not None and not health_file.absolute().parent.is_dir():
        raise UsageError(f"--health-file {health_file}", "its directory does not exist", "make it, or name another")
