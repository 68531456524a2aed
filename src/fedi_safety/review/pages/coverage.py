"""Coverage: what was judged, what was not and why, by store, and how old the verdicts are; as `report` counts them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime

from markupsafe import Markup
from starlette.responses import Response

from fedi_safety.core.ledger.history import LastPass
from fedi_safety.core.ledger.records import Figures, StoreFigures
from fedi_safety.reports import plots
from fedi_safety.reports.facts import by_count
from fedi_safety.reports.plots import Part
from fedi_safety.review.rules import Right, Rule
from fedi_safety.review.visit import Visit

AGES = (1, 7, 30, 365)
"""Up to how many days old verdicts are counted together."""
_VERDICTS = ("clear", "review", "block")


@dataclass(frozen=True, slots=True)
class Covered:
    """One store: its figures, what of it is judged and what not, the verdicts, and plots of both."""

    figures: StoreFigures
    parts: tuple[Part, ...]
    plot: Markup
    verdicts: tuple[Part, ...]
    verdict_plot: Markup
    last: LastPass | None


def coverage(visit: Visit) -> Response:
    """Show every store's coverage."""
    ledger = visit.pages.ledger
    read = visit.pages.counted.read("coverage", lambda: (ledger.figures(histograms=False), ledger.last_passes()))
    figures, passes = (Figures(), {}) if read is None or read.value is None else read.value
    stores = [_covered(visit, store, number, passes) for number, store in enumerate(figures.stores)]
    ages = ages_of(figures.judged_by_day, datetime.fromtimestamp(visit.pages.clock.now(), UTC).date())
    return visit.page("coverage.html", read=read, stores=stores, ages=ages, ever=sum(ages.values()), names=AGES)


def ages_of(judged_by_day: Mapping[str, int], today: date) -> Counter[int]:
    """Return how many verdicts are at most so many days old and older than the step before; 0 for older than all."""
    found: Counter[int] = Counter()
    for day, count in judged_by_day.items():
        age = (today - date.fromisoformat(day)).days
        found[next((step for step in AGES if age <= step), 0)] += count
    return found


def _covered(visit: Visit, store: StoreFigures, number: int, passes: Mapping[str, LastPass]) -> Covered:
    parts = [Part(visit.say("judged"), store.judged, "clear")]
    parts += [Part(reason, count, "gap") for reason, count in by_count(store.unscanned)]
    no_media = visit.say("no media")
    parts += [Part(f"{reason} ({no_media})", count, "skipped") for reason, count in by_count(store.skipped)]
    words = {"clear": visit.say("clear"), "review": visit.say("for review"), "block": visit.say("condemned")}
    verdicts = [Part(words[verdict], store.verdicts[verdict], verdict) for verdict in _VERDICTS]
    return Covered(
        store, tuple(parts), _bar(f"coverage{number}", visit.say("Coverage"), parts),
        tuple(verdicts), _bar(f"verdicts{number}", visit.say("Verdicts"), verdicts), passes.get(store.store),
    )  # fmt: skip


def _bar(name: str, title: str, parts: list[Part]) -> Markup:
    said = ", ".join(f"{part.count:,} {part.name}" for part in parts)
    return Markup(plots.stacked_bar(name, title, said, parts))


RULES = (Rule("/coverage", "GET", Right.SEE, coverage),)
