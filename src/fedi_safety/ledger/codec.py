"""How the core's types stand in the ledger's columns, and back. Pure; knows no database."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import wraps
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from fedi_safety.core.enums import Verdict
from fedi_safety.core.errors import DamagedError
from fedi_safety.core.frames.scores import ONE_PICTURE, FrameScores
from fedi_safety.core.frames.signals import FactorHit, Judgement, Match, RuleHit, Signal
from fedi_safety.core.keys import key_bytes as key_bytes
from fedi_safety.core.keys import key_text as key_text
from fedi_safety.core.wording.hints import hint

if TYPE_CHECKING:
    from fedi_safety.core.types import Receipt, Scores

P = ParamSpec("P")
T = TypeVar("T")

# Kept: `json.dumps` makes one for each call, which takes a third of the time of a short text.
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)

BATCH_ROWS = 500
"""How many rows a page or an IN list has: far below every database's limit on parameters."""


UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, struct.error)
"""What columns that hold something else come to, when they are read."""


def stored(what: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Let a function that reads columns and nothing else raise `DamagedError` where these hold something else."""

    def reads(function: Callable[P, T]) -> Callable[P, T]:
        @wraps(function)
        def reading(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                return function(*args, **kwargs)
            except UNREADABLE as error:
                raise damaged(what) from error

        return reading

    return reads


def damaged(what: str) -> DamagedError:
    """Return the error of something stored that cannot be read; who holds the transaction says of which ledger."""
    remedy = f"{hint('ledger verify')} says more; move the ledger away and restore a backup"
    return DamagedError("the ledger", f"is damaged: {what} cannot be read", remedy)


def chunks(items: Sequence[T], size: int = BATCH_ROWS) -> Iterator[Sequence[T]]:
    """Cut `items` into pieces of at most `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def dumps(value: object) -> str:
    """Return canonical JSON: sorted names, no spaces, ASCII, and no NaN, so that equal values give equal text."""
    return _CANONICAL.encode(value)


def dumps_flat(values: Sequence[object]) -> str:
    """Return what `dumps` does of texts and numbers in a row, in half its time."""
    return f"[{','.join([_FLAT.get(type(value), dumps)(value) for value in values])}]"


def _float(value: float) -> str:
    return repr(value) if value - value == 0.0 else dumps(value)  # which says that it is no number


_FLAT: dict[type, Callable[[Any], str]] = {str: encode_basestring_ascii, int: repr, float: _float}


def signals_text(signals: Mapping[str, Signal]) -> str:
    """Return signals as `{name: [value, frame, place, matches]}`; the last two only where there is something to say."""
    cells = {name: [float(s.value), int(s.frame), *further(s.where, s.matches)] for name, s in signals.items()}
    return dumps(cells)


def further(where: str, matches: Sequence[Match]) -> list[Any]:
    """Return what a signal's cell has beyond value and frame."""
    if matches:
        return [where, [[m.list, m.entry, m.distance, *([m.turn] if m.turn else [])] for m in matches]]
    return [where] if where else []


@stored("scores of a content")
def signals_from(text: str) -> dict[str, Signal]:
    """Return the signals of a stored row."""
    return {name: signal_from(*cell) for name, cell in json.loads(text).items()}


def signal_from(value: float, frame: int, where: str = "", matches: Sequence[Sequence[Any]] = ()) -> Signal:
    """Return the signal of a stored cell."""
    return Signal(float(value), int(frame), where, matches_from(matches))


def matches_from(cells: Sequence[Sequence[Any]]) -> tuple[Match, ...]:
    """Return the matches of a stored cell."""
    return tuple(Match(str(name), str(entry), int(bits), *map(str, turn)) for name, entry, bits, *turn in cells)


@stored("labels of a content")
def labels_from(text: str) -> tuple[str, ...]:
    """Return the labels of a stored row."""
    return tuple(json.loads(text)) if text != "[]" else ()


def reasons_text(reasons: Sequence[RuleHit]) -> str:
    """Return the rules that held, with their factors."""
    return dumps(reason_cells(reasons)) if reasons else "[]"


def reason_cells(reasons: Sequence[RuleHit]) -> list[dict[str, Any]]:
    """Return the same as plain data."""
    return [_reason_cell(reason) for reason in reasons]


def _reason_cell(reason: RuleHit) -> dict[str, Any]:
    """Leave out what is nearly everywhere the same: no matches, one picture, a first look."""
    cell: dict[str, Any] = {"rule": reason.rule, "verdict": reason.verdict, "label": reason.label}
    cell["factors"] = [_factor_cell(hit) for hit in reason.factors]
    return cell | {name: True for name in ("across_frames", "second_look") if getattr(reason, name)}


def _factor_cell(hit: FactorHit) -> dict[str, Any]:
    cell: dict[str, Any] = {"factor": hit.factor, "threshold": float(hit.threshold), "value": float(hit.value)}
    cell |= {"signal": hit.signal, "frame": hit.frame, "where": hit.where}
    return cell | {"matches": further("", hit.matches)[1]} if hit.matches else cell


@stored("reasons of a verdict")
def reasons_from(text: str) -> tuple[RuleHit, ...]:
    """Return the rules of a stored row."""
    return tuple(_rule_hit(item) for item in json.loads(text)) if text != "[]" else ()


def _rule_hit(item: Mapping[str, Any]) -> RuleHit:
    verdict = item["verdict"]
    factors = tuple(
        FactorHit(**(factor | {"matches": matches_from(factor.get("matches", ()))})) for factor in item["factors"]
    )
    across = bool(item.get("across_frames", False))
    second = bool(item.get("second_look", False))
    return RuleHit(item["rule"], None if verdict is None else Verdict(verdict), item["label"], factors, across, second)


def receipt_text(receipt: Receipt) -> str | None:
    """Return an act's receipt, None where there is nothing on it."""
    return dumps(receipt) if receipt else None


@stored("the receipt of an action")
def receipt_from(text: str | None) -> Receipt:
    """Return the receipt of a stored act."""
    found = {} if text is None else json.loads(text)
    return {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}


def receipt_digest(text: str | None) -> str | None:
    """Return what the event of an act's end says of its receipt."""
    return None if text is None else hashlib.sha256(text.encode("ascii")).hexdigest()


@stored("a verdict")
def judgement_from(verdict: str, policy: str, labels: str, reasons: str) -> Judgement:
    """Return the judgement that columns hold which are written out."""
    return Judgement(Verdict(verdict), labels_from(labels), reasons_from(reasons), policy)


def frames_column(frames: int, scores: Scores) -> bytes | None:
    """Return what is kept of the scores of a content with so many judged frames; one frame needs no table."""
    if scores.frames is None or (frames < 2 and not scores.frames.data):
        return None
    return scores.frames.data


@stored("scores of single frames")
def frames_from(frames: int, data: bytes | None) -> FrameScores | None:
    """Return the same as the core knows it."""
    if data is None:
        return ONE_PICTURE if frames < 2 else None
    table = FrameScores(data)
    table.rows()  # it is read when nobody knows any more whence it came
    return table


@stored("what an event or a run says")
def said_from(text: str) -> dict[str, Any]:
    """Return what an event, or another stored row, says in JSON."""
    found: dict[str, Any] = dict(json.loads(text))
    return found


@stored("a verdict")
def verdict_from(word: str) -> Verdict:
    """Return the verdict of a stored row."""
    return Verdict(word)


@stored("which detectors gave a content's scores")
def detectors_from(text: str) -> dict[str, str]:
    """Return the detectors of a stored row, each with its version."""
    found: dict[str, str] = dict(json.loads(text))
    return found
