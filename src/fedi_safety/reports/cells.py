"""Cells of the tables that the report and the review pages both have. Pure; `say` puts words into a language."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from markupsafe import Markup

from fedi_safety.core.errors import printable
from fedi_safety.reports import plots
from fedi_safety.reports.facts import list_cells, percent, source_cells, wilson

if TYPE_CHECKING:
    from fedi_safety.app.known.figures import ListFigures
    from fedi_safety.core.sightings import Source

Say = Callable[..., str]
"""Puts a sentence into a language, with its values."""


def sources(found: Sequence[Source], say: Say) -> list[tuple[str, ...]]:
    """Return name, from where, how many, what share that may mean, that as a plot, and when last."""
    rows: list[tuple[str, ...]] = []
    for source in found:
        _, _, last, where, name = source_cells(source)
        low, high = wilson(source.contents, source.of)
        count = say("{count} of {of}", count=f"{source.contents:,}", of=f"{source.of:,}")
        share = say("{low} to {high}", low=percent(low), high=percent(high))
        plot = Markup(plots.interval(low, source.contents / source.of, high))
        rows.append((name, say(where) if where else "", count, share, plot, last))
    return rows


def lists(found: Sequence[ListFigures]) -> list[tuple[str, ...]]:
    """Return name, effect, entries, when it changed, hits, and how many of these were confirmed and dismissed."""
    rows: list[tuple[str, ...]] = []
    for each in found:
        entries, changed, hits, confirmed, dismissed, effect, name = list_cells(each)
        rows.append((printable(name), effect, entries, changed, hits, confirmed, dismissed))
    return rows
