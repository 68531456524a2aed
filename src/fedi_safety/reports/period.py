"""What happened in a span of time, in lines of plain text: for a mail once a week, and for a terminal. Pure."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from fedi_safety.core.errors import printable
from fedi_safety.reports.facts import by_count, coverage_text, list_of, objects_text, warnings
from fedi_safety.reports.progress import under_way_lines

if TYPE_CHECKING:
    from fedi_safety.core.ledger.history import Happened, History
    from fedi_safety.reports.facts import Report

_WIDE = 78
_COMMAND, _KEPT = re.compile("`[^`]*`"), "\0"  # a text on paper has no such character
HEADINGS = ("day", "runs", "judged", "condemned", "removed", "failed", "gone", "dismissed")
"""Of `day_cells`."""


def day_cells(name: str, happened: Happened) -> tuple[str, ...]:
    """Return a day, or a sum, as cells under `HEADINGS`; what did not happen is empty."""
    counts = (getattr(happened, heading) for heading in HEADINGS[1:])
    return (name, *(f"{count:,}" if count else "" for count in counts))


def happened_rows(history: History) -> list[tuple[str, int, str]]:
    """Return what happened: name, count, and what is to be known of it."""
    total = history.total
    rules = ", ".join(f"{count:,} {rule}" for rule, count in by_count(history.rules))
    restored = f"{total.restored:,} taken back" if total.restored else ""
    return [
        ("condemned", total.condemned, rules),
        ("removed", total.removed, ""),
        ("failed", total.failed, "attempts to remove" if total.failed else ""),
        ("gone", total.gone, "by other hands" if total.gone else ""),
        ("dismissed", total.dismissed, restored),
        ("judged", total.judged, ""),
        ("runs", total.runs, ""),
    ]


def span_of(history: History, until: float) -> str:
    """Return the span as two days, in UTC."""
    first, last = (datetime.fromtimestamp(at, UTC) for at in (history.since, until))
    return f"{first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} (UTC)"


def lines(report: Report, history: History, since: str) -> Iterator[str]:
    """Yield a report of what happened since, none wider than a terminal but for names; `since` is as it was asked."""
    yield f"fedi-safety, {span_of(history, report.made_at)}"
    yield ""
    for line in under_way_lines(report):
        yield from _wrapped("", line)
        yield ""
    for name, count, note in happened_rows(history):
        yield from _wrapped(f"{name:<10}{count:>9,}  ", note)
    if report.gate is not None:
        gate = report.gate
        yield f"{'refused':<10}{gate.refused_day:>9,}  by the gate, in the last day; {gate.owed.total():,} uploads wait"
    if found := warnings(report):
        yield ""
        yield "To look at"
        for warning in found:
            yield from _wrapped("- ", printable(warning))
    for store in report.figures.stores:
        yield ""
        yield printable(store.store)
        yield from _wrapped("  ", coverage_text(store))
        acts = report.acts.get(store.store)
        condemned, waiting = store.verdicts["block"], acts.open_plans if acts else 0
        if condemned or waiting:
            yield f"  {objects_text(condemned)} condemned and still there, {waiting:,} open plans"
    yield ""
    yield f"what was removed:    {list_of(report, report.store, '--since {} --state removed', since)}"
    yield f"what was condemned:  {list_of(report, report.store, '--since {} --verdict block', since)}"


def _wrapped(begin: str, text: str) -> list[str]:
    """Return a text in lines; no word is broken, and no command, so that names, addresses and commands stay whole."""
    rest = " " * len(begin)
    whole = _COMMAND.sub(lambda found: found[0].replace(" ", _KEPT), text)
    kept = textwrap.wrap(
        whole, _WIDE, initial_indent=begin, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    )
    return [line.replace(_KEPT, " ") for line in kept] or [begin.rstrip()]
