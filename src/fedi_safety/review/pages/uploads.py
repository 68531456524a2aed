"""Waiting uploads: what the gate let in without a verdict, since when and why, and what becomes of it."""

from __future__ import annotations

from starlette.responses import Response

from fedi_safety.core.ledger.uploads import UploadState
from fedi_safety.review.rules import Right, Rule
from fedi_safety.review.visit import Refused, Visit

_SHOWN = 100  # of each state
_STATES = (UploadState.CONDEMNED, UploadState.OWED, UploadState.HELD)
HEADINGS = {
    UploadState.CONDEMNED: "Condemned since, and not removed yet",
    UploadState.OWED: "Not judged yet",
    UploadState.HELD: "Not to be judged by this version",
}
WHAT = {
    UploadState.CONDEMNED: "It is removed when a pass over its store meets it, within the breaker.",
    UploadState.OWED: "The gate finds it in its store, or fetches it from where it was announced, and judges it, as "
    "soon as somebody is there who can. A scan of the store does the same.",
    UploadState.HELD: "Another version of the program, or other bounds, try it again by themselves.",
}


def uploads(visit: Visit) -> Response:
    """Show what waits, of each state those that were not tried for the longest."""
    found = {state: visit.pages.ledger.untried_entries(state, _SHOWN + 1) for state in _STATES}
    return visit.page(
        "uploads.html", found=found, most=_SHOWN, headings=HEADINGS, what=WHAT,
        askable=(UploadState.OWED, UploadState.HELD),
    )  # fmt: skip


def again(visit: Visit) -> Response:
    """Let one be tried at the gate's next round, whatever it waits for."""
    if not visit.pages.ledger.ask_upload_again(visit.form.get("upload", "")):
        raise Refused(409, "It does not wait any more", "It was judged, or found to be nowhere.", way="uploads")
    return visit.go("uploads")


RULES = (
    Rule("/uploads", "GET", Right.SEE, uploads),
    Rule("/uploads/again", "POST", Right.DECIDE, again),
)
