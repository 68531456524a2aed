"""What detectors say of frames, and what a policy makes of it, as frozen types: words of `core.types`.

They stand by themselves because they are all that a command needs which reads a few verdicts and ends.
"""

from __future__ import annotations

from dataclasses import dataclass

from fedi_safety.core.enums import Verdict  # at run time as well: messages of gates and workers are read by it

BARE_POLICY = "pictrs-safety"
"""The policy of a judgement that is a worker's bare word, of which nobody knows what it rests on."""


@dataclass(frozen=True, slots=True)
class Match:
    """An entry of a list of known images that a content meets; `distance` is 0 where the list names it exactly.

    `turn` says how the picture was turned or mirrored to meet it, in words, and whether it did by its surest bits.
    """

    list: str
    entry: str
    distance: int = 0
    turn: str = ""

    @property
    def text(self) -> str:
        """Return it as a person would say it, e.g. `entry 4711 of blocked.txt at distance 6, mirrored`."""
        how = (f" at distance {self.distance}" if self.distance else "") + (f", {self.turn}" if self.turn else "")
        return f"entry {self.entry} of {self.list}{how}"


@dataclass(frozen=True, slots=True)
class Signal:
    """A medium's value for one signal: the highest over its frames, the frame that gave it, and where that is.

    `matches` are the entries of lists that raised it, where it comes from a list.
    """

    value: float
    frame: int = 0
    where: str = ""
    matches: tuple[Match, ...] = ()


@dataclass(frozen=True, slots=True)
class FactorHit:
    """Why a factor reached its threshold: the signal that raised it, its value, and the frame with its place."""

    factor: str
    threshold: float
    value: float
    signal: str
    frame: int
    where: str = ""
    matches: tuple[Match, ...] = ()


@dataclass(frozen=True, slots=True)
class RuleHit:
    """A rule that holds, and the factors that made it hold, in one picture.

    With `across_frames` they hold in different pictures of the medium only, with `second_look` by further views of a
    picture only, which a second look showed. The verdict is then the milder one that the policy has for that.
    """

    rule: str
    verdict: Verdict | None
    label: str | None
    factors: tuple[FactorHit, ...]
    across_frames: bool = False
    second_look: bool = False


@dataclass(frozen=True, slots=True)
class Judgement:
    """A policy's word on one content. `reasons` names every rule that held; empty for a plain `clear`."""

    verdict: Verdict
    labels: tuple[str, ...] = ()
    reasons: tuple[RuleHit, ...] = ()
    policy: str = ""
