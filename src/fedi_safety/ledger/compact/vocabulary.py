"""What the numbers in contents mean, with what adds to it: names of scores, and shapes of reasons, are written here.

Reads and writes them in the caller's transaction; what it has read it keeps for that transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table, func, insert, select

from fedi_safety.core.types import FactorHit, RuleHit, Signal
from fedi_safety.ledger import codec
from fedi_safety.ledger.compact import numbers
from fedi_safety.ledger.compact.meanings import AS_STORED as AS_STORED
from fedi_safety.ledger.compact.meanings import JUDGED, Meanings
from fedi_safety.ledger.compact.meanings import REASONS as REASONS
from fedi_safety.ledger.compact.meanings import SCORES as SCORES
from fedi_safety.ledger.compact.tables import reason_shapes, signal_names
from fedi_safety.ledger.reading.through import Through
from fedi_safety.ledger.schema import contents, judgements

_MOST_SHAPES = 4_000
"""Reasons of further shapes are written out."""

_FEW = 64
"""The first names and shapes are read at once, for they are nearly all that anything has."""


class Vocabulary(Meanings):
    """The names and shapes of one ledger, as one transaction sees them and adds to them."""

    def __init__(self, connection: Connection) -> None:
        """Read nothing yet."""
        super().__init__(Through(connection))
        self._connection = connection
        self._name_ids: dict[tuple[str, ...], int] = {}
        self._shape_ids: dict[str, int] = {}
        self._few: dict[str, dict[str, int]] = {}

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

    def reason_columns(self, reasons: Sequence[RuleHit], signals: Mapping[str, Signal]) -> dict[str, Any]:
        """Return the columns `REASONS` of a content; what its signals do not tell of its reasons is written out."""
        if reasons and all(_follows(factor, signals) for hit in reasons for factor in hit.factors):
            shape_id = self._shape_id(codec.dumps([_shape(hit) for hit in reasons]))
            if shape_id is not None:
                return {"shape_id": shape_id, "reasons": ""}
        return {"shape_id": None, "reasons": codec.reasons_text(reasons)}

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


PAST = (
    *(judgements.c[name] for name in JUDGED),
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
