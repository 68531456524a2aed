"""A stand-in for the lists of known images, in memory and by brute force; and drawn pictures with enough to see."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fedi_safety.core.enums import Reason
from fedi_safety.core.errors import Unscannable
from fedi_safety.core.known.types import Effect, Entry, HashKind, Hit, KnownList
from fedi_safety.core.types import Fingerprints
from fedi_safety.detectors.known.pdq import turns

Pixels = NDArray[np.uint8]


def drawn(seed: int, width: int = 96, height: int = 64) -> Pixels:
    """Return a picture of coloured cells, as unlike any of another seed as photographs are."""
    random = np.random.default_rng(seed)
    cells = Image.fromarray(random.integers(0, 256, (8, 12, 3), dtype=np.uint8))
    return np.asarray(cells.resize((width, height), Image.Resampling.BICUBIC))


def png(pixels: Pixels) -> bytes:
    """Return a picture as a file."""
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()


def pdq_of(pixels: Pixels) -> bytes:
    """Return a picture's hash."""
    hashes, _ = turns(np.ascontiguousarray(pixels).tobytes(), pixels.shape[1], pixels.shape[0])
    return bytes(hashes[0].tobytes())


class StandInLists:
    """Lists with their entries; `broken` makes them unreadable, as a damaged file does."""

    def __init__(self, *lists: tuple[KnownList, Sequence[Entry]]) -> None:
        self.lists = list(lists)
        self.broken = False
        self.asked: list[int] = []  # how many hashes each look-up was for

    @property
    def digest(self) -> str:
        return str(hash(tuple(str(each) for each in self.lists)))

    @property
    def empty(self) -> bool:
        self._readable()
        return not self.lists

    def exact(self, fingerprints: Fingerprints) -> list[Hit]:
        self._readable()
        own = {
            HashKind.SHA256: fingerprints.sha256,
            HashKind.SHA1: fingerprints.sha1,
            HashKind.MD5: fingerprints.md5,
        }
        return [self._hit(known, e, 0) for known, entries in self.lists for e in entries if own.get(e.kind) == e.hash]

    def near(self, hashes: Pixels, surest: Pixels | None = None) -> list[Sequence[Hit]]:
        self._readable()
        self.asked.append(len(hashes))
        found: list[Sequence[Hit]] = []
        for row in hashes:
            hits = []
            for known, entries in self.lists:
                for entry in (each for each in entries if each.kind is HashKind.PDQ):
                    bits = int(np.bitwise_count(row ^ np.frombuffer(entry.hash, np.uint8)).sum())
                    if bits <= known.distance:
                        hits.append(self._hit(known, entry, bits))
            found.append(sorted(hits, key=lambda hit: hit.distance))
        return found

    def alike(self, descriptors: Pixels, model: str, distance: int) -> list[Sequence[Hit]]:
        self._readable()
        return [() for _ in descriptors]

    def close(self) -> None:
        pass

    def _readable(self) -> None:
        if self.broken:
            raise Unscannable(Reason.DETECTOR_FAILED, "the lists of known images are damaged")

    @staticmethod
    def _hit(known: KnownList, entry: Entry, bits: int) -> Hit:
        name = entry.id or entry.hash.hex()
        return Hit(known.name, known.effect, name, entry.kind, bits, clip=entry.clip, share=known.share)


def listed(name: str, effect: Effect, *entries: Entry, distance: int = 31) -> tuple[KnownList, Sequence[Entry]]:
    """Return a list with these entries."""
    return KnownList(name, effect, distance), entries


def picture_entry(pixels: Pixels, name: str, clip: str = "") -> Entry:
    """Return a picture as an entry of a list."""
    return Entry(HashKind.PDQ, pdq_of(pixels), name, clip=clip)
