"""What the ledger tells of single objects: what is asked for, and what is answered. See `records` for all else."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedi_safety.core.enums import ActKind, PlanState, Reason, Verdict
    from fedi_safety.core.frames.signals import Judgement, RuleHit, Signal
    from fedi_safety.core.moderation import AppAction, Confirmation
    from fedi_safety.core.sightings import TraceRecord
    from fedi_safety.core.types import Explanation

STATES = ("judged", "unscanned", "skipped", "removed", "gone", "history")
"""How an object can stand. What is unscanned or skipped has a reason; history was taken over and not met yet."""


@dataclass(frozen=True, slots=True)
class Filters:
    """Which objects to list; what is None does not matter. All that are set must hold."""

    store: str | None = None
    state: str | None = None  # one of `STATES`
    verdict: Verdict | None = None
    label: str | None = None
    reason: Reason | None = None
    act: ActKind | None = None
    plan_state: PlanState | None = None
    prefix: str | None = None
    sha256: bytes | None = None
    partly: bool = False
    # Judged, or judged otherwise, then or later; removed; found gone by an act; or, without a verdict, met first.
    since: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One object with what is known of it now. `act` and `act_state` are of its latest plan."""

    store: str
    key: str
    state: str
    size: int | None
    sha256: bytes | None
    verdict: Verdict | None
    labels: tuple[str, ...]
    reasons: tuple[RuleHit, ...]
    signals: dict[str, Signal]
    policy: str | None
    dismissed: bool
    unscanned: Reason | None
    detail: str
    act: ActKind | None
    act_state: PlanState | None
    error: str | None
    judged_at: float | None
    partly: str | None = None
    skipped: Reason | None = None  # no media; `detail` says more, as with `unscanned`
    at: float | None = None  # since when it stands so, see `Filters.since`


@dataclass(frozen=True, slots=True)
class PastJudgement:
    """One judgement of a content, as it was given."""

    at: float
    run: int | None
    judgement: Judgement
    signals: dict[str, Signal] | None
    detectors: dict[str, str]


@dataclass(frozen=True, slots=True)
class PastEvent:
    """One event, as the chain keeps it."""

    seq: int
    at: float
    kind: str
    payload: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Shown:
    """Everything about one content, or about one object without: newest things last."""

    rows: list[Row]
    sha256: bytes | None = None
    media_type: str | None = None
    width: int | None = None
    height: int | None = None
    frames: int | None = None
    total: int | None = None
    partly: str | None = None
    detectors: dict[str, str] = field(default_factory=dict)
    dismissal: str | None = None
    judgements: list[PastJudgement] = field(default_factory=list)
    plans: list[dict[str, Any]] = field(default_factory=list)
    acts: list[dict[str, Any]] = field(default_factory=list)
    events: list[PastEvent] = field(default_factory=list)
    traces: list[TraceRecord] = field(default_factory=list)
    uploads: list[dict[str, Any]] = field(default_factory=list)  # that the gate refused, or let in without a verdict
    actions: list[AppAction] = field(default_factory=list)  # through the app
    confirmation: Confirmation | None = None
    explanation: Explanation | None = None  # what its scores rest on; None of what is plainly clear, or was not told
