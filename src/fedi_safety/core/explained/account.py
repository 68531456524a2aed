"""What the scores of a content rest on, gathered while detectors look at it. Pure; decides nothing."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from fedi_safety.core.types import Explanation, FactorHit, Finding, Found, Frame, Judgement, LeftOut, Look

MAX_OF_A_FRAME = 64
"""How many findings of a frame are remembered while it is judged: a crowd has hundreds."""

MAX_FOUND = 24
"""How many findings of a content last: those that the verdict rests on, then the strongest."""

MAX_LOOKS = 48
"""How many of its frames are named: those of its findings, then the first."""

_SAME = 1e-4  # what values are rounded by where they are kept

_Region = tuple[int, str, float, float, float, float]


class Account:
    """Gathers the findings of one medium, those about one region together."""

    def __init__(self, frames: Sequence[Frame]) -> None:
        """Take the frames that are judged."""
        self._frames = frames
        self._found: dict[_Region, Found] = {}

    def add(self, detector: str, frame: Frame, findings: Sequence[Finding]) -> None:
        """Note what a detector found in a frame; of more than `MAX_OF_A_FRAME` the strongest."""
        for finding in strongest(findings, MAX_OF_A_FRAME):
            region = frame.index, finding.label, finding.x, finding.y, finding.width, finding.height
            before = self._found.get(region)
            if before is not None:
                finding = _together(before.finding, finding)
            named = (detector,) if before is None else (*before.detectors, detector)
            self._found[region] = Found(named, frame.index, finding)

    def explanation(self) -> Explanation:
        """Return what was gathered, in full."""
        looks = [
            Look(frame.index, frame.picture, frame.place.text, frame.width, frame.height) for frame in self._frames
        ]
        return Explanation(tuple(looks), tuple(self._found.values()))


def lasting(found: Explanation, judgement: Judgement, left_out: Sequence[LeftOut]) -> Explanation:
    """Return what of it is worth keeping beside this judgement: bounded, and all that its reasons rest on."""
    hits = [hit for reason in judgement.reasons for hit in reason.factors]
    based = {id(basis) for hit in hits if (basis := basis_of(hit, found.found)) is not None}
    things = sorted(found.found, key=lambda one: (id(one) in based, bool(one.finding.signals), one.finding.score))
    things = things[: -MAX_FOUND - 1 : -1]
    named = {hit.frame for hit in hits} | {one.frame for one in things}
    looks = sorted(found.looks, key=lambda look: look.frame not in named)[:MAX_LOOKS]
    more = len(found.looks) - len(looks), len(found.found) - len(things)
    return Explanation(tuple(looks), tuple(things), tuple(left_out), *more)


def basis_of(hit: FactorHit, found: Sequence[Found]) -> Found | None:
    """Return the finding that a factor rests on; None where its signal comes from no single region."""
    near = [
        (abs(value - hit.value), at)
        for at, one in enumerate(found)
        if one.frame == hit.frame and (value := one.finding.signals.get(hit.signal)) is not None
    ]
    off, at = min(near, default=(1.0, -1))
    return found[at] if off <= _SAME else None


def with_second_pass(found: Explanation, first: Collection[int]) -> Explanation:
    """Return it with every frame that was not among the first pass's marked as a second pass's."""
    return replace(found, looks=tuple(replace(look, second=look.frame not in first) for look in found.looks))


def strongest(findings: Sequence[Finding], most: int) -> Sequence[Finding]:
    """Return at most so many: whatever gives the highest value of a signal first, then by score."""
    if len(findings) <= most:
        return findings
    highest: dict[str, float] = {}
    for finding in findings:
        for name, value in finding.signals.items():
            highest[name] = max(value, highest.get(name, 0.0))

    def weight(finding: Finding) -> tuple[bool, float]:
        return any(value == highest[name] for name, value in finding.signals.items()), finding.score

    return sorted(findings, key=weight, reverse=True)[:most]


def _together(earlier: Finding, later: Finding) -> Finding:
    """Return what two detectors say of one region; the later one, which knew of the other, has the last word."""
    ages, signals = {**earlier.ages, **later.ages}, {**earlier.signals, **later.signals}
    return replace(later, ages=ages, signals=signals, why=later.why or earlier.why)
