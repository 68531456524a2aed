"""What a child shows of a medium: frames as they come, nearly equal ones once. Runs in the child only."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from PIL import Image, ImageChops

from fedi_safety.core.errors import Unscannable
from fedi_safety.core.types import Frame, Part, Place
from fedi_safety.media.stills import Still
from fedi_safety.media.thumbnail import SMALL, repeats

_CELLS = (32, 32)
_MOST_INDEX = (1 << 22) - 1  # of a moment; more than all that one clip can have
_NEARLY = 10  # of 255: what a cell of the grid may differ by in any channel


@dataclass(slots=True)
class Bounds:
    """What decoding one medium may cost, and the chance by which moments are drawn."""

    max_pixels: int
    frames: int
    until: float  # on the monotonic clock: no new frame is begun after it
    random: Random

    @property
    def late(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() > self.until


@dataclass(frozen=True, slots=True)
class Shown:
    """How a medium went: how many frames there are in it, whether there is more to look at, and what went wrong."""

    total: int = 1
    more: bool = False
    problem: Unscannable | None = None


class Showing:
    """Takes pictures of one medium and hands on those that show something new.

    Two pictures are nearly equal if no cell of a 32x32 grid differs by more than 4 % in any channel: something that
    covers a thousandth of the picture, or that flickers, makes a new one.
    """

    def __init__(self, emit: Callable[[Frame, int, int], None]) -> None:
        """Hand frames to `emit`, with the true size of the picture."""
        self._emit = emit
        self._first: Image.Image | None = None  # most media have one picture, which is compared with nothing
        self._seen: list[Image.Image] = []
        self.base = 0  # added to every index: what comes before in a file that is several things
        self.part: Part | None = None  # of every frame of what is a further medium in a file
        self.shown = 0
        self.lost = False  # whether there were more moments than indexes

    def show(self, index: int, place: Place, still: Still, *, on_black_index: int) -> None:
        """Hand on a picture, and its version on black, each unless it was seen before."""
        self._one(index, place, still.image, still)
        if still.on_black is not None:
            self._one(on_black_index, replace(place, on_black=True), still.on_black, still)

    def _one(self, index: int, place: Place, image: Image.Image, still: Still) -> None:
        if self.part is not None:
            place = replace(place, part=self.part)
        if self.base + index > _MOST_INDEX:
            self.lost = True
            return
        if not self._new(image):
            return
        self.shown += 1
        frame = Frame(self.base + index, image.width, image.height, image.tobytes(), place)
        self._emit(frame, still.width, still.height)

    def _new(self, image: Image.Image) -> bool:
        if self._first is None:
            self._first = image
            return True
        if self.part is not None and max(image.size) <= SMALL and repeats(image, self._first):
            return False
        if not self._seen:
            self._seen.append(_grid(self._first))
        grid = _grid(image)
        if any(_near(grid, other) for other in self._seen):
            return False
        self._seen.append(grid)
        return True


def _grid(image: Image.Image) -> Image.Image:
    return image.resize(_CELLS, Image.Resampling.BOX)


def _near(one: Image.Image, other: Image.Image) -> bool:
    bands = ImageChops.difference(one, other).getextrema()
    return all(isinstance(band, tuple) and band[1] <= _NEARLY for band in bands)
