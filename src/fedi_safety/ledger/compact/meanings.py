"""What the numbers in contents mean: the names of scores, and the shapes of reasons, each of which millions share.

Reads in the caller's transaction, and keeps what it has read for that; `vocabulary` also writes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from fedi_safety.core.enums import Verdict
from fedi_safety.core.frames.signals import FactorHit, Judgement, RuleHit, Signal
from fedi_safety.ledger import codec
from fedi_safety.ledger.compact import numbers, texts
from fedi_safety.ledger.compact.texts import Pattern
from fedi_safety.ledger.reading.asking import Asking

SCORES = ("names_id", "scores", "signals")
"""The columns of a content that hold its signals."""

REASONS = ("shape_id", "reasons")
"""The columns of a content that hold its reasons."""

AS_STORED = ""
"""In a judgement's labels, reasons and signals: as they stand in its content, of which it is the judgement in force."""

JUDGED = ("labels", "reasons", "signals")


class Meanings:
    """The names and shapes of one ledger, as one transaction sees them."""

    def __init__(self, asking: Asking) -> None:
        """Read nothing yet."""
        self._asking = asking
        self._names: dict[int, tuple[str, ...]] = {}
        self._shapes: dict[int, list[dict[str, Any]]] = {}
        self._made: dict[tuple[int, int], tuple[Pattern | None, Pattern | None]] = {}

    @codec.stored("names of scores, or shapes of reasons,")
    def load(self) -> None:
        """Read all of it, so that what is read with it can be told when the transaction has ended."""
        for row in self._asking.ask("SELECT id, body FROM signal_names"):
            self._names[row["id"]] = tuple(json.loads(row["body"]))
        for row in self._asking.ask("SELECT id, body FROM reason_shapes"):
            self._shapes[row["id"]] = json.loads(row["body"])

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

    def _shape(self, shape_id: int) -> list[dict[str, Any]]:
        found = self._shapes.get(shape_id)
        if found is None:
            self.load()
            found = self._shapes[shape_id]
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
        told: dict[str, Any] = {name: getattr(row, name) for name in JUDGED}
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
