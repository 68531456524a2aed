"""The chain of events: filtered, with the last word of its check, and as a file."""

from __future__ import annotations

import json
from collections.abc import Iterator

from starlette.responses import Response, StreamingResponse

from fedi_safety.core.ledger.records import PastEvent
from fedi_safety.review.pages.entry import brief, sha256_of
from fedi_safety.review.pages.queues import number
from fedi_safety.review.rules import Right, Rule
from fedi_safety.review.templating import machine_time
from fedi_safety.review.visit import Visit

SHOWN = 50
KINDS = (
    *(
        "dismissed",
        "restored",
        "confirmed",
        "unconfirmed",
        "viewed",
        "view.limit",
        "judged",
        "planned",
        "plan.closed",
        "act.started",
        "act.closed",
    ),
    *("breaker.tripped", "breaker.reset", "run.begun", "run.ended", "traced", "seal.made", "seal.held"),
    *("seal.released", "seal.destroyed", "redecided", "gone", "imported"),
)
_PAGE = 500


def audit(visit: Visit) -> Response:
    """Show a page of the chain."""
    kind = visit.query.get("kind") if visit.query.get("kind") in KINDS else None
    before = number(visit.query.get("before"))
    page = visit.pages.ledger.event_page(before=before, limit=SHOWN, kind=kind, sha256=_of(visit))
    return visit.page(
        "audit.html",
        page=page,
        said=[(event, brief(event.payload)) for event in page.events],
        kinds=KINDS,
        kind=kind,
        of=visit.query.get("of", ""),
        before=before,
        checker=visit.pages.checker,
    )


def verify(visit: Visit) -> Response:
    """Begin to check the chain, and the tables against it."""
    visit.pages.checker.start()
    return visit.go("audit")


def export(visit: Visit) -> Response:
    """Give the chain as a file, an event a line, the newest first."""
    kind = visit.query.get("kind") if visit.query.get("kind") in KINDS else None
    headers = {"Content-Disposition": 'attachment; filename="fedi-safety-events.jsonl"'}
    return StreamingResponse(_lines(visit, kind, _of(visit)), media_type="application/jsonl", headers=headers)


def _lines(visit: Visit, kind: str | None, sha256: bytes | None) -> Iterator[str]:
    before: int | None = None
    while True:
        page = visit.pages.ledger.event_page(before=before, limit=_PAGE, kind=kind, sha256=sha256)
        yield "".join(_line(event) for event in page.events)
        before = page.older
        if before is None:
            return


def _line(event: PastEvent) -> str:
    said = {"seq": event.seq, "at": machine_time(event.at), "kind": event.kind, "payload": event.payload}
    return json.dumps(said, ensure_ascii=True) + "\n"


def _of(visit: Visit) -> bytes | None:
    text = visit.query.get("of", "").strip().lower()
    return sha256_of(text) if text else None


RULES = (
    Rule("/audit", "GET", Right.SEE, audit),
    Rule("/audit/verify", "POST", Right.DECIDE, verify),
    Rule("/audit/export", "GET", Right.SEE, export),
)
