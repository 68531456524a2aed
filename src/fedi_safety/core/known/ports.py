"""What is asked of lists of known images while something is judged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from fedi_safety.core.known.types import Hit
from fedi_safety.core.types import Fingerprints

Array = Any
"""An array of numpy's, which passes by here; the core does not import numpy."""


class KnownImages(Protocol):
    """All lists as they are now. Asked by several threads at once; a change by another process is seen soon."""

    @property
    def digest(self) -> str:
        """A short name of all that is compared with, which changes with it."""
        ...

    def exact(self, fingerprints: Fingerprints) -> list[Hit]:
        """Return every entry with one of these hashes. Raises `Unscannable` where the lists cannot be read."""
        ...

    def near(self, hashes: Array) -> list[Sequence[Hit]]:
        """Return for each PDQ, a row of 32 bytes (uint8), every entry within its list's distance, the nearest first.

        Exact within the distance: none is missed. Raises `Unscannable` where the lists cannot be read.
        """
        ...
