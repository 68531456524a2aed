"""Objects with what is known of them, as questions ask for them, and as people are told of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fedi_safety.core.enums import ActKind, PlanState, Reason, Verdict
from fedi_safety.core.frames.signals import RuleHit, Signal
from fedi_safety.core.ledger.rows import Row
from fedi_safety.ledger import codec
from fedi_safety.ledger.compact.meanings import REASONS, SCORES, Meanings
from fedi_safety.ledger.reading.states import IMPORTED_LABEL, State

SKIPPED_STATE = "skipped"
TURNED = (
    "judgements.event_seq IS NOT NULL AND coalesce((SELECT earlier.verdict FROM judgements AS earlier "
    "WHERE earlier.content_id = judgements.content_id AND earlier.id < judgements.id ORDER BY earlier.id DESC LIMIT 1)"
    ", '') != judgements.verdict"
)
"""That a judgement says another verdict than the one before it, or is the first: a condition.

A verdict that was always clear leaves no event, and is told by the object's own time.
"""
AWAY = (State.REMOVED.value, State.GONE.value)
ENDED = (PlanState.DONE.value, PlanState.GONE.value)
_COLUMNS = (
    *("objects.id", "stores.url", 'objects."key"', "objects.state", "objects.size", "objects.sha256 AS own_sha256"),
    *("objects.reason", "objects.detail", "objects.judged_at", "contents.sha256", "contents.verdict"),
    *("contents.labels", *(f"contents.{name}" for name in (*REASONS, *SCORES)), "contents.policy"),
    *("contents.dismissed_at", "plans.act", "plans.state AS plan_state", "plans.error", "contents.partly"),
    *("objects.first_seen", "plans.updated_at AS plan_at"),
)


def rows_where(conditions: Sequence[str], limit: str = "") -> str:
    """Return the question for the objects that all conditions let through, oldest first."""
    return (
        f"SELECT {', '.join(_COLUMNS)}, "  # of names and conditions of ours; values stand beside it
        f"(SELECT max(judgements.at) FROM judgements WHERE judgements.content_id = objects.content_id AND {TURNED}) "
        "AS turned_at FROM objects JOIN stores ON stores.id = objects.store_id "
        "LEFT OUTER JOIN contents ON contents.id = objects.content_id LEFT OUTER JOIN plans ON plans.id = "
        "(SELECT max(latest.id) FROM plans AS latest WHERE latest.object_id = objects.id) "
        f"WHERE {' AND '.join(conditions)} ORDER BY objects.id{limit}"
    )


def _at(row: Any) -> float | None:
    """Return since when an object stands as it does; None where nobody noted when it was gone."""
    if row["state"] == State.JUDGED.value:
        return float(max(row["judged_at"] or row["first_seen"], row["turned_at"] or 0.0))
    if row["state"] in AWAY:
        return float(row["plan_at"]) if row["plan_state"] in ENDED else None
    return float(row["first_seen"])


@codec.stored("an object")
def row_from(row: Any, meanings: Meanings) -> Row:
    """Return the object of a row that `rows_where` asked for."""
    state = State(row["state"])
    verdict = None if row["verdict"] is None else Verdict(row["verdict"])
    labels = codec.labels_from(row["labels"]) if row["labels"] is not None else ()
    if state in (State.HISTORY, State.TRUSTED):
        verdict = Verdict.BLOCK if state is State.HISTORY else Verdict.CLEAR
        labels = (IMPORTED_LABEL, row["detail"]) if row["detail"] else (IMPORTED_LABEL,)
    unscanned = state is State.UNSCANNED
    reason = Reason(row["reason"]) if unscanned else None
    skipped = reason is not None and reason.skipped
    signals: dict[str, Signal] = {}
    reasons: tuple[RuleHit, ...] = ()
    if row["verdict"] is not None:
        signals = meanings.signals(*(row[name] for name in SCORES))
        reasons = () if unscanned else meanings.reasons(row["shape_id"], row["reasons"], signals)
    known_as = SKIPPED_STATE if skipped else State.JUDGED.value if state is State.TRUSTED else state.value
    return Row(
        store=row["url"],
        key=codec.key_text(row["key"]),
        state=known_as,
        size=row["size"] if row["size"] >= 0 else None,
        sha256=row["sha256"] or row["own_sha256"],
        verdict=None if unscanned else verdict,
        labels=() if unscanned else labels,
        reasons=reasons,
        signals=signals,
        policy=row["policy"],
        dismissed=row["dismissed_at"] is not None,
        unscanned=None if skipped else reason,
        detail=(row["detail"] or "") if unscanned else "",
        act=None if row["act"] is None else ActKind(row["act"]),
        act_state=None if row["plan_state"] is None else PlanState(row["plan_state"]),
        error=row["error"],
        judged_at=row["judged_at"],
        partly=None if unscanned else row["partly"],
        skipped=reason if skipped else None,
        at=_at(row),
    )
