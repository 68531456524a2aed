"""`calibrate`: what a policy's thresholds condemn of a store that is believed clean. Writes and removes nothing."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedi_safety.cli.options import (
    ConceptsOption,
    ConfigOption,
    DetectorsOption,
    DeviceOption,
    JobsOption,
    JsonOption,
    LedgerOption,
    LogLevelOption,
    PrecisionOption,
    QuietOption,
    StoreArgument,
    YesOption,
)
from fedi_safety.cli.output_file import checked_place, write_page
from fedi_safety.cli.shell import Shell, on_stop, shell, write_json
from fedi_safety.core.errors import UsageError, printable

if TYPE_CHECKING:
    from rich.table import Table

    from fedi_safety.core.pipeline import Pipeline
    from fedi_safety.evaluation.scores import Sample
    from fedi_safety.evaluation.thresholds import Calibrated, Calibration

_BAR_CELLS = 16
_BAR_FROM = 0.0001  # where the bars' log scale begins


def calibrate(
    store: StoreArgument = None,
    sample: Annotated[int, typer.Option("--sample", min=1, help="How many objects are sampled.")] = 1000,
    share: Annotated[
        float, typer.Option("--share", metavar="0..1", help="The share of clean pictures you would lose at most.")
    ] = 0.01,
    confidence: Annotated[
        float, typer.Option("--confidence", metavar="0..1", help="How sure the bounds shall be.")
    ] = 0.95,
    seed: Annotated[int, typer.Option("--seed", help="Another number gives another sample.")] = 0,
    policy: Annotated[str | None, typer.Option("--policy", metavar="NAME|FILE", help="A preset or a file.")] = None,
    detectors: DetectorsOption = None,
    concepts: ConceptsOption = None,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    jobs: JobsOption = None,
    html: Annotated[str | None, typer.Option("--html", metavar="FILE", help="Also write a page with plots.")] = None,
    json_output: JsonOption = False,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Score a sample of a store that you believe is clean, and show what each threshold would condemn of it."""
    from fedi_safety.app.stores import named_store
    from fedi_safety.core.errors import ExitCode
    from fedi_safety.evaluation.scores import score_sample
    from fedi_safety.evaluation.thresholds import calibrate as calibrated
    from fedi_safety.policies import load_policy

    for name, value in (("--share", share), ("--confidence", confidence)):
        if not 0 < value < 1:
            raise UsageError(f"{name} {value:g}", "must lie between 0 and 1", "0.01 is one in a hundred")
    names = None if detectors is None else [name.strip() for name in detectors.split(",") if name.strip()]
    sh = shell(
        config,
        ledger,
        log_level,
        quiet,
        yes,
        policy=policy,
        detectors=names,
        device=device,
        precision=precision,
        jobs=jobs,
        clip={"concepts": concepts},
    )
    place = None if html is None else checked_place(html)
    chosen = load_policy(sh.settings.policy)
    opened = named_store(sh.settings, store)
    try:
        with _progress(sh) as progress:
            in_force, versions, scored = score_sample(
                sh.settings,
                opened,
                chosen,
                count=sample,
                seed=seed,
                on_start=progress.start,
                on_progress=progress.update,
            )
    finally:
        opened.close()
    if not scored.signals:
        why = _reasons(scored) or "the store is empty"
        raise UsageError(opened.url, f"no picture of the sample could be scored: {why}", "name another store")
    found = calibrated(in_force, scored.signals, scored.pictures, share=share, confidence=confidence)
    if not found.rules:
        missing = ", ".join(sorted(chosen.signals - (in_force.available or frozenset())))
        raise UsageError(found.policy, f"nothing measures what its rules look at ({missing})", "see --detectors")
    if place is not None:
        from fedi_safety.reports.calibration import render

        write_page(place, render(found, scored.store, _drawn(scored)))
    if json_output:
        write_json(
            {
                "store": scored.store,
                "listed": scored.listed,
                "drawn": scored.sampled,
                "skipped": dict(sorted(scored.skipped.items())),
                "unscanned": dict(sorted(scored.unscanned.items())),
                "detectors": dict(versions),
            }
            | found.as_json()
        )
    else:
        _print(sh, found, scored)
    if place is not None:
        sh.err.print(f"wrote {printable(str(place))}", markup=False)
    return ExitCode.INTERRUPTED if progress.stopped else ExitCode.DONE


