"""Whether a thumbnail shows nothing but its picture again, as most do. Runs in the child only."""

from __future__ import annotations

from collections.abc import Iterator

from PIL import Image, ImageChops

SMALL = 320  # the longest side of what is compared as a thumbnail
_CELLS = (16, 16)
_NEARLY = 24  # of 255; of photographs and thumbnails that cameras could make of them no cell differed by more than 17
_BAR_RANGE = 64  # of 255: how much an even bar may vary; the picture beside it leaves traces of up to 45
_TURNS = (None, Image.Transpose.ROTATE_180, Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.FLIP_TOP_BOTTOM)


def repeats(thumbnail: Image.Image, picture: Image.Image) -> bool:
    """Whether a small picture shows a large one again: coarser, not turned upright, cut, or with even bars around it.

    What differs in no cell of a 16x16 grid by more than 9 % counts as the same.
    """
    for turned in (thumbnail, thumbnail.transpose(Image.Transpose.ROTATE_90)):
        for one, other in _framed(turned, picture):
            small = one.resize(_CELLS, Image.Resampling.BOX)
            grid = other.resize(_CELLS, Image.Resampling.BOX)
            if any(alike(small if turn is None else small.transpose(turn), grid, _NEARLY) for turn in _TURNS):
                return True
    return False


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


def alike(one: Image.Image, other: Image.Image, most: int) -> bool:
    """Whether no channel of any pixel of two small pictures differs by more than `most` of 255."""
    bands = ImageChops.difference(one, other).getextrema()
    return all(isinstance(band, tuple) and band[1] <= most for band in bands)
