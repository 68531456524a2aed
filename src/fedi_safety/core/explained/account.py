"""What the scores of a content rest on, gathered while detectors look at it. Pure; decides nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fedi_safety.core.types import Explanation, Finding, Found, Frame, Look

MAX_OF_A_FRAME = 64
"""How many findings of a frame are remembered while it is judged: a crowd has hundreds."""

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
