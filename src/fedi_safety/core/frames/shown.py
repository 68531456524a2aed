"""Frames, and what a decoder made of a medium: all that a decoder's process needs to know of the core's types."""

from __future__ import annotations

from dataclasses import dataclass

from fedi_safety.core.enums import MediaType
from fedi_safety.core.frames.places import WHOLE, Place

VIEW_BITS = 22  # of an index of 31; one clip has at most 4,000,018 moments (media/caps)
"""Of a frame's index: below are the moments of a medium, above the views of each."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One RGB picture of a medium: 8-bit RGB, rows top to bottom, no padding, upright, in sRGB.

    `rgb` holds exactly width * height * 3 bytes. `index` tells the frames of a medium apart and is the same at every
    pass; in an animation or clip it counts from 0 whatever could be shown. `part_of` is the index of the frame that
    shows a picture whole, where this one is another view of that picture: a tile, a turn, what shows on black. `second`
    says that the first pass did not show it.
    """

    index: int
    width: int
    height: int
    rgb: bytes
    place: Place = WHOLE
    part_of: int | None = None
    second: bool = False

    @property
    def picture(self) -> int:
        """Return which picture of its medium it shows: frames with the same number belong together."""
        return self.index if self.part_of is None else self.part_of

    def __post_init__(self) -> None:
        """Refuse a buffer that does not fit the dimensions."""
        if self.width < 1 or self.height < 1 or len(self.rgb) != self.width * self.height * 3:
            raise ValueError(f"frame of {self.width}x{self.height} with {len(self.rgb)} bytes")


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a decoder made of a medium: the frames to judge and the picture's true size in pixels.

    `partly` says why there is more in it that cannot be judged, if so; it begins with a `Reason`. `more` says that a
    second pass would show other frames; of a still it always would. `total` counts all frames there are in this pass,
    judged or not; 0 where that is not known. `compared` are pictures that no detector is shown: they are hashed alone.
    """

    media_type: MediaType
    width: int
    height: int
    frames: tuple[Frame, ...]
    partly: str | None = None
    more: bool = False
    total: int = 0
    compared: tuple[Frame, ...] = ()
