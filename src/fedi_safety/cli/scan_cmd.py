"""`scan`: one pass over a store."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedi_safety.cli.shell import (
    ConfigOption,
    LedgerOption,
    LogLevelOption,
    QuietOption,
    Shell,
    StoreArgument,
    YesOption,
    on_stop,
    shell,
    write_json,
)
from fedi_safety.core.errors import UsageError
from fedi_safety.core.types import ActKind, Recheck

if TYPE_CHECKING:
    from fedi_safety.app import RunReport
    from fedi_safety.core.pipeline import Pipeline
    from fedi_safety.core.types import Tally


def scan(
    store: StoreArgument = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Judge and plan, but do nothing; `apply` can do it later.")
    ] = False,
    act: Annotated[
        str | None,
        typer.Option("--act", metavar="ACT", help="What is done about condemned objects: delete, purge or report."),
    ] = None,
    prefix: Annotated[
        list[str] | None,
        typer.Option("--prefix", metavar="KEY", help="Only objects whose key begins like this; repeatable."),
    ] = None,
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
    detectors: Annotated[
        str | None, typer.Option("--detectors", metavar="NAMES", help="Which detectors judge, with commas between.")
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option("--policy", metavar="NAME|FILE", help="A preset (cautious, balanced, strict) or a policy file."),
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", help="What the detectors run on: auto, cpu, cuda, ...")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", min=0, help="Decoder processes and scoring threads; 0: one per core.")
    ] = None,
    cascade: Annotated[
        bool,
        typer.Option("--cascade/--no-cascade", help="Leave dear detectors out where cheap ones settle every rule."),
    ] = True,
    resume_acts: Annotated[
        bool, typer.Option("--resume-acts", help="You had a look: act although the breaker stopped or would stop it.")
    ] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object at the end.")] = False,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Judge everything that a store holds, and act on what the policy condemns."""
    names = None if detectors is None else [name.strip() for name in detectors.split(",") if name.strip()]
    sh = shell(config, ledger, log_level, quiet, yes, act=act, detectors=names, policy=policy, device=device, jobs=jobs)
    report = run_scan(
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
        },
        json_output=json_output,
    )
    return report.exit_code


def run_scan(sh: Shell, named: str | None, wanted: dict[str, Any], *, json_output: bool) -> RunReport:
    """Scan as asked, with progress, and print the outcome. Also serves the predecessor's script name."""
    from fedi_safety import app

    settings = sh.settings
    policy = app.load_policy(settings.policy)
    store = app.named_store(settings, named)
    ledger = app.open_settings_ledger(settings)
    try:
        request = app.ScanRequest(store.url, act=app.act_for(settings, store.url), **wanted)
        removes = request.act.removes and not request.dry_run
        if removes and not ledger.was_dry_run(store.url):
            sh.confirm(
                f"{store.url} has had no complete dry run, and what the policy condemns will be deleted",
                "make a dry run first, or give --yes",
            )
        engine = app.open_engine(settings)
        try:
            with _live(sh) as live:
                report = app.scan(
                    settings,
                    request,
                    ledger=ledger,
                    store=store,
                    engine=engine,
                    policy=policy,
                    on_start=live.start,
                    on_batch=live.update,
                )
        finally:
            engine.close()
    finally:
        ledger.dispose()
        store.close()
    if json_output:
        write_json(report.as_json())
    _print_report(sh, report, removes=removes, table=not json_output)
    return report


class _Live:
    """Progress on standard error while a scan runs, and the way to stop it."""

    def __init__(self, sh: Shell, progress: Any) -> None:
        self._sh = sh
        self._progress = progress
        self._task: Any = None
        self._tally: Tally | None = None
        self._pipeline: Pipeline | None = None

    def start(self, pipeline: Pipeline, tally: Tally) -> None:
        """Begin to show the tally; from now on a signal stops the pipeline in order."""
        self._pipeline, self._tally = pipeline, tally
        if self._progress is not None:
            self._task = self._progress.add_task("scanning", total=None, text="")

    def stop(self) -> None:
        """Handle SIGINT and SIGTERM: finish what is in hand. A second one does not wait for that."""
        if self._pipeline is None or self._pipeline.halted:
            raise KeyboardInterrupt
        self._sh.note("stopping: finishing the objects in hand (again to stop at once)")
        self._pipeline.halt()

    def update(self) -> None:
        """Show the tally as it is now."""
        tally = self._tally
        if self._progress is None or tally is None:
            return
        text = (
            f"{tally.listed:,} seen  {tally.judged:,} judged  {tally.already_judged:,} known  "
            f"{tally.block:,} condemned  {tally.unscanned_total:,} unscanned"
        )
        self._progress.update(self._task, completed=tally.listed, text=text)


@contextmanager
def _live(sh: Shell) -> Iterator[_Live]:
    """Show progress where somebody looks, and take over the signals while the scan runs."""
    progress: Any = None
    if not sh.quiet and sys.stderr.isatty():
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        progress = Progress(SpinnerColumn(), TextColumn("{task.fields[text]}"), TimeElapsedColumn(), console=sh.err)
    live = _Live(sh, progress)
    with on_stop(live.stop), progress or nullcontext():
        yield live


def _print_report(sh: Shell, report: RunReport, *, removes: bool, table: bool) -> None:
    from fedi_safety.cli.closing import closing_notes, closing_table

    if table:
        sh.out.print(closing_table(report, removes=removes))
        if report.dry_run and report.tally.planned:
            sh.say(f"to remove what is planned: fedi-safety apply {shlex.quote(report.named)}")
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
