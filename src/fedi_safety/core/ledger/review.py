"""What the review pages say to the ledger, and what it answers; a part of its ports.

A decision is written down before it is carried out, and waits a moment in which it can be undone. Sessions are kept
here so that they outlive a restart; of a session's secret only the hash is.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

from fedi_safety.core.classes import dataclass
from fedi_safety.core.enums import ActKind
from fedi_safety.core.ledger.records import PastEvent
from fedi_safety.core.types import RuleHit


class DecisionKind(StrEnum):
    """What a person decides about one content."""

    DISMISS = "dismiss"  # judged wrongly: clear everywhere, for good
    CONFIRM = "confirm"  # it is what it was condemned for
    TAKE_BACK = "take_back"  # a person's word that it is that is taken back
    REMOVE = "remove"  # what was planned about it is to be carried out now


class DecisionState(StrEnum):
    """How a decision stands."""

    WAITING = "waiting"  # it can still be undone
    TAKEN = "taken"  # it is being carried out
    DONE = "done"
    UNDONE = "undone"
    FAILED = "failed"  # `detail` says why; nothing came of it
    LAPSED = "lapsed"  # nobody was there to carry it out in its time, and it is not any more


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision about one content. Times are epoch seconds; `batch` is the same for what was decided at once."""

    id: int
    batch: str
    sha256: bytes
    kind: DecisionKind
    reason: str
    by: str
    at: float
    due_at: float
    state: DecisionState
    detail: str = ""


class QueueKind(StrEnum):
    """What waits for a person's word."""

    REVIEW = "review"  # contents whose verdict is `review`
    PLANNED = "planned"  # what dry runs would have removed
    FAILED = "failed"  # removals that failed, and are tried again


def score_of(reasons: Sequence[RuleHit]) -> float:
    """Return how high reasons stand, from 0 to 1; 0 without any. Rules that only give a label do not count."""
    lowest = (min((hit.value for hit in rule.factors), default=0.0) for rule in reasons if rule.verdict is not None)
    return max(lowest, default=0.0)


@dataclass(frozen=True, slots=True)
class Queued:
    """One entry of a queue: a content, the object by which it is shown, and why it is there.

    `place` is where it stands in its queue, the newest highest.
    """

    place: int
    sha256: bytes
    store: str
    key: str
    media_type: str
    reasons: tuple[RuleHit, ...]
    at: float | None
    act: ActKind | None = None
    error: str | None = None
    confirmed: bool = False
    decision: Decision | None = None  # that is not carried out yet

    @property
    def rules(self) -> tuple[str, ...]:
        """Return the rules that hold for it."""
        return tuple(hit.rule for hit in self.reasons)

    @property
    def score(self) -> float:
        """Return how high it stands: of each rule its lowest factor, for all must hold, and of these the highest."""
        return score_of(self.reasons)


@dataclass(frozen=True, slots=True)
class QueueFilter:
    """Which entries of a queue; what is None does not matter.

    `source` is a person or an instance that a content was traced to. `least` is the lowest score that counts (see
    `Queued.score`), and with `by_score` the highest come first: of the newest entries, as many as one page reads.
    """

    kind: QueueKind
    store: str | None = None
    rule: str | None = None
    since: float | None = None
    source: str | None = None
    least: float | None = None
    by_score: bool = False


@dataclass(frozen=True, slots=True)
class QueuePage:
    """Entries of a queue, newest first; `older` is where the next page begins, None at the end."""

    entries: tuple[Queued, ...]
    older: int | None


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events of the chain, newest first; `older` is where the next page begins, None at the end."""

    events: tuple[PastEvent, ...]
    older: int | None


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who is signed in. `stamp` is of the rights under which that was; with others it is over."""

    digest: bytes
    person: str
    stamp: str
    begun_at: float
    seen_at: float
    proved_at: float  # when the password was last given


class ReviewLedger(Protocol):
    """What the review pages ask beyond what people can look at. See `WholeLedger`."""

    def queue(self, wanted: QueueFilter, *, before: int | None = None, limit: int = 50) -> QueuePage:
        """Return a page of a queue. It reads a bounded number of rows, and may so be short although there is more."""
        ...

    def queue_counts(self) -> dict[QueueKind, int]:
        """Return how many entries each queue has."""
        ...

    def queue_rules(self, kind: QueueKind) -> dict[str, int]:
        """Return how many of the newest entries of a queue each rule has, the most first."""
        ...

    def waiting_plans(self) -> dict[str, int]:
        """Return how many open plans each store has, by its URL."""
        ...

    def event_page(
        self, *, before: int | None = None, limit: int = 50, kind: str | None = None, sha256: bytes | None = None
    ) -> EventPage:
        """Return events of the chain, newest first. It reads a bounded number, like `queue`."""
        ...

    def decide(
        self, kind: DecisionKind, sha256s: Sequence[bytes], reason: str, by: str, wait_s: float, seen_at: float
    ) -> tuple[list[Decision], list[Decision]]:
        """Write decisions down; return those that are written, and those of others that stand in the way.

        In the way is a decision about the same content that waits, or that was made since `seen_at`, when the page was
        made on which this one rests. Of a content that is not known, or stands dismissed, nothing is written.
        """
        ...

    def undo_decisions(self, batch: str) -> int:
        """Undo what waits of these; return how many that were."""
        ...

    def take_decisions(self, limit: int, lapse_s: float) -> list[Decision]:
        """Return decisions that are due, oldest first, each to one taker alone; what is due for longer lapses."""
        ...

    def close_decision(self, decision: Decision, state: DecisionState, detail: str) -> None:
        """Record what became of a decision that was taken."""
        ...

    def decisions(self, *, sha256: bytes | None = None, batch: str | None = None, limit: int = 50) -> list[Decision]:
        """Return decisions, newest first."""
        ...

    def next_due(self) -> float | None:
        """Return when the next waiting decision is due."""
        ...

    def put_session(self, session: Session) -> None:
        """Write a session down, in the place of an earlier one with this digest."""
        ...

    def session(self, digest: bytes) -> Session | None:
        """Return a session, None where there is none."""
        ...

    def end_sessions(self, *, digest: bytes | None = None, seen_before: float | None = None) -> int:
        """Forget one session, or all that were last seen before then; return how many."""
        ...
