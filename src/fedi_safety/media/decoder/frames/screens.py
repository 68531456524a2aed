"""The picture that a screenshot shows: what lies on an even ground beside lines of text. Runs in the child only.

A screen falls apart along lines of nothing but its ground; the largest part that is solid is the picture, as a rule.
Where it is not, something else is compared with lists once more, and nothing else comes of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import cast

from PIL import Image, ImageChops

from fedi_safety.media.decoder.frames.tiles import Box
from fedi_safety.media.decoder.frames.views import Edges, edge_lines, perhaps_even

Colour = tuple[int, int, int]

_REDUCED_SIDE = 256
_EVEN = 4  # of 255: what a saved JPEG leaves a ground to differ by
_DIFFERS = [255 * (value > _EVEN) for value in range(256)]
_ON_AVERAGE = 2  # of 255: what a line of it differs by at most
_SMEARED = 4  # pixels
_GROUND = 0.2  # of the edges have one colour; a picture may reach to all of them but one
_SOLID = 0.6  # of a picture is not of the ground's colour; of lines of text less is
_LEAST = 0.04  # of a screen: what is smaller is a sign or a face
_SMALLEST_SIDE = 64  # pixels of what is inside, as stored
_NESTED = 4  # a card on a page below a bar in a window
_LINE = 2  # pixels of the reduced picture: what is drawn around a card
_MOST_CUTS = 512  # a screen has a few dozen parts; a pattern on a ground would have thousands
_MOST_GROUNDS = 2
_SAMPLES = 24  # of the edges, whose colours may be a ground's


def screen_box(image: Image.Image, width: int, height: int) -> Box | None:
    """Return the picture that a screenshot shows, whose true size is given; None where it looks like none."""
    if min(width, height) < _SMALLEST_SIDE or not any(
        perhaps_even(image.crop(line)) for line in edge_lines(*image.size)
    ):
        return None
    factor = max(1, max(image.size) // _REDUCED_SIDE)
    small = image.reduce(factor) if factor > 1 else image
    part, found, around = (0, 0, *small.size), None, (0, 0, 0)
    for _ in range(_NESTED):
        seen = [(*_largest(small, part, ground), ground) for ground in _grounds(small.crop(part))]
        if not seen or (best := max(seen))[1] == 0:
            break
        fell_apart, _, part, ground = best
        if fell_apart:
            found, around = part, ground
    if found is None or _area(found) < _LEAST * small.width * small.height:
        return None
    box = _exact(image, found, factor, around)
    inside = min((box.right - box.left) * width, (box.bottom - box.top) * height)
    return box if inside >= _SMALLEST_SIDE else None


def _largest(image: Image.Image, of: Edges, ground: Colour) -> tuple[bool, int, Edges]:
    """Return whether an area falls apart on a ground, and the size and edges of its largest part that is solid."""
    other = _differing(image.crop(of), ground)
    apart = list(_opened(other, _fallen_apart(other)))
    left, top, right, bottom = max((part for part in apart if _is_solid(other, part)), key=_area, default=(0, 0, 0, 0))
    size = (right - left) * (bottom - top)
    return len(apart) > 1 and size > 0, size, (of[0] + left, of[1] + top, of[0] + right, of[1] + bottom)


def _opened(other: Image.Image, apart: Sequence[Edges]) -> Iterator[Edges]:
    """Give these parts; in place of the largest, where it has a line around it, what that is around."""
    largest = max(apart, key=_area, default=None)
    for part in apart:
        left, top, right, bottom = part[0] + _LINE, part[1] + _LINE, part[2] - _LINE, part[3] - _LINE
        if part != largest or _is_solid(other, part) or min(right - left, bottom - top) < _LINE:
            yield part
        else:
            for within in _fallen_apart(other.crop((left, top, right, bottom))):
                yield left + within[0], top + within[1], left + within[2], top + within[3]


def _is_solid(other: Image.Image, part: Edges) -> bool:
    return other.crop(part).histogram()[255] >= _SOLID * _area(part)


def _grounds(image: Image.Image) -> list[Colour]:
    """Return the colours that enough of an area's edges have, the most common first."""
    across = [image.crop(line) for line in edge_lines(*image.size)]
    turned = [line if line.height == 1 else line.transpose(Image.Transpose.ROTATE_90) for line in across]
    edges = Image.new("RGB", (sum(line.width for line in turned), 1))
    at = 0
    for line in turned:
        edges.paste(line, (at, 0))
        at += line.width
    sampled = edges.resize((min(_SAMPLES, edges.width), 1), Image.Resampling.NEAREST)
    colours = {cast("Colour", sampled.getpixel((at, 0))) for at in range(sampled.width)}
    enough, histogram = _GROUND * edges.width, edges.histogram()
    common = [each for each in colours if _most(histogram, each) >= enough]
    found: list[Colour] = []
    for share, colour in sorted(((_as_even(_difference(edges, each)), each) for each in common), reverse=True):
        if share >= enough and all(_apart(colour, other) > _EVEN for other in found):
            found.append(colour)
    return found[:_MOST_GROUNDS]


