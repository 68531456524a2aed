"""One content: the verdict in words, the factors against their bounds, where it is, who put it there, what happened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from starlette.responses import Response

from fedi_safety.core.enums import Verdict
from fedi_safety.core.ledger.records import PastEvent, Shown
from fedi_safety.core.ledger.review import DecisionState
from fedi_safety.core.policy import by_a_person
from fedi_safety.core.types import FactorHit, RuleHit
from fedi_safety.reports.findings import basis_text, found_lines, unexplained
from fedi_safety.review.pages.queues import narrowed
from fedi_safety.review.rules import Right, Rule
from fedi_safety.review.visit import Refused, Visit

REASONS = ("harmless", "adults", "drawing", "duplicate", "other")
"""What a person can say in one word about a verdict that is wrong."""
_DIGEST_LETTERS = 64
_MOST_EVENTS, _MOST_ROWS, _MOST_SCORES = 100, 50, 60


@dataclass(frozen=True, slots=True)
class Bar:
    """A factor as a bar: how high it is, where its rule begins, and what it rests on."""

    hit: FactorHit
    rests_on: str


def entry(visit: Visit) -> Response:
    """Show one content."""
    sha256 = sha256_of(visit.request.path_params["sha256"])
    found = visit.pages.ledger.show(sha256)
    if found is None:
        raise Refused(404, "The ledger has no such content", "It may be in another ledger.")
    last = found.judgements[-1].judgement if found.judgements else None
    made = visit.pages.ledger.decisions(sha256=sha256, limit=20)
    waiting = next((one for one in made if one.state in (DecisionState.WAITING, DecisionState.TAKEN)), None)
    context = {name: visit.query[name] for name in ("queue", "place") if visit.query.get(name)} | narrowed(visit.query)
    condemned = last is not None and last.verdict is Verdict.BLOCK and found.dismissal is None
    return visit.page(
        "object.html",
        found=found,
        sha256=sha256,
        last=last,
        bars=[[Bar(f, basis_text(f, found.explanation)) for f in hit.factors] for hit in _reasons(found)],
        explained=[] if found.explanation is None else found_lines(found.explanation),
        unexplained=unexplained(found),
        scores=_scores(found),
        rows=found.rows[:_MOST_ROWS],
        more_rows=max(0, len(found.rows) - _MOST_ROWS),
        events=[_said(event) for event in found.events[-_MOST_EVENTS:]],
        more_events=max(0, len(found.events) - _MOST_EVENTS),
        seals=visit.pages.ledger.seals(sha256=sha256),
        decisions=made,
        waiting=waiting,
        condemned=condemned,
        confirmable=condemned or (last is not None and last.verdict is Verdict.REVIEW and found.dismissal is None),
        by_a_person=last is not None and by_a_person(last),
        removable=condemned and any(plan["state"] in ("planned", "failed") for plan in found.plans),
        reasons=REASONS,
        context=context,
        seen_at=visit.pages.clock.now(),
    )


def _reasons(found: Shown) -> Sequence[RuleHit]:
    return found.judgements[-1].judgement.reasons if found.judgements else ()


def _scores(found: Shown) -> list[tuple[str, float]]:
    signals = found.judgements[-1].signals if found.judgements else None
    if signals is None and found.rows:
        signals = found.rows[0].signals
    scores = sorted(((name, signal.value) for name, signal in (signals or {}).items()), key=lambda one: -one[1])
    return list(islice(scores, _MOST_SCORES))


def _said(event: PastEvent) -> tuple[PastEvent, str]:
    """Return an event with what in it tells one from another."""
    return event, brief(event.payload)


def brief(payload: Mapping[str, object]) -> str:
    """Return the telling parts of an event in one line."""
    wanted = (
        "verdict",
        "before",
        "state",
        "outcome",
        "by",
        "reason",
        "why",
        "detail",
        "kind",
        "store",
        "policy",
        "run",
    )
    return ", ".join(f"{name} {payload[name]}" for name in wanted if payload.get(name) not in (None, ""))


def sha256_of(text: str) -> bytes:
    """Return a content's name. Raises `Refused` for what is none."""
    if len(text) != _DIGEST_LETTERS or not set(text) <= set("0123456789abcdef"):
        raise Refused(404, "There is no such page", "It may have been spelt otherwise.")
    return bytes.fromhex(text)


RULES = (Rule("/object/{sha256}", "GET", Right.SEE, entry),)
