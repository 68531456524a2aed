"""Deciding what shall be done: verdicts, the mode of the run and the breaker in, intents out. Pure; does nothing itself."""

from __future__ import annotations

from dataclasses import dataclass

from fedi_safety.core.types import ActKind, Tally, Verdict


@dataclass(frozen=True, slots=True)
class Mode:
    """How a run treats what is condemned. A dry run plans exactly what the real run would do, and does not do it."""

    act: ActKind
    dry_run: bool

    @property
    def removes(self) -> bool:
        """Whether this run may take objects out of the store."""
        return self.act.removes and not self.dry_run


@dataclass(frozen=True, slots=True)
class BreakerLimits:
    """When acts stop. Shares are of 0 to 1; a share counts only from its minimum number of objects on."""

    max_removed_share: float = 0.05
    min_judged: int = 200
    max_removed: int = 1000
    max_unscanned_share: float = 0.5
    min_listed: int = 200


def wants_act(verdict: Verdict, act: ActKind) -> bool:
    """Whether a verdict asks for an act. Only `block` does; nothing else ever removes anything (I2)."""
    return verdict is Verdict.BLOCK and act.removes


def breaker_opinion(limits: BreakerLimits, tally: Tally) -> str | None:
    """Return why acts must stop, or None. Counts what this run would remove against what it has seen so far (I6)."""
    judged = tally.judged + tally.already_judged
    if tally.block > limits.max_removed:
        return f"{tally.block} objects would be removed, more than {limits.max_removed}"
    if judged >= limits.min_judged and tally.block > limits.max_removed_share * judged:
        return f"{tally.block} of {judged} judged objects would be removed, more than {limits.max_removed_share:.1%}"
    if tally.listed >= limits.min_listed and tally.unscanned_total > limits.max_unscanned_share * tally.listed:
        return f"{tally.unscanned_total} of {tally.listed} objects are unscanned, more than {limits.max_unscanned_share:.0%}"
    return None


def may_act_now(limits: BreakerLimits, tally: Tally, *, finished: bool) -> bool:
    """Whether enough was seen for the breaker to have an opinion: acts wait for that, or for the end of the listing."""
    return finished or tally.judged + tally.already_judged >= limits.min_judged
