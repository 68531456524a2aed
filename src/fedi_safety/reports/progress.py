"""How far passes are that are under way, in words: for a terminal, a report, a log. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from fedi_safety.core.errors import printable
from fedi_safety.reports.facts import percent, span_text

if TYPE_CHECKING:
    from fedi_safety.core.ledger.progress import Progress
    from fedi_safety.reports.facts import Report

_SILENT_S = 10.0  # what was told longer ago is said with its age
_COUNTS = {
    "judged": "judged",
    "already_judged": "judged before",
    "block": "condemned",
    "acted": "removed",
    "unscanned": "unscanned",
    "skipped": "skipped",
}


def how_far(one: Progress) -> str:
    """Return how much is done, how fast, and how long the rest takes: `1,200 of 4,800 (25.0 %), 38.2/s, ...`."""
    share = one.share
    if one.total is None or share is None:
        parts = [f"{one.done:,} so far"]
    else:
        parts = [f"{one.done:,} of {'' if one.counted else 'about '}{one.total:,} ({percent(share)})"]
    if one.rate > 0:
        parts.append(f"{one.rate:,.0f}/s" if one.rate >= 100 else f"{one.rate:.1f}/s")
    if one.left_s is not None:
        parts.append(f"about {span_text(max(1.0, one.left_s))} left")
    return ", ".join(parts)


def counts_text(one: Progress) -> str:
    """Return what became of the objects, as far as there are such."""
    return ", ".join(f"{one.counts[name]:,} {word}" for name, word in _COUNTS.items() if one.counts.get(name))


def summed(passes: Sequence[Progress]) -> Progress:
    """Return several passes that run side by side as one; of one nothing changes. There must be one at least."""
    first, *others = passes
    for other in others:
        known = first.total is not None and other.total is not None
        first = replace(
            first,
            done=first.done + other.done,
            total=(first.total or 0) + (other.total or 0) if known else None,
            counted=first.counted and other.counted,
            rate=first.rate + other.rate,
            place="",
            counts={name: first.counts.get(name, 0) + other.counts.get(name, 0) for name in _COUNTS},
        )
    return first


def clock_text(seconds: float) -> str:
    """Return `0:05:12`, `27:00:00`."""
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def pass_line(one: Progress) -> str:
    """Return a pass in one line, for a log."""
    counts = counts_text(one)
    place = f"; at {printable(one.place)}" if one.place else ""
    return how_far(one) + (f": {counts}" if counts else "") + place


def under_way_text(one: Progress, now: float) -> str:
    """Return that a pass is under way and how far, in a sentence without its store."""
    what = "a dry run" if one.dry_run else "a pass"
    began = f"{datetime.fromtimestamp(one.started_at, UTC):%Y-%m-%d %H:%M} UTC"
    told = f" (told {span_text(now - one.at)} ago)" if now - one.at >= _SILENT_S else ""
    return f"{what} is under way (run {one.run}, since {began}): {pass_line(one)}{told}"


def under_way_parts(one: Progress, now: float) -> tuple[str, str, str]:
    """Return a heading for a pass that is under way, where it is, and which run it is and since when."""
    heading = "A dry run is under way" if one.dry_run else "A pass is under way"
    told = f", told {span_text(now - one.at)} ago" if now - one.at >= _SILENT_S else ""
    began = f"{datetime.fromtimestamp(one.started_at, UTC):%Y-%m-%d %H:%M} UTC"
    place = f", at {printable(one.place)}" if one.place else ""
    return heading, f"{printable(one.store)}{place}", f"run {one.run}, since {began}{told}"


def under_way_lines(report: Report) -> list[str]:
    """Return a line for each pass that runs now."""
    return [f"{printable(one.store)}: {under_way_text(one, report.made_at)}" for one in report.under_way]


def progress_json(one: Progress) -> dict[str, object]:
    """Return the same as data."""
    return {
        "run_id": one.run,
        "store": one.store,
        "dry_run": one.dry_run,
        "started_at": _moment(one.started_at),
        "at": _moment(one.at),
        "done": one.done,
        "total": one.total,
        "counted": one.counted,
        "objects_per_second": round(one.rate, 2),
        "seconds_left": None if one.left_s is None else round(one.left_s),
        "place": one.place,
        **{name: one.counts.get(name, 0) for name in _COUNTS},
    }


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
