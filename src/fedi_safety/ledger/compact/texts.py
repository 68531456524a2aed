"""Signals and reasons written out straight from a content's numbers, to the letter as `codec` writes them. Pure.

What is the same for all contents of one layout is written once; only values and frames are put in.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from fedi_safety.core.frames.signals import RuleHit, Signal
from fedi_safety.ledger import codec

Numbers = Sequence[str]
"""The values of a content's signals as canonical JSON has them, in the order of their names; then the frames."""

_MARK = re.compile(r'"\\u0000([0-9]+)"')


class Pattern:
    """A text with places for some of a content's numbers."""

    __slots__ = ("_pick", "_text")

    def __init__(self, text: str) -> None:
        """Take canonical JSON with marks in it (`_mark`)."""
        places = [int(number) for number in _MARK.findall(text)]
        self._text = _MARK.sub("%s", text.replace("%", "%%"))
        self._pick: Callable[[Numbers], Any] = itemgetter(*places) if places else lambda _: ()

    def filled(self, numbers: Numbers) -> str:
        """Return the text of a content with these numbers."""
        found: str = self._text % self._pick(numbers)
        return found


def numbers_of(values: Sequence[float], frames: Sequence[int]) -> Numbers | None:
    """Return numbers as patterns take them; None where JSON has no word for one of them."""
    return [*map(repr, values), *map(str, frames)] if all(map(math.isfinite, values)) else None


def signals_pattern(names: Sequence[str]) -> Pattern | None:
    """Return what `codec.signals_text` makes of these signals, where numbers are all that they have.

    None of names that are not in order, or not different.
    """
    if list(names) != sorted(set(names)):
        return None
    return _pattern({name: [_mark(i), _mark(len(names) + i)] for i, name in enumerate(names)}, 2 * len(names))


def reasons_pattern(names: Sequence[str], hits: Callable[[Mapping[str, Signal]], Sequence[RuleHit]]) -> Pattern | None:
    """Return what `codec.reasons_text` makes of the hits of a shape, where numbers are all that the signals have.

    `hits` puts signals into the shape. None where it has no pattern.
    """
    place = {name: i for i, name in enumerate(names)}
    cells = codec.reason_cells(hits({name: Signal(0.0) for name in names}))
    marks = 0
    for factor in (factor for cell in cells for factor in cell["factors"]):
        at = place[factor["signal"]]
        factor["value"], factor["frame"] = _mark(at), _mark(len(names) + at)
        marks += 2
    return _pattern(cells, marks)


def _mark(number: int) -> str:
    return f"\0{number}"


def _pattern(cells: Any, marks: int) -> Pattern | None:
    text = codec.dumps(cells)
    # A name may look like a mark, and whoever gave it that name waits a little longer.
    return Pattern(text) if len(_MARK.findall(text)) == marks else None
