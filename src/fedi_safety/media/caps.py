"""The bounds within which a medium is decoded (I8). Numbers only; `pool` and `decoder/confine` enforce them."""

from __future__ import annotations

from dataclasses import fields

from fedi_safety.core.classes import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Caps:
    """What one medium may cost. What would cost more is unscanned, or judged by what came within the bounds.

    `max_memory_bytes` bounds the whole address space of a decoding child, of which about 50 MiB are the program
    itself (250 MiB once a HEIC came). The defaults go together: a picture of `max_pixels` fits the memory, but for
    WebP of over about 80 megapixels, which needs 16 bytes a pixel and is `too_large` as well.

    `svg` is `render`, or `unsupported` where no drawing shall be rendered.

    `frames` is how many moments of an animation or clip a first pass shows, `more_frames` a second one; there is none
    unless that is more. `tiles` is how many further views of its stills a medium has at a first pass (tiles of long
    pictures, what is within wide borders), `more_tiles` at a second one; 0 means none.
    """

    max_bytes: int = 64 * MIB
    max_pixels: int = 100_000_000
    max_memory_bytes: int = 1536 * MIB
    max_seconds: float = 20.0
    max_objects_per_child: int = 1000
    frames: int = 16
    more_frames: int = 64
    tiles: int = 12
    more_tiles: int = 48
    svg: str = "render"

    def __post_init__(self) -> None:
        """Refuse bounds under which nothing could ever be decoded."""
        for name in (field.name for field in fields(self) if field.name != "svg"):
            if name in ("tiles", "more_tiles"):
                if not 0 <= getattr(self, name) <= MAX_TILES:
                    raise ValueError(f"{name} must be 0 to {MAX_TILES}")
            elif getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive")
        if self.svg not in ("render", "unsupported"):
            raise ValueError("svg must be `render` or `unsupported`")

    @property
    def most_frames(self) -> int:
        """Return how many frames a pass can give: views and moments, covers and further media, on white and on black.

        Further media that move have moments beyond their two each only as far as there is room left. Those that are
        compared alone have room of their own.
        """
        moments = max(self.frames, self.more_frames) + MAX_COVERS + 2 * MAX_FURTHER
        return 2 * (moments + max(self.tiles, self.more_tiles)) + MAX_COMPARED_FRAMES

    @property
    def text(self) -> str:
        """Name the bounds on which it depends what can be decoded."""
        return (
            f"{self.max_bytes / MIB:g} MiB, {self.max_pixels / 1e6:g} megapixels, {self.max_memory_bytes / MIB:g} MiB "
            f"of memory, {self.max_seconds:g} s, {self.frames} frames and {self.more_frames} at a second pass, "
            f"{self.tiles} tiles and {self.more_tiles} at a second pass{'' if self.svg == 'render' else ', no SVG'}"
        )


# A frame is what detectors look at: they squash to 256x256, letterbox to 320, or cut chips of 64x64 from it.
FRAME_LONGEST_SIDE = 768
FRAME_SHORTEST_SIDE = 256
MAX_FRAME_PIXELS = 768 * 1024

# Of what a container's table names, so much is looked at; the rest makes the medium one that is judged in part.
MAX_PATCHES = 20_000  # frames of an animation, each of which may have to be drawn for the ones after it
MAX_MOMENTS = 250_000  # frames of a clip, of which only those that are needed are decoded
MAX_COMPARED = 32  # moments of what moves that are compared with lists of known images
MAX_COMPARED_FRAMES = 96  # frames of a medium that are compared and not judged, of whatever kind
MAX_TRACKS = 8
MAX_PAGES = 20_000  # pictures of a file of several
MAX_COVERS = 8
MAX_TILES = 100
MAX_FURTHER = 8  # media inside or behind another one
MAX_ITEMS = 2000  # of an AVIF or HEIC: 100 megapixels in tiles of 256x256 are 1,600
# Pixels that each frame of a pass's budget stands for, and the time that they are worth. Of animations with larger ones
# fewer are looked at. Ordinary ones are far below it; one of 100 megapixels takes about a second for each.
MAX_PIXELS_PER_FRAME = 12_000_000
SECONDS_PER_FRAME = 0.125
MAX_CANVAS_PIXELS = 40_000_000  # of an animation that is drawn from patches; of larger ones the first picture is shown
# A progressive picture goes over all of its pixels once for each scan. Encoders make about ten.
USUAL_SCANS = 20
MAX_SCANNED_PIXELS = 1_000_000_000


def affordable(frames: int, pixels: int) -> int:
    """Return how many frames of so many pixels a pass over `frames` of an animation can pay for; at least two."""
    return min(frames, max(2, frames * MAX_PIXELS_PER_FRAME // max(1, pixels)))
