"""Sources: from where condemned contents came, by instance and by person, and what their share may be."""

from __future__ import annotations

from starlette.responses import Response

from fedi_safety.core.sightings import SourceKind
from fedi_safety.reports import cells
from fedi_safety.review.rules import Right, Rule
from fedi_safety.review.visit import Visit

SHOWN = 50
WHAT = ("local", "remote", "{count} of {of}", "{low} to {high}")
"""Words of the cells, which are said in the reader's language."""


def sources(visit: Visit) -> Response:
    """Show the sources of a kind, most first."""
    by = SourceKind.PERSON if visit.query.get("by") == SourceKind.PERSON.value else SourceKind.INSTANCE
    sure = visit.query.get("sure") == "1"
    ledger = visit.pages.ledger
    stores = ledger.store_urls()
    store = visit.query.get("store") if visit.query.get("store") in stores else None
    read = visit.pages.counted.read(
        ("sources", by, store, sure), lambda: ledger.sources(by, store, sure=sure, limit=SHOWN + 1)
    )
    found = [] if read is None or read.value is None else read.value
    return visit.page(
        "sources.html", read=read, by=by, kinds=list(SourceKind), sure=sure, stores=stores, store=store,
        found=found[:SHOWN], more=len(found) > SHOWN, cells=cells.sources(found[:SHOWN], visit.say),
    )  # fmt: skip


RULES = (Rule("/sources", "GET", Right.SEE, sources),)
