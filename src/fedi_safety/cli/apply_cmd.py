"""`apply`: carry out what dry runs planned."""

from __future__ import annotations

import threading
from typing import Annotated

import typer

from fedi_safety.cli.shell import (
    ConfigOption,
    LedgerOption,
    LogLevelOption,
    QuietOption,
    StoreArgument,
    YesOption,
    on_stop,
    shell,
    write_json,
)


def apply(
    store: StoreArgument = None,
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
    """Do what dry runs planned for a store and nobody dismissed. Opens no picture but the ones it removes."""
    from fedi_safety import app
    from fedi_safety.cli.closing import closing_notes

    sh = shell(config, ledger, log_level, quiet, yes)
    opened = app.named_store(sh.settings, store)
    book = app.open_settings_ledger(sh.settings)
    stop = threading.Event()
    try:
        with on_stop(stop.set):
            report = app.apply(
                sh.settings,
                ledger=book,
                store=opened,
                resume_acts=resume_acts,
                keep_going=lambda: not stop.is_set(),
            )
    finally:
        book.dispose()
        opened.close()
    if json_output:
        write_json(report.as_json())
    else:
        tally = report.tally
        if tally.planned:
            changed = f", left alone {report.changed:,}" if report.changed else ""
            sh.say(f"planned {tally.planned:,}, removed {tally.acted:,}, not removed {tally.failed:,}{changed}")
        else:
            sh.say("nothing is planned for this store; `fedi-safety scan --dry-run` plans")
    for note in closing_notes(report):
        sh.warn(note)
    return report.exit_code
