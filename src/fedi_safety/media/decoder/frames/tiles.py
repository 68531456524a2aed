"""Which parts of a picture are looked at by themselves, told from its size alone. Pure; decodes nothing.

Detectors squeeze a picture to 224 to 320 pixels. What that leaves nothing of is cut out: of a long picture near-square
tiles along it, at a second pass of any large picture tiles in both directions.
"""

from __future__ import annotations

import math
from random import Random
from typing import NamedTuple

from fedi_safety.core.classes import dataclass
from fedi_safety.media.caps import MAX_TILES

# Longer pictures than this are cut into tiles. A person who fills the short side is found with 0.81 in a square, 0.52
# at this ratio and 0.31 at a ratio of 3, where 0.4 is asked for (`./dev bench second_pass`); screens of telephones
# have up to 2.4.
LONG = 2.5
_SMALLEST_SIDE = 64  # pixels of the short side: less is a line or a bar, not a picture
_SHAPES = (1.0, 1.5, 2.0)  # lengths of a tile over its other side; the first that the budget allows
_OVERLAP = 0.5  # of the short side: what is no larger is whole in one tile
KINDS = len(_SHAPES) + 2
# Pixels of the long side, from which on a second pass cuts a picture into so many along its short one, overlapping.
_FINE = ((1536, 3), (640, 2))
_SQUARE = 4 / 3  # a tile's sides may differ by that: open_nsfw squeezes it to a square


class Box(NamedTuple):
    """A part of a picture, in shares (0 to 1) of its width and height."""

    left: float = 0.0
    top: float = 0.0
    right: float = 1.0
    bottom: float = 1.0

    def within(self, outer: Box) -> Box:
        """Return the box that this one is of `outer`, in shares of what `outer` is a part of."""
        width, height = outer.right - outer.left, outer.bottom - outer.top
        return Box(
            outer.left + self.left * width,
            outer.top + self.top * height,
            outer.left + self.right * width,
            outer.top + self.bottom * height,
        )

    @property
    def area(self) -> float:
        """Return its share of the picture."""
        return (self.right - self.left) * (self.bottom - self.top)


@dataclass(frozen=True, slots=True)
class Cut:
    """A tile to cut out: its number from 1, in the order of reading, and where it is."""

    number: int
    box: Box


@dataclass(frozen=True, slots=True)
class Tiling:
    """The tiles to look at, and how many it would take to see everything.

    `kind` is below `KINDS`. Tiles of one picture that have the same kind and number are the same at both passes.
    """

    cuts: tuple[Cut, ...]
    of: int
    kind: int = 0


NOTHING = Tiling((), 0)


def is_long(width: int, height: int) -> bool:
    """Whether a picture of so many pixels is too long to be judged as a whole only."""
    shortest = min(width, height)
    return shortest >= _SMALLEST_SIDE and max(width, height) > LONG * shortest


def tile(width: int, height: int, budget: int, random: Random, *, closely: bool) -> Tiling:
    """Return at most `budget` tiles for a picture of so many pixels; none where the whole shows enough.

    `closely` is for a second pass: any large picture has tiles then.
    """
    if is_long(width, height):
        return _along(width, height, budget, random, closely=closely)
    return _across(width, height, budget, random) if closely else NOTHING


def smallest_part(width: int, height: int, budget: int, *, closely: bool) -> tuple[int, int]:
    """Return the size in pixels of the smallest part that `tile` would cut out; of the whole where it would not."""
    if not budget:
        return width, height
    if is_long(width, height):
        side = min(width, height)
        length = round(side * _shape(max(width, height) / side, budget)[0])
        return (length, side) if width > height else (side, length)
    across, down = _parts(width, height, budget) if closely else (1, 1)
    return max(1, width // across), max(1, height // down)


def _shape(ratio: float, budget: int) -> tuple[float, int, int]:
    """Return how long tiles are over the short side, how many it takes, and which of the shapes that is, if any."""
    counts = [1 + math.ceil((ratio - length) / (length - _OVERLAP) - 1e-9) for length in _SHAPES]
    kind = next((kind for kind, count in enumerate(counts) if count <= budget), len(_SHAPES))
    return _SHAPES[min(kind, len(_SHAPES) - 1)], counts[min(kind, len(_SHAPES) - 1)], kind


def _along(width: int, height: int, budget: int, random: Random, *, closely: bool) -> Tiling:
    """Cut along the long side. Where the budget is too small for an overlap, it shrinks; then gaps are random."""
    ratio = max(width, height) / min(width, height)
    length, of, kind = _shape(ratio, budget)
    if of > budget >= ratio / length:
        of = budget  # they cover it all, and overlap less
    if of <= budget:
        starts = [number * (ratio - length) / (of - 1) for number in range(of)]
    else:
        # One in each of equally long stretches: nobody can work out beforehand where nobody looks.
        starts = [(number + random.random()) * (ratio - length) / budget for number in range(budget)]
    spans = [(start / ratio, min(1.0, (start + length) / ratio)) for start in starts]
    boxes = [Box(a, 0.0, b, 1.0) if width > height else Box(0.0, a, 1.0, b) for a, b in spans]
    cuts = tuple(Cut(number + 1, box) for number, box in enumerate(boxes))
    return Tiling(cuts, of, kind + (closely and kind == len(_SHAPES)))  # what depends on the budget is of its own kind


def _parts(width: int, height: int, budget: int) -> tuple[int, int]:
    """Return into how many nearly square parts a large picture is cut, across and down; (1, 1) for none.

    There are none either where tiles would be more than have numbers of their own: those of lines and bars.
    """
    shortest, longest = sorted((width, height))
    most = next((parts for pixels, parts in _FINE if longest >= pixels), 1)
    for parts in range(most, 1, -1):
        more = max(parts, round(parts * longest / shortest / _SQUARE))
        of = (2 * parts - 1) * (2 * more - 1)
        if of <= min(budget, MAX_TILES) or (parts == 2 and of <= MAX_TILES):
            return (more, parts) if width > height else (parts, more)
    return 1, 1


def _across(width: int, height: int, budget: int, random: Random) -> Tiling:
    """Cut in both directions, with half of a tile as overlap: into as many parts as the budget allows."""
    parts = _parts(width, height, budget)
    if parts == (1, 1):
        return NOTHING
    spans = [[(step / (2 * n), step / (2 * n) + 1 / n) for step in range(2 * n - 1)] for n in parts]
    boxes = [Box(left, top, right, bottom) for top, bottom in spans[1] for left, right in spans[0]]
    cuts = [Cut(number + 1, box) for number, box in enumerate(boxes)]
    drawn = cuts if len(cuts) <= budget else random.sample(cuts, budget)
    return Tiling(tuple(sorted(drawn, key=lambda cut: cut.number)), len(cuts), KINDS - 1)
