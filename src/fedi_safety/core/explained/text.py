"""Explanations as one line of JSON, as the ledger keeps them and workers send them, and back. Pure.

Numbers are rounded to what a person reads. Whatever is read may be a stranger's: it is checked before it is believed.
"""

from __future__ import annotations

import json
from typing import Any

from fedi_safety.core.errors import printable
from fedi_safety.core.types import Explanation, Finding, Found, LeftOut, Look

MAX_TEXT = 16_384
"""Of one explanation, in characters."""

_VERSION = 1
_MAX_WORD = 200
_MAX_ROWS = 256
_MAX_NUMBER = 1 << 40


def text_of(found: Explanation) -> str:
    """Return it as canonical JSON; of one that is too long the last findings and frames are counted only."""
    while True:
        text = json.dumps(_body(found), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
        if len(text) <= MAX_TEXT:
            return text
        found = _half(found)


def explanation_from(text: str) -> Explanation:
    """Return the explanation that a text says. Raises `ValueError` where it says none."""
    if len(text) > MAX_TEXT:
        raise ValueError("an explanation that is too long")
    try:
        body = json.loads(text)
        if body["v"] != _VERSION:
            raise ValueError("not an explanation")
        more_looks, more_found = (_number(n) for n in body["more"])
        return Explanation(
            tuple(_look(*row) for row in _rows(body["looks"])),
            tuple(_found(*row) for row in _rows(body["found"])),
            tuple(LeftOut(_word(name), _word(why, 1000), _number(n)) for name, why, n in _rows(body["out"])),
            more_looks,
            more_found,
        )
    except (AttributeError, KeyError, TypeError, RecursionError) as error:
        raise ValueError("not an explanation") from error


def _body(found: Explanation) -> dict[str, Any]:
    return {
        "v": _VERSION,
        "looks": [[k.frame, k.picture, _cut(k.where), k.width, k.height, int(k.second)] for k in found.looks],
        "found": [[list(f.detectors), f.frame, *_cells(f.finding)] for f in found.found],
        "out": [[_cut(o.detector), _cut(o.why, 1000), o.pictures] for o in found.left_out[:_MAX_ROWS]],
        "more": [found.more_looks, found.more_found],
    }


def _cells(one: Finding) -> list[Any]:
    return [
        _cut(one.label),
        *(round(value, 4) for value in (one.score, one.x, one.y, one.width, one.height)),
        one.size_px,
        {_cut(name): round(chance, 4) for name, chance in one.ages.items()},
        int(one.counted),
        _cut(one.why),
        {_cut(name): round(value, 4) for name, value in one.signals.items()},
    ]


def _half(found: Explanation) -> Explanation:
    """Return it with half as much in it."""
    looks, things, out = (len(rows) // 2 for rows in (found.looks, found.found, found.left_out))
    more = found.more_looks + len(found.looks) - looks, found.more_found + len(found.found) - things
    return Explanation(found.looks[:looks], found.found[:things], found.left_out[:out], *more)


def _look(frame: Any, picture: Any, where: Any, width: Any, height: Any, second: Any) -> Look:
    return Look(_number(frame), _number(picture), _word(where), _number(width), _number(height), bool(second))


def _found(detectors: Any, frame: Any, label: Any, *cells: Any) -> Found:
    score, x, y, width, height, size_px, ages, counted, why, signals = cells
    place = _share(x), _share(y), _share(width), _share(height)
    told = {_word(name): _share(chance) for name, chance in ages.items()}
    given = {_word(name): _share(value) for name, value in signals.items()}
    finding = Finding(_word(label), _share(score), *place, _number(size_px), told, bool(counted), _word(why), given)
    return Found(tuple(_word(name) for name in _rows(detectors)), _number(frame), finding)


def _rows(value: Any) -> list[Any]:
    if not isinstance(value, list) or len(value) > _MAX_ROWS:
        raise ValueError("not an explanation")
    return value


def _word(value: Any, most: int = _MAX_WORD) -> str:
    if not isinstance(value, str) or len(value) > most:
        raise ValueError("an explanation with impossible words")
    return value


def _share(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError("an explanation with impossible numbers")
    return float(value)


def _number(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MAX_NUMBER:
        raise ValueError("an explanation with impossible numbers")
    return value


def _cut(word: str, most: int = _MAX_WORD) -> str:
    return printable(word)[:most]
