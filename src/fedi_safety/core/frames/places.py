"""Where in its medium a frame is found, and how a person would say it. Pure data."""

from __future__ import annotations

from enum import StrEnum

from fedi_safety.core.classes import dataclass


class Part(StrEnum):
    """Which of the things that a medium is made of a frame belongs to."""

    PICTURE = "picture"  # what it is for: the still, the animation, the clip
    COVER = "cover"  # cover art, an attached picture, the still that stands in for an animation
    THUMBNAIL = "thumbnail"  # a small picture in the file's metadata
    FURTHER = "further"  # another picture or animation in the same file
    FURTHER_CLIP = "further_clip"  # a clip in a file of another kind, or behind a first one


_PART_TEXT = {
    Part.COVER: "cover picture",
    Part.THUMBNAIL: "thumbnail",
    Part.FURTHER: "further picture",
    Part.FURTHER_CLIP: "further clip",
}
_STREAMS = {part: number for number, part in enumerate(Part)}


@dataclass(frozen=True, slots=True)
class Tile:
    """A part of a picture that is looked at by itself: the `number`-th (from 1) of `of`, and its edges.

    These are in thousandths of the upright picture's width and height, from its upper left corner. Raises `ValueError`
    for a part that is none.
    """

    number: int
    of: int
    left: int
    top: int
    right: int
    bottom: int

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        inside = 0 <= self.left < self.right <= 1000 and 0 <= self.top < self.bottom <= 1000
        if not inside or not 1 <= self.number <= self.of:
            raise ValueError(f"no such tile: {self}")

    @property
    def text(self) -> str:
        """Return it as a person would say it, e.g. `tile 3 of 9, 0-33 % x 20-60 %`: from the left, from the top."""
        across, down = (f"{a / 10:.0f}-{b / 10:.0f} %" for a, b in ((self.left, self.right), (self.top, self.bottom)))
        return f"tile {self.number} of {self.of}, {across} x {down}"


@dataclass(frozen=True, slots=True)
class Place:
    """Where in its medium a frame is found, and how it is shown. The whole of a plain still has nothing to say here."""

    time_s: float | None = None  # seconds from the beginning
    page: int = 0  # from 1, where pictures follow each other without times; 0 where they do not
    track: int = 1  # of a clip with several pictures at once
    part: Part = Part.PICTURE
    on_black: bool = False  # what is transparent shows black; everywhere else it shows white
    tile: Tile | None = None  # None for the whole picture
    bare: bool = False  # without an even border that the picture has
    turned: int = 0  # degrees clockwise: 0, 90, 180 or 270
    opaque: bool = False  # in the colours that it has where it is transparent

    @property
    def time_ms(self) -> int | None:
        """Return the time in whole milliseconds."""
        return None if self.time_s is None else round(1000 * self.time_s)

    @property
    def stream(self) -> int:
        """Return a number that tells what runs in one time from what runs in another: kinds of parts, and tracks."""
        return _STREAMS[self.part] << 8 | min(self.track, 255)

    @property
    def text(self) -> str:
        """Return it as a person would say it, e.g. `at 1:02.40`; empty for the whole of a plain still."""
        words = []
        if self.part in _PART_TEXT:
            words.append(_PART_TEXT[self.part])
        if self.track > 1:
            words.append(f"track {self.track}")
        if self.page:
            words.append(f"picture {self.page}")
        if self.time_s is not None:
            words.append(f"at {clock_text(self.time_s)}")
        if self.tile is not None:
            words.append(self.tile.text)
        if self.bare:
            words.append("without its border")
        if self.turned:
            words.append(f"turned by {self.turned}°")
        if self.on_black:
            words.append("on black")
        if self.opaque:
            words.append("without its transparency")
        return " ".join(words)


def clock_text(seconds: float) -> str:
    """Return a time within a medium as `m:ss.cc`, with hours where there are any."""
    whole, hundredths = divmod(round(seconds * 100), 100)
    minutes, rest = divmod(whole, 60)
    hours, left = divmod(minutes, 60)
    return f"{hours}:{left:02}:{rest:02}.{hundredths:02}" if hours else f"{minutes}:{rest:02}.{hundredths:02}"


WHOLE = Place()
"""The whole of a plain still."""
