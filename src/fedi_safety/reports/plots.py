"""Plots as inline SVG, drawn by arithmetic alone. Pure: numbers in, well-formed markup out, every text escaped.

Counts that range from one to millions stand on a log scale that begins below 1, so that a single object is visible.
A plot with words in it is drawn twice, for wide screens and for narrow ones; the style sheet shows one of them. Scaled
down, its words could not be read on a phone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape

from fedi_safety.core.classes import dataclass
from fedi_safety.core.errors import printable

WIDTH_PX = 560  # of a histogram, which has a legend beside it
WIDE_PX = 900  # of bars and days, which take the whole width
NARROW_PX = 272  # of the same on a phone of 320 px, which leaves so much: words keep their 12 px
_LEFT_PX, _RIGHT_PX = 52, 14
_LOG_FLOOR = 0.5  # where the log scale begins: a bar of one object still has a height
_MIN_PART_PX = 4.0  # the narrowest part of a stacked bar that exists at all
_LABEL_GAP_PX = 34
_NAME_PX = 76  # of a day below its column, with a gap
_TOUCH_PX = 4  # of that gap


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a stacked bar; `style` is a class of the style sheet."""

    name: str
    count: int
    style: str


def text(value: str) -> str:
    """Return a text that is safe anywhere in the page: on one line, without control characters, escaped."""
    return escape(printable(value), quote=True)


def compact(count: int) -> str:
    """Return a count that fits above a bar: 999, 1.2k, 35k, 4.1M. Never rounded up to the next unit."""
    for limit, unit in ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")):
        if count >= limit:
            tenths = count * 10 // limit
            return f"{tenths // 10}{unit}" if tenths >= 100 or tenths % 10 == 0 else f"{tenths / 10:.1f}{unit}"
    return str(count)


def x_of(value: float, width_px: int = WIDTH_PX) -> float:
    """Return where a value from 0 to 1 stands on the axis of a plot."""
    return _LEFT_PX + value * (width_px - _LEFT_PX - _RIGHT_PX)


def stacked_bar(name: str, title: str, description: str, parts: Sequence[Part]) -> str:
    """Return one bar whose parts are shares of the whole; a part that exists is never too narrow to be seen."""
    height = 30
    widths = _part_widths([part.count for part in parts], WIDE_PX)
    marks, x = [], 0.0
    for part, width in zip(parts, widths, strict=True):
        if not width:
            continue
        shown = max(width - 1.5, 2.0) if x + width < WIDE_PX - 0.01 else width
        hint = f"<title>{text(part.name)}: {part.count:,}</title>"
        marks.append(
            f'<rect class="{part.style}" x="{x:.2f}" y="0" width="{shown:.2f}" height="{height}">{hint}</rect>'
        )
        x += width
    if not marks:
        marks.append(f'<rect class="empty" x="0" y="0" width="{WIDE_PX}" height="{height}"/>')
    return _svg(name, title, description, WIDE_PX, height, marks)


def _part_widths(counts: Sequence[int], width_px: float) -> list[float]:
    total = sum(counts)
    if not total:
        return [0.0] * len(counts)
    widths = [max(_MIN_PART_PX, count / total * width_px) if count else 0.0 for count in counts]
    widest = widths.index(max(widths))
    widths[widest] -= sum(widths) - width_px
    return widths


def interval(low: float, share: float, high: float) -> str:
    """Return a share as a point on a line from 0 to 1, with its interval, for a cell beside the one that says it."""
    width, middle = 160, 7
    x0, x, x1 = (4 + value * (width - 8) for value in (low, share, high))
    return (
        f'<svg class="interval" aria-hidden="true" viewBox="0 0 {width} {2 * middle}">'
        f'<line class="grid" x1="4" y1="{middle}" x2="{width - 4}" y2="{middle}"/>'
        f'<line class="span" x1="{x0:.1f}" y1="{middle}" x2="{x1:.1f}" y2="{middle}"/>'
        f'<circle class="point" cx="{x:.1f}" cy="{middle}" r="3.5"/></svg>'
    )


def histogram(
    name: str, title: str, description: str, bins: Sequence[int], thresholds: Mapping[float, str] | None = None
) -> str:
    """Return equal bins from 0 to 1 with log-scaled counts; each threshold is a line with its value above it."""
    marks_at = sorted((thresholds or {}).items())
    return _twice(name, WIDTH_PX, lambda own, width: _histogram(own, title, description, bins, marks_at, width))


def _histogram(
    name: str, title: str, description: str, bins: Sequence[int], marks_at: Sequence[tuple[float, str]], width_px: int
) -> str:
    rows = _label_rows([value for value, _ in marks_at], width_px)
    top = 26 + 13 * max(rows, default=0)
    plot_height = 150
    bottom = top + plot_height
    marks = _count_axis(bins, width_px, top, bottom)
    for i, count in enumerate(bins):
        x0, x1 = x_of(i / len(bins), width_px), x_of((i + 1) / len(bins), width_px)
        marks.append(_bar(count, x0, x1, top, bottom, max(bins), f"{_bin_name(i, len(bins))}: {count:,}", i))
    for tick in range(0, 11, 2):
        x = x_of(tick / 10, width_px)
        marks.append(f'<line class="axis" x1="{x:.1f}" y1="{bottom}" x2="{x:.1f}" y2="{bottom + 4}"/>')
        marks.append(f'<text class="tick" x="{x:.1f}" y="{bottom + 17}" text-anchor="middle">{tick / 10:.1f}</text>')
    for (value, why), row in zip(marks_at, rows, strict=True):
        x, y = x_of(value, width_px), top - 16 - 13 * row
        anchor = "end" if value > 0.97 else "middle"
        marks.append(
            f'<g class="threshold" data-threshold="{value:g}"><title>{text(why)}</title>'
            f'<line class="halo" x1="{x:.1f}" y1="{y + 3}" x2="{x:.1f}" y2="{bottom}"/>'
            f'<line x1="{x:.1f}" y1="{y + 3}" x2="{x:.1f}" y2="{bottom}"/>'
            f'<text x="{x:.1f}" y="{y}" text-anchor="{anchor}">{value:g}</text></g>'
        )
    return _svg(name, title, description, width_px, bottom + 24, marks)


