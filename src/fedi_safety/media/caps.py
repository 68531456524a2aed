"""The bounds within which a medium is decoded (I8). Numbers only; `sandbox` and `confine` enforce them."""

from __future__ import annotations

from dataclasses import dataclass, fields

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Caps:
    """What one medium may cost. What would cost more is unscanned, or judged by what came within the bounds.

    `max_memory_bytes` bounds the whole address space of a decoding child, of which about 50 MiB are the program
    itself (250 MiB once a HEIC came). The defaults go together: a picture of `max_pixels` fits the memory, but for
    WebP of over about 80 megapixels, which needs 16 bytes a pixel and is `too_large` as well.

    `frames` is how many moments of an animation or clip a first look shows, `more_frames` a second one; there is none
    unless that is more.
    """

    max_bytes: int = 64 * MIB
    max_pixels: int = 100_000_000
    max_memory_bytes: int = 1536 * MIB
    max_seconds: float = 20.0
    max_objects_per_child: int = 1000
    frames: int = 16
    more_frames: int = 64

    def __post_init__(self) -> None:
        """Refuse bounds under which nothing could ever be decoded."""
        for name in (field.name for field in fields(self)):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive")

    @property
    def text(self) -> str:
        """Name the bounds on which it depends what can be decoded."""
        return (
            f"{self.max_bytes / MIB:g} MiB, {self.max_pixels / 1e6:g} megapixels, {self.max_memory_bytes / MIB:g} MiB "
            f"of memory, {self.max_seconds:g} s, {self.frames} frames and {self.more_frames} at a second look"
        )


# A frame is what detectors look at: they squash to 256x256, letterbox to 320, or cut chips of 64x64 from it.
FRAME_LONGEST_SIDE = 768
FRAME_SHORTEST_SIDE = 256
MAX_FRAME_PIXELS = 768 * 1024

# Of what a container's table names, so much is looked at; the rest makes the medium one that is judged in part.
MAX_PATCHES = 20_000  # frames of an animation, each of which may have to be drawn for the ones after it
MAX_MOMENTS = 250_000  # frames of a clip, of which only those that are needed are decoded
MAX_TRACKS = 8
MAX_COVERS = 8
MAX_FURTHER = 8  # media inside or behind another one


def most_frames(moments: int) -> int:
    """Return how many frames a look at so many moments can give: on white and on black, and the covers likewise.

    Further media in the same file together have as many moments, but at least two each.
    """
    return 2 * (2 * moments + MAX_COVERS + 2 * MAX_FURTHER)
