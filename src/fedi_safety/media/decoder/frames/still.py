"""A decoded picture and the frames cut from it: flat, upright, 8-bit sRGB, scaled down to what detectors need.

Transparent pixels show white, as viewers do, and black in a second version, because something may be hidden by either.
"""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from PIL import (
    Image,
    ImageChops,
)

from fedi_safety.core.classes import dataclass
from fedi_safety.core.errors import Unscannable
from fedi_safety.media.caps import (
    FRAME_LONGEST_SIDE,
    FRAME_SHORTEST_SIDE,
    MAX_FRAME_PIXELS,
)
from fedi_safety.media.decoder.frames.colour import srgb
from fedi_safety.media.decoder.frames.orientation import TURNED, Edges, stored, upright

_SIDEWAYS = 5  # from this orientation on sides swap

OnWhiteAndBlack = tuple[Image.Image, Image.Image | None]  # a picture on white, and on black where that differs


@dataclass(frozen=True, slots=True)
class Source:
    """A decoded picture as it is stored, from which frames are cut: on white, its alpha if it has one, its profile."""

    image: Image.Image
    alpha: Image.Image | None
    profile: bytes | None
    orientation: int

    def frame(self, part: Edges | None = None) -> OnWhiteAndBlack:
        """Return a frame, upright and in sRGB: of all of it, or of a part in shares (0 to 1) of the upright picture."""
        box = None if part is None else stored(part, self.orientation, self.image.size)
        size = fit(*(self.image.size if box is None else (box[2] - box[0], box[3] - box[1])))
        image = self.image.resize(size, Image.Resampling.BILINEAR, box, reducing_gap=1.5)
        black: Image.Image | None = None
        if self.alpha is not None:
            alpha = self.alpha.resize(size, Image.Resampling.BILINEAR, box, reducing_gap=1.5)
            # What white added to each pixel is what alpha lacks.
            lacking = ImageChops.invert(alpha)
            black = ImageChops.subtract(image, lacking if image.mode == "L" else Image.merge("RGB", (lacking,) * 3))
            black = upright(srgb(black, self.profile), self.orientation)
        return upright(srgb(image, self.profile), self.orientation), black


@dataclass(frozen=True, slots=True)
class Still:
    """A decoded picture: its true size, upright, and what a frame shows of it in RGB; on black where that differs.

    `source` is what frames of its parts are cut from, where there is one. `problem` is what keeps the rest of a damaged
    one from being shown. `opaque` is a frame of a transparent one as programs have it that take no notice of that.
    """

    width: int
    height: int
    image: Image.Image
    on_black: Image.Image | None = None
    source: Source | None = None
    problem: Unscannable | None = None
    opaque: Image.Image | None = None

    @property
    def as_stored(self) -> Still | None:
        """Return the picture as viewers show it that do not turn it; None if it is stored upright."""
        if self.source is None or self.source.orientation not in TURNED:
            return None
        source = replace(self.source, orientation=1)
        width, height = (self.height, self.width) if self.source.orientation >= _SIDEWAYS else (self.width, self.height)
        return Still(width, height, *source.frame(), source, self.problem)

    @property
    def frame_width(self) -> int:
        """Return the width of the frame."""
        return self.image.width

    @property
    def frame_height(self) -> int:
        """Return the height of the frame."""
        return self.image.height

    @property
    def rgb(self) -> bytes:
        """Return the frame as `core.types.Frame` wants it."""
        return self.image.tobytes()


def finished(image: Image.Image, width: int, height: int, orientation: int = 1) -> Still:
    """Make the frame of a decoded picture of whatever mode; `width` and `height` are its true size as it is stored."""
    profile = image.info.get("icc_profile")
    kept = profile if isinstance(profile, bytes) else None
    flat, alpha, opaque = _flat(_eight_bit(image))
    source = Source(flat, alpha, kept, orientation)
    if _SIDEWAYS <= orientation <= 8:
        width, height = height, width
    seen = None if opaque is None else upright(srgb(opaque, kept), orientation)
    return Still(width, height, *source.frame(), source, opaque=seen)


