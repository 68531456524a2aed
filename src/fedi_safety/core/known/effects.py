"""What hits come to: which entries block a content, which send it to review, which say that it is harmless. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from fedi_safety.core.classes import dataclass
from fedi_safety.core.enums import KNOWN_PREFIX
from fedi_safety.core.known.types import Effect, HashKind, Hit
from fedi_safety.core.types import Match, PictureHash, Signal, index_of

BLOCK, REVIEW, NEAR, MATCH = (KNOWN_PREFIX + name for name in ("block", "review", "near", "match"))
SIGNALS = (BLOCK, REVIEW, NEAR, MATCH)
"""What lists say of a content, in the words of policies; the last is the highest of the first two.

`known.near` is all that comes of descriptors, whatever the list does.
"""

LEAST_QUALITY = 50
"""A picture with less to see is compared with nothing: all blank ones have one and the same hash."""

FEWEST_FRAMES = 3
"""So many distinct pictures of a clip must meet a listed clip, whatever share of it that is."""
NEARER_BITS = 15
"""A picture that is nearer to what is listed than to what is harmless by more bits than this is taken for the former.

Less tells nothing: so much a picture moves by being encoded and scaled anew.
"""

_MOST_MATCHES = 20
_ROUNDING = 1e-6  # 0.28 times 25 is a little more than 7 in binary fractions


@dataclass(frozen=True, slots=True)
class Met:
    """An entry that counts, and the index of the frame that met it; None where the content's bytes did."""

    hit: Hit
    frame: int | None = None


def counted(pictures: Iterable[tuple[PictureHash, Sequence[Hit]]]) -> dict[int, Sequence[Hit]]:
    """Return the pictures that count, by their frame, with what they meet: such with enough to see, equal ones once.

    So a clip's share is of what it shows, however long it shows one thing. What is attached is not one with a moment.
    """
    kept: dict[tuple[bytes, bool], tuple[int, Sequence[Hit]]] = {}
    for picture, hits in pictures:
        if picture.quality >= LEAST_QUALITY:
            kept.setdefault((picture.pdq, picture.attached), (picture.frame, hits))
    return dict(kept.values())


def effects(exact: Iterable[Hit], pictures: Mapping[int, Sequence[Hit]]) -> dict[Effect, tuple[Met, ...]]:
    """Return by effect what counts, the nearest first.

    `exact` are the hits of the content's bytes; `pictures` has for every picture that was compared, by its frame as in
    `PictureHash`, its hits, empty where there are none. Where bytes or a picture meet a negative entry, no perceptual
    match of that picture counts, unless the picture is nearer to it by more than `NEARER_BITS`; an exact hit of another
    list still does. A negative descriptor, which sees likeness from farther off, holds back descriptors alone. A listed
    clip is met where its `share` of all moments, and three of them, meet it; what is attached is compared with listed
    pictures alone.

    What publishers list blocks where so many groups of them list the same picture as their lists want, else it is for
    review; entries that wait do nothing then. What one of them calls harmless is for review instead of blocked, and
    takes nothing else away.
    """
    found: dict[Effect, list[Met]] = {effect: [] for effect in Effect}
    of_bytes = tuple(exact)
    harmless = any(map(_is_own_no, of_bytes))
    clips = _clips(pictures)
    widest: tuple[Hit, ...] = ()
    for frame, hits in pictures.items():
        met = (hit for hit in hits if not hit.clip or (frame >= 0 and (hit.list, hit.clip) in clips))
        counted = _not_held_back(tuple(met), harmless)
        for hit in _weighed(counted, of_bytes):
            found[hit.effect].append(Met(hit, index_of(frame)))
        widest = max(widest, counted, key=lambda some: len(_groups((*some, *of_bytes))))
    for hit in _weighed(of_bytes, widest):
        found[hit.effect].append(Met(hit))
    return {effect: tuple(sorted(met, key=_nearest)) for effect, met in found.items()}


def _weighed(hits: Sequence[Hit], beside: Sequence[Hit]) -> Iterator[Hit]:
    """Yield what of these hits counts, as what; those `beside` are of the same picture."""
    groups = _groups((*hits, *beside))
    doubted = any(hit.group and hit.effect is Effect.NEGATIVE for hit in (*hits, *beside))
    for hit in hits:
        if not hit.group or hit.effect is not Effect.BLOCK:
            yield hit
            continue
        agreed = len(groups) >= max(hit.agreeing, 2 if hit.waiting else 1)
        if agreed and not doubted:
            yield hit
        elif agreed or not hit.waiting:
            yield replace(hit, effect=Effect.REVIEW)


