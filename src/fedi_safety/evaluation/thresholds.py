"""What the thresholds of a policy condemn among pictures that are believed clean, and thresholds for a wanted share.

Pure: scores in, shares with confidence bounds out. It knows neither stores nor detectors, and changes no policy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedi_safety.core.enums import Verdict
from fedi_safety.core.policy import Policy, Rule
from fedi_safety.core.policy.reading import strength

GRID = tuple(round(i / 100, 2) for i in range(1, 101))
"""The thresholds that are tried."""

EXAMPLES = 10
"""How many keys are named of those that a rule condemns."""

Values = NDArray[np.float64]
Held = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Share:
    """How many pictures it was, and below which share of all such pictures it lies with the confidence asked for."""

    count: int
    of: int
    bound: float

    @property
    def share(self) -> float:
        """Return the share in the sample."""
        return self.count / self.of if self.of else 0.0

    def as_json(self) -> dict[str, Any]:
        """Return the figures, not rounded."""
        return {"count": self.count, "of": self.of, "share": self.share, "bound": self.bound}


@dataclass(frozen=True, slots=True)
class Point:
    """A factor at one threshold: which pictures reach it, and for which the rule then holds, all else as it is."""

    threshold: float
    reached: int
    holds: Share


@dataclass(frozen=True, slots=True)
class Curve:
    """A factor of a rule: its threshold now, the one that would keep to the wanted share, and the way between."""

    factor: str
    threshold: float
    proposed: float | None
    values: Values  # of each picture
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A rule over the sample. `together` are thresholds raised in step until they keep to the wanted share."""

    rule: str
    effect: str
    holds: Share
    curves: tuple[Curve, ...]
    together: Mapping[str, float] | None
    examples: tuple[str, ...]

    def kept(self, share: float) -> bool:
        """Whether the rule keeps to a share as it is."""
        return self.holds.bound <= share


@dataclass(frozen=True, slots=True)
class Calibration:
    """A policy over a sample of pictures."""

    policy: str
    pictures: int
    share: float
    confidence: float
    condemned: Share  # by all rules that block
    rules: tuple[Calibrated, ...]
    unmeasured: tuple[str, ...]  # rules that cannot hold, as nothing measures one of their factors

    @property
    def needed(self) -> int:
        """Return how many pictures it takes to show the wanted share, if not one of them is condemned."""
        return pictures_needed(self.share, self.confidence)

    def as_json(self) -> dict[str, Any]:
        """Return everything but the pictures' own values."""
        return {
            "policy": self.policy,
            "pictures": self.pictures,
            "share": self.share,
            "confidence": self.confidence,
            "pictures_needed": self.needed,
            "condemned": self.condemned.as_json(),
            "rules": [
                {
                    "rule": rule.rule,
                    "effect": rule.effect,
                    "holds": rule.holds.as_json(),
                    "kept": rule.kept(self.share),
                    "together": None if rule.together is None else dict(rule.together),
                    "examples": list(rule.examples),
                    "factors": [
                        {
                            "factor": curve.factor,
                            "threshold": curve.threshold,
                            "proposed": curve.proposed,
                            "points": [
                                {"threshold": p.threshold, "reached": p.reached, "holds": p.holds.as_json()}
                                for p in curve.points
                            ],
                        }
                        for curve in rule.curves
                    ],
                }
                for rule in self.rules
            ],
            "unmeasured": list(self.unmeasured),
        }


def upper_bound(hits: int, of: int, confidence: float) -> float:
    """Return the share that the true one does not exceed with this confidence (Clopper and Pearson, one-sided).

    With no hit among n it is 1 - (1 - confidence)^(1/n), about 3/n at 95 %.
    """
    if hits >= of:
        return 1.0
    steps = np.arange(hits + 1, dtype=np.float64)
    ways = np.array([math.lgamma(of + 1) - math.lgamma(k + 1) - math.lgamma(of - k + 1) for k in range(hits + 1)])
    low, high = hits / of, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        chances = np.exp(ways + steps * math.log(middle) + (of - steps) * math.log1p(-middle)) if middle < 1 else 0.0
        if np.sum(chances) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def pictures_needed(share: float, confidence: float) -> int:
    """Return the least number of pictures whose bound is at most `share` when none is condemned."""
    return math.ceil(math.log(1 - confidence) / math.log1p(-share)) if share < 1 else 1


