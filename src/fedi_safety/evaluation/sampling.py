"""Objects sampled from a listing: each with the same chance, the same ones every time. Opens none of them."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field

from fedi_safety.core.keys import key_bytes
from fedi_safety.core.types import Object, Unscanned


@dataclass(slots=True)
class Sampled:
    """The sampled objects, and how many there were to draw from. Any first part of them is a sample too."""

    objects: list[Object] = field(default_factory=list)
    listed: int = 0


def sample_objects(listing: Iterable[Object | Unscanned], count: int, seed: int = 0) -> Sampled:
    """Sample `count` objects: the same ones for the same keys and seed, in whatever order they are listed.

    Holds no more than `count` objects, however many are listed.
    """
    sampled = Sampled()
    heap: list[tuple[int, str, Object]] = []  # the lowest hashes, negative, so that the highest of them is on top
    for item in listing:
        sampled.listed += 1
        if not isinstance(item, Object):
            continue
        text = key_bytes(f"{seed}\0{item.key}")
        entry = (-int.from_bytes(hashlib.blake2b(text, digest_size=16).digest()), item.key, item)
        if len(heap) < count:
            heapq.heappush(heap, entry)
        elif entry[:2] > heap[0][:2]:
            heapq.heapreplace(heap, entry)
    sampled.objects = [obj for _, _, obj in sorted(heap, key=lambda e: e[:2], reverse=True)]
    return sampled
