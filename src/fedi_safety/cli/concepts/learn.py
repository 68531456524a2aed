"""`concepts learn`: a head of the operator's own from kept embeddings and dismissals, shown before it is written."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedi_safety.cli.options import ConfigOption, JsonOption, LedgerOption, LogLevelOption, QuietOption, YesOption
from fedi_safety.cli.shell import Shell, shell, write_json
from fedi_safety.core.errors import UsageError

if TYPE_CHECKING:
    from fedi_safety.concepts.learned import Head
    from fedi_safety.config.schema import Settings
    from fedi_safety.evaluation.heads import Learned
    from fedi_safety.evaluation.ranking import Area


def learn(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is to be called: the signal is `learned.NAME`.")],
    output: Annotated[
        str | None,
        typer.Option(
            "--output", metavar="FILE", help="Where it is written; left out, in `learned` beside the default ledger."
        ),
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Take the place of one that is there.")] = False,
    json_output: JsonOption = False,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Learn from your dismissals what is condemned wrongly, and show by cross-validation what that is worth.

    Reads kept embeddings and no file. Writes numbers after asking, and changes no verdict: `clip.learned` activates it.
    """
    # Before numpy is loaded: in products this small threads wait for each other longer than they compute.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from fedi_safety.app.ledger import open_settings_ledger
    from fedi_safety.cli.text.summary import ledger_line
    from fedi_safety.concepts.learned import check_name, head_path, write_head
    from fedi_safety.config.locations import expanded, learned_dir
    from fedi_safety.evaluation import heads

    sh = shell(config, ledger, log_level, quiet, yes)
    target = expanded(output).absolute() if output else head_path(check_name(name), learned_dir())
    if target.exists() and not replace:
        raise UsageError(str(target), "is there already", "give --replace, or another name")
    model = _embedding_model(sh.settings)
    records = open_settings_ledger(sh.settings, readonly=True)
    try:
        standings = records.standings(model, heads.MOST)
    finally:
        records.dispose()
    heads.check_enough(standings)
    with _working(sh) as progress:
        learned = heads.learn(standings, progress)
    head = _head(name, model, learned)
    if not json_output:
        _show(sh, head, learned)
    if not learned.tells:
        raise UsageError(head.signal, *_worthless(learned))
    sh.confirm(f"{head.signal} will be written to {target}", "give --yes")
    try:
        write_head(target, head)
    except OSError as error:
        raise UsageError(str(target), (error.strerror or "cannot be written").lower(), "check its rights") from error
    if json_output:
        write_json(_as_json(head, target, records.name))
        return 0
    sh.say(f"written: {target}")
    sh.say(f'Nothing uses it yet. To give the signal: learned = ["{target if output else name}"] under [clip].')
    sh.say("How a policy asks for it: docs/clip.md")
    sh.say(ledger_line(records.name))
    return 0


def _embedding_model(settings: Settings) -> str:
    """Return the name of the network whose embeddings are learned from: the one in force."""
    from fedi_safety.detectors import concept_detectors, concept_source

    # Heads that are in use already, perhaps of another model, have no say in this.
    alone = {
        "detectors": list(concept_detectors()),
        "clip": settings.clip.model_copy(update={"learned": []}),
    }
    source = concept_source(settings.model_copy(update=alone))
    assert source is not None, "a detector that has concepts"
    return source.embedding_model


def _head(name: str, model: str, learned: Learned) -> Head:
    import numpy as np

    from fedi_safety.concepts.learned import Head

    weights = learned.line.weights.astype(np.float32).tolist()  # in which signals are computed
    counts = {stand.value: count for stand, count in learned.contents.items()}
    today = time.strftime("%Y-%m-%d", time.gmtime())
    return Head(name, model, tuple(weights), float(np.float32(learned.line.bias)), today, counts, learned.as_json())


def _as_json(head: Head, target: Path, ledger: str) -> dict[str, object]:
    return {
        "signal": head.signal,
        "definition": head.definition,
        "model": head.model,
        "contents": dict(head.contents),
        "cross_validation": dict(head.figures),
        "file": str(target),
        "ledger": ledger,
    }


def _worthless(learned: Learned) -> tuple[str, str]:
    """Return cause and remedy for a head that is no better than a coin."""
    cause = f"it does not tell condemned contents from dismissed ones: AUC {_area(learned.condemned)}"
    return cause, "nothing was written; more dismissals may teach it, or what they have in common does not show"


def _show(sh: Shell, head: Head, learned: Learned) -> None:
    from rich.table import Table

    from fedi_safety.core.ledger.records import Stand
    from fedi_safety.evaluation.heads import FOLDS

    counts = ", ".join(f"{count:,} {kind}" for kind, count in head.contents.items())
    sh.say(f"{head.signal}: learned from {counts}")
    sh.say(f"from embeddings of {head.model}")
    sh.say(f"By {FOLDS}-fold cross-validation: each content by a head that had not seen it.")
    for other, found in ((Stand.CONDEMNED, learned.condemned), (Stand.CLEAR, learned.clear)):
        sh.say(f"  AUC, {other.value} above dismissed: {_area(found)}")
    table = Table(title=f"below a threshold of {head.signal}")
    for heading in ("threshold", "dismissed", "condemned", "clear"):
        table.add_column(heading, justify="right")
    for row in learned.below:
        cells = [_of(row.counts[stand], learned.contents[stand]) for stand in Stand]
        table.add_row(f"{row.threshold:g}", *cells)
    sh.out.print(table)
    middle = next(row for row in learned.below if row.threshold == 0.5)
    spared, kept_back = (
        f"{middle.counts[stand]:,} of {learned.contents[stand]:,} {stand.value}"
        for stand in (Stand.DISMISSED, Stand.CONDEMNED)
    )
    sh.say(f"A rule that also asks for {head.signal} >= 0.5 would have left to review")
    sh.say(f"{spared} and {kept_back}.")


def _area(found: Area) -> str:
    return f"{found.area:.3f} (95 %: {found.low:.3f} to {found.high:.3f})"


def _of(count: int, of: int) -> str:
    return f"{count:,} ({count / of:.0%})".replace("%", " %")


@contextmanager
def _working(sh: Shell) -> Iterator[Callable[[float], None]]:
    from rich.progress import BarColumn, Progress, TextColumn

    console = sh.err
    columns = (TextColumn("learning"), BarColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=1.0)
        yield lambda share: progress.advance(task, share)
