"""Logistic regression with a ridge, by Newton's method: one optimum, found to the last digits, the same every time.

Knows no ledger and no picture. Why not a library: docs/decisions/0074-a-head-of-the-operators-own.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_MOST_STEPS = 50
_ENOUGH = 1e-10
"""What a further step could gain at most, where it is not made."""


@dataclass(frozen=True, slots=True)
class Line:
    """A direction and an offset."""

    weights: Array
    bias: float

    def logits(self, rows: Array) -> Array:
        """Return the sum over each row: above 0 it is more likely a 1."""
        found: Array = rows @ self.weights + self.bias
        return found


def fit(rows: Array, ones: NDArray[np.bool_], shares: Array, ridge: float, start: Line | None = None) -> Line:
    """Return the line that minimises the mean loss plus `ridge` / 2 times the weights' squares.

    `shares` is how much each row counts; they come to 1. The offset is free. There must be rows of both kinds, and
    `ridge` must be above 0: then there is exactly one such line.
    """
    inner = np.column_stack([rows, np.ones(len(rows))])
    ridges = np.append(np.full(rows.shape[1], ridge), 0.0)
    point = np.zeros(len(ridges)) if start is None else np.append(start.weights, start.bias)
    signs = np.where(ones, 1.0, -1.0)
    value = _loss(inner, signs, shares, ridges, point)
    for _ in range(_MOST_STEPS):
        chances = logistic(inner @ point)
        slope = inner.T @ (shares * (chances - ones)) + ridges * point
        curve = (inner.T * (shares * chances * (1 - chances))) @ inner
        curve[np.diag_indices_from(curve)] += ridges + 1e-14
        step = np.linalg.solve(curve, slope)
        gain = float(slope @ step)
        if gain < _ENOUGH:
            break
        point, value = _shortened(inner, signs, shares, ridges, point, step, gain, value)
    return Line(point[:-1], float(point[-1]))


def path(rows: Array, ones: NDArray[np.bool_], shares: Array, ridges: Sequence[float]) -> Iterator[tuple[float, Line]]:
    """Yield the line of each ridge; each is where the search for the next begins."""
    line = None
    for ridge in ridges:
        line = fit(rows, ones, shares, ridge, line)
        yield ridge, line


def logistic(logits: Array) -> Array:
    """Return chances from logits, without overflow."""
    chances: Array = 0.5 + 0.5 * np.tanh(logits / 2)
    return chances


def loss(logits: Array, ones: NDArray[np.bool_], shares: Array) -> float:
    """Return the mean loss of these logits."""
    return float(shares @ np.logaddexp(0.0, -np.where(ones, logits, -logits)))


def _loss(inner: Array, signs: Array, shares: Array, ridges: Array, point: Array) -> float:
    return float(shares @ np.logaddexp(0.0, -signs * (inner @ point)) + 0.5 * (ridges * point) @ point)


def _shortened(
    inner: Array, signs: Array, shares: Array, ridges: Array, point: Array, step: Array, gain: float, value: float
) -> tuple[Array, float]:
    """Go along a step as far as it is downhill: halved until it gains a part of what it promises."""
    length = 1.0
    while length > 1e-8:
        there = point - length * step
        found = _loss(inner, signs, shares, ridges, there)
        if found <= value - 1e-4 * length * gain:
            return there, found
        length /= 2
    return point, value
