"""`apply`: carry out what dry runs planned."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import islice
from typing import TYPE_CHECKING

from fedi_safety.cli.consent import Given, settled, tell_others
from fedi_safety.cli.options import (
    ActOption,
    ClosingJsonOption,
    ConfigOption,
    LedgerOption,
    LogLevelOption,
    QuietOption,
    ResumeActionsOption,
    ResumeOption,
    StoreArgument,
    YesOption,
)
from fedi_safety.cli.shell import Shell, on_stop, shell, worst, write_json
from fedi_safety.core.enums import NO_ACT
from fedi_safety.core.errors import UsageError

if TYPE_CHECKING:
    from fedi_safety.app.stores import Target
    from fedi_safety.core.ledger.ports import Ledger
    from fedi_safety.core.ports import Store
    from fedi_safety.core.runs import RunReport

_NAMED = 10  # planned objects that are named before the question


def apply(
    store: StoreArgument = None,
    act: ActOption = None,
    resume_acts: ResumeOption = False,
    resume_actions: ResumeActionsOption = False,
    json_output: ClosingJsonOption = False,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Do what dry runs planned for a store and nobody dismissed. Opens no picture but the ones it removes."""
    from fedi_safety.app.ledger import open_settings_ledger
    from fedi_safety.app.stores import targets

    sh = shell(config, ledger, log_level, quiet, yes, act=act)
    with ExitStack() as closing:
        records = open_settings_ledger(sh.settings)
        closing.callback(records.dispose)
        chosen = []
        for target in targets(sh.settings, store):
            opened = target.open()
            closing.callback(opened.close)
            chosen.append((_settled(sh, records, target, opened), opened))
        reports = _apply(sh, records, chosen, resume_acts=resume_acts, resume_actions=resume_actions)
        return _tell(sh, reports, records.name, json_output=json_output)


def _settled(sh: Shell, ledger: Ledger, target: Target, store: Store) -> Target:
    """Return a target whose act holds, once a person has agreed to what is planned. Raises `UsageError` for a no."""
    count = ledger.store_counts(store.url).open_removals
    if not count:
        tell_others(sh, store.url)  # which may be where something is planned
        return target
    target = settled(sh, ledger, target, store, dry_run=False, given=Given.PLANS)
    if sh.yes or not sh.can_ask or target.settings.act == NO_ACT:
        return target
    sh.warn(f"{store.url}: {count:,} planned, to {target.settings.act}:")
    for plan in islice(ledger.open_plans(store.url), _NAMED):
        sh.warn(f"  {plan.object.key}")
    if count > _NAMED:
        sh.warn(f"  and {count - _NAMED:,} more; `fedi-safety list --act planned` names all, with their reasons")
    if not sh.agreed("Remove them? There is no way back."):
        raise UsageError(store.url, "nothing was done", "`fedi-safety list --act planned` tells why each was condemned")
    return target


def _apply(
    sh: Shell,
    ledger: Ledger,
    chosen: Sequence[tuple[Target, Store]],
    *,
    resume_acts: bool,
    resume_actions: bool,
) -> list[tuple[str, RunReport]]:
    from fedi_safety.app.apply import apply as apply_plans

    stop = threading.Event()
    reports: list[tuple[str, RunReport]] = []
    with on_stop(lambda: _stop(sh, stop)):
        # One after another: acts are few, and their order in the ledger stays plain.
        for target, store in chosen:
            report = apply_plans(
                target.settings,
                ledger=ledger,
                store=store,
                resume_acts=resume_acts,
                resume_actions=resume_actions,
                keep_going=lambda: not stop.is_set(),
            )
            reports.append((target.name, report))
            if stop.is_set():
                break
    return reports


def _tell(sh: Shell, reports: Sequence[tuple[str, RunReport]], ledger: str, *, json_output: bool) -> int:
    from fedi_safety.cli.text.summary import closing_notes, ledger_line
    from fedi_safety.core.runs import summed

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
    else:
        sh.say(ledger_line(ledger))
    return worst(report.exit_code for _, report in reports)


def _stop(sh: Shell, stop: threading.Event) -> None:
    """Handle SIGINT and SIGTERM: finish the action in hand. A second one does not wait for that."""
    if stop.is_set():
        raise KeyboardInterrupt
    stop.set()
    sh.note("stopping: finishing the action in hand (again to stop at once)")


def _say(sh: Shell, named: str, report: RunReport) -> None:
    from fedi_safety.cli.text.summary import actions_line

    tally = report.tally
    if report.actions is not None:
        sh.say(f"{named}{actions_line(report.actions)}")
    if tally.planned:
        changed = f", left alone {report.changed:,}" if report.changed else ""
        gone = f", gone already {tally.gone:,}" if tally.gone else ""
        counts = f"removed {tally.acted:,}{gone}, not removed {tally.failed:,}{changed}"
        sh.say(f"{named}planned {tally.planned:,}, {counts}")
    else:
        sh.say(f"{named}nothing is planned for this store; `fedi-safety scan --dry-run` plans")
