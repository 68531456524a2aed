"""How a finished run is shown to a person: the closing table and the notes below it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedi_safety.core.decide import tells_of_gone
from fedi_safety.core.enums import Listing
from fedi_safety.core.errors import printable
from fedi_safety.core.presence import remedy
from fedi_safety.core.wording.hints import command, hint
from fedi_safety.reports.facts import by_count, capitalized, percent

if TYPE_CHECKING:
    from rich.table import Table

    from fedi_safety.core.runs import RunReport


def closing_table(report: RunReport, *, removes: bool) -> Table:
    """Return the figures of a scan as a table."""
    from rich.table import Table

    tally = report.tally
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column(style="dim")
    judged = tally.judged + tally.already_judged
    share = f"{percent(judged / tally.media)} of the media have a verdict" if tally.media else ""
    table.add_row("listed", f"{tally.listed:,}", share)
    table.add_row("judged now", f"{tally.judged:,}", _rate(report))
    table.add_row("judged before", f"{tally.already_judged:,}", "")
    if tally.skipped:
        table.add_row("skipped", f"{tally.skipped_total:,}", f"no media: {_reasons(tally.skipped)}")
    table.add_row("unscanned", f"{tally.unscanned_total:,}", _reasons(tally.unscanned))
    if tally.partly:
        table.add_row("judged in part", f"{tally.partly:,}", "")
    table.add_row("clear", f"{tally.clear:,}", "")
    table.add_row("review", f"{tally.review:,}", "")
    table.add_row("condemned", f"{tally.block:,}", "")
    if removes:
        table.add_row("removed", f"{tally.acted:,}", "")
        table.add_row("not removed", f"{tally.failed:,}", "tried again by the next run" if tally.failed else "")
    elif report.act is not None:
        table.add_row("would be removed", f"{tally.planned:,}", "dry run: nothing was removed")
    elif tally.block:
        table.add_row("removed", "0", "action report: nothing was planned or removed")
    if tally.gone:
        table.add_row("gone", f"{tally.gone:,}", "known and not there any more")
    if report.actions is not None:
        table.add_row("actions", f"{report.actions['done']:,}", actions_line(report.actions))
    table.add_row("seconds", f"{report.seconds:.1f}", f"policy {report.policy}")
    return table


def closing_commands(report: RunReport) -> list[str]:
    """Return the commands that tell more of a finished run, a line each.

    They are not in the table: a command that is broken over two cells cannot be copied.
    """
    told = (
        ("what was judged in part", report.tally.partly, command("list --partly")),
        ("what is condemned", report.tally.block, command("list --verdict block")),
        ("what is gone", report.tally.gone, command("list --state gone")),
    )
    return [f"{what}: {typed}" for what, count, typed in told if count] + confirm_lines(report)


def confirm_lines(report: RunReport) -> list[str]:
    """Return the command by which a person lets be done what waits for a word; none where nothing does."""
    waits = report.actions is not None and report.actions["unconfirmed"]
    return [f"to let be done what waits for a person's word: {command('confirm KEY')}"] if waits else []


def _rate(report: RunReport) -> str:
    if not report.tally.judged or not report.seconds:
        return ""
    return f"{report.tally.judged / report.seconds:.1f} a second on {report.device}"


def _reasons(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in by_count(counts))


def actions_line(counts: dict[str, int]) -> str:
    """Return how the actions through the app of a run ended."""
    waits = f", waiting for a person's word {counts['unconfirmed']:,}" if counts["unconfirmed"] else ""
    return f"through the app: done {counts['done']:,}, gone {counts['gone']:,}, failed {counts['failed']:,}{waits}"


def ledger_line(ledger: str) -> str:
    """Return the line below a summary that names the ledger it is about."""
    return f"ledger: {ledger}"


def closing_notes(report: RunReport) -> list[str]:
    """Return what a person must know after a run, one line each."""
    notes = []
    if report.breaker is not None:
        if tells_of_gone(report.breaker):
            stopped = "note: nothing was concluded from that" if report.dry_run else "BREAKER: the actions were stopped"
            notes.append(f"{stopped}: {report.breaker}. {capitalized(remedy(report.named))}.")
        elif report.dry_run:
            notes.append(f"note: a real run would be stopped by the breaker: {report.breaker}.")
        else:
            notes.append(
                f"BREAKER: the actions were stopped: {report.breaker}. Look at "
                f"{hint('list {} --verdict block', report.named)}; if it is right, run "
                f"{hint('apply {} --resume-acts', report.named)}."
            )
    if report.listing is Listing.NOTHING:
        notes.append("the store is empty, and nothing is known of it: is it mounted, and the one that was meant?")
    if report.changed:
        were = "object has changed since it was" if report.changed == 1 else "objects have changed since they were"
        notes.append(f"{report.changed:,} {were} judged, left alone; the next scan judges anew.")
    if report.held:
        notes.append(
            f"not removed yet: {report.held:,} wait to be traced: the server cannot be asked who put them there; "
            "`trace.wait_s` says for how long"
        )
    notes += [f"not removed: {printable(outcome.plan.object.key)}: {outcome.detail}" for outcome in report.failures]
    if report.tally.failed > len(report.failures):
        notes.append(f"... and {report.tally.failed - len(report.failures)} more")
    notes += _action_notes(report)
    if not report.tally.accounted and report.tally.listed:
        notes.append("internal error: some listed objects are not accounted for; please report it")
    if report.interrupted:
        notes.append("interrupted: everything judged so far is recorded; run the same command again to go on.")
    return notes


def _action_notes(report: RunReport) -> list[str]:
    """Return what a person must know of actions through the app, done, left, and theirs to do."""
    notes = [f"not done, tried again when it is due: {printable(failure)}" for failure in report.action_failures]
    if report.action_breaker is not None:
        notes.append(
            f"BREAKER: actions through the app were stopped: {report.action_breaker}. Look at "
            f"{hint('list {} --act done', report.named)} and {hint('show KEY')}; if it is right, run "
            f"{hint('apply {} --resume-actions', report.named)}."
        )
    if report.would_do and report.tally.planned:
        names = ", ".join(report.would_do)
        notes.append(
            f"note: a real run would trace what it removes, and then act through the app as far as that tells: {names}."
        )
    return notes + [f"by hand: {printable(line)}" for line in report.by_hand]
