"""`apply`: carry out what dry runs planned."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

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
from fedi_safety.cli.output_file import checked_place, write_page
from fedi_safety.cli.shell import Shell, on_stop, shell, worst, write_json
from fedi_safety.core.enums import NO_ACT, ActKind
from fedi_safety.core.errors import UsageError, printable
from fedi_safety.core.wording.hints import hint

if TYPE_CHECKING:
    from fedi_safety.app.apply import Removable
    from fedi_safety.app.notices.telling import Telling
    from fedi_safety.app.stores import Target
    from fedi_safety.core.ledger.ports import Ledger
    from fedi_safety.core.ledger.progress import Progress
    from fedi_safety.core.ports import Store
    from fedi_safety.core.runs import RunReport

_NAMED = 20  # objects that are named before the question
_TO_NAME = "--names"


def apply(
    store: StoreArgument = None,
    act: ActOption = None,
    resume_acts: ResumeOption = False,
    resume_actions: ResumeActionsOption = False,
    names: Annotated[
        str | None,
        typer.Option(
            _TO_NAME,
            metavar="FILE",
            help="Before that, write all that will be removed, an object a line, with tabs between.",
        ),
    ] = None,
    json_output: ClosingJsonOption = False,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Name what dry runs planned for a store and nobody dismissed, and do it. Opens no picture but what it removes."""
    from fedi_safety.app.notices.telling import telling

    sh = shell(config, ledger, log_level, quiet, yes, act=act)
    with telling(sh.settings, sh.note) as told:
        return _apply_named(sh, store, names, told, json_output, resume_acts=resume_acts, resume_actions=resume_actions)


def _apply_named(
    sh: Shell,
    store: str | None,
    names: str | None,
    told: Telling,
    json_output: bool,
    *,
    resume_acts: bool,
    resume_actions: bool,
) -> int:
    from fedi_safety.app.known.lists import apply_ended, keep_removals
    from fedi_safety.app.ledger import open_settings_ledger
    from fedi_safety.app.stores import targets

    place = None if names is None else checked_place(names, _TO_NAME, "names.tsv")
    with ExitStack() as closing:
        records = open_settings_ledger(sh.settings)
        closing.callback(records.dispose)
        apply_ended(sh.settings, records)
        found = []
        for target in targets(sh.settings, store):
            found.append((target, target.open()))
            closing.callback(found[-1][1].close)
        if place is not None:
            write_page(place, _all_lines(records, [opened.url for _, opened in found]), _TO_NAME)
            sh.note(f"wrote {place}")
        chosen = [(_settled(sh, records, target, opened, names), opened) for target, opened in found]
        reports = _apply(sh, records, chosen, resume_acts=resume_acts, resume_actions=resume_actions)
        keep_removals(sh.settings, records)
        told.completed([report for _, report in reports])
        return _tell(sh, reports, records.name, json_output=json_output)


def _settled(sh: Shell, ledger: Ledger, target: Target, store: Store, written: str | None) -> Target:
    """Return a target whose act holds, once a person has agreed to what is planned. Raises `UsageError` for a no."""
    count = ledger.store_counts(store.url).open_removals
    if not count:
        tell_others(sh, store.url)  # which may be where something is planned
        return target
    target = settled(sh, ledger, target, store, dry_run=False, given=Given.PLANS)
    if target.settings.act == NO_ACT:
        return target
    asking = sh.can_ask and not sh.yes
    for line in _named(ledger, store.url, count, str(target.settings.act), written):
        (sh.warn if asking else sh.note)(line)
    back = "" if target.settings.act == ActKind.SEAL else " There is no way back."
    if asking and not sh.agreed(f"Remove them?{back}"):
        raise UsageError(store.url, "nothing was done", f"{hint('list --act planned')} tells why each was condemned")
    return target


def _named(ledger: Ledger, store: str, planned: int, act: str, written: str | None) -> Iterator[str]:
    """Yield what will be removed: how many, by which rules, and the first by name; `written` is a file with all."""
    from fedi_safety.app.apply import removables
    from fedi_safety.reports.facts import by_count, objects_text

    first: list[Removable] = []
    rules: Counter[str] = Counter()
    count = 0
    for found in removables(ledger, store):
        count += 1
        rules.update(found.rules)
        if len(first) < _NAMED:
            first.append(found)
    yield f"{store}: {objects_text(count)} to {act}, condemned by"
    for rule, of_rule in by_count(rules):
        yield f"{of_rule:>9,}  {rule}"
    if rules.total() > count:
        yield "           (several rules can condemn one object)"
    if first:
        yield "the first of them:" if count > len(first) else "namely:"
    yield from (f"  {each.plan.object.key}" for each in first)
    if count > len(first):
        rest = f"all are in {written}" if written is not None else f"`{_TO_NAME} FILE` writes all, with their rules"
        yield f"  ... and {count - len(first):,} more; {rest}"
    if planned > count:
        yield f"left alone: {planned - count:,} planned before that the policy in force does not condemn, or not yet"


def _all_lines(ledger: Ledger, stores: Sequence[str]) -> Iterator[str]:
    """Yield a line for each object that will be removed: store, key, SHA-256 and rules, with tabs between."""
    from fedi_safety.app.apply import removables

    for store in stores:
        for found in removables(ledger, store):
            plan = found.plan
            cells = (store, plan.object.key, plan.sha256.hex(), "; ".join(found.rules))
            yield "\t".join(map(printable, cells)) + "\n"


def _apply(
    sh: Shell,
    ledger: Ledger,
    chosen: Sequence[tuple[Target, Store]],
    *,
    resume_acts: bool,
    resume_actions: bool,
) -> list[tuple[str, RunReport]]:
    from fedi_safety.app.apply import apply as apply_plans
    from fedi_safety.app.progress import RemovalProgress
    from fedi_safety.cli.text.progress import shown

    stop = threading.Event()
    reports: list[tuple[str, RunReport]] = []
    under_way: list[RemovalProgress] = []

    def now() -> list[Progress]:
        return [progress.now() for progress in under_way[-1:]]

    with on_stop(lambda: _stop(sh, stop)), nullcontext() if sh.quiet else shown(now, sh.note):
        # One after another: acts are few, and their order in the ledger stays plain.
        for target, store in chosen:
            under_way.append(RemovalProgress(store.url, ledger.store_counts(store.url).open_removals))
            report = apply_plans(
                target.settings,
                ledger=ledger,
                store=store,
                resume_acts=resume_acts,
                resume_actions=resume_actions,
                keep_going=lambda: not stop.is_set(),
                on_outcome=under_way[-1].note,
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
    from fedi_safety.cli.text.summary import actions_line, confirm_lines

    tally = report.tally
    if report.actions is not None:
        sh.say(f"{named}{actions_line(report.actions)}")
        for line in confirm_lines(report):
            sh.say(line)
    if tally.planned:
        changed = f", left alone {report.changed:,}" if report.changed else ""
        gone = f", gone already {tally.gone:,}" if tally.gone else ""
        counts = f"removed {tally.acted:,}{gone}, not removed {tally.failed:,}{changed}"
        sh.say(f"{named}planned {tally.planned:,}, {counts}")
    else:
        sh.say(f"{named}nothing is planned for this store; {hint('scan --dry-run')} plans")
