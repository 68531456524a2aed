"""Decisions: of one content, or of all that one rule or store has in a queue; with the count first, and an undo."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import Response

from fedi_safety.core.ledger.review import Decision, DecisionKind, DecisionState, Queued, QueueFilter, QueueKind
from fedi_safety.review.pages.entry import REASONS, sha256_of
from fedi_safety.review.pages.queues import filter_of, narrowed, number
from fedi_safety.review.rules import Right, Rule
from fedi_safety.review.visit import Refused, Visit

MOST_AT_ONCE = 500
_LONGEST = 500  # letters of a reason
_FITTING = {
    QueueKind.REVIEW: (DecisionKind.CONFIRM, DecisionKind.DISMISS),
    QueueKind.PLANNED: (DecisionKind.REMOVE, DecisionKind.CONFIRM, DecisionKind.DISMISS),
    QueueKind.FAILED: (DecisionKind.REMOVE, DecisionKind.DISMISS),
}


def decide(visit: Visit) -> Response:
    """Write a decision about one content down, and go on to the next of its queue."""
    form = visit.form
    sha256 = sha256_of(form.get("sha256", ""))
    written, in_the_way = visit.pages.ledger.decide(
        _kind(form), [sha256], _reason(form), visit.who.person.name, _undo_s(visit), _seen_at(form)
    )
    if not written:
        return _not_written(visit, in_the_way, form)
    visit.pages.carrier.tell()
    return _on(visit, form, written[0].batch)


def many(visit: Visit) -> Response:
    """Show what deciding about all of a rule or a store would be about."""
    wanted, kind = _wanted(visit, visit.query), _kind(visit.query)
    entries, more = _entries(visit, wanted)
    return visit.page(
        "many.html", wanted=wanted, kind=kind, entries=entries, more=more, reasons=REASONS,
        context=narrowed(visit.query) | {"queue": wanted.kind.value}, seen_at=visit.pages.clock.now(),
    )  # fmt: skip


def decide_many(visit: Visit) -> Response:
    """Write the same decision down about all that was shown; not where that is not the same any more."""
    form = visit.form
    wanted, kind = _wanted(visit, form), _kind(form)
    entries, _ = _entries(visit, wanted)
    if number(form.get("count")) != len(entries):
        raise Refused(409, "There are not as many any more", "Somebody decided meanwhile, or a scan found others. "
                      "Go back, and look again.")  # fmt: skip
    written, in_the_way = visit.pages.ledger.decide(
        kind, [one.sha256 for one in entries], _reason(form), visit.who.person.name, _undo_s(visit), _seen_at(form)
    )
    if not written:
        return _not_written(visit, in_the_way, form)
    visit.pages.carrier.tell()
    return visit.go("queue", wanted.kind.value, done=written[0].batch)


def undo(visit: Visit) -> Response:
    """Undo what waits of a decision."""
    undone = visit.pages.ledger.undo_decisions(visit.form.get("batch", ""))
    if not undone:
        raise Refused(409, "It is too late to undo this", "It was carried out, or somebody undid it already.",
                      way="decisions")  # fmt: skip
    made = visit.pages.ledger.decisions(batch=visit.form["batch"], limit=2)
    return visit.go("object", made[0].sha256.hex()) if len(made) == 1 else visit.go("decisions")


def decisions(visit: Visit) -> Response:
    """Show what was decided lately on these pages."""
    return visit.page("decisions.html", decisions=visit.pages.ledger.decisions(limit=100))


def _kind(given: Mapping[str, str]) -> DecisionKind:
    try:
        return DecisionKind(given.get("decision", ""))
    except ValueError as error:
        raise Refused(400, "This form cannot be read", "It is not one of these pages'.") from error


def _reason(form: Mapping[str, str]) -> str:
    words = [form.get("word", "").strip(), form.get("reason", "").strip()]
    return ": ".join(word for word in words if word)[:_LONGEST]


def _seen_at(form: Mapping[str, str]) -> float:
    try:
        return float(form.get("seen_at", ""))
    except ValueError as error:
        raise Refused(400, "This form cannot be read", "It is not one of these pages'.") from error


def _undo_s(visit: Visit) -> float:
    return visit.pages.settings.review.undo_s


def _wanted(visit: Visit, given: Mapping[str, str]) -> QueueFilter:
    wanted = filter_of(visit, given.get("queue", ""), given)
    if wanted.rule is None and wanted.store is None and wanted.source is None:
        raise Refused(400, "Of what?", "Choose a rule, a source or a store first: nothing here is about everything.")
    if _kind(given) not in _FITTING[wanted.kind]:
        raise Refused(
            400, "This does not fit", "What was sent to review is not condemned: it can be confirmed or dismissed."
        )
    return wanted


def _entries(visit: Visit, wanted: QueueFilter) -> tuple[list[Queued], bool]:
    """Return the entries that can be decided at once, each content once, and whether there are more."""
    found: dict[bytes, Queued] = {}
    before: int | None = None
    while True:
        page = visit.pages.ledger.queue(wanted, before=before, limit=MOST_AT_ONCE + 1)
        for one in page.entries:
            if one.decision is None and one.sha256 not in found:
                if len(found) == MOST_AT_ONCE:
                    return list(found.values()), True
                found[one.sha256] = one
        before = page.older
        if before is None:
            return list(found.values()), False


def _not_written(visit: Visit, in_the_way: list[Decision], form: Mapping[str, str]) -> Response:
    """Say who was sooner, or that there is nothing left to decide."""
    if in_the_way:
        return visit.page("sooner.html", 409, decisions=in_the_way, still=DecisionState.WAITING, form=form)
    raise Refused(409, "There is nothing left to decide here", "It was dismissed or judged otherwise meanwhile, or it "
                  "is not condemned, so that nothing can be removed.")  # fmt: skip


def _on(visit: Visit, form: Mapping[str, str], batch: str) -> Response:
    """Go to the next entry of the queue, else to the queue."""
    place, context = number(form.get("place")), narrowed(form)
    if form.get("queue") not in set(QueueKind):
        return visit.go("object", form["sha256"], done=batch)
    wanted = filter_of(visit, form["queue"], form)
    page = visit.pages.ledger.queue(wanted, before=None if wanted.by_score else place, limit=20)
    for one in page.entries:
        if one.decision is None and one.sha256.hex() != form["sha256"]:
            where = {"queue": wanted.kind.value, "place": one.place, "done": batch}
            return visit.go("object", one.sha256.hex(), **where, **context)
    return visit.go("queue", wanted.kind.value, done=batch, **context)


RULES = (
    Rule("/decide", "POST", Right.DECIDE, decide),
    Rule("/many", "GET", Right.DECIDE, many),
    Rule("/many", "POST", Right.DECIDE, decide_many),
    Rule("/undo", "POST", Right.DECIDE, undo),
    Rule("/decisions", "GET", Right.SEE, decisions),
)