def fit(width: int, height: int) -> tuple[int, int]:
    """Return the frame's size: longest side 768 if the shortest keeps 256, never enlarged, never over the cap."""
    longest, shortest = max(width, height), min(width, height)
    factor = max(FRAME_LONGEST_SIDE / longest, min(FRAME_SHORTEST_SIDE, shortest) / shortest)
    factor = min(1.0, factor, (MAX_FRAME_PIXELS / (width * height)) ** 0.5)
    if factor == 1.0:
        return width, height
    fitted_longest = max(1, round(longest * factor))
    fitted_shortest = max(1, min(round(shortest * factor), MAX_FRAME_PIXELS // fitted_longest))
    fitted_longest = min(fitted_longest, MAX_FRAME_PIXELS // fitted_shortest)
    return (fitted_longest, fitted_shortest) if width >= height else (fitted_shortest, fitted_longest)


def _eight_bit(image: Image.Image) -> Image.Image:
    """Scale pictures of 16 or 32 bits, or of floats, to 8 bits; Pillow's own conversion would clip them."""
    if image.mode.startswith("I;16"):
        table = [(value * 255 + 32767) // 65535 for value in range(65536)]
        transparent = image.info.pop("transparency", None)
        if isinstance(transparent, int) and 0 <= transparent <= 65535:
            table[transparent] = 255
        # Mode I is what has 16-bit tables; they are not defined for the big-endian modes.
        return image.convert("I").point(table, "L")
    if image.mode in ("I", "F"):
        lowest, highest = cast("tuple[float, float]", image.getextrema())
        # 32-bit files carry no statement of their range: take the smallest of the usual ones that holds it.
        white = next((most for most in (1.0, 255.0, 65535.0) if highest <= most), highest)
        if image.mode == "I" and white == 1.0:
            white = 255.0
        black = min(0.0, lowest)
        scale = 255.0 / (white - black) if white > black else 1.0
        return image.convert("F").point(lambda value: value * scale - black * scale).convert("L")
    return image


def _flat(image: Image.Image) -> tuple[Image.Image, Image.Image | None, Image.Image | None]:
    """Return the picture as L, RGB, CMYK or LAB, on white where it is transparent, and its alpha unless all opaque.

    Then also a frame of its colours alone.
    """
    if image.mode == "1":
        return image.convert("L"), None, None
    _mend_key(image)
    transparent = image.info.get("transparency")
    if image.mode == "P":
        image = image.convert("RGB" if transparent is None else "RGBA")
    elif image.mode in ("L", "RGB") and transparent is not None:
        image = image.convert("RGBA")
    elif image.mode not in ("L", "RGB", "CMYK", "LAB", "LA", "RGBA"):
        image = image.convert("RGBA" if image.mode in ("PA", "La", "RGBa") else "RGB")
    if image.mode not in ("LA", "RGBA"):
        return image, None, None
    opaque = "L" if image.mode == "LA" else "RGB"
    alpha = image.getchannel("A")
    if alpha.getextrema() == (255, 255):
        return image.convert(opaque), None, None
    canvas = Image.new(opaque, image.size, "white")
    colours = image.convert(opaque)
    canvas.paste(colours, mask=alpha)
    return canvas, alpha, colours.resize(fit(*image.size), Image.Resampling.BILINEAR, reducing_gap=1.5)


def with_alpha(image: Image.Image) -> Image.Image:
    """Return a decoded picture as RGBA, whatever its mode."""
    image = _eight_bit(image)
    _mend_key(image)
    return image.convert("RGBA")


def _mend_key(image: Image.Image) -> None:
    """The key colour of a 16-bit PNG has 16 bits, but its pixels were cut to their high bytes."""
    key = image.info.get("transparency")
    if image.mode == "RGB" and isinstance(key, tuple) and max(key) > 255:
        image.info["transparency"] = tuple(value >> 8 for value in key)
