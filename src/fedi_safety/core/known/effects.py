"""What hits come to: which entries block a content, which send it to review, which say that it is harmless. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fedi_safety.core.known.types import Effect, HashKind, Hit

FEWEST_FRAMES = 3
"""So many distinct pictures of a clip must meet a listed clip, whatever share of it that is."""


@dataclass(frozen=True, slots=True)
class Met:
    """An entry that counts, and the index of the frame that met it; None where the content's bytes did."""

    hit: Hit
    frame: int | None = None


def effects(exact: Iterable[Hit], pictures: Mapping[int, Sequence[Hit]]) -> dict[Effect, tuple[Met, ...]]:
    """Return by effect what counts, the nearest first.

    `exact` are the hits of the content's bytes; `pictures` has for every picture that was compared, by its frame's
    index, its hits, empty where there are none. Where bytes or a picture meet a negative entry, no perceptual match of
    that picture counts; an exact hit of another list still does. A listed clip is met where its `share` of all
    pictures, and three of them, meet it.
    """
    found: dict[Effect, list[Met]] = {effect: [] for effect in Effect}
    for hit in exact:
        found[hit.effect].append(Met(hit))
    harmless = bool(found[Effect.NEGATIVE])
    clips = _clips(pictures)
    for frame, hits in pictures.items():
        counted = [hit for hit in hits if not hit.clip or (hit.list, hit.clip) in clips]
        negative = [hit for hit in counted if hit.effect is Effect.NEGATIVE]
        found[Effect.NEGATIVE] += [Met(hit, frame) for hit in negative]
        if not harmless and not negative:
            for hit in counted:
                found[hit.effect].append(Met(hit, frame))
    return {effect: tuple(sorted(met, key=_nearest)) for effect, met in found.items()}


def _nearest(met: Met) -> tuple[bool, int, int]:
    return met.hit.kind is HashKind.PDQ, met.hit.distance, met.frame if met.frame is not None else -1


def _clips(pictures: Mapping[int, Sequence[Hit]]) -> set[tuple[str, str]]:
    """Return the listed clips, with their list, that these pictures meet."""
    frames: dict[tuple[str, str], int] = {}
    shares: dict[tuple[str, str], float] = {}
    for hits in pictures.values():
        for clip, share in {(hit.list, hit.clip): hit.share for hit in hits if hit.clip}.items():
            frames[clip] = frames.get(clip, 0) + 1
            shares[clip] = share
    return {clip for clip, count in frames.items() if count >= FEWEST_FRAMES and count >= shares[clip] * len(pictures)}
