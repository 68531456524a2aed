"""`apply`: carry out what dry runs planned."""

from __future__ import annotations

import threading
from contextlib import closing
from typing import TYPE_CHECKING

from fedi_safety.cli.options import (
    ClosingJsonOption,
    ConfigOption,
    LedgerOption,
    LogLevelOption,
    QuietOption,
    ResumeOption,
    StoreArgument,
    YesOption,
)
from fedi_safety.cli.shell import Shell, on_stop, shell, worst, write_json

if TYPE_CHECKING:
    from fedi_safety.core.runs import RunReport


def apply(
    store: StoreArgument = None,
    resume_acts: ResumeOption = False,
    json_output: ClosingJsonOption = False,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Do what dry runs planned for a store and nobody dismissed. Opens no picture but the ones it removes."""
    from fedi_safety.app.apply import apply as apply_plans
    from fedi_safety.app.ledger import open_settings_ledger
    from fedi_safety.app.stores import targets
    from fedi_safety.cli.summary import closing_notes
    from fedi_safety.core.runs import summed

    sh = shell(config, ledger, log_level, quiet, yes)
    records = open_settings_ledger(sh.settings)
    stop = threading.Event()
    reports: list[tuple[str, RunReport]] = []
    try:
        with on_stop(lambda: _stop(sh, stop)):
            # One after another: acts are few, and their order in the ledger stays plain.
            for target in targets(sh.settings, store):
                with closing(target.open()) as opened:
                    report = apply_plans(
                        target.settings,
                        ledger=records,
                        store=opened,
                        resume_acts=resume_acts,
                        keep_going=lambda: not stop.is_set(),
                    )
                reports.append((target.name, report))
                if stop.is_set():
                    break
    finally:
        records.dispose()
    several = len(reports) > 1
    for name, report in reports:
        if json_output and several:
            write_json({"store": name} | report.as_json())
        elif not json_output:
            _say(sh, f"{name}: " if several else "", report)
        for note in closing_notes(report):
            sh.warn(note)
    if json_output:
        write_json((summed([r for _, r in reports]) if several else reports[0][1]).as_json())
    return worst(report.exit_code for _, report in reports)


def _stop(sh: Shell, stop: threading.Event) -> None:
    """Handle SIGINT and SIGTERM: finish the action in hand. A second one does not wait for that."""
    if stop.is_set():
        raise KeyboardInterrupt
    stop.set()
    sh.note("stopping: finishing the action in hand (again to stop at once)")


def _say(sh: Shell, named: str, report: RunReport) -> None:
    tally = report.tally
    if tally.planned:
        changed = f", left alone {report.changed:,}" if report.changed else ""
        sh.say(f"{named}planned {tally.planned:,}, removed {tally.acted:,}, not removed {tally.failed:,}{changed}")
    else:
        sh.say(f"{named}nothing is planned for this store; `fedi-safety scan --dry-run` plans")