def _most(histogram: Sequence[int], colour: Colour) -> int:
    """Return how many pixels of a histogram can be of a colour, by each channel alone: of a photograph's edges few."""
    return min(
        sum(histogram[256 * channel + max(0, value - _EVEN) : 256 * channel + min(255, value + _EVEN) + 1])
        for channel, value in enumerate(colour)
    )


def _as_even(difference: Image.Image) -> int:
    """Return how many pixels differ by no more than an even ground does."""
    return sum(difference.histogram()[: _EVEN + 1])


def _apart(colour: Colour, other: Colour) -> int:
    return max(abs(a - b) for a, b in zip(colour, other, strict=True))


def _differing(image: Image.Image, colour: Colour) -> Image.Image:
    """Return what of an image is of another colour, as white on black."""
    return _difference(image, colour).point(_DIFFERS)


def _difference(image: Image.Image, colour: Colour) -> Image.Image:
    red, green, blue = ImageChops.difference(image, Image.new("RGB", image.size, colour)).split()
    return ImageChops.lighter(ImageChops.lighter(red, green), blue)


def _fallen_apart(other: Image.Image) -> list[Edges]:
    """Return the parts between which lines of ground run from side to side, or from top to bottom; none of too many."""
    waiting: list[Edges] = [(0, 0, *other.size)]
    found: list[Edges] = []
    for _ in range(_MOST_CUTS):
        if not waiting:
            return found
        left, top, right, _ = area = waiting.pop()
        across, down = other.crop(area).getprojection()
        rows = list(_runs(down))
        columns = list(_runs(across)) if len(rows) == 1 else [(0, right - left)]
        parts = [(left + x, top + y, left + x_end, top + y_end) for y, y_end in rows for x, x_end in columns]
        if parts == [area]:
            found.append(area)
        else:
            waiting += parts
    return []


def _runs(line: Sequence[int]) -> Iterator[tuple[int, int]]:
    at = 0
    for some, values in groupby(line):
        end = at + len(list(values))
        if some:
            yield at, end
        at = end


def _exact(image: Image.Image, part: Edges, factor: int, ground: Colour) -> Box:
    """Return a part of the reduced picture to the pixel: what lies at its edges there is partly ground."""
    left, top, right, bottom = (edge * factor for edge in part)
    right, bottom = min(right, image.width), min(bottom, image.height)
    before, above = max(0, left - factor), max(0, top - factor)
    cut = image.crop((before, above, min(right + factor, image.width), min(bottom + factor, image.height)))
    ground = min(_grounds(cut), key=lambda colour: _apart(colour, ground), default=ground)
    across = cut.resize((cut.width, 1), Image.Resampling.BOX, (0, top - above, cut.width, bottom - above))
    down = cut.resize((1, cut.height), Image.Resampling.BOX, (left - before, 0, right - before, cut.height))
    columns, rows = (_difference(line, ground).tobytes() for line in (across, down))
    left, right = before + _begins(columns), before + cut.width - _begins(columns[::-1])
    top, bottom = above + _begins(rows), above + cut.height - _begins(rows[::-1])
    return Box(left / image.width, top / image.height, right / image.width, bottom / image.height)


def _begins(lines: bytes) -> int:
    """Return where in lines, each by how much it differs from the ground, a picture begins.

    Scaling and saving smear its edge over some pixels; it is where half of the step is done.
    """
    first = next((at for at, value in enumerate(lines) if value > _ON_AVERAGE), 0)
    step = max(lines[first : first + _SMEARED], default=0)
    return next((at for at, value in enumerate(lines[first : first + _SMEARED], first) if 2 * value >= step), first)


def _area(part: Edges) -> int:
    return (part[2] - part[0]) * (part[3] - part[1])
