"""Lists of known images: what each does, how much is on it, how old it is, and what came of it here."""

from __future__ import annotations

from starlette.responses import Response

from fedi_safety.app.known.figures import ListFigures, SourceFigures, list_figures, source_figures
from fedi_safety.core.known.types import Effect
from fedi_safety.review.rules import Right, Rule
from fedi_safety.review.visit import Visit

WHAT = {
    Effect.BLOCK: "what meets it is condemned by the presets",
    Effect.REVIEW: "what meets it is sent to review by the presets",
    Effect.NEGATIVE: "harmless: nothing of it counts by its looks",
}
SHOWN = 60


def lists(visit: Visit) -> Response:
    """Show the lists, and where they are fetched from."""
    pages = visit.pages

    def count() -> tuple[list[ListFigures], list[SourceFigures]]:
        return list_figures(pages.settings, pages.ledger), source_figures(pages.settings)

    read = pages.counted.read("lists", count)
    found, fetched = ([], []) if read is None or read.value is None else read.value
    return visit.page(
        "lists.html", read=read, lists=found[:SHOWN], more=max(0, len(found) - SHOWN), sources=fetched,
        what=WHAT, now=pages.clock.now(),
    )  # fmt: skip


RULES = (Rule("/lists", "GET", Right.SEE, lists),)
