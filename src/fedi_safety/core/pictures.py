"""Which of a content's scores hold together: those of one picture, or of pictures that follow each other closely.

A picture is a frame with its tiles, its turns, what is within its borders and what shows on black. What a content has
by its bytes alone (a list's entry, the test card) holds for every picture. And which of them a first look saw, before a
second one added to it. Pure; knows no policy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from fedi_safety.core.frames.scores import FrameScore, FrameScores
from fedi_safety.core.frames.shown import VIEW_BITS
from fedi_safety.core.types import Signal


@dataclass(slots=True)
class Picture:
    """One picture: by signal the highest value over its frames. A signal that some of them lack is not in `signals`."""

    signals: dict[str, Signal]
    stream: int = 0
    time_ms: int | None = None


@dataclass(slots=True)
class Seen:
    """A content as rules see it. `known` has the highest values of all its frames.

    `pictures` is empty where it shows one picture, of which `known` tells everything; `places` are their numbers in the
    medium where some of its pictures are missing here. With `partial` only the highest values were kept: `pictures`
    then has what is known to hold together, and nothing is known of the rest.
    """

    known: Mapping[str, Signal]
    pictures: list[Picture] = field(default_factory=list)
    partial: bool = False
    places: Sequence[int] | None = None

    def groups(self, within_s: float | None) -> Sequence[Sequence[int]]:
        """Return which pictures join, by their place: each by itself, or all that lie within so many seconds."""
        alone = [(i,) for i in range(len(self.pictures))]
        if within_s is None:
            return alone
        runs: list[tuple[int, ...]] = []
        streams: dict[int, list[int]] = {}
        for i, picture in enumerate(self.pictures):
            if picture.time_ms is None:
                runs.append((i,))
            else:
                streams.setdefault(picture.stream, []).append(i)
        for members in streams.values():
            runs += _windows([(self.pictures[i].time_ms or 0, i) for i in members], round(1000 * within_s))
        return runs


def _windows(timed: list[tuple[int, int]], within_ms: int) -> list[tuple[int, ...]]:
    """Return every largest run of pictures of which the last comes no later than that after the first."""
    timed.sort()
    found: list[tuple[int, ...]] = []
    end = 0
    for start, (first, _) in enumerate(timed):
        before = end
        while end < len(timed) and timed[end][0] - first <= within_ms:
            end += 1
        if end > before or start == 0:
            found.append(tuple(i for _, i in timed[start:end]))
    return found


@dataclass(slots=True)
class Passes:
    """What two passes at a content showed.

    `first` is what the first one saw, `whole` all but further views of a picture that only the second one saw (tiles,
    turns, what is within a border), `every` all that was seen. The three are one where no second look was made.
    `closed`: no further look would show more.
    """

    first: Seen
    whole: Seen
    every: Seen
    closed: bool = False

    @property
    def second(self) -> bool:
        """Whether a second look was made."""
        return self.every is not self.first


def once(content: Seen, *, closed: bool = False) -> Passes:
    """Return a content that was looked at once."""
    return Passes(content, content, content, closed)


class Scope(IntEnum):
    """Which passes a frame belongs to: to its own, and to all that come after it."""

    FIRST = 0
    WHOLE = 1
    EVERY = 2


def scope_of(frame: int, *, second: bool) -> Scope:
    """Return the first of the passes that a frame belongs to, by its index."""
    return Scope.FIRST if not second else Scope.EVERY if frame >> VIEW_BITS else Scope.WHOLE


def passes(known: Mapping[str, Signal], frames: FrameScores | None) -> Passes:
    """Return what is kept of a content; `frames` is None where nobody kept what each frame was given.

    What an older version judged does not tell its two passes apart. There only what whole frames show holds together;
    what holds by a further view alone is not known to hold.
    """
    if frames is None:
        return once(_of_highest(known))
    rows = frames.rows()
    if not rows:
        further = not frames.told and any(signal.frame >> VIEW_BITS for signal in known.values())
        return once(_of_highest(known) if further else Seen(known), closed=frames.closed)
    measured = {name for row in rows for name in row.signals}
    own = {name: signal for name, signal in known.items() if name not in measured}
    every = Seen(known, _of_rows(rows, known, own).pictures)
    if not frames.told and any(row.frame >> VIEW_BITS for row in rows):
        whole = _of_rows([row for row in rows if not row.frame >> VIEW_BITS], known, own)
        return once(Seen(known, whole.pictures, partial=True))
    if not any(row.second for row in rows):
        return once(every, closed=frames.closed)
    scopes = [scope_of(row.frame, second=row.second) for row in rows]
    first, whole = (
        _of_rows([row for row, scope in zip(rows, scopes, strict=True) if scope <= most], known, own)
        for most in (Scope.FIRST, Scope.WHOLE)
    )
    numbers = {number: place for place, number in enumerate(dict.fromkeys(row.picture for row in rows))}
    for part, most in ((first, Scope.FIRST), (whole, Scope.WHOLE)):
        shown = dict.fromkeys(row.picture for row, scope in zip(rows, scopes, strict=True) if scope <= most)
        part.places = [numbers[number] for number in shown] or None  # a stranger's table may have none of a first look
    return Passes(first, whole, every, frames.closed)


def seen(known: Mapping[str, Signal], frames: FrameScores | None) -> Seen:
    """Return all that was seen of a content; see `passes`."""
    return passes(known, frames).every


def _of_rows(rows: Sequence[FrameScore], known: Mapping[str, Signal], own: Mapping[str, Signal]) -> Seen:
    """Return what these frames show, picture by picture; `own` holds for each of them."""
    pictures: list[Picture] = []
    before = None
    for row in rows:
        views = {name: Signal(value, row.frame, row.where) for name, value in row.signals.items()}
        if row.picture != before:
            pictures.append(Picture(views, row.stream, row.time_ms))
        else:
            pictures[-1].signals = merged(pictures[-1].signals, views)
        before = row.picture
    for picture in pictures:
        for name, signal in picture.signals.items():
            best = known.get(name)
            if best is not None and best.matches and best.frame == signal.frame:
                picture.signals[name] = best
        picture.signals.update(own)
    return Seen(highest(picture.signals for picture in pictures), pictures)


def highest(parts: Iterable[Mapping[str, Signal]]) -> dict[str, Signal]:
    """Return the highest value of each signal that any part has."""
    found: dict[str, Signal] = {}
    for part in parts:
        for name, signal in part.items():
            if name not in found or signal.value > found[name].value:
                found[name] = signal
    return found


def merged(one: Mapping[str, Signal], other: Mapping[str, Signal]) -> dict[str, Signal]:
    """Return the higher of two frames' signals, as far as both were measured."""
    return {
        name: other[name] if other[name].value > signal.value else signal
        for name, signal in one.items()
        if name in other
    }


def same_moment(frames: Iterable[int]) -> bool:
    """Whether these indexes are of views of one picture, as far as indexes alone tell."""
    return len({_moment(frame) for frame in frames}) < 2


def _moment(frame: int) -> int:
    return frame & ((1 << VIEW_BITS) - 1)


def _of_highest(known: Mapping[str, Signal]) -> Seen:
    """Return what the highest values alone say: those of one moment's whole frame hold together."""
    moments: dict[int, dict[str, Signal]] = {}
    for name, signal in known.items():
        if not signal.frame >> VIEW_BITS:
            moments.setdefault(signal.frame, {})[name] = signal
    return Seen(known, [Picture(signals) for signals in moments.values()], partial=True)
