"""What judged contents are found again by: their hashes, by the page; a part of the ledger's ports."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from fedi_safety.core.classes import dataclass
from fedi_safety.core.types import Hashes

Array = Any
"""An array of numpy's, which passes by here; the core does not import numpy."""


@dataclass(frozen=True, slots=True)
class PicturePage:
    """The PDQ of some pictures, a row each; those of one content follow each other and are on one page.

    `contents` are the contents' numbers in this ledger, ascending (int64), `frames` as in `PictureHash` (int32),
    `qualities` 0 to 100 (uint8), `hashes` (pictures, 32) uint8.
    """

    contents: Array
    frames: Array
    qualities: Array
    hashes: Array


@dataclass(frozen=True, slots=True)
class DescriptorPage:
    """What a network for finding copies made of some pictures, a row each.

    `contents` as in `PicturePage`; `descriptors` (pictures, 64) uint8.
    """

    contents: Array
    descriptors: Array


@dataclass(frozen=True, slots=True)
class BytesPage:
    """What some contents have by their bytes, a row each.

    `contents` as in `PicturePage`; `sha256` (contents, 32), `sha1` (contents, 20) and `md5` (contents, 16) uint8. Of a
    content that is not `hashed` (bool) the last two are zero: it was judged by a version that did not make them.
    """

    contents: Array
    hashed: Array
    sha256: Array
    sha1: Array
    md5: Array


@dataclass(frozen=True, slots=True)
class HashCounts:
    """How many contents there are, and how many of them were hashed."""

    contents: int
    hashed: int


class HashReader(Protocol):
    """Asks what contents are found again by; reads only. See `LedgerReader`."""

    def picture_pages(self, after: int = 0) -> Iterator[PicturePage]:
        """Yield the hashes of all pictures of contents whose number is above `after`."""
        ...

    def descriptor_pages(self, model: str, after: int = 0) -> Iterator[DescriptorPage]:
        """Yield what this model made of all pictures of contents whose number is above `after`."""
        ...

    def bytes_pages(self, after: int = 0) -> Iterator[BytesPage]:
        """Yield the hashes of the bytes of all contents whose number is above `after`, hashed or not."""
        ...

    def numbered(self, contents: Sequence[int]) -> dict[int, bytes]:
        """Return the SHA-256 of the contents with these numbers."""
        ...

    def hashes_of(self, sha256s: Sequence[bytes]) -> dict[bytes, Hashes]:
        """Return the hashes of those of these contents that were hashed."""
        ...

    def hashed_among(self, sha256s: Sequence[bytes], model: str = "") -> set[bytes]:
        """Return which of these contents were hashed; with a `model`, which it described too as far as it can."""
        ...

    def hash_counts(self) -> HashCounts:
        """Count the contents, and those that were hashed."""
        ...
