"""Finds uploads again by what they show, where their server writes pictures anew and their bytes say nothing.

While an upload that was let in without a verdict is still in memory, its PDQ is made; later it is compared with what
the store got in the hour after. One picture of the store is that upload, or none is: where two could be, it says so.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from fedi_safety.core.enums import Verdict
from fedi_safety.core.errors import FediSafetyError, Unscannable
from fedi_safety.core.known.effects import LEAST_QUALITY
from fedi_safety.core.known.types import DISTANCE
from fedi_safety.core.ledger.ports import UploadLedger
from fedi_safety.core.ledger.uploads import (
    NOT_DECODED,
    OTHERWISE,
    SEVERAL,
    TOO_LITTLE,
    UNDECIDED,
    BacklogEntry,
    Likeness,
    Move,
    Stored,
    UploadState,
)
from fedi_safety.core.ports import Decoder
from fedi_safety.gate.backlog.writer import LedgerWriter
from fedi_safety.judging.logs import named
from fedi_safety.known.records import WHOLE_BITS
from fedi_safety.service.priority import step_back

log = logging.getLogger(__name__)

_HEAD_BYTES = 4096
_MOST = 32  # uploads that wait to be hashed
_BEFORE_S, _AFTER_S = 60.0, 3600.0  # of clocks that differ; and of a server that works its queue off first
_SETTLE_S = 60.0  # within which a pass meets the other sizes of a picture as well
_ASPECT = 0.02  # by which a width to a height may differ once both are rounded
_LARGER = 1.05  # a server makes pictures smaller, or as large as they are
# Steps and endings by which servers tell the sizes of one picture apart.
_SIZES = frozenset({"original", "small", "static", "medium", "large", "thumb", "thumbnail", "thumbnails", "preview"})
_ENDING = re.compile(r"(?:[_-](?:thumb|thumbnail|small|medium|large|preview|\d+px))?(?:\.[A-Za-z0-9]{1,8})*\Z")


def likeness_of(decoder: Decoder, data: bytes) -> Likeness:
    """Return by what an upload can be found again, or why by nothing; of what moves, the first moment that counts."""
    import numpy as np

    from fedi_safety.detectors.known.pdq import upright

    try:
        decoded = decoder.decode(data, decoder.sniff(data[:_HEAD_BYTES]))
    except Unscannable:
        return Likeness(why=NOT_DECODED)
    for frame in decoded.frames:
        pdq, quality = upright(frame.rgb, frame.width, frame.height)
        if quality >= LEAST_QUALITY and int(np.unpackbits(pdq).sum()) >= WHOLE_BITS:
            return Likeness(pdq.tobytes(), decoded.width, decoded.height)
    return Likeness(why=TOO_LITTLE)


class Likenesses:
    """Hashes uploads that were let in without a verdict, one after the other, behind all other work."""

    def __init__(self, decoder: Callable[[], Decoder], writer: LedgerWriter) -> None:
        """Decode with what `decoder` gives, and note what was found with `writer`."""
        self._decoder = decoder
        self._writer = writer
        self._thread = ThreadPoolExecutor(1, "gate-likeness", initializer=step_back)
        self._places = threading.BoundedSemaphore(_MOST)

    def begin(self, uploads: Sequence[tuple[str, bytes]], done: Callable[[], object]) -> None:
        """Hash these, each by its request's id, and call `done`, in the thread. More than may wait stay as they are."""
        if not self._places.acquire(blocking=False):
            done()
            return
        try:
            self._thread.submit(self._hash, uploads, done)
        except RuntimeError:  # it is being stopped
            self._over(done)

    def _hash(self, uploads: Sequence[tuple[str, bytes]], done: Callable[[], object]) -> None:
        try:
            for upload, data in uploads:
                self._writer.enqueue_moves([Move(upload, likeness=likeness_of(self._decoder(), data))])
        except FediSafetyError as error:
            log.warning("not hashed, so that it is found again by its bytes alone: %s", error.line())
        except Exception as error:  # noqa: BLE001 - a bug costs a likeness, and no upload
            log.error("not hashed, so that it is found again by its bytes alone: %s", named(error))
        finally:
            self._over(done)

    def _over(self, done: Callable[[], object]) -> None:
        self._places.release()
        done()

    def close(self) -> None:
        """Begin with no more, and wait for the one in hand."""
        self._thread.shutdown(cancel_futures=True)


# --- the store's side


