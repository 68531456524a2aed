"""What the numbers in contents mean: the names of scores, and the shapes of reasons, each of which millions share.

Reads and writes them in the caller's transaction; what it has read it keeps for that transaction.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table, func, insert, select

from fedi_safety.core.enums import Verdict
from fedi_safety.core.types import FactorHit, Judgement, RuleHit, Signal
from fedi_safety.ledger import codec
from fedi_safety.ledger.compact import numbers, texts
from fedi_safety.ledger.compact.tables import reason_shapes, signal_names
from fedi_safety.ledger.compact.texts import Pattern
from fedi_safety.ledger.schema import contents, judgements

SCORES = ("names_id", "scores", "signals")
"""The columns of a content that hold its signals."""

REASONS = ("shape_id", "reasons")
"""The columns of a content that hold its reasons."""

AS_STORED = ""
"""In a judgement's labels, reasons and signals: as they stand in its content, of which it is the judgement in force."""

_MOST_SHAPES = 4_000
"""Reasons of further shapes are written out."""

_FEW = 64
"""The first names and shapes are read at once, for they are nearly all that anything has."""

_JUDGED = ("labels", "reasons", "signals")


class Vocabulary:
    """The names and shapes of one ledger, as one transaction sees them."""

    def __init__(self, connection: Connection) -> None:
        """Read nothing yet."""
        self._connection = connection
        self._names: dict[int, tuple[str, ...]] = {}
        self._name_ids: dict[tuple[str, ...], int] = {}
        self._shapes: dict[int, list[dict[str, Any]]] = {}
        self._shape_ids: dict[str, int] = {}
        self._few: dict[str, dict[str, int]] = {}
        self._made: dict[tuple[int, int], tuple[Pattern | None, Pattern | None]] = {}

    @codec.stored("names of scores, or shapes of reasons,")
    def load(self) -> None:
        """Read all of it, so that what is read with it can be told when the transaction has ended."""
        for row, body in self._connection.execute(select(signal_names.c.id, signal_names.c.body)):
            self._names[row] = tuple(json.loads(body))
        for row, body in self._connection.execute(select(reason_shapes.c.id, reason_shapes.c.body)):
            self._shapes[row] = json.loads(body)

    # --- signals

    @codec.stored("the names of scores")
    def names(self, names_id: int) -> tuple[str, ...]:
        """Return the names of scores in their order."""
        found = self._names.get(names_id)
        if found is None:
            self.load()
            found = self._names[names_id]
        return found

    @codec.stored("scores of a content")
    def signals(self, names_id: int, scores: bytes, told: str) -> dict[str, Signal]:
        """Return the signals of a content with these columns (`SCORES`)."""
        names = self.names(names_id)
        cells = zip(names, *numbers.unpacked(scores, len(names)), strict=True)
        if told == "{}":
            return {name: Signal(value, frame) for name, value, frame in cells}
        further = json.loads(told)
        return {name: codec.signal_from(value, frame, *further.get(name, ())) for name, value, frame in cells}

    def columns(self, signals: Mapping[str, Signal]) -> dict[str, Any]:
        """Return the columns `SCORES` of a content with these signals."""
        names = tuple(sorted(signals))
        values = [float(signals[name].value) for name in names]
        told = {name: cell for name, s in signals.items() if (cell := codec.further(s.where, s.matches))}
        return {
            "names_id": self.names_id(names),
            "scores": numbers.packed(values, [int(signals[name].frame) for name in names]),
            "signals": codec.dumps(told) if told else "{}",
        }

    def names_id(self, names: tuple[str, ...]) -> int:
        """Return the row of these names, which are in order, added where it is new."""
        found = self._name_ids.get(names)
        if found is None:
            found = self._name_ids[names] = self._row(signal_names, codec.dumps(names))
        return found

    def _known(self, table: Table, body: str) -> int | None:
        few = self._few.get(table.name)
        if few is None:
            first = select(table.c.body, table.c.id).order_by(table.c.id).limit(_FEW)
            few = self._few[table.name] = {str(each): int(row) for each, row in self._connection.execute(first)}
        if body in few:
            return few[body]
        return self._connection.execute(select(table.c.id).where(table.c.body == body)).scalar_one_or_none()

    def _row(self, table: Table, body: str) -> int:
        known = self._known(table, body)
        if known is None:
            known = self._connection.execute(insert(table).returning(table.c.id), {"body": body}).scalar_one()
        return int(known)

    # --- reasons

    @codec.stored("reasons of a verdict")
    def reasons(self, shape_id: int | None, text: str, signals: Mapping[str, Signal]) -> tuple[RuleHit, ...]:
        """Return the reasons of a content with these columns (`REASONS`) and these signals."""
        if shape_id is None:
            return codec.reasons_from(text)
        return tuple(_hit(cell, signals) for cell in self._shape(shape_id))

    @codec.stored("reasons of a verdict")
    def said(self, shape_id: int | None, text: str) -> list[tuple[str, Verdict | None]]:
        """Return the rules of a content with these columns, each with what it came to."""
        if shape_id is None:
            cells: Iterable[Mapping[str, Any]] = json.loads(text) if text != "[]" else ()
        else:
            cells = self._shape(shape_id)
        return [(cell["rule"], None if cell["verdict"] is None else Verdict(cell["verdict"])) for cell in cells]

    def rules(self, shape_id: int | None, text: str) -> list[str]:
        """Return the names of these rules alone."""
        return [rule for rule, _ in self.said(shape_id, text)]

    def reason_columns(self, reasons: Sequence[RuleHit], signals: Mapping[str, Signal]) -> dict[str, Any]:
        """Return the columns `REASONS` of a content; what its signals do not tell of its reasons is written out."""
        if reasons and all(_follows(factor, signals) for hit in reasons for factor in hit.factors):
            shape_id = self._shape_id(codec.dumps([_shape(hit) for hit in reasons]))
            if shape_id is not None:
                return {"shape_id": shape_id, "reasons": ""}
        return {"shape_id": None, "reasons": codec.reasons_text(reasons)}

    def _shape(self, shape_id: int) -> list[dict[str, Any]]:
        found = self._shapes.get(shape_id)
        if found is None:
            self.load()
            found = self._shapes[shape_id]
        return found

    def _shape_id(self, body: str) -> int | None:
        found = self._shape_ids.get(body)
        if found is None:
            found = self._known(reason_shapes, body)
            if found is None:
                count = select(func.count()).select_from(reason_shapes)
                if self._connection.execute(count).scalar_one() >= _MOST_SHAPES:
                    return None
                found = self._row(reason_shapes, body)
            self._shape_ids[body] = found
        return found

    # --- judgements

    @codec.stored("a verdict")
    def judgement(self, row: Any, signals: Mapping[str, Signal] | None = None) -> Judgement:
        """Return the judgement in force of a content's row; with its signals where the caller has them."""
        if signals is None:
            signals = {} if row.shape_id is None else self.signals(row.names_id, row.scores, row.signals)
        reasons = self.reasons(row.shape_id, row.reasons, signals)
        return Judgement(Verdict(row.verdict), codec.labels_from(row.labels), reasons, row.policy)

    @codec.stored("a past verdict")
    def past(self, row: Any) -> dict[str, Any]:
        """Return labels, reasons and signals of a judgement as texts, from a row as `PAST` selects it."""
        told: dict[str, Any] = {name: getattr(row, name) for name in _JUDGED}
        if AS_STORED not in told.values():
            return told
        if told["labels"] == AS_STORED:
            told["labels"] = row.own_labels
        if AS_STORED in (told["reasons"], told["signals"]):
            reasons, signals = self._written(row)
            told["reasons"] = reasons if told["reasons"] == AS_STORED else told["reasons"]
            told["signals"] = signals if told["signals"] == AS_STORED else told["signals"]
        return told

    def _written(self, row: Any) -> tuple[str, str]:
        """Return a content's own reasons and signals as texts: by patterns where its numbers are all that it has."""
        if row.own_signals == "{}" and row.own_shape_id is not None:
            reasons, signals = self._patterns(row.own_shape_id, row.own_names_id)
            count = len(self.names(row.own_names_id))
            filling = texts.numbers_of(*numbers.unpacked(row.own_scores, count))
            if reasons is not None and signals is not None and filling is not None:
                return reasons.filled(filling), signals.filled(filling)
        own = self.signals(row.own_names_id, row.own_scores, row.own_signals)
        return codec.reasons_text(self.reasons(row.own_shape_id, row.own_reasons, own)), codec.signals_text(own)

    def _patterns(self, shape_id: int, names_id: int) -> tuple[Pattern | None, Pattern | None]:
        found = self._made.get((shape_id, names_id))
        if found is None:
            names = self.names(names_id)
            reasons = texts.reasons_pattern(names, lambda signals: self.reasons(shape_id, "", signals))
            found = self._made[shape_id, names_id] = reasons, texts.signals_pattern(names)
        return found


