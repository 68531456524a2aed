"""Harmless pictures drawn by code, and what a detector must say of them.

They show that a model is loaded, fed and read the right way. They say nothing about how good it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

from fedi_safety.core.classes import dataclass
from fedi_safety.core.ports import Detector
from fedi_safety.core.types import Box, Evidence, Frame

Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Example:
    """A picture and the range (lowest, highest) each of the named signals must be in."""

    name: str
    build: Callable[[], Evidence]
    expect: Mapping[str, tuple[float, float]]


@runtime_checkable
class HasExamples(Protocol):
    """A detector that brings harmless examples, so that `self-test` can tell whether it works here."""

    def examples(self) -> tuple[Example, ...]:
        """Return pictures drawn by code and what the signals must be for them."""
        ...


def check_examples(detector: Detector) -> list[str]:
    """Score a detector's own examples; return a sentence for every signal that is out of its range."""
    if not isinstance(detector, HasExamples):
        return [f"{detector.name}: brings no examples"]
    problems: list[str] = []
    for example in detector.examples():
        signals = detector.score([example.build()])[0].signals
        for name, (low, high) in example.expect.items():
            if not low <= signals[name] <= high:
                problems.append(
                    f"{detector.name}: {name} is {signals[name]:.4f} for {example.name!r}, expected {low:g} to {high:g}"
                )
    return problems


def flat(colour: Colour = (128, 128, 128), width: int = 160, height: int = 120) -> Evidence:
    """Draw one colour."""
    return Evidence(Frame(0, width, height, bytes(colour) * (width * height)))


def checks(cell: int = 16, width: int = 160, height: int = 120) -> Evidence:
    """Draw a chessboard of blue and yellow."""
    rows = bytearray()
    for y in range(height):
        for x in range(width):
            rows += bytes((30, 60, 200) if (x // cell + y // cell) % 2 else (230, 210, 40))
    return Evidence(Frame(0, width, height, bytes(rows)))


def drawn_face(side: int = 320) -> Evidence:
    """Draw a face of ellipses, with the box that a face finder would give it."""
    skin, dark, white = (222, 170, 140), (40, 26, 20), (235, 235, 235)
    # Later shapes lie on top: centre and radii as parts of the side.
    shapes: tuple[tuple[float, float, float, float, Colour], ...] = (
        (0.50, 0.44, 0.33, 0.38, (50, 34, 26)),
        (0.50, 0.52, 0.27, 0.35, skin),
        (0.39, 0.46, 0.060, 0.030, white),
        (0.61, 0.46, 0.060, 0.030, white),
        (0.39, 0.46, 0.028, 0.029, dark),
        (0.61, 0.46, 0.028, 0.029, dark),
        (0.39, 0.395, 0.075, 0.014, (60, 40, 30)),
        (0.61, 0.395, 0.075, 0.014, (60, 40, 30)),
        (0.50, 0.56, 0.030, 0.080, (212, 158, 128)),
        (0.50, 0.615, 0.045, 0.020, (190, 130, 105)),
        (0.50, 0.71, 0.095, 0.028, (170, 75, 75)),
    )
    rows = bytearray(bytes((150, 160, 170)) * (side * side))
    for cx, cy, rx, ry, colour in shapes:
        for y in range(max(0, math.ceil((cy - ry) * side)), min(side, math.floor((cy + ry) * side) + 1)):
            half = rx * math.sqrt(max(0.0, 1 - ((y / side - cy) / ry) ** 2))
            start, end = max(0, round((cx - half) * side)), min(side, round((cx + half) * side))
            rows[(y * side + start) * 3 : (y * side + end) * 3] = bytes(colour) * (end - start)
    return Evidence(Frame(0, side, side, bytes(rows)), (Box("FACE_FEMALE", 0.9, 0.20, 0.12, 0.60, 0.76),))