@dataclass(slots=True)
class _Picture:
    """All sizes that a store has of one picture."""

    sizes: list[Stored] = field(default_factory=list)

    @property
    def worst(self) -> Stored | None:
        """Return what the verdict on it rests on, None while one of them has none."""
        if any(one.verdict is None for one in self.sizes):
            return None
        order = [Verdict.BLOCK, Verdict.REVIEW, Verdict.CLEAR]
        return min(self.sizes, key=lambda one: (order.index(one.verdict or Verdict.CLEAR), -one.width * one.height))

    @property
    def outcome(self) -> str:
        """Return how it ended where all that is condemned of it is gone; empty where some of it is there."""
        of_bad = {one.outcome for one in self.sizes if one.verdict is Verdict.BLOCK}
        return "" if "" in of_bad else min(of_bad, default="")


def place_of(key: str) -> str:
    """Return what the keys of all sizes of one picture have in common."""
    *steps, name = key.split("/")
    return "/".join([*(step for step in steps if step not in _SIZES), _ENDING.sub("", name)])


def alike(likeness: Likeness, stored: Iterable[Stored]) -> list[_Picture]:
    """Return the store's pictures that look like an upload, each with all its sizes that do."""
    found: dict[str, _Picture] = {}
    for one in stored:
        if _shaped(likeness, one) and _near(likeness.pdq or b"", one):
            found.setdefault(place_of(one.key), _Picture()).sizes.append(one)
    return list(found.values())


def _shaped(likeness: Likeness, one: Stored) -> bool:
    if not (likeness.width and likeness.height and one.width and one.height):
        return False
    if one.width > _LARGER * likeness.width or one.height > _LARGER * likeness.height:
        return False
    wide, high = one.width * likeness.height, one.height * likeness.width
    rounded = max(likeness.width, likeness.height)  # half a pixel of a small picture is much of it
    return abs(wide - high) <= _ASPECT * max(wide, high) + rounded


def _near(pdq: bytes, one: Stored) -> bool:
    own = int.from_bytes(pdq)
    return any(
        (own ^ int.from_bytes(picture.pdq)).bit_count() <= DISTANCE
        for picture in one.pictures
        if picture.quality >= LEAST_QUALITY and not picture.attached
    )


def settled(entry: BacklogEntry, stored: Iterable[Stored]) -> Move | None:
    """Return what becomes of an upload by what the store has, None where that is nothing like it, or not judged yet."""
    likeness = entry.note.told.likeness
    if likeness is None or likeness.pdq is None:
        return None
    inside = (one for one in stored if -_BEFORE_S <= one.at - entry.note.at <= _AFTER_S)
    pictures = alike(likeness, inside)
    upload = entry.note.upload
    if not pictures:
        return None
    if len(pictures) > 1:
        return Move(upload, likeness=replace(likeness, why=SEVERAL))
    (picture,) = pictures
    worst = picture.worst
    if worst is None or worst.verdict is None:
        return Move(upload, likeness=replace(likeness, why=UNDECIDED))
    told = replace(likeness, why="")
    if worst.verdict is Verdict.BLOCK:
        over = picture.outcome
        state = UploadState.SETTLED if over else UploadState.CONDEMNED
        return Move(upload, state, over or Verdict.BLOCK.value, sha256=worst.sha256, likeness=told)
    if entry.note.state is UploadState.CONDEMNED:
        said = f"judged {worst.verdict.value} as {worst.key}"
        return Move(upload, detail=said, likeness=replace(likeness, why=OTHERWISE))
    return Move(upload, UploadState.SETTLED, worst.verdict.value, sha256=worst.sha256, likeness=told)


def moves(ledger: UploadLedger, store: str, entries: Sequence[BacklogEntry], now: float) -> list[Move]:
    """Return what becomes of these uploads by what a store has got since they came."""
    asked = [e for e in entries if _findable(e) and now - e.note.at >= _SETTLE_S]
    if not asked:
        return []
    after = min(e.note.told.likeness.after for e in asked if e.note.told.likeness is not None)
    first, last = min(e.note.at for e in asked), max(e.note.at for e in asked)
    stored = ledger.stored_since(store, after, first - _BEFORE_S, last + _AFTER_S)
    return [move for e in asked if (move := settled(e, stored)) is not None]


def _findable(entry: BacklogEntry) -> bool:
    """Whether it can be found by what it shows; what its server did keep as it came is found by its bytes."""
    told = entry.note.told
    return told.likeness is not None and told.likeness.pdq is not None and told.came_as is None