def _reasons(scored: Sample) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in (scored.unscanned + scored.skipped).most_common())


def _drawn(scored: Sample) -> str:
    """Return in words how the sample came to be."""
    rest = _reasons(scored)
    return (
        f"{scored.sampled:,} of {scored.listed:,} objects sampled, {len(scored.signals):,} scored"
        f"{f', not scored: {rest}' if rest else ''}"
    )


def _print(sh: Shell, found: Calibration, scored: Sample) -> None:
    from fedi_safety.reports.calibration import conclusion, proposals, share_text

    sh.say(f"{scored.store}: {_drawn(scored)}")
    sh.say(f"{found.policy}: {conclusion(found)}")
    for rule in found.rules:
        sh.say("")
        sh.say(f"rule {rule.rule!r} ({rule.effect}): holds for {share_text(rule.holds)}")
        for table in _tables(rule):
            sh.out.print(table)
        for line in proposals(rule, found.share):
            sh.say(f"  {line}")
        if rule.examples:
            sh.say(f"  among others: {', '.join(rule.examples)}")
    if found.unmeasured:
        sh.say("")
        sh.say(f"cannot hold, as nothing measures it: {', '.join(found.unmeasured)}")


def _tables(rule: Calibrated) -> Iterator[Table]:
    from rich.table import Table

    from fedi_safety.reports.calibration import shown_points
    from fedi_safety.reports.facts import percent

    for curve in rule.curves:
        table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 1))
        for heading in (f"{curve.factor} from", "reached", "rule holds", "below"):
            table.add_column(heading, justify="right", no_wrap=True)
        table.add_column("log scale", no_wrap=True, min_width=_BAR_CELLS, style="cyan")
        table.add_column("", no_wrap=True)
        for point in shown_points(curve):
            notes = [
                *(["in force"] if point.threshold == curve.threshold else []),
                *(["proposed"] if point.threshold == curve.proposed else []),
            ]
            table.add_row(
                f"{point.threshold:g}",
                percent(point.reached / point.holds.of),
                percent(point.holds.share),
                percent(point.holds.bound),
                bar(point.holds.share),
                ", ".join(notes),
            )
        yield table


def bar(share: float) -> str:
    """Return a bar of blocks for a share, on a log scale from 0.01 % to 100 %; nothing for 0 alone."""
    if share <= 0:
        return ""
    level = 1 - math.log10(max(share, _BAR_FROM)) / math.log10(_BAR_FROM)
    eighths = max(1, round(level * _BAR_CELLS * 8))
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


class _Progress:
    """Progress on standard error, and the way to stop early: what is scored by then is shown."""

    def __init__(self, sh: Shell, bars: Any) -> None:
        self._sh = sh
        self._bars = bars
        self._task = None if bars is None else bars.add_task("listing the store", total=None)
        self._pipeline: Pipeline | None = None
        self.stopped = False

    def start(self, pipeline: Pipeline, drawn: int) -> None:
        """Know what to halt, and how many objects there are."""
        self._pipeline = pipeline
        if self._bars is not None:
            self._bars.update(self._task, description="scoring", total=drawn)

    def update(self, done: int) -> None:
        """Show how many objects are through."""
        if self._bars is not None:
            self._bars.update(self._task, completed=done)

    def stop(self) -> None:
        """Handle SIGINT and SIGTERM. A second one does not wait."""
        if self.stopped or self._pipeline is None:
            raise KeyboardInterrupt
        self.stopped = True
        self._sh.note("stopping: finishing the objects in hand (again to stop at once)")
        self._pipeline.halt()


@contextmanager
def _progress(sh: Shell) -> Iterator[_Progress]:
    bars: Any = None
    if not sh.quiet and sys.stderr.isatty():
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        bars = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=sh.err
        )
    progress = _Progress(sh, bars)
    with on_stop(progress.stop), bars or nullcontext():
        yield progress
