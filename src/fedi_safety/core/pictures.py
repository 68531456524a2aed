"""Which of a content's scores hold together: those of one picture, or of pictures that follow each other closely.

A picture is a frame with its tiles, its turns, what is within its borders and what shows on black. What a content has
by its bytes alone (a list's entry, the test card) holds for every picture. Pure; knows no policy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from fedi_safety.core.frames.scores import FrameScores
from fedi_safety.core.types import Signal

VIEW_BITS = 22  # of an index of 31; one clip has at most 4,000,018 moments (media/caps)
"""Of a frame's index: below are the moments of a medium, above the views of each."""


@dataclass(slots=True)
class Picture:
    """One picture: by signal the highest value over its frames. A signal that some of them lack is not in `signals`."""

    signals: dict[str, Signal]
    stream: int = 0
    time_ms: int | None = None


@dataclass(slots=True)
class Seen:
    """A content as rules see it. `known` has the highest values of all its frames.

    `pictures` is empty where it shows one picture, of which `known` tells everything. With `partial` only the highest
    values were kept: `pictures` then has what is known to hold together, and nothing is known of the rest.
    """

    known: Mapping[str, Signal]
    pictures: list[Picture] = field(default_factory=list)
    partial: bool = False

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


def seen(known: Mapping[str, Signal], frames: FrameScores | None) -> Seen:
    """Return a content as rules see it; `frames` is None where nobody kept what each frame was given."""
    if frames is None:
        return _of_highest(known)
    rows = frames.rows()
    if not rows:
        return Seen(known)
    measured = {name for row in rows for name in row.signals}
    own = {name: signal for name, signal in known.items() if name not in measured}
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
    return Seen(known, pictures)


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
    """Return what the highest values alone say: those that come from views of one moment hold together."""
    moments: dict[int, dict[str, Signal]] = {}
    for name, signal in known.items():
        moments.setdefault(_moment(signal.frame), {})[name] = signal
    return Seen(known, [Picture(signals) for signals in moments.values()], partial=True)
