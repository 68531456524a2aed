"""Animations made of patches (GIF, APNG, WebP): the patches as their formats describe them, and the canvas they are
drawn on. Each patch decodes as a still of its own, so that one that is damaged or not needed hinders no other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from enum import Enum

from PIL import Image

from fedi_safety.core.classes import dataclass
from fedi_safety.core.enums import MediaType
from fedi_safety.core.errors import Unscannable
from fedi_safety.media.decoder.frames.sampling import Moment


class Dispose(Enum):
    """What becomes of a patch when the next one is drawn."""

    LEAVE = 0
    CLEAR = 1  # its area becomes transparent
    UNDO = 2  # its area becomes what it was before


@dataclass(frozen=True, slots=True)
class Patch:
    """One frame of an animation as the file has it."""

    x: int
    y: int
    width: int
    height: int
    seconds: float
    size: int  # compressed bytes
    blends: bool  # what is transparent in it lets the canvas show through
    dispose: Dispose
    opaque: bool
    build: Callable[[], bytes] = field(repr=False)  # a file of its own that shows the patch alone


@dataclass(slots=True)
class Patches:
    """All patches of an animation, in order, and why there are no more if the file breaks off."""

    media_type: MediaType
    width: int
    height: int
    patches: list[Patch] = field(default_factory=list)
    problem: Unscannable | None = None
    profile: bytes | None = field(default=None, repr=False)
    orientation: int = 1  # as its EXIF says, which some viewers follow and others do not
    other_sizes: list[tuple[int, int]] = field(default_factory=list)  # that some viewers give its canvas
    still: bytes | None = field(default=None, repr=False)  # a file with what is shown where animations are not

    def moments(self) -> list[Moment]:
        """Return the table of frames. A key is a patch from which on nothing before it can be seen any more."""
        found: list[Moment] = []
        at = 0.0
        cleared = True
        for patch in self.patches:
            whole = patch.x <= 0 and patch.y <= 0
            whole = whole and patch.x + patch.width >= self.width and patch.y + patch.height >= self.height
            key = (cleared or (whole and (patch.opaque or not patch.blends))) and patch.dispose is not Dispose.UNDO
            found.append(Moment(at, patch.size, key))
            cleared = whole and patch.dispose is Dispose.CLEAR
            at += patch.seconds
        return found


class Canvas:
    """The picture that patches add up to. Begin a new one at every key."""

    def __init__(self, width: int, height: int, *, clear_or_opaque: bool = False) -> None:
        """Begin with nothing: all transparent. `clear_or_opaque`: no pixel of any patch is anything between."""
        self.image = Image.new("RGBA", (width, height))
        self._clear_or_opaque = clear_or_opaque
        self._last: tuple[Dispose, tuple[int, int, int, int], Image.Image | None] | None = None

    def draw(self, patch: Patch, picture: Image.Image | None) -> None:
        """Settle what the patch before asked for, then draw this one, an RGBA picture; None if it did not decode."""
        self._settle()
        left, top = max(0, patch.x), max(0, patch.y)
        right = min(self.image.width, patch.x + patch.width)
        bottom = min(self.image.height, patch.y + patch.height)
        if right <= left or bottom <= top:
            return
        box = (left, top, right, bottom)
        before = self.image.crop(box) if patch.dispose is Dispose.UNDO else None
        self._last = (patch.dispose, box, before)
        if picture is None:
            return
        piece = picture
        inner = (left - patch.x, top - patch.y, right - patch.x, bottom - patch.y)
        if inner != (0, 0, *piece.size):
            piece = piece.crop(inner)
        if not patch.blends or patch.opaque:
            if piece.size == self.image.size:
                self.image = piece
            else:
                self.image.paste(piece, box)
        elif self._clear_or_opaque:
            self.image.paste(piece, box, piece.getchannel("A"))  # half the price of blending
        else:
            self.image.alpha_composite(piece, box[:2])

    def _settle(self) -> None:
        if self._last is None:
            return
        dispose, box, before = self._last
        self._last = None
        if dispose is Dispose.CLEAR:
            self.image.paste((0, 0, 0, 0), box)
        elif before is not None:
            self.image.paste(before, box)
