"""What a child shows of a medium: frames as they come, nearly equal ones once. Runs in the child only."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from random import Random

from PIL import Image, ImageChops

from fedi_safety.core.errors import Unscannable
from fedi_safety.core.types import Frame, Part, Place
from fedi_safety.media.stills import Still

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
        if self.part is not None and max(image.size) <= _SMALL and repeats(image, self._first):
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


def _near(one: Image.Image, other: Image.Image, most: int = _NEARLY) -> bool:
    bands = ImageChops.difference(one, other).getextrema()
    return all(isinstance(band, tuple) and band[1] <= most for band in bands)


# --- thumbnails

_SMALL = 320  # the longest side of what is compared as a thumbnail
_THUMBNAIL_CELLS = (16, 16)
_THUMBNAIL_NEARLY = 30
_BAR_RANGE = 40  # of 255: how much an even bar may vary


def repeats(thumbnail: Image.Image, picture: Image.Image) -> bool:
    """Whether a small picture shows a large one again: coarser, not turned upright, cut, or with even bars around it.

    What differs in no cell of a 16x16 grid by more than 12 % counts as the same.
    """
    for turned in (thumbnail, thumbnail.transpose(Image.Transpose.ROTATE_90)):
        for one, other in _framed(turned, picture):
            small = one.resize(_THUMBNAIL_CELLS, Image.Resampling.BOX)
            grid = other.resize(_THUMBNAIL_CELLS, Image.Resampling.BOX)
            if any(_near(small if turn is None else small.transpose(turn), grid, _THUMBNAIL_NEARLY) for turn in _TURNS):
                return True
    return False


_TURNS = (None, Image.Transpose.ROTATE_180, Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.FLIP_TOP_BOTTOM)


def _framed(thumbnail: Image.Image, picture: Image.Image) -> Iterator[tuple[Image.Image, Image.Image]]:
    """Yield both as they may belong together: one cut to the shape of the other."""
    inner = _centre(thumbnail.size, picture.size)
    if inner == (0, 0, *thumbnail.size):
        yield thumbnail, picture
        return
    if _even_around(thumbnail, inner):
        yield thumbnail.crop(inner), picture
    yield thumbnail, picture.crop(_centre(picture.size, thumbnail.size))
    yield thumbnail, picture  # squeezed


def _centre(size: tuple[int, int], shape: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the largest box in the middle of `size` that has the shape of the other; all, if that is nearly so."""
    width = min(size[0], max(1, round(size[1] * shape[0] / shape[1])))
    height = min(size[1], max(1, round(size[0] * shape[1] / shape[0])))
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    return (0, 0, *size) if left <= 1 and top <= 1 else (left, top, left + width, top + height)


def _even_around(image: Image.Image, inner: tuple[int, int, int, int]) -> bool:
    left, top, right, bottom = inner
    bars = ((0, 0, image.width, top), (0, bottom, image.width, image.height), (0, 0, left, image.height))
    for bar in (*bars, (right, 0, image.width, image.height)):
        if bar[2] > bar[0] and bar[3] > bar[1]:
            ranges = image.crop(bar).getextrema()
            if any(isinstance(band, tuple) and band[1] - band[0] > _BAR_RANGE for band in ranges):
                return False
    return True
