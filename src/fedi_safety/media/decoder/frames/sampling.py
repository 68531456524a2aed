"""Which moments of an animation or clip are looked at, told from its table of frames alone. Pure; decodes nothing.

The first and the last; scene changes, as far as sizes and key frames betray them; and one drawn at random from each of
equally long stretches, so that nobody can work out beforehand where nobody looks (docs/media.md has the odds).
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise, zip_longest
from random import Random

from fedi_safety.core.classes import dataclass

_SCENE_SHARE = 3  # at most a third of the frames goes to scene changes
_WINDOW = 12  # frames on either side that say what size is usual
_FEW = 16
_ROUNDING_S = 0.001  # what containers round times to
_LARGE, _SMALL = 1.5, 4.0  # times the usual size, or the other way round: a frame that shows something else


@dataclass(frozen=True, slots=True)
class Moment:
    """One frame as the file's table has it."""

    time_s: float
    size: int  # compressed bytes; 0 where nobody knows
    key: bool  # decodes without those before it


def choose(moments: Sequence[Moment], budget: int, random: Random) -> list[int]:
    """Return the indices of at most `budget` moments to look at, ascending; `moments` are in order of their time."""
    count = len(moments)
    if count <= budget:
        return list(range(count))
    if budget < 3:
        return [0, random.randrange(1, count)] if budget == 2 else [random.randrange(count)]
    chosen = {0, count - 1}
    chosen.update(_scenes(moments, budget // _SCENE_SHARE, random))
    left = budget - len(chosen)
    for drawn in _grid(moments, left, random):
        chosen.add(_nearest_free(drawn, chosen, count))
    return sorted(chosen)


def seconds(moments: Sequence[Moment], most: int) -> list[int]:
    """Return the indices of the moments by which a clip is found again: the same ones wherever it is looked at.

    What it shows at whole seconds; of long ones at each second, fourth, eighth of them, so that the moments of a longer
    version are among those of a shorter one. All of it where there are few, and evenly where its times are no use.
    """
    count = len(moments)
    if count <= _FEW:
        return list(range(count))
    start, length_s = moments[0].time_s, moments[-1].time_s - moments[0].time_s
    timed = length_s > 0 and all(a.time_s <= b.time_s for a, b in pairwise(moments))
    step, last = 1, int(length_s) if timed else count - 1
    while last // step >= most:
        step *= 2
    places = range(0, last + 1, step)
    if not timed:
        return list(places)
    after = (bisect_right(moments, start + at + _ROUNDING_S, key=lambda m: m.time_s) for at in places)
    return sorted({max(0, at - 1) for at in after})


def runs(moments: Sequence[Moment], chosen: Iterable[int]) -> list[tuple[int, list[int]]]:
    """Group chosen moments by the key frame that decoding must begin with: (key, moments from it on)."""
    grouped: dict[int, list[int]] = {}
    keys = [i for i, moment in enumerate(moments) if moment.key or i == 0]
    for index in chosen:
        at = bisect_left(keys, index + 1) - 1
        grouped.setdefault(keys[at], []).append(index)
    return list(grouped.items())


def _grid(moments: Sequence[Moment], cells: int, random: Random) -> Iterable[int]:
    """Draw one moment from each of `cells` equal stretches of time, or of the table where its times are no use."""
    count = len(moments)
    start, end = moments[0].time_s, moments[-1].time_s
    timed = end > start and all(a.time_s <= b.time_s for a, b in pairwise(moments))
    for cell in range(cells):
        share = (cell + random.random()) / cells
        if timed:
            # The moment that is shown at that time, not the next one.
            at = bisect_left(moments, start + share * (end - start), key=lambda m: m.time_s)
            yield max(0, at - 1)
        else:
            yield min(count - 1, int(share * count))


def _scenes(moments: Sequence[Moment], most: int, random: Random) -> list[int]:
    """Return moments at which the picture seems to change: those of unusual size, and key frames out of turn."""
    large, small = _outliers(moments)
    early = _early_keys(moments)
    random.shuffle(early)
    # What differs from the frame before it is large; that one may be what was shown for an instant only.
    pairs = [near for index in large for near in (index, index - 1)]
    found: list[int] = []
    for column in zip_longest(pairs[0::2], pairs[1::2], early, small):
        found += [index for index in column if index is not None and 0 < index < len(moments) - 1]
    return list(dict.fromkeys(found))[:most]


def _outliers(moments: Sequence[Moment]) -> tuple[list[int], list[int]]:
    """Return the frames that are large beside their neighbours, and those that are small; the most unusual first.

    Key frames are left out: they are large anyway.
    """
    sizes = [0 if moment.key else moment.size for moment in moments]
    sums = list(accumulate(sizes, initial=0))
    others = list(accumulate((not moment.key for moment in moments), initial=0))
    count = len(moments)
    large: list[tuple[float, int]] = []
    small: list[tuple[float, int]] = []
    for index, size in enumerate(sizes):
        low, high = max(0, index - _WINDOW), min(count, index + _WINDOW + 1)
        beside = others[high] - others[low] - 1
        if not size or beside < 1:
            continue
        usual = max(1.0, (sums[high] - sums[low] - size) / beside)
        if size > _LARGE * usual:
            large.append((usual / size, index))
        elif size * _SMALL < usual:
            small.append((size / usual, index))
    return [index for _, index in sorted(large)], [index for _, index in sorted(small)]


def _early_keys(moments: Sequence[Moment]) -> list[int]:
    """Return key frames that came before their turn: encoders put one where a new scene begins."""
    keys = [i for i, moment in enumerate(moments) if moment.key]
    if len(keys) == len(moments):
        return []  # every frame is one: they tell nothing
    gaps = [b - a for a, b in pairwise(keys)]
    usual = max(gaps, default=0)
    return [key for key, gap in zip(keys[1:], gaps, strict=True) if gap < 0.98 * usual and key < len(moments) - 1]


def _nearest_free(index: int, taken: set[int], count: int) -> int:
    """Return the moment nearest to `index` that is not taken yet."""
    for step in range(count):
        for near in (index + step, index - step):
            if 0 <= near < count and near not in taken:
                return near
    return index


def odds(seconds: float, length_s: float, budget: int) -> float:
    """Return the least probability that something shown for `seconds` in a clip is among the moments drawn at random.

    Counts the stretches alone, not what scene changes add; for files of more frames than the budget has.
    """
    stretches = max(1, budget - 2 - budget // _SCENE_SHARE)
    share = seconds * stretches / length_s
    # At worst it lies half in one stretch and half in the next.
    return 1.0 if share >= 2 else max(0.0, 1 - math.pow(1 - share / 2, 2))
