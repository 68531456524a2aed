"""`ledger verify`: prove that the ledger's events are whole."""

from __future__ import annotations

import typer

from fedi_safety.cli.shell import ConfigOption, LedgerOption, LogLevelOption, QuietOption, YesOption, shell
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
    """Follow the chain of events from the first to the last and check verdicts, plans and acts against it."""
    from fedi_safety import app

    sh = shell(config, ledger, log_level, quiet, yes)
    book = app.open_settings_ledger(sh.settings, readonly=True)
    try:
        result = book.verify()
    finally:
        book.dispose()
    if result.problem is not None:
        raise LedgerError("ledger", result.problem, "compare it with a backup; do not trust it as evidence")
    sh.say(f"the chain of {result.length:,} events is whole; head {result.head}")
    return 0
