"""Deciding what shall be done: verdicts, the mode of the run and the breaker in, a decision out. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from fedi_safety.core.classes import dataclass
from fedi_safety.core.enums import ActKind, Root, Verdict
from fedi_safety.core.runs import Tally
from fedi_safety.core.types import Judgement

CHECKPOINT_OBJECTS = 10_000
DAY_S = 86_400.0
"""Over which the breaker counts what daemons remove: each of their passes alone is too small to trip it."""
ENOUGH_MET = 0.1
"""The share of known objects that shows a store on another root (a remount, a restore, a container) to be itself."""
_GONE_WORDS = "is gone from the store"


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
    max_gone_share: float = 0.5
    min_known: int = 20
    max_removed_by_list: int = 200
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
    if tally.media >= limits.min_listed and tally.unscanned_total > limits.max_unscanned_share * tally.media:
        share = f"{100 * limits.max_unscanned_share:g} %"
        return f"{tally.unscanned_total} of {tally.media} media are unscanned, more than {share}"
    return None


def lists_behind(judgement: Judgement) -> frozenset[str]:
    """Return the lists of known images that a content is condemned for, where nothing else condemns it."""
    condemning = [hit for hit in judgement.reasons if hit.verdict is Verdict.BLOCK]
    named = [{match.list for factor in hit.factors for match in factor.matches} for hit in condemning]
    return frozenset().union(*named) if named and all(named) else frozenset()


def lists_opinion(limits: BreakerLimits, removed: Mapping[str, int]) -> str | None:
    """Return why acts must stop that one list led to, or None: `removed` counts a day's, by list."""
    for name, count in removed.items():
        if count > limits.max_removed_by_list:
            most = limits.max_removed_by_list
            return f"{count} objects would be removed within a day for the list {name} alone, more than {most}"
    return None


@dataclass(frozen=True, slots=True)
class Compared:
    """The listing of a whole store beside what is known of it; directories that failed are left out of both."""

    listed: int
    known: int
    met: int  # of the known
    root: Root


def stranger_opinion(limits: BreakerLimits, found: Compared) -> str | None:
    """Return why this is not the store that is remembered, or None where it is. Then nothing is concluded from it."""
    if not found.known:
        return None
    if not found.listed:
        return f"it lists nothing, and {found.known} objects are known of it"
    if found.root is not Root.SAME and not found.met:
        return f"none of the {found.known} objects that are known of it is there"
    enough = found.met >= ENOUGH_MET * found.known and not _shrunk(limits, found)
    if found.root is Root.OTHER and not enough:
        return f"its root is another than before, and only {found.met} of {found.known} known objects are there"
    return None


def listing_opinion(limits: BreakerLimits, found: Compared) -> str | None:
    """Return why a listing is too short to be believed before a person has looked, or None."""
    if found.known < limits.min_known or not _shrunk(limits, found):
        return None
    gone = found.known - found.met
    return f"{gone} of {found.known} known objects: so much {_GONE_WORDS}, more than {100 * limits.max_gone_share:g} %"


def _shrunk(limits: BreakerLimits, found: Compared) -> bool:
    """Whether fewer are listed than the share allows, new ones in the places of old ones included."""
    return found.listed < (1 - limits.max_gone_share) * found.known


def gone_acts_opinion(limits: BreakerLimits, acted: int, gone: int) -> str | None:
    """Return why acts must stop that find too many of their objects gone, or None."""
    tried = acted + gone
    if tried < limits.min_known or gone <= limits.max_gone_share * tried:
        return None
    share = f"{100 * limits.max_gone_share:g} %"
    return f"{gone} of {tried} objects that were to be removed: so much {_GONE_WORDS}, more than {share}"


def tells_of_gone(why: str) -> bool:
    """Whether a breaker was tripped by what is gone, so that confirming that is what resets it."""
    return _GONE_WORDS in why


def acts_due(listed: int, acted_at: int, *, finished: bool) -> bool:
    """Whether it is time to ask the breaker and act: at the end of the listing, and at checkpoints of a long one.

    Not earlier: the share that the breaker looks at means little over a few objects, and a run that turns out to
    condemn too much should have removed nothing.
    """
    return finished or listed - acted_at >= CHECKPOINT_OBJECTS
