"""Deciding what shall be done: verdicts, the mode of the run and the breaker in, a decision out. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from fedi_safety.core.enums import ActKind, Verdict
from fedi_safety.core.runs import Tally

CHECKPOINT_OBJECTS = 10_000
DAY_S = 86_400.0
"""Over which the breaker counts what daemons remove: each of their passes alone is too small to trip it."""


@dataclass(frozen=True, slots=True)
class Mode:
    """How a run treats what is condemned. A dry run plans exactly what the real run would do, and does not do it."""

    act: ActKind | None  # None: the store is left as it is
    dry_run: bool

    @property
    def removes(self) -> bool:
        """Whether this run may take objects out of the store."""
        return self.act is not None and not self.dry_run


@dataclass(frozen=True, slots=True)
class BreakerLimits:
    """When acts stop. Shares are of 0 to 1; a share counts only from its minimum number of objects on."""

    max_removed_share: float = 0.05
    min_judged: int = 200
    max_removed: int = 1000
    max_unscanned_share: float = 0.5
    min_listed: int = 200
    removed_before: int = 0  # what was removed lately and counts together with this run's number


def wants_act(verdict: Verdict, act: ActKind | None) -> bool:
    """Whether a verdict asks for an act. Only `block` does; nothing else ever removes anything (I2)."""
    return verdict is Verdict.BLOCK and act is not None


def breaker_opinion(limits: BreakerLimits, tally: Tally) -> str | None:
    """Return why acts must stop, or None. Counts what this run would remove against what it has seen so far (I6)."""
    judged = tally.judged + tally.already_judged
    if tally.block + limits.removed_before > limits.max_removed and tally.block:
        before = f" after {limits.removed_before} within a day" if limits.removed_before else ""
        return f"{tally.block} objects would be removed{before}, more than {limits.max_removed}"
    if judged >= limits.min_judged and tally.block > limits.max_removed_share * judged:
        return (
            f"{tally.block} of {judged} judged objects would be removed, more than {100 * limits.max_removed_share:g} %"
        )
    if tally.listed >= limits.min_listed and tally.unscanned_total > limits.max_unscanned_share * tally.listed:
        share = f"{100 * limits.max_unscanned_share:g} %"
        return f"{tally.unscanned_total} of {tally.listed} objects are unscanned, more than {share}"
    return None


def acts_due(listed: int, acted_at: int, *, finished: bool) -> bool:
    """Whether it is time to ask the breaker and act: at the end of the listing, and at checkpoints of a long one.

    Not earlier: the share that the breaker looks at means little over a few objects, and a run that turns out to
    condemn too much should have removed nothing.
    """
    return finished or listed - acted_at >= CHECKPOINT_OBJECTS
