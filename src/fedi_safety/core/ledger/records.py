"""What the ledger tells of what it remembers, as plain data: rows, histories, figures, and how far was looked.

Nothing here reads a ledger; `ports` says who asks for which of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from fedi_safety.core.enums import PlanState
from fedi_safety.core.ledger.rows import STATES as STATES
from fedi_safety.core.ledger.rows import Filters as Filters
from fedi_safety.core.ledger.rows import PastEvent as PastEvent
from fedi_safety.core.ledger.rows import PastJudgement as PastJudgement
from fedi_safety.core.ledger.rows import Row as Row
from fedi_safety.core.ledger.rows import Shown as Shown
from fedi_safety.core.types import Object

BINS = 20
"""How many equal bins from 0 to 1 a histogram has."""

# --- figures


@dataclass(slots=True)
class StoreFigures:
    """Counts of one store's objects. `removed`, `gone` and `history` are not in the store, or were never met."""

    store: str
    judged: int = 0
    trusted: int = 0  # among `judged`: passed by the predecessor, never scored here
    partly: int = 0  # among `judged`: only a part of it could be judged
    skipped: Counter[str] = field(default_factory=Counter)  # no media, by reason
    unscanned: Counter[str] = field(default_factory=Counter)  # media without a verdict, by reason
    removed: int = 0
    gone: int = 0  # not there any more, by other hands
    history: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    breaker: str | None = None
    actions: Counter[str] = field(default_factory=Counter)  # through the app, by state
    action_breaker: str | None = None

    @property
    def present(self) -> int:
        """Return how many objects the store was last known to hold."""
        return self.media + self.skipped.total()

    @property
    def media(self) -> int:
        """Return how many of them are media, judged or not."""
        return self.judged + self.unscanned.total()

    @property
    def coverage(self) -> float:
        """Return which share of the media has a verdict; 1 for a store that has none."""
        return self.judged / self.media if self.media else 1.0


@dataclass(slots=True)
class Figures:
    """All that a report tells. Days are `YYYY-MM-DD` in UTC; a histogram has `BINS` equal bins from 0 to 1."""

    stores: list[StoreFigures] = field(default_factory=list)
    plans: Counter[str] = field(default_factory=Counter)
    acts: Counter[str] = field(default_factory=Counter)
    dismissed: int = 0
    runs: list[dict[str, Any]] = field(default_factory=list)
    histograms: dict[str, list[int]] = field(default_factory=dict)
    judged_by_day: dict[str, int] = field(default_factory=dict)
    removed_by_day: dict[str, int] = field(default_factory=dict)

    def take_skipped_as_unscanned(self) -> None:
        """Count what is no media among the gaps, as the first versions did."""
        for store in self.stores:
            store.unscanned.update(store.skipped)
            store.skipped.clear()


@dataclass(frozen=True, slots=True)
class StoreCounts:
    """What `apply` needs to know of a store before it acts."""

    judged: int
    unscanned: int  # without what is no media
    open_removals: int


@dataclass(slots=True)
class StoreActs:
    """What became of one store's verdicts: its plans by state, and every attempt by how it ended."""

    plans: Counter[str] = field(default_factory=Counter)
    acts: Counter[str] = field(default_factory=Counter)  # `open`: begun and not closed

    @property
    def open_plans(self) -> int:
        """Return how many plans a real run or `apply` still has something to do about."""
        return sum(self.plans[state.value] for state in PlanState if state.open)


# --- how far the daemon has looked


@dataclass(frozen=True, slots=True)
class Watermark:
    """Everything that changed before `high_water` was looked at, under `basis`. Epoch seconds.

    `swept_at` is when the last pass over the whole store began.
    """

    high_water: float
    swept_at: float
    basis: str


@dataclass(frozen=True, slots=True)
class Retry:
    """An unscanned object that may be tried again, and its place in the order of such."""

    object: Object
    place: tuple[float, int]


# --- keeping the ledger


@dataclass(frozen=True, slots=True)
class Verification:
    """What checking came to. `problem` names the first break, None if there is none.

    `length` and `head` are what to note down outside the ledger: somebody who may write the file can also compute
    a new chain, and only an older note of these two shows that. `not_covered` names what no event vouches for.
    """

    length: int
    head: str
    problem: str | None = None
    not_covered: tuple[str, ...] = ()
    miscounted: str | None = None  # the first kept counter that is not what it counts; nobody need have altered it


@dataclass(frozen=True, slots=True)
class KeptEmbeddings:
    """How much is kept of one network's embeddings."""

    model: str
    encoding: str
    frames: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Copied:
    """What was copied of a ledger: all rows, and the chain of events that these have."""

    rows: int
    length: int
    head: str
    later: int  # events that the ledger was given while it was copied, and which the copy lacks


class Stand(StrEnum):
    """How a content stands, as far as something can be learned from it."""

    DISMISSED = "dismissed"  # by a person
    CONDEMNED = "condemned"  # and not dismissed
    CLEAR = "clear"  # likewise; neither of them undecided, nor sent to review


@dataclass(frozen=True, slots=True)
class Standing:
    """The contents that stand so: how many, of how many one network's embeddings are kept, and a sample of these."""

    known: int
    kept: int
    sample: Sequence[tuple[bytes, Any]] = ()  # SHA-256, and an array (frames, dim) of rows of unit length


@dataclass(slots=True)
class Imported:
    """What an import came to; every row of the file is in exactly one count but `rows`."""

    rows: int = 0
    condemned: int = 0  # now history here
    trusted: int = 0  # passed, and taken at its word
    to_judge: int = 0  # passed, and judged again by the next scan
    failures: int = 0  # the predecessor could not read it, and never tried again
    already_known: int = 0  # this ledger has its own word on it
    outside: int = 0  # not under the store's root
