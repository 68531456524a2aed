"""How well numbers tell two kinds apart: the area under the ROC curve, with an interval that small samples deserve."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_Z = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Area:
    """The chance that one of the one kind has the higher number, ties counting half; and its 95 % interval."""

    area: float
    low: float
    high: float

    def as_json(self) -> dict[str, float]:
        """Return the three, rounded."""
        return {"auc": round(self.area, 4), "low": round(self.low, 4), "high": round(self.high, 4)}


def area(higher: NDArray[np.float64], lower: NDArray[np.float64]) -> Area:
    """Return how surely `higher` is above `lower`. Both must have something in them."""
    ordered = np.sort(lower)
    below = np.searchsorted(ordered, higher, side="left")
    level = np.searchsorted(ordered, higher, side="right") - below
    found = float((below + level / 2).sum() / (len(higher) * len(lower)))
    return Area(found, *interval(found, len(higher), len(lower)))


def interval(found: float, m: int, n: int) -> tuple[float, float]:
    """Return the 95 % interval of an area from so many of each kind (Newcombe 2006, method 5).

    It inverts a score test, so that an area of 1 does not count as certain.
    """

    def beyond(true: float) -> bool:
        more = (m + n) / 2 - 1
        spread = true * (1 - true) * (1 + more * (1 - true) / (2 - true) + more * true / (1 + true)) / (m * n)
        return abs(true - found) > _Z * math.sqrt(spread)

    return _edge(beyond, 0.0, found), _edge(beyond, 1.0, found)


def _edge(beyond: Callable[[float], bool], outside: float, inside: float) -> float:
    """Return where between these an area begins to agree with what was found."""
    for _ in range(60):
        middle = (outside + inside) / 2
        if beyond(middle):
            outside = middle
        else:
            inside = middle
    return inside
