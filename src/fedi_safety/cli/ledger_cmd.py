"""`ledger verify`: prove that the ledger's events are whole. `ledger embeddings`: what is kept, and forgetting it."""

from __future__ import annotations

from typing import Annotated

import typer

from fedi_safety.cli.options import ConfigOption, JsonOption, LedgerOption, LogLevelOption, QuietOption, YesOption
from fedi_safety.cli.shell import shell, write_json
from fedi_safety.core.errors import LedgerError

commands = typer.Typer(help="Look after the ledger.")


@commands.callback()
def ledger_commands() -> None:
    """Look after the ledger."""


@commands.command()
def verify(
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Follow the chain of events from the first to the last and check verdicts, plans and actions against it."""
    from fedi_safety.app.ledger import open_settings_ledger
    from fedi_safety.cli.text.summary import ledger_line

    sh = shell(config, ledger, log_level, quiet, yes)
    records = open_settings_ledger(sh.settings, readonly=True)
    try:
        result = records.verify()
    finally:
        records.dispose()
    if result.problem is not None:
        raise LedgerError(records.name, result.problem, "compare it with a backup; do not trust it as evidence")
    sh.say(f"the chain of {result.length:,} events is whole; head {result.head}")
    sh.say(f"not covered by it: {'; '.join(result.not_covered)}")
    sh.say(ledger_line(records.name))
    return 0


@commands.command()
def embeddings(
    forget: Annotated[bool, typer.Option("--forget", help="Let go of every kept embedding; the scores stay.")] = False,
    json_output: JsonOption = False,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Show how many embeddings are kept, by network, and what room they take; or let go of them."""
    from fedi_safety.app.ledger import open_settings_ledger
    from fedi_safety.cli.text.summary import ledger_line

    sh = shell(config, ledger, log_level, quiet, yes)
    records = open_settings_ledger(sh.settings, readonly=not forget)
    try:
        kept = records.kept_embeddings()
        if forget and kept:
            frames = sum(total.frames for total in kept)
            sh.confirm(f"{frames:,} embeddings will be forgotten; new concepts then need the pictures", "give --yes")
            with records.run_lock():
                records.forget_embeddings()
    finally:
        records.dispose()
    if json_output:
        rows = [{"model": t.model, "encoding": t.encoding, "frames": t.frames, "bytes": t.bytes} for t in kept]
        write_json({"ledger": records.name, "kept": [] if forget else rows, "forgotten": rows if forget else []})
        return 0
    for total in kept:
        sh.say(f"{total.model}: {total.frames:,} frames, {total.bytes / 1e6:,.1f} MB as {total.encoding}")
    if not kept:
        sh.say("no embeddings are kept")
    elif forget:
        sh.say("forgotten; their room is used again by what is recorded later")
    sh.say(ledger_line(records.name))
    return 0
