"""The bounds within which a medium is decoded (I8). Numbers only; `sandbox` and `confine` enforce them."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Caps:
    """What one medium may cost. A medium that would cost more is unscanned, never judged by a part of it.

    `max_memory_bytes` bounds the whole address space of a decoding child, of which about 50 MiB are the program
    itself (250 MiB once a HEIC came). The defaults go together: a picture of `max_pixels` fits the memory, but for
    WebP of over about 80 megapixels, which needs 16 bytes a pixel and is `too_large` as well.
    """

    max_bytes: int = 64 * MIB
    max_pixels: int = 100_000_000
    max_memory_bytes: int = 1536 * MIB
    max_seconds: float = 20.0
    max_objects_per_child: int = 1000

    def __post_init__(self) -> None:
        """Refuse bounds under which nothing could ever be decoded."""
        for name in ("max_bytes", "max_pixels", "max_memory_bytes", "max_seconds", "max_objects_per_child"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive")


# A frame is what detectors look at: they squash to 256x256, letterbox to 320, or cut chips of 64x64 from it.
FRAME_LONGEST_SIDE = 768
FRAME_SHORTEST_SIDE = 256
MAX_FRAME_PIXELS = 768 * 1024
