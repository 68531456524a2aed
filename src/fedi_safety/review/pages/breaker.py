"""Breakers: why they hold a store's removals back, and a person's word to go on."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.responses import Response

from fedi_safety.review.rules import Right, Rule
from fedi_safety.review.visit import Refused, Visit


@dataclass(frozen=True, slots=True)
class Held:
    """How the breakers of one store stand, and how many plans wait there."""

    store: str
    why: str | None
    actions: str | None  # of actions through the app
    waiting: int


def breakers(visit: Visit) -> Response:
    """Show every store's breaker."""
    ledger = visit.pages.ledger
    waiting = visit.pages.waiting_plans()
    stores = [
        Held(url, ledger.breaker(url), ledger.action_breaker(url), waiting.get(url, 0)) for url in ledger.store_urls()
    ]
    stores.sort(key=lambda one: one.why is None and one.actions is None)
    return visit.page("breaker.html", stores=stores, limits=visit.pages.settings.breaker)


def resume(visit: Visit) -> Response:
    """Let a store's breaker go, on this person's word; the next run acts again."""
    ledger, store = visit.pages.ledger, visit.form.get("store", "")
    if store not in ledger.store_urls():
        raise Refused(404, "The ledger knows no such store", "It may be in another ledger.")
    why = ledger.breaker(store)
    if why is None or why != visit.form.get("why"):
        raise Refused(
            409,
            "It does not stand as this page said",
            "Somebody resumed it, or it stopped for another reason.",
            way="breaker",
        )
    run = ledger.begin_run("review", store, {"resume_acts": True, "by": visit.who.person.name})
    ledger.set_breaker(run, store, None)
    ledger.end_run(run, "done", {})
    return visit.go("breaker")


RULES = (
    Rule("/breaker", "GET", Right.SEE, breakers),
    Rule("/breaker/resume", "POST", Right.RUN, resume),
)
