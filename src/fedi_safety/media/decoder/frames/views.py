"""Further views of a still than as a whole: without its border, in tiles, turned. Runs in the child only.

A first pass takes what a downscale would hide; a second one also what detectors are weak at.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random
from typing import cast

from PIL import Image, ImageChops

from fedi_safety.core.frames.places import Place, Tile
from fedi_safety.media.caps import MAX_TILES
from fedi_safety.media.decoder.frames.still import OnWhiteAndBlack, Still
from fedi_safety.media.decoder.frames.tiles import Box, is_long, tile

# A border is what is as even as a saved JPEG leaves it, on a reduced picture, where noise has melted away.
_REDUCED_SIDE = 192
_EVEN = 12  # of 255, in any channel
_PLAIN = 4  # what one that was put around a picture differs by; its own margin, a wall or a sky, does by more
_NOISY = 64  # of 255: what the pixels of an even line differ by at most
_CORNERS = 4  # that a border's colour is taken from, one after the other
_SEEN_SIDE = 320  # pixels: what detectors look at; nothing of a smaller picture is hidden by squeezing it
_SMALLEST_SIDE = 24  # pixels of what is inside, as stored: less is nothing to see
# What a first pass cuts away: a person of 0.81 has 0.62 in a picture of which half is border, and 0.45 at 60 %.
_MUCH = 0.5
_LITTLE = 0.95
# Clockwise. Mirrored pictures are not tried: detectors learned from both (`./dev bench second_pass`).
_TURNS = {90: Image.Transpose.ROTATE_270, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_90}

# Numbers of views: those of a tiling come after those of the kinds before it. There are fewer than 512 (emitter).
BARE, _TURNED, _TILES = 1, 2, 8
ON_SCREEN, UNFRAMED, OPAQUE = 509, 510, 511


@dataclass(frozen=True, slots=True)
class View:
    """A view of a still: its number, the same in every pass; its place; its pictures."""

    number: int
    place: Place
    pair: OnWhiteAndBlack


@dataclass(slots=True)
class Views:
    """The further views of one still, at most `budget`; when they were taken, how many there would have been.

    `closely` is for a second pass.
    """

    still: Still
    place: Place
    budget: int
    random: Random
    closely: bool
    turning: bool
    of: int = 0

    def __iter__(self) -> Iterator[View]:
        """Make one after another: without the border, turned, in tiles."""
        still, source = self.still, self.still.source
        if source is None:
            return
        left = self.budget
        squeezed = max(still.width, still.height) > _SEEN_SIDE
        content = border_box(still.image, still.width, still.height) if squeezed else None
        bare = content is not None and content.area <= (_LITTLE if self.closely else _MUCH)
        inner = content if content is not None and bare else Box()
        pair: OnWhiteAndBlack = still.image, still.on_black
        if bare:
            self.of += 1
            if left:
                left -= 1
                pair = source.frame(inner)
                yield View(BARE, replace(self.place, bare=True), pair)
        if inner.area > _MUCH:
            inner = Box()  # then both passes have the same tiles
        width = max(1, round((inner.right - inner.left) * still.width))
        height = max(1, round((inner.bottom - inner.top) * still.height))
        if self.closely and self.turning and not is_long(width, height):
            self.of += len(_TURNS)
            for number, (degrees, turn) in enumerate(list(_TURNS.items())[:left]):
                left -= 1
                yield View(_TURNED + number, replace(self.place, bare=bare, turned=degrees), _transposed(pair, turn))
        tiling = tile(width, height, left, self.random, closely=self.closely)
        self.of += tiling.of
        for cut in tiling.cuts:
            box = cut.box.within(inner)
            place = replace(self.place, tile=tile_at(cut.number, tiling.of, box))
            yield View(_TILES + MAX_TILES * tiling.kind + cut.number, place, source.frame(box))


def border_box(image: Image.Image, width: int, height: int) -> Box | None:
    """Return what is within even borders of a picture whose true size is given; None if there are none, or nothing is.

    Borders may have different colours, and lie within each other.
    """
    small = _reduced(image)
    if small is None:
        return None
    inside = small.whole
    for corner in range(_CORNERS):
        found = small.within(inside, corner, _EVEN)
        if found is None:
            return None
        inside = found
    return small.box(inside, width, height)


def frame_box(image: Image.Image, width: int, height: int) -> Box | None:
    """Return what is within the plain border that was put around a picture, and not within that of the picture itself.

    A picture on a white ground has an even border too; `border_box` takes both away.
    """
    small = _reduced(image)
    if small is None:
        return None
    for corner in range(_CORNERS):
        found = small.within(small.whole, corner, _PLAIN)
        if found is None:
            return None
        if found != small.whole:
            return small.box(found, width, height)
    return None


Edges = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class _Reduced:
    """A picture, so many times smaller that noise has melted away."""

    image: Image.Image
    factor: int
    of: tuple[int, int]

    @property
    def whole(self) -> Edges:
        return (0, 0, *self.image.size)

    def within(self, part: Edges, corner: int, most: int) -> Edges | None:
        """Return the smallest part of a part that holds all that differs by more than `most` from its corner."""
        left, top, right, bottom = part
        colour = self.image.getpixel((right - 1 if corner % 2 else left, bottom - 1 if corner >= 2 else top))
        cut = self.image.crop(part)
        even = Image.new("RGB", cut.size, cast("tuple[int, int, int]", colour))
        # Taking away what it may differ by leaves just the others; a table would be made anew each time.
        found = ImageChops.subtract(ImageChops.difference(cut, even), Image.new("RGB", cut.size, (most,) * 3)).getbbox()
        return None if found is None else (left + found[0], top + found[1], left + found[2], top + found[3])

    def box(self, part: Edges, width: int, height: int) -> Box | None:
        """Return a part in shares of the picture, whose true size is given; None if it is all, or too little."""
        if part == self.whole:
            return None
        left, top, right, bottom = (edge * self.factor for edge in part)
        across, down = self.of
        box = Box(left / across, top / down, min(1.0, right / across), min(1.0, bottom / down))
        inside = min((box.right - box.left) * width, (box.bottom - box.top) * height)
        return box if inside >= _SMALLEST_SIDE else None


def _reduced(image: Image.Image) -> _Reduced | None:
    """Return a picture reduced; None where it cannot have a border."""
    if not any(perhaps_even(image.crop(line)) for line in edge_lines(*image.size)):
        return None
    factor = max(1, max(image.size) // _REDUCED_SIDE)
    return _Reduced(image.reduce(factor) if factor > 1 else image, factor, image.size)


def edge_lines(width: int, height: int) -> tuple[tuple[int, int, int, int], ...]:
    return (0, 0, width, 1), (0, height - 1, width, height), (0, 0, 1, height), (width - 1, 0, width, height)


def perhaps_even(line: Image.Image) -> bool:
    """Whether a line could be a border's, noise and all. Of most photographs none could, which is told at once."""
    bands = cast("tuple[tuple[int, int], ...]", line.getextrema())
    return all(highest - lowest <= _NOISY for lowest, highest in bands)


def _transposed(pair: OnWhiteAndBlack, turn: Image.Transpose) -> OnWhiteAndBlack:
    image, black = pair
    return image.transpose(turn), None if black is None else black.transpose(turn)


def tile_at(number: int, of: int, box: Box) -> Tile:
    """Name a tile by whole thousandths, of which it has at least one in both directions."""
    left, top = (min(999, math.floor(1000 * share + 1e-6)) for share in (box.left, box.top))
    right, bottom = (math.ceil(1000 * share - 1e-6) for share in (box.right, box.bottom))
    return Tile(number, of, left, top, min(1000, max(left + 1, right)), min(1000, max(top + 1, bottom)))
