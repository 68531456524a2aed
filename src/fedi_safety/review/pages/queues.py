"""The queues: what is left to decide, by rule, store and time."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import Response

from fedi_safety.core.ledger.review import QueueFilter, QueueKind
from fedi_safety.review.rules import Right, Rule
from fedi_safety.review.visit import Refused, Visit

SHOWN = 40
SPANS = {"1d": 86_400.0, "7d": 604_800.0, "30d": 2_592_000.0}
LEAST = (0.5, 0.7, 0.9, 0.95)
"""The lowest scores that a queue can be narrowed down to."""
NARROWED = ("rule", "store", "since", "source", "least", "order")
HEADINGS = {
    QueueKind.REVIEW: "Sent to review",
    QueueKind.PLANNED: "Would be removed",
    QueueKind.FAILED: "Could not be removed",
}
WHAT = {
    QueueKind.REVIEW: "A rule of the policy sends these to a person. Nothing is removed because of it.",
    QueueKind.PLANNED: "A dry run found these condemned, and planned to remove them. They wait for a person's word.",
    QueueKind.FAILED: "Their removal was begun and failed. It is tried again by itself.",
}


def first(visit: Visit) -> Response:
    """Go to the first queue in which something waits."""
    counts = visit.pages.ledger.queue_counts()
    order = (QueueKind.PLANNED, QueueKind.REVIEW, QueueKind.FAILED)
    return visit.go("queue", next((kind for kind in order if counts[kind]), QueueKind.REVIEW).value)


def queue(visit: Visit) -> Response:
    """Show a page of a queue."""
    wanted = filter_of(visit, visit.request.path_params["kind"], visit.query)
    ledger = visit.pages.ledger
    page = ledger.queue(wanted, before=number(visit.query.get("before")), limit=SHOWN)
    return visit.page(
        "queue.html",
        wanted=wanted,
        page=page,
        counts=ledger.queue_counts(),
        rules=visit.pages.rules_of(wanted.kind),
        stores=ledger.store_urls(),
        spans=list(SPANS),
        span=visit.query.get("since", ""),
        headings=HEADINGS,
        what=WHAT[wanted.kind],
        kinds=list(QueueKind),
        narrowed=narrowed(visit.query),
        least=LEAST,
    )


def filter_of(visit: Visit, kind: str, asked: Mapping[str, str]) -> QueueFilter:
    """Return which entries are asked for. Raises `Refused` for a queue that there is not."""
    words = narrowed(asked)
    try:
        queue_kind = QueueKind(kind)
    except ValueError as error:
        raise Refused(404, "There is no such page", "It may have been spelt otherwise.") from error
    span = SPANS.get(words.get("since", ""))
    since = None if span is None else visit.pages.clock.now() - span
    return QueueFilter(
        queue_kind, words.get("store"), words.get("rule"), since, words.get("source"), _least(words.get("least")),
        words.get("order") == "score",
    )  # fmt: skip


def _least(text: str | None) -> float | None:
    """Return a lowest score; None for what is none, or lets everything through."""
    return next((value for value in LEAST if text == f"{value:g}"), None)


def narrowed(asked: Mapping[str, str]) -> dict[str, str]:
    """Return the part of a query or form that narrows a queue down."""
    return {name: asked[name] for name in NARROWED if asked.get(name)}


def number(text: str | None) -> int | None:
    """Return a place in a queue, or in the chain; None for what is none."""
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 19 else None


RULES = (
    Rule("/", "GET", Right.SEE, first),
    Rule("/queue/{kind}", "GET", Right.SEE, queue),
)
