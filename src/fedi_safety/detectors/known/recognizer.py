"""Hashes contents, and compares them with lists of known images: their bytes, then what they show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from fedi_safety.core.known.effects import LEAST_QUALITY
from fedi_safety.core.known.ports import Compared, KnownImages
from fedi_safety.core.known.types import TURNS, Hit
from fedi_safety.core.types import Fingerprints, Frame, PictureHash

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Describer(Protocol):
    """A network for finding copies, where one is configured; see `descriptor.CopyDescriptor`."""

    @property
    def model(self) -> str:
        """Network and weights."""
        ...

    @property
    def distance(self) -> int:
        """Bits of 512 by which a copy differs at most."""
        ...

    def describe(self, frames: Sequence[Frame]) -> NDArray[np.uint8]:
        """Return the descriptors of pictures, rows of 64 bytes. Raises `Unscannable`."""
        ...


class Known:
    """The detector `known`: a `Recognizer` over the lists that there are."""

    name = "known"

    def __init__(self, images: KnownImages, describer: Describer | None = None) -> None:
        """Compare with these lists, which may change meanwhile; by descriptors too where something makes them."""
        self._images = images
        self._describer = describer
        self.model = "" if describer is None else describer.model
        self.version = "PDQ in eight turns, 1" + (f"; {self.model}" if self.model else "")

    @property
    def active(self) -> bool:
        """Whether there is a list to compare with. Raises `Unscannable` where that cannot be told."""
        return not self._images.empty

    def exact(self, fingerprints: Fingerprints) -> Sequence[Hit]:
        """Return the entries that a content's bytes meet."""
        return self._images.exact(fingerprints) if self.active else ()

    def pictures(self, frames: Sequence[Frame]) -> list[Compared]:
        """Hash the pictures of one content, and compare those in which there is enough to see."""
        compared = self._hashed(frames)
        return compared if self._describer is None else self._described(self._describer, frames, compared)

    def _described(self, describer: Describer, frames: Sequence[Frame], compared: Sequence[Compared]) -> list[Compared]:
        """Add the descriptors, and what they meet."""
        seen = [i for i, each in enumerate(compared) if each.hash.quality >= LEAST_QUALITY]
        if not seen:
            return list(compared)
        made = describer.describe([frames[i] for i in seen])
        hits = self._images.alike(made, describer.model, describer.distance) if self.active else [()] * len(seen)
        met = {i: (bits.tobytes(), found) for i, bits, found in zip(seen, made, hits, strict=True)}
        return [
            replace(each, descriptor=met[i][0], hits=(*each.hits, *met[i][1])) if i in met else each
            for i, each in enumerate(compared)
        ]

    def _hashed(self, frames: Sequence[Frame]) -> list[Compared]:
        """Hash pictures and compare the hashes. Repeats are looked up once."""
        from fedi_safety.detectors.known.pdq import turns_and_surest, upright

        numbers = _numbers(frames)
        if not self.active:
            alone = [upright(frame.rgb, frame.width, frame.height) for frame in frames]
            return [
                Compared(PictureHash(number, quality, pdq.tobytes()))
                for number, (pdq, quality) in zip(numbers, alone, strict=True)
            ]
        found = [turns_and_surest(frame.rgb, frame.width, frame.height) for frame in frames]
        hashed = [
            PictureHash(number, quality, hashes[0].tobytes())
            for number, (hashes, _, quality) in zip(numbers, found, strict=True)
        ]
        asked = [i for i, each in enumerate(hashed) if each.quality >= LEAST_QUALITY]
        hits = self._near([found[i][:2] for i in asked])
        met = dict(zip(asked, hits, strict=True))
        return [Compared(each, met.get(i, ())) for i, each in enumerate(hashed)]

    def close(self) -> None:
        """Let go of the lists."""
        self._images.close()

    def _near(self, pictures: Sequence[tuple[NDArray[np.uint8], NDArray[np.uint8]]]) -> list[list[Hit]]:
        """Return the entries that each picture meets in any turn, each of them once, the nearest first.

        Of each picture there are its hashes and their surest bits.
        """
        import numpy as np

        if not pictures:
            return []
        found = iter(self._images.near(*(np.concatenate(each) for each in zip(*pictures, strict=True))))
        return [_nearest([_turned(hit, turn) for turn in TURNS for hit in next(found)]) for _ in pictures]


def _numbers(frames: Sequence[Frame]) -> list[int]:
    """Return the frames as `PictureHash` has them: of what moves, what is no moment of it is attached."""
    moves = any(frame.place.time_s is not None for frame in frames)
    return [~frame.index if moves and frame.place.time_s is None else frame.index for frame in frames]


def _turned(hit: Hit, turn: str) -> Hit:
    """Return a hit of the picture that was turned so, in words."""
    return replace(hit, turn=", ".join(filter(None, (turn, hit.turn)))) if turn else hit


def _nearest(hits: Sequence[Hit]) -> list[Hit]:
    """Return the hits, of those on one entry the nearest; where several turns are as near, the first."""
    best: dict[tuple[str, str, str], Hit] = {}
    for hit in sorted(hits, key=lambda hit: hit.distance):
        best.setdefault((hit.list, hit.clip, hit.entry), hit)
    return list(best.values())