PAST = (
    *(judgements.c[name] for name in _JUDGED),
    *(contents.c[name].label(f"own_{name}") for name in (*SCORES, *REASONS, "labels")),
)
"""What tells how a judgement was reasoned, in a query that joins its content."""


def _follows(hit: FactorHit, signals: Mapping[str, Signal]) -> bool:
    """Whether all that a factor's hit says follows from the content's signals."""
    signal = signals.get(hit.signal)
    return signal is not None and (signal.value, signal.frame, signal.where, signal.matches) == (
        hit.value, hit.frame, hit.where, hit.matches,
    )  # fmt: skip


def _shape(hit: RuleHit) -> dict[str, Any]:
    """Return what is the same of a rule's hit whatever the values."""
    cell: dict[str, Any] = {"rule": hit.rule, "verdict": hit.verdict, "label": hit.label}
    cell["factors"] = [[factor.factor, factor.threshold, factor.signal] for factor in hit.factors]
    return cell | {name: True for name in ("across_frames", "second_look") if getattr(hit, name)}


def _hit(cell: Mapping[str, Any], signals: Mapping[str, Signal]) -> RuleHit:
    factors = []
    for factor, threshold, name in cell["factors"]:
        s = signals[name]
        factors.append(FactorHit(factor, threshold, s.value, name, s.frame, s.where, s.matches))
    verdict = None if cell["verdict"] is None else Verdict(cell["verdict"])
    return RuleHit(
        cell["rule"], verdict, cell["label"], tuple(factors),
        bool(cell.get("across_frames")), bool(cell.get("second_look")),
    )  # fmt: skip
