"""What is done to a picture before a CLIP network sees it, as the model's own `preprocess_cfg.json` says.

Follows open_clip's inference transform to the bit: Pillow's antialiased resampling, the same rounding of sizes, the
same arithmetic. A mode that is not known is refused, because a guess would shift every score.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fedi_safety.core.errors import ModelError
from fedi_safety.core.types import Frame

_INTERPOLATIONS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
_RESIZE_MODES = ("shortest", "longest", "squash")
# From this ratio of the sides on, only the part of the picture that is cut out is scaled: a line of 768 pixels would
# otherwise become 35 million. Pillow computes such a part in single precision, so that a pixel may differ by one step.
_SLIM = 8
_REMEDY = "fetch or import the model anew; this program does not know such a model"
# What open_clip takes where a file leaves it out.
_OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
_OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class Preprocess:
    """A checked preprocessing: size in pixels, and how a picture is brought to it."""

    side: int
    interpolation: Image.Resampling
    resize_mode: str
    background: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    table: NDArray[np.float32]  # (channel, byte) -> the number that the network gets

    def pixels(self, frame: Frame) -> NDArray[np.uint8]:
        """Return the frame as the network's (side, side, 3) bytes, before they are normalised."""
        image = Image.frombuffer("RGB", (frame.width, frame.height), frame.rgb, "raw", "RGB", 0, 1)
        if frame.place.tile is not None and self.resize_mode == "shortest":
            # Of a tile nothing may be left out: what its middle lacks may be in no other tile's middle either.
            image = self._centred(self._resized(image, *self._scaled(*image.size, whole=True)))
        elif self.resize_mode == "squash":
            image = self._resized(image, self.side, self.side)
        elif self.resize_mode == "shortest" and max(image.size) > _SLIM * min(image.size):
            image = self._middle(image)
        else:
            image = self._centred(self._resized(image, *self._scaled(*image.size)))
        return np.asarray(image)

    def batch(self, frames: Sequence[Frame]) -> NDArray[np.float32]:
        """Return the frames as the network's input: (frames, 3, side, side)."""
        values = np.empty((len(frames), *self.shape), np.float32)
        self.fill(frames, values)
        return values

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return the shape of one picture as the network gets it."""
        return 3, self.side, self.side

    def fill(self, frames: Sequence[Frame], values: NDArray[np.float32]) -> None:
        """Write the frames as the network's input into an array for them: (frames, 3, side, side)."""
        for row, frame in zip(values, frames, strict=True):
            pixels = self.pixels(frame)
            for channel in range(3):
                np.take(self.table[channel], pixels[:, :, channel], out=row[channel])

    def _scaled(self, width: int, height: int, *, whole: bool = False) -> tuple[int, int]:
        if self.resize_mode == "shortest" and not whole:  # torchvision's Resize(side)
            if width <= height:
                return self.side, int(self.side * height / width)
            return int(self.side * width / height), self.side
        ratio = max(width / self.side, height / self.side)  # open_clip's ResizeKeepRatio(longest=1)
        return max(1, round(width / ratio)), max(1, round(height / ratio))

    def _resized(self, image: Image.Image, width: int, height: int) -> Image.Image:
        if image.size == (width, height):
            return image
        return image.resize((width, height), self.interpolation)

    def _middle(self, image: Image.Image) -> Image.Image:
        """Scale only what `_centred` would leave of a picture that is much longer in one direction."""
        box: list[float] = []
        for whole, scaled in zip(image.size, self._scaled(*image.size), strict=True):
            start = round((scaled - self.side) / 2.0)
            box += [start * whole / scaled, (start + self.side) * whole / scaled]
        left, right, top, bottom = box
        return image.resize((self.side, self.side), self.interpolation, (left, top, right, bottom))

    def _centred(self, image: Image.Image) -> Image.Image:
        """Cut out the middle, and fill what is missing around it, as torchvision's center_crop rounds."""
        width, height, side = *image.size, self.side
        if width < side or height < side:
            left, top = max(0, side - width) // 2, max(0, side - height) // 2
            canvas = Image.new("RGB", (max(side, width), max(side, height)), self.background)
            canvas.paste(image, (left, top))
            image = canvas
            width, height = image.size
        left, top = round((width - side) / 2.0), round((height - side) / 2.0)
        return image.crop((left, top, left + side, top + side))


def read_preprocess(config: Mapping[str, Any], source: str, side: int | None = None) -> Preprocess:
    """Check a model's preprocessing file. Raises `ModelError` that names the first thing that is not known.

    `side` is the image size that the model's architecture names; the file must not contradict it.
    """

    def refuse(key: str, cause: str) -> ModelError:
        return ModelError(source, f"{key}: {cause}", _REMEDY)

    size = config.get("size", side)
    sides = size if isinstance(size, list) else [size]
    if not 1 <= len(sides) <= 2 or not all(_is_count(s) and s == sides[0] for s in sides):
        raise refuse("size", f"{size!r} is not one whole number for both sides")
    found = int(sides[0])
    if side is not None and found != side:
        raise refuse("size", f"{found} is not the image size of the model's architecture, {side}")
    if (mode := config.get("mode", "RGB")) != "RGB":
        raise refuse("mode", f"{mode!r} is not known, only RGB is")
    interpolation = config.get("interpolation", "bicubic")
    if not isinstance(interpolation, str) or interpolation not in _INTERPOLATIONS:
        raise refuse("interpolation", f"{interpolation!r} is not known, only {', '.join(_INTERPOLATIONS)} are")
    resize_mode = config.get("resize_mode", "shortest")
    if resize_mode not in _RESIZE_MODES:
        raise refuse("resize_mode", f"{resize_mode!r} is not known, only {', '.join(_RESIZE_MODES)} are")
    fill = config.get("fill_color", 0)
    colours = (fill,) * 3 if isinstance(fill, int) else tuple(fill) if isinstance(fill, list) else ()
    if len(colours) != 3 or not all(isinstance(c, int) and 0 <= c <= 255 for c in colours):
        raise refuse("fill_color", f"{fill!r} is not a colour")
    mean, std = (
        _three(config.get(key, default), key, refuse) for key, default in (("mean", _OPENAI_MEAN), ("std", _OPENAI_STD))
    )
    if min(std) <= 0:
        raise refuse("std", f"{list(std)} must be above 0")
    return Preprocess(found, _INTERPOLATIONS[interpolation], resize_mode, colours, mean, std, _table(mean, std))


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 4096


def _three(value: object, key: str, refuse: Callable[[str, str], ModelError]) -> tuple[float, ...]:
    numbers = (
        (value,) * 3 if isinstance(value, int | float) else tuple(value) if isinstance(value, list | tuple) else ()
    )
    if len(numbers) != 3 or not all(isinstance(n, int | float) and math.isfinite(n) for n in numbers):
        raise refuse(key, f"{value!r} is not three numbers")
    return tuple(float(n) for n in numbers)


def _table(mean: Sequence[float], std: Sequence[float]) -> NDArray[np.float32]:
    """Return what each byte of each channel becomes, by the very steps of torchvision: to 0..1, minus mean, by std."""
    values = np.arange(256, dtype=np.float32) / np.float32(255)
    means, stds = np.array(mean, np.float32), np.array(std, np.float32)
    return (values[None, :] - means[:, None]) / stds[:, None]
