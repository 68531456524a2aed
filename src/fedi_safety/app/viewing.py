"""A view: one small grey still of a content, made for one person who asked for it. It writes nothing, shows nothing.

The object is fetched from its store again, held to the hash that was judged, and decoded in a confined child like any
other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from itertools import islice

from fedi_safety.app.engine import open_decoder
from fedi_safety.app.stores import known_target
from fedi_safety.config.schema import Settings
from fedi_safety.core.enums import Detail, Reason, Verdict
from fedi_safety.core.errors import ExitCode, FediSafetyError, Unscannable
from fedi_safety.core.frames.places import WHOLE
from fedi_safety.core.ledger.ports import WholeLedger
from fedi_safety.core.types import Decoded, Frame, Judgement, Object
from fedi_safety.media.thumbnail import Thumbnail, thumbnail

SIZES = (32, 64, 256)
"""Of how many pixels the longer side of a view may be; each is asked for by itself."""
_MOST_PLACES = 3  # objects of a content that are tried


class Missing(StrEnum):
    """Why there is nothing to show."""

    NOWHERE = "nowhere"  # no store is known to have it: removed, gone, or never there
    UNREACHABLE = "unreachable"  # a store could not be asked, or did not give it
    CHANGED = "changed"  # what lies there is not what was judged
    UNDECODED = "undecoded"  # the decoder could make nothing of it, or died of it


_MEANS = {
    Reason.VANISHED: Missing.NOWHERE,
    Reason.CHANGED: Missing.CHANGED,
    Reason.TOO_LARGE: Missing.UNDECODED,
}


class ViewError(FediSafetyError):
    """A content cannot be shown."""

    exit_code = ExitCode.OUTSIDE

    def __init__(self, why: Missing, cause: str) -> None:
        """Say why, and what a store or the decoder said of it."""
        self.why = why
        super().__init__("", cause)


@dataclass(frozen=True, slots=True)
class Still:
    """What a person is about to be shown, and of which frame.

    `exact` is whether that frame is the one that the verdict rests on: moments of a clip are drawn by chance, and
    another decoding may have only one nearby. `whole` is whether it is all that the medium shows.
    """

    picture: Thumbnail
    frame: int
    where: str
    exact: bool
    whole: bool


def still(settings: Settings, ledger: WholeLedger, sha256: bytes, pixels: int) -> Still:
    """Fetch, decode and reduce a content. Raises `ViewError`; `ValueError` for a size that is none of `SIZES`."""
    if pixels not in SIZES:
        raise ValueError(f"a view has {SIZES} pixels, not {pixels}")
    known = ledger.contents([sha256]).get(sha256)
    if known is None:
        raise ViewError(Missing.NOWHERE, "the ledger has no such content")
    data = _fetched(settings, list(islice(ledger.objects_of([sha256]), _MOST_PLACES)), sha256)
    wanted = _wanted(known[1])
    decoded, frame = _decoded(settings, data, wanted)
    exact = wanted is None or frame.index == wanted
    return Still(thumbnail(frame, pixels), frame.index, frame.place.text, exact, _is_all(decoded, frame))


def _is_all(decoded: Decoded, frame: Frame) -> bool:
    """Whether a frame is all that there is to see of its medium: the whole of a plain still, which hides nothing."""
    return (
        frame.place == WHOLE and decoded.partly is None and {each.picture for each in decoded.frames} == {frame.index}
    )


def _wanted(judgement: Judgement) -> int | None:
    """Return the frame that the verdict rests on: that of the surest factor of its severest rule; None for no such."""
    hits = [hit for hit in judgement.reasons if hit.factors]
    if not hits:
        return None
    severest = max(hits, key=lambda hit: (hit.verdict or Verdict.CLEAR).rank)
    return max(severest.factors, key=lambda factor: factor.value).frame


def _fetched(settings: Settings, places: Sequence[tuple[str, Object, bytes]], sha256: bytes) -> bytes:
    """Return the bytes that were judged, from the first place that has them."""
    if not places:
        raise ViewError(Missing.NOWHERE, "no store is known to have it any more: it was removed, or is gone")
    problem: ViewError | None = None
    for url, obj, _ in places:
        try:
            store = known_target(settings, url).open()
            try:
                data = store.fetch(obj, partial(_bounded, obj, settings.limits.max_bytes))
            finally:
                store.close()
        except Unscannable as error:
            why = _MEANS.get(error.reason, Missing.UNREACHABLE)
            problem = ViewError(why, f"{url}: {error.reason.value}: {error.detail}")
        except FediSafetyError as error:
            problem = ViewError(Missing.UNREACHABLE, error.line())
        else:
            if hashlib.sha256(data).digest() == sha256:
                return data
            problem = ViewError(Missing.CHANGED, f"{url}: what lies there is not what was judged")
    assert problem is not None
    raise problem


def _bounded(obj: Object, most: int, _head: bytes) -> None:
    """Refuse what no decoder would be given."""
    if obj.size > most:
        raise Unscannable(Reason.TOO_LARGE, f"{obj.size} bytes, more than {most}")


def _decoded(settings: Settings, data: bytes, wanted: int | None) -> tuple[Decoded, Frame]:
    """Return what the decoder shows, and of that the frame which is wanted, or the one that is nearest to it."""
    try:
        decoder = open_decoder(settings, 1)
        try:
            media_type = decoder.sniff(data[:4096])
            best: tuple[Decoded, Frame] | None = None
            for detail in (Detail.COARSE, Detail.FINE):
                try:
                    decoded = decoder.decode(data, media_type, detail)
                except Unscannable:
                    if best is None:
                        raise
                    break  # the first look has something to show
                frame = next(_by_nearness(decoded.frames, wanted))
                if best is None or _apart(frame, wanted) < _apart(best[1], wanted):
                    best = decoded, frame
                if not _apart(best[1], wanted) or not decoded.more:
                    break
            assert best is not None
            return best
        finally:
            decoder.close()
    except Unscannable as error:
        raise ViewError(Missing.UNDECODED, f"{error.reason.value}: {error.detail}") from error
    except FediSafetyError as error:
        raise ViewError(Missing.UNDECODED, error.line()) from error


def _by_nearness(frames: Sequence[Frame], wanted: int | None) -> Iterator[Frame]:
    return iter(sorted(frames, key=lambda frame: (_apart(frame, wanted), frame.index)))


def _apart(frame: Frame, wanted: int | None) -> int:
    return 0 if wanted is None else abs(frame.index - wanted)