def _label_rows(values: Sequence[float], width_px: int) -> list[int]:
    """Labels that would run into each other go one row up."""
    rows: list[int] = []
    ends: list[float] = []
    for value in values:
        x = x_of(value, width_px)
        row = next((i for i, end in enumerate(ends) if x - end >= _LABEL_GAP_PX), len(ends))
        if row == len(ends):
            ends.append(x)
        ends[row] = x
        rows.append(row)
    return rows


def _bin_name(index: int, bins: int) -> str:
    return f"{index / bins:.2f} to {(index + 1) / bins:.2f}"


def bin_names(bins: int) -> list[str]:
    """Return what each bin covers, in words."""
    return [_bin_name(i, bins) for i in range(bins)]


def columns(name: str, title: str, description: str, counts: Sequence[tuple[str, int]], style: str) -> str:
    """Return one column for each named count, on a log scale; as many names below as there is room for."""
    return _twice(name, WIDE_PX, lambda own, width: _columns(own, title, description, counts, style, width))


def _columns(
    name: str, title: str, description: str, counts: Sequence[tuple[str, int]], style: str, width_px: int
) -> str:
    top, bottom = 20, 130
    highest = max((count for _, count in counts), default=0)
    marks = _count_axis([count for _, count in counts], width_px, top, bottom)
    left, right = x_of(0.0, width_px), x_of(1.0, width_px)
    # Few columns do not become walls: each is at most as wide as one of twenty.
    width = (right - left) / max(20, len(counts))
    step = math.ceil(len(counts) / 8) or 1
    named_to = -math.inf
    for i, (label, count) in enumerate(counts):
        x0 = left + i * width
        marks.append(_bar(count, x0, x0 + width, top, bottom, highest, f"{label}: {count:,}", i, style))
        # Names are wider than columns; the outermost must not leave the plot, and none runs into another.
        x = min(max(x0 + width / 2, left + _NAME_PX / 2), right - _NAME_PX / 2)
        if i % step == 0 and x - _NAME_PX / 2 >= named_to:
            named_to = x + _NAME_PX / 2 - _TOUCH_PX
            marks.append(f'<text class="tick" x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{text(label)}</text>')
    return _svg(name, title, description, width_px, bottom + 24, marks)


def _twice(name: str, wide_px: int, drawn: Callable[[str, int], str]) -> str:
    """Return a plot for wide screens and for narrow ones, of which the style sheet shows one."""
    narrow = drawn(f"{name}-n", NARROW_PX)
    return f'<div class="wide-plot">{drawn(name, wide_px)}</div><div class="narrow-plot">{narrow}</div>'


def level(count: float, highest: int) -> float:
    """Return how high a count reaches on the log scale, as a share of the axis."""
    if count <= 0:
        return 0.0
    return math.log10(count / _LOG_FLOOR) / math.log10(axis_top(highest) / _LOG_FLOOR)


def axis_top(highest: int) -> int:
    """Return the power of ten at or above the highest count, at least 10."""
    top = 10
    while top < highest:
        top *= 10
    return top


def _bar(
    count: int, x0: float, x1: float, top: float, bottom: float, highest: int, hint: str, index: int, style: str = "bar"
) -> str:
    gap = min(2.0, (x1 - x0) * 0.2)
    height = level(count, highest) * (bottom - top)
    bar = (
        f'<rect class="{style}" data-bin="{index}" data-count="{count}" x="{x0 + gap / 2:.2f}"'
        f' y="{bottom - height:.2f}" width="{x1 - x0 - gap:.2f}" height="{height:.2f}">'
        f"<title>{text(hint)}</title></rect>"
    )
    if not count or x1 - x0 < 24:
        return bar
    label = f'<text class="count" x="{(x0 + x1) / 2:.1f}" y="{bottom - height - 4:.1f}" text-anchor="middle">'
    return f"{bar}{label}{compact(count)}</text>"


def _count_axis(counts: Sequence[int], width_px: int, top: float, bottom: float) -> list[str]:
    highest = max(counts, default=0)
    left, right = x_of(0, width_px), x_of(1, width_px)
    marks = []
    decades = round(math.log10(axis_top(highest)))
    for exponent in range(0, decades + 1, 2 if decades > 5 else 1):
        count = 10**exponent
        y = bottom - level(count, highest) * (bottom - top)
        marks.append(f'<line class="grid" x1="{left:.1f}" y1="{y:.1f}" x2="{right:.1f}" y2="{y:.1f}"/>')
        marks.append(f'<text class="tick" x="{_LEFT_PX - 8}" y="{y + 4:.1f}" text-anchor="end">{compact(count)}</text>')
    marks.append(f'<line class="axis" x1="{left:.1f}" y1="{bottom}" x2="{right:.1f}" y2="{bottom}"/>')
    return marks


def _svg(name: str, title: str, description: str, width_px: int, height: float, marks: Sequence[str]) -> str:
    return (
        f'<svg role="img" aria-labelledby="{name}-t {name}-d" viewBox="0 0 {width_px} {height:g}">'
        f'<title id="{name}-t">{text(title)}</title><desc id="{name}-d">{text(description)}</desc>'
        f"{''.join(marks)}</svg>"
    )
