"""What is asked of lists of known images while something is judged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from fedi_safety.core.classes import dataclass
from fedi_safety.core.known.types import Hit
from fedi_safety.core.types import Fingerprints, Frame, PictureHash

Array = Any
"""An array of numpy's, which passes by here; the core does not import numpy."""


class KnownImages(Protocol):
    """All lists as they are now. Asked by several threads at once; a change by another process is seen soon."""

    @property
    def digest(self) -> str:
        """A short name of all that is compared with, which changes with it."""
        ...

    @property
    def empty(self) -> bool:
        """Whether there is no list that could be met now. Raises `Unscannable` where the lists cannot be read."""
        ...

    def exact(self, fingerprints: Fingerprints) -> list[Hit]:
        """Return every entry with one of these hashes. Raises `Unscannable` where the lists cannot be read."""
        ...

    def near(self, hashes: Array, surest: Array | None = None) -> list[Sequence[Hit]]:
        """Return for each PDQ, a row of 32 bytes (uint8), every entry within its list's distance, the nearest first.

        Exact within the distance: none is missed. Told which bits of each are the `surest`, it also gives entries that
        are farther off for the other bits alone. Raises `Unscannable` where the lists cannot be read.
        """
        ...

    def alike(self, descriptors: Array, model: str, distance: int) -> list[Sequence[Hit]]:
        """Return for each descriptor, a row of 64 bytes (uint8), the entries that this model made within the distance.

        The nearest come first; bits of 512. Raises `Unscannable` where the lists cannot be read.
        """
        ...

    def close(self) -> None:
        """Let go of the files. May be called twice."""
        ...


@dataclass(frozen=True, slots=True)
class Compared:
    """A picture that was hashed, and the entries that it meets, turned and mirrored as well.

    `descriptor` is what a network for finding copies made of it, where there is one and enough to see.
    """

    hash: PictureHash
    hits: Sequence[Hit] = ()
    descriptor: bytes | None = None


class Recognizer(Protocol):
    """Hashes contents, and finds what lists know of them. Asked by several threads at once."""

    @property
    def name(self) -> str:
        """The detector's name."""
        ...

    @property
    def version(self) -> str:
        """What made the hashes. The lists are no part of it: a match names its list and entry."""
        ...

    @property
    def model(self) -> str:
        """What makes the descriptors of pictures; empty where nothing does."""
        ...

    @property
    def active(self) -> bool:
        """Whether there is a list to compare with; otherwise contents are hashed alone.

        Raises `Unscannable` where that cannot be told.
        """
        ...

    def exact(self, fingerprints: Fingerprints) -> Sequence[Hit]:
        """Return the entries that a content's bytes meet. Raises `Unscannable` where the lists cannot be read."""
        ...

    def pictures(self, frames: Sequence[Frame]) -> list[Compared]:
        """Hash the pictures of one content and compare them, one result for each. Raises as `exact` does."""
        ...

    def close(self) -> None:
        """Let go of the lists. May be called twice."""
        ...