def calibrate(
    policy: Policy,
    signals: Mapping[str, Mapping[str, float]],
    pictures: Mapping[str, Sequence[Mapping[str, float]]] | None = None,
    *,
    share: float,
    confidence: float = 0.95,
) -> Calibration:
    """Hold a policy, as it is in force, against scores by key. `share` is what the operator wants to stay below.

    `pictures` has the scores of each picture, of media that show several: a rule must hold in one of them.
    """
    keys = sorted(signals)
    factors = _Factors(policy, [(pictures or {}).get(key) or [signals[key]] for key in keys])
    available = policy.available if policy.available is not None else policy.signals
    dead = [r for r in policy.rules if policy.dead_factors(r, available)]
    bounds = _Bounds(len(keys), confidence)
    rules = [_calibrated(rule, factors, keys, share, bounds) for rule in policy.rules if rule not in dead]
    blocking = [r for r in policy.rules if r not in dead and r.verdict is Verdict.BLOCK]
    condemned = np.zeros(len(keys), bool)
    for rule in blocking:
        condemned |= factors.holding(rule.when)
    return Calibration(
        policy.id, len(keys), share, confidence, bounds.share(condemned), tuple(rules), tuple(r.name for r in dead)
    )


class _Bounds:
    """Shares of one sample; every count's bound is worked out once."""

    def __init__(self, of: int, confidence: float) -> None:
        self.of = of
        self._confidence = confidence
        self._known: dict[int, float] = {}

    def share(self, held: Held) -> Share:
        count = int(held.sum())
        if count not in self._known:
            self._known[count] = upper_bound(count, self.of, self._confidence)
        return Share(count, self.of, self._known[count])


class _Factors:
    """Every factor of a policy in every picture, medium by medium."""

    def __init__(self, policy: Policy, media: Sequence[Sequence[Mapping[str, float]]]) -> None:
        rows = [row for pictures in media for row in pictures]
        counts = np.array([len(pictures) for pictures in media], np.intp)
        self._starts = np.cumsum(counts) - counts
        self._values = {name: np.array([strength(policy, name, row) for row in rows]) for name in policy.factors}

    def highest(self, factor: str) -> Values:
        """Return a factor's highest value in each medium."""
        values = self._values[factor]
        return np.maximum.reduceat(values, self._starts) if len(values) else values

    def holding(self, when: Mapping[str, float]) -> Held:
        """Return in which media some picture reaches all of these thresholds."""
        held = np.ones(len(next(iter(self._values.values()), ())), bool)
        for factor, threshold in when.items():
            held &= self._values[factor] >= threshold
        return np.logical_or.reduceat(held, self._starts) if len(held) else np.zeros(len(self._starts), bool)


def _calibrated(rule: Rule, factors: _Factors, keys: Sequence[str], share: float, bounds: _Bounds) -> Calibrated:
    held = factors.holding(rule.when)
    curves = []
    for factor, threshold in rule.when.items():
        points = []
        for tried in sorted({*GRID, threshold}):
            reached = factors.highest(factor) >= tried
            points.append(Point(tried, int(reached.sum()), bounds.share(factors.holding({**rule.when, factor: tried}))))
        proposed = next((p.threshold for p in points if p.threshold in GRID and p.holds.bound <= share), None)
        curves.append(Curve(factor, threshold, proposed, factors.highest(factor), tuple(points)))
    effects = [*([rule.verdict.value] if rule.verdict else []), *([f"label {rule.label}"] if rule.label else [])]
    return Calibrated(
        rule.name,
        ", ".join(effects),
        bounds.share(held),
        tuple(curves),
        _together(rule, factors, share, bounds),
        tuple(key for key, hit in zip(keys, held.tolist(), strict=True) if hit)[:EXAMPLES],
    )


def _together(rule: Rule, factors: _Factors, share: float, bounds: _Bounds) -> dict[str, float] | None:
    """Raise all thresholds in step towards 1 until the rule keeps to the share; None if it does not even then."""
    for step in range(101):
        when = {f: math.ceil(100 * (t + (1 - t) * step / 100) - 1e-9) / 100 for f, t in rule.when.items()}
        if bounds.share(factors.holding(when)).bound <= share:
            return when
    return None
