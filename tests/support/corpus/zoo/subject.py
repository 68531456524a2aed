"""The stand-in subject, a red circle, drawn into a picture at a known place; and a detector that finds it there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from fedi_safety.core.enums import MediaType
from fedi_safety.core.frames.places import Part
from fedi_safety.core.types import Decoded, Frame
from support.corpus.compound import has_subject
from support.corpus.moving import picture

SIZE = WIDTH, HEIGHT = 96, 64
_X, _Y, _RADIUS = 32, 26, 16
RED, GREY = (212, 36, 40), (170, 170, 170)
_NEAR = 0.05  # how far the middle may be from where it was drawn, as a share of the side
_ROUND = 0.12  # how far the share of its square that it fills may be from a circle's


@dataclass(frozen=True, slots=True)
class Item:
    """A file, and which of its frames show the subject.

    `frames` are indices as the decoder counts them: the circle must be seen in at least one of these and in no other.
    `budget` is false where there are more frames than a look has, `damaged` where not all of it need be seen, `bare`
    where colours are not kept and a dark disc stands for the circle. With `part` the circle of `compound` must be seen,
    in a frame of that part of the file.
    """

    form: str  # a row of the table
    name: str
    data: bytes
    kind: MediaType
    frames: frozenset[int] = frozenset({0, 1})  # a still, on white or on black
    budget: bool = True
    damaged: bool = False
    bare: bool = False
    part: Part | None = None


def ground(number: int = 0, size: tuple[int, int] = SIZE) -> Image.Image:
    """Draw a picture without the subject; no two of up to 40 numbers are nearly equal."""
    image = Image.new("RGB", size, GREY)
    left, wide = size[0] * number // 44, size[0] // 12
    ImageDraw.Draw(image).rectangle((left, size[1] * 3 // 4, left + wide, size[1]), (30, 60, 90))
    return image


def subject(number: int = 0, size: tuple[int, int] = SIZE) -> Image.Image:
    """Draw the same with the subject on it."""
    image = ground(number, size)
    ImageDraw.Draw(image).ellipse(_box(size), RED)
    return image


def disc(size: tuple[int, int] = SIZE) -> Image.Image:
    """Draw a black disc on white, for files of few shades."""
    image = Image.new("L", size, 255)
    ImageDraw.Draw(image).ellipse(_box(size), 0)
    return image


def cut_out(size: tuple[int, int] = SIZE) -> Image.Image:
    """Draw the subject on nothing."""
    image = Image.new("RGBA", size)
    ImageDraw.Draw(image).ellipse(_box(size), (*RED, 255))
    return image


def _box(size: tuple[int, int]) -> tuple[float, float, float, float]:
    wide, high = size[0] / WIDTH, size[1] / HEIGHT
    return ((_X - _RADIUS) * wide, (_Y - _RADIUS) * high, (_X + _RADIUS) * wide, (_Y + _RADIUS) * high)


def shows(frame: Frame, bare: bool = False) -> bool:
    """Whether a frame shows the subject: red (or dark), round, of its size, and where it was drawn, thus upright."""
    pixels = np.frombuffer(frame.rgb, np.uint8).reshape(frame.height, frame.width, 3).astype(np.int16)
    red = pixels[..., 0] - pixels[..., 1:].max(axis=2) > 60
    rows, columns = np.nonzero(pixels.max(axis=2) < 110 if bare else red)
    if len(rows) < 40:
        return False
    top, bottom = np.quantile(rows, (0.005, 0.995))
    left, right = np.quantile(columns, (0.005, 0.995))
    wide, high = (right - left + 1) / frame.width * WIDTH, (bottom - top + 1) / frame.height * HEIGHT
    share = len(rows) / ((right - left + 1) * (bottom - top + 1))
    return bool(
        abs(wide / (2 * _RADIUS) - 1) < 0.2
        and abs(high / (2 * _RADIUS) - 1) < 0.2
        and abs(share - np.pi / 4) < _ROUND
        and abs(columns.mean() / frame.width - _X / WIDTH) < _NEAR
        and abs(rows.mean() / frame.height - _Y / HEIGHT) < _NEAR
    )


def seen(item: Item, decoded: Decoded) -> bool:
    """Whether the subject was found, in the right frame and in no wrong one."""
    if item.part is not None:
        return any(frame.place.part is item.part and has_subject(picture(frame)) for frame in decoded.frames)
    found = {frame.index for frame in decoded.frames if shows(frame, item.bare)}
    return bool(found) and found <= item.frames
