"""Sealed copies: which there are, until when, and a person's word that one is kept."""

from __future__ import annotations

from starlette.responses import Response

from fedi_safety.core.sealing.copies import Seal, SealState
from fedi_safety.review.pages.queues import number
from fedi_safety.review.rules import Right, Rule
from fedi_safety.review.visit import Refused, Visit

SHOWN = 40
_LONGEST = 500  # letters of a reason


def sealed(visit: Visit) -> Response:
    """Show a page of the copies that lie in a vault, the newest first."""
    before = number(visit.query.get("before"))
    copies = visit.pages.ledger.seal_page(before=before, limit=SHOWN + 1)
    older = copies[SHOWN - 1].id if len(copies) > SHOWN else None
    return visit.page("sealed.html", copies=copies[:SHOWN], before=before, older=older)


def hold(visit: Visit) -> Response:
    """Keep a copy whatever its time is."""
    reason = visit.form.get("reason", "").strip()[:_LONGEST]
    if not reason:
        raise Refused(400, "Why?", "A copy is held for a reason, which is kept with the record.", way="sealed")
    visit.pages.ledger.hold_seal(_copy(visit), f"{reason} (by {visit.who.person.name})")
    return visit.go("sealed")


def release(visit: Visit) -> Response:
    """Let a copy end by itself again."""
    visit.pages.ledger.release_seal(_copy(visit))
    return visit.go("sealed")


def _copy(visit: Visit) -> Seal:
    seal = visit.pages.ledger.seal_named(visit.form.get("name", ""))
    if seal is not None and seal.state is SealState.SEALED:
        return seal
    raise Refused(404, "There is no such copy", "Its time may be over.", way="sealed")


RULES = (
    Rule("/sealed", "GET", Right.SEE, sealed),
    Rule("/sealed/hold", "POST", Right.HOLD, hold, proved=True),
    Rule("/sealed/release", "POST", Right.HOLD, release, proved=True),
)
