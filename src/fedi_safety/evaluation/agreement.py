"""How well a variant of a network agrees with the original: on vectors, on shares, on what follows from them.

It compares numbers that others made; it runs no network and knows no policy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

FEWEST_PICTURES = 100
LOWEST_MEAN_COSINE = 0.98
LARGEST_SHARE_OF_CROSSINGS = 0.01


@dataclass(frozen=True, slots=True)
class Decision:
    """What follows from the shares of one picture: the verdict, and which thresholds were reached on the way."""

    verdict: str
    reached: frozenset[str]


@dataclass(frozen=True, slots=True)
class Agreement:
    """How a variant did on the same pictures as the original."""

    pictures: int
    cosine_min: float
    cosine_mean: float
    largest_change: float  # of any share of any picture
    crossings: int  # pictures on which a threshold is reached by one of the two only
    flips: int  # pictures on which the verdicts differ

    @property
    def agrees(self) -> bool:
        """Whether it may be used by itself: no verdict differs, hardly a threshold, on enough pictures."""
        return (
            self.pictures >= FEWEST_PICTURES
            and self.flips == 0
            and self.crossings <= LARGEST_SHARE_OF_CROSSINGS * self.pictures
            and self.cosine_mean >= LOWEST_MEAN_COSINE
        )

    def as_json(self) -> dict[str, Any]:
        """Return it as variants.json keeps it."""
        return asdict(self)


def compare(
    original: Floats,
    variant: Floats,
    shares: Callable[[Floats], Floats],
    decide: Callable[[Sequence[float]], Decision],
) -> Agreement:
    """Compare the vectors (pictures, dim), all of unit length, that two networks gave the same pictures."""
    cosines = np.clip((original.astype(np.float64) * variant).sum(axis=1), -1.0, 1.0)
    before, after = shares(original), shares(variant)
    decisions = [(decide(b.tolist()), decide(a.tolist())) for b, a in zip(before, after, strict=True)]
    return Agreement(
        pictures=len(original),
        cosine_min=float(cosines.min(initial=1.0)),
        cosine_mean=float(cosines.mean()) if len(cosines) else 1.0,
        largest_change=float(np.abs(before - after).max(initial=0.0)),
        crossings=sum(b.reached != a.reached for b, a in decisions),
        flips=sum(b.verdict != a.verdict for b, a in decisions),
    )