def _groups(hits: Iterable[Hit]) -> set[str]:
    """Return the groups of publishers that want this picture blocked."""
    return {hit.group for hit in hits if hit.group and hit.effect is Effect.BLOCK}


def _is_own_no(hit: Hit) -> bool:
    """Whether a list of this instance's own, or one that was imported, says that it is harmless."""
    return hit.effect is Effect.NEGATIVE and not hit.group


def signals(found: Mapping[Effect, Sequence[Met]], where: Mapping[int, str] | None = None) -> dict[str, Signal]:
    """Return what a content's scores say of the entries that it meets; nothing of those that it does not.

    `where` says in words which frame it was, by its index. A signal names the entries that its frame met, and those
    that the bytes did. Where a negative entry holds others back, what would block is 0 and names that entry.
    """
    block, review, harmless = (_split(found[effect])[0] for effect in (Effect.BLOCK, Effect.REVIEW, Effect.NEGATIVE))
    near = sorted((*_split(found[Effect.BLOCK])[1], *_split(found[Effect.REVIEW])[1]), key=_nearest)
    named = {BLOCK: block, REVIEW: review, NEAR: near, MATCH: sorted((*block, *review), key=_nearest)}
    said = {name: _signal(met, 1.0, where or {}) for name, met in named.items() if met}
    if harmless and BLOCK not in said:
        said[BLOCK] = _signal(harmless, 0.0, where or {})
    return said


def of_others(sha256: bytes, hits: Iterable[Hit]) -> list[Hit]:
    """Return what a picture of this content meets, but its own descriptor: that it looks like itself says nothing."""
    own = f"{sha256.hex()}@"
    return [hit for hit in hits if hit.kind is not HashKind.NEAR or not hit.entry.startswith(own)]


def _not_held_back(hits: tuple[Hit, ...], harmless: bool) -> tuple[Hit, ...]:
    """Return what counts of a picture's hits beside a no of one's own, of which `harmless` is one by the bytes."""
    own = [hit for hit in hits if _is_own_no(hit)]
    noes = [hit.distance for hit in own if hit.kind is not HashKind.NEAR]
    if not harmless and not noes:
        return tuple(hit for hit in hits if not own or hit.kind is not HashKind.NEAR or hit.effect is Effect.NEGATIVE)
    least = 0 if harmless else min(noes) - NEARER_BITS  # what is listed must be nearer than this
    return tuple(
        hit for hit in hits
        if hit.effect is Effect.NEGATIVE or (hit.kind is not HashKind.NEAR and hit.distance < least)
    )  # fmt: skip


def _split(met: Sequence[Met]) -> tuple[list[Met], list[Met]]:
    """Return what was met by hashes, and what by descriptors."""
    near = [each for each in met if each.hit.kind is HashKind.NEAR]
    return [each for each in met if each.hit.kind is not HashKind.NEAR], near


def _signal(met: Sequence[Met], value: float, where: Mapping[int, str]) -> Signal:
    frame = next((each.frame for each in met if each.frame is not None), None)
    named = [each.hit for each in met if each.frame in (None, frame)]
    matches = dict.fromkeys(Match(hit.list, hit.clip or hit.entry, hit.distance, hit.turn) for hit in named)
    return Signal(value, frame or 0, where.get(frame or 0, ""), tuple(matches)[:_MOST_MATCHES])


def _nearest(met: Met) -> tuple[bool, int, int]:
    return met.hit.kind in (HashKind.PDQ, HashKind.NEAR), met.hit.distance, met.frame if met.frame is not None else -1


def _clips(pictures: Mapping[int, Sequence[Hit]]) -> set[tuple[str, str]]:
    """Return the listed clips, with their list, that the moments among these pictures meet."""
    frames: dict[tuple[str, str], int] = {}
    shares: dict[tuple[str, str], float] = {}
    moments = [hits for frame, hits in pictures.items() if frame >= 0]
    for hits in moments:
        for clip, share in {(hit.list, hit.clip): hit.share for hit in hits if hit.clip}.items():
            frames[clip] = frames.get(clip, 0) + 1
            shares[clip] = share
    least = {clip: shares[clip] * len(moments) - _ROUNDING for clip in frames}
    return {clip for clip, count in frames.items() if count >= max(FEWEST_FRAMES, least[clip])}
