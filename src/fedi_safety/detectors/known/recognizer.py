"""Hashes contents, and compares them with lists of known images: their bytes, then what they show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from fedi_safety.core.known.effects import LEAST_QUALITY
from fedi_safety.core.known.ports import Compared, KnownImages
from fedi_safety.core.known.types import Hit
from fedi_safety.core.types import Fingerprints, Frame, PictureHash

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Known:
    """The detector `known`: a `Recognizer` over the lists that there are."""

    name = "known"
    version = "PDQ in eight turns, 1"

    def __init__(self, images: KnownImages) -> None:
        """Compare with these lists, which may change meanwhile."""
        self._images = images

    @property
    def active(self) -> bool:
        """Whether there is a list to compare with. Raises `Unscannable` where that cannot be told."""
        return not self._images.empty

    def exact(self, fingerprints: Fingerprints) -> Sequence[Hit]:
        """Return the entries that a content's bytes meet."""
        return self._images.exact(fingerprints) if self.active else ()

    def pictures(self, frames: Sequence[Frame]) -> list[Compared]:
        """Hash pictures, and compare those in which there is enough to see. Repeats are looked up once."""
        from fedi_safety.detectors.known.pdq import turns, upright

        if not self.active:
            alone = [(frame.index, upright(frame.rgb, frame.width, frame.height)) for frame in frames]
            return [Compared(PictureHash(index, quality, pdq.tobytes())) for index, (pdq, quality) in alone]
        found = [turns(frame.rgb, frame.width, frame.height) for frame in frames]
        hashed = [
            PictureHash(frame.index, quality, hashes[0].tobytes())
            for frame, (hashes, quality) in zip(frames, found, strict=True)
        ]
        asked = [i for i, each in enumerate(hashed) if each.quality >= LEAST_QUALITY]
        hits = self._near([found[i][0] for i in asked])
        met = dict(zip(asked, hits, strict=True))
        return [Compared(each, met.get(i, ())) for i, each in enumerate(hashed)]

    def close(self) -> None:
        """Let go of the lists."""
        self._images.close()

    def _near(self, pictures: Sequence[NDArray[np.uint8]]) -> list[list[Hit]]:
        """Return the entries that each picture meets in any turn, each of them once, the nearest first."""
        import numpy as np

        from fedi_safety.detectors.known.pdq import TURNS

        if not pictures:
            return []
        found = iter(self._images.near(np.concatenate(pictures)))
        return [_nearest([replace(hit, turn=turn) for turn in TURNS for hit in next(found)]) for _ in pictures]


def _nearest(hits: Sequence[Hit]) -> list[Hit]:
    """Return the hits, of those on one entry the nearest; where several turns are as near, the first."""
    best: dict[tuple[str, str, str], Hit] = {}
    for hit in sorted(hits, key=lambda hit: hit.distance):
        best.setdefault((hit.list, hit.clip, hit.entry), hit)
    return list(best.values())
