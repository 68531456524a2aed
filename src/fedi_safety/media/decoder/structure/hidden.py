"""Further media inside a file, or behind it: thumbnails, previews, the clip of a motion photo, and whatever was hidden.

They are found by signature in the gaps that the structure around them leaves (`gaps`), and measured by their own. Runs
in the child only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice

from fedi_safety.core.classes import dataclass
from fedi_safety.core.enums import MediaType, Reason
from fedi_safety.core.errors import Unscannable
from fedi_safety.core.frames.places import Part
from fedi_safety.media.caps import MAX_COVERS, MAX_FURTHER
from fedi_safety.media.decoder.frames.emitter import Bounds, DecodeSummary, Emitter
from fedi_safety.media.decoder.structure.probe import boxes
from fedi_safety.media.decoder.structure.walks import (
    EOI,
    IMAGE,
    SCAN,
    TRAILER,
    Gap,
    Spent,
    Steps,
    blocks,
    chunks,
    gaps,
    segments,
)
from fedi_safety.media.sniff import sniff

_DEPTH = 2  # a thumbnail within a preview
_TRIES = 32  # of which at most MAX_FURTHER are shown
_SHORTEST = 32  # bytes; no medium is shorter
_SIGNATURE = re.compile(
    rb"\xff\xd8\xff[\xc0-\xfe]|\x89PNG\r\n\x1a\n|GIF8[79]a|WEBP|AVI |ftyp|\x1aE\xdf\xa3|OggS|%PDF-", re.DOTALL
)
_BEFORE = {b"WEBP": 8, b"AVI ": 8, b"ftyp": 4}  # bytes of a medium that come before its signature
_FRAME_HEADERS = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
_CAMERA_JPEG = (0xE0, 0xE1)

_MOST_SEGMENTS = 50_000  # of a JPEG

Decode = Callable[[bytes, MediaType, Bounds, Emitter], DecodeSummary]


@dataclass(frozen=True, slots=True)
class Found:
    """A further medium; `whole` if its structure has a beginning and an end, so that it cannot be there by chance."""

    start: int
    end: int
    media_type: MediaType
    part: Part
    whole: bool


Further = tuple[list[Found], Unscannable | None]


def show_further(
    data: bytes, further: Further, bounds: Bounds, showing: Emitter, went: DecodeSummary, decode: Decode
) -> DecodeSummary:
    """Show what `find` found, after the first medium went as `went`, by `decode`; return how it all went."""
    found, problem = further
    if not found and problem is None:
        return went
    problem = went.problem or problem
    share = max(2, bounds.frames // max(1, min(MAX_FURTHER, len(found))))
    seen = 0
    showing.base += _indexes(went)
    for number, one in enumerate(found):
        if seen == MAX_FURTHER:
            problem = problem or Unscannable(Reason.TOO_LARGE, f"more than {MAX_FURTHER} further media")
            break
        if bounds.late:
            problem = problem or Unscannable(Reason.TOO_SLOW, f"{number} of {len(found)} further media in the time")
            break
        before = showing.shown
        showing.part = Part.FURTHER_CLIP if one.media_type.is_clip else one.part
        try:
            also = decode(data[one.start : one.end], one.media_type, replace(bounds, frames=share), showing)
        except Unscannable as refusal:
            also = DecodeSummary(0, problem=refusal)
        if also.problem is not None and (showing.shown > before or (one.whole and _is_word(also.problem))):
            what = f"a further medium at byte {one.start} ({one.media_type.value}): {also.problem.detail}"
            problem = problem or Unscannable(also.problem.reason, what)
        showing.base += _indexes(also)
        if showing.shown > before:
            seen += 1
            went = replace(went, total=went.total + also.total, more=went.more or also.more)
    showing.part = None
    if showing.lost:
        problem = problem or Unscannable(Reason.TOO_LARGE, "more moments than can be told apart")
    return replace(went, problem=problem)


def _indexes(shown: DecodeSummary) -> int:
    """Return how many indexes a medium may have used: on white and on black, and the covers likewise."""
    return 2 * (shown.total + MAX_COVERS + 1)


def _is_word(problem: Unscannable) -> bool:
    """Whether it means that there is something to see which was not seen. Sound alone is nothing to see."""
    return problem.reason is not Reason.EMPTY


def find(data: bytes, media_type: MediaType) -> Further:
    """Return further media in a medium of this type, and why there may be more of them.

    Raises `Unscannable` for a JPEG of so many pieces that its library would take long to read past them.
    """
    found: list[Found] = []
    steps = Steps()
    try:
        for one in _within(data, media_type, Gap(0, len(data)), 0, steps):
            if len(found) == _TRIES:
                return found, Unscannable(Reason.TOO_LARGE, f"more than {_TRIES} further media may be in it")
            found.append(one)
    except Spent:
        if media_type is MediaType.JPEG:
            _refuse_segments(data)
        return found, Unscannable(Reason.TOO_LARGE, "made of more pieces than are looked through for further media")
    except _TooDeep:
        return found, Unscannable(Reason.TOO_LARGE, f"media within media, more than {_DEPTH} deep")
    return found, None


def _refuse_segments(data: bytes) -> None:
    try:
        walked = next(islice(segments(data, 0, len(data), Steps(_MOST_SEGMENTS)), _MOST_SEGMENTS, None), None) is None
    except Spent:
        walked = False
    if not walked:
        raise Unscannable(Reason.TOO_LARGE, f"made of more than {_MOST_SEGMENTS} pieces")


class _TooDeep(Exception):
    """Media within media within media."""


def _within(data: bytes, kind: MediaType, host: Gap, depth: int, steps: Steps) -> Iterator[Found]:
    for gap in gaps(data, kind, host.start, host.end, steps):
        if gap.end - gap.start < _SHORTEST:
            continue
        at = gap.start
        while (match := _SIGNATURE.search(data, at, gap.end)) is not None:
            steps.take()
            at = match.end()
            start = match.start() - _BEFORE.get(match[0], 0)
            if start < gap.start or _is_own(data, start, kind):
                continue
            found = _measured(data, Gap(start, gap.end, gap.part if depth == 0 else host.part), steps)
            if found is None:
                continue
            if depth == _DEPTH:
                raise _TooDeep
            yield found
            if found.whole:  # what is broken may have swallowed what comes behind it
                yield from _within(data, found.media_type, Gap(start, found.end, found.part), depth + 1, steps)
                at = found.end


def _is_own(data: bytes, start: int, kind: MediaType) -> bool:
    """Whether what looks like a medium is how its host stores its own: pages of an Ogg, strips of a TIFF."""
    if kind is MediaType.OGG:
        return data[start : start + 4] == b"OggS"
    return kind is MediaType.TIFF and data[start] == 0xFF and data[start + 3] not in _CAMERA_JPEG


def _measured(data: bytes, gap: Gap, steps: Steps) -> Found | None:
    """Return the medium that begins with a gap; None if its structure says that there is none."""
    try:
        kind = sniff(data[gap.start : min(gap.end, gap.start + 4096)])
    except Unscannable:
        return None
    measure = _MEASURES.get(kind, _bmff)
    end = measure(data, gap.start, gap.end, steps)
    if end is None:
        return None
    return Found(gap.start, end or gap.end, kind, gap.part, whole=end > 0)


# Each returns where a medium ends; 0 if it begins well but does not come to its end, None if it does not begin well.


def _jpeg(data: bytes, start: int, end: int, steps: Steps) -> int | None:
    framed = scanned = False
    for marker, _, stop in segments(data, start, end, steps):
        framed = framed or marker in _FRAME_HEADERS
        scanned = scanned or marker == SCAN
        if scanned and not framed:
            return None
        if marker == EOI:
            return stop if scanned else None
    return 0 if scanned else None


def _png(data: bytes, start: int, end: int, steps: Steps) -> int | None:
    pictures = False
    for kind, first, stop in chunks(data, start, end, steps):
        if first == start + 16 and (kind != b"IHDR" or stop - first != 13):
            return None
        pictures = pictures or kind == b"IDAT"
        if kind == b"IEND":
            return stop + 4 if pictures else None
    return 0 if pictures else None


def _gif(data: bytes, start: int, end: int, steps: Steps) -> int | None:
    drawn = False
    for kind, _, stop in blocks(data, start, end, steps):
        if kind == TRAILER:
            return stop if drawn else None
        drawn = drawn or kind == IMAGE
    return 0 if drawn else None


def _riff(data: bytes, start: int, end: int, steps: Steps) -> int | None:
    steps.take()
    stop = start + 8 + int.from_bytes(data[start + 4 : start + 8], "little")
    return 0 if stop > end else None if stop < start + _SHORTEST else stop


def _bmff(data: bytes, start: int, end: int, steps: Steps) -> int | None:
    at, kinds = start, set()
    for kind, first, stop in boxes(data, start, end):
        steps.take()
        if first == start and not 16 <= stop - first <= 1024:
            return None
        kinds.add(kind)
        at = stop
    return (at if at <= end else 0) if kinds & {b"moov", b"meta", b"moof", b"jxlc", b"jxlp"} else None


def _ebml(data: bytes, start: int, end: int, steps: Steps) -> int | None:
    steps.take()
    found = data.find(b"\x18\x53\x80\x67", start, start + 4096)
    if found < 0 or found + 5 > end:
        return None
    length = 9 - data[found + 4].bit_length()
    size = int.from_bytes(data[found + 4 : found + 4 + length], "big") & ((1 << 7 * length) - 1)
    stop = found + 4 + length + size
    return stop if stop <= end else 0


def _ogg(data: bytes, start: int, end: int, steps: Steps) -> int | None:
    steps.take()
    if start + 27 > end or data[start + 4] or not data[start + 5] & 2:  # not the beginning of a stream
        return None
    last = data.rfind(b"OggS", start, end)
    count = data[last + 26] if last + 27 <= end else 0
    return min(end, last + 27 + count + sum(data[last + 27 : last + 27 + count]))


def _pdf(data: bytes, start: int, end: int, steps: Steps) -> int | None:
    steps.take()
    last = data.rfind(b"%%EOF", start, end)
    return last + 5 if 0 <= data.find(b"obj", start, end) < last else None


_MEASURES: dict[MediaType, Callable[[bytes, int, int, Steps], int | None]] = {
    MediaType.JPEG: _jpeg,
    MediaType.PNG: _png,
    MediaType.GIF: _gif,
    MediaType.WEBP: _riff,
    MediaType.AVI: _riff,
    MediaType.MATROSKA: _ebml,
    MediaType.WEBM: _ebml,
    MediaType.OGG: _ogg,
    MediaType.PDF: _pdf,
}
