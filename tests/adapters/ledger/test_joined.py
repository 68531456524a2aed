"""Columns that the database joins are the rows' own, and texts written by patterns are to the letter the codec's."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import bindparam, event, insert, select

from fedi_safety.core.enums import Verdict
from fedi_safety.core.types import FactorHit, Match, RuleHit, Signal
from fedi_safety.ledger import codec
from fedi_safety.ledger.compact import joined, texts
from fedi_safety.ledger.compact.arrays import EMPTY, NOTHING, Blobs
from fedi_safety.ledger.schema import contents, detector_sets
from support.ledgers import Opener

BLOBS = (b"\0\xff\xfe\0", None, b"", b"\xc3(", bytes(range(256)), b"\xed\xa0\x80", b"a")
TEXTS = ("{}", "", 'ä "x",\n1', "{}", "\N{SNOWMAN}" * 9, ",", "\x01")
_c = contents.c


def test_joined_columns_are_what_rows_say(opener: Opener) -> None:
    """Whatever bytes there are: none of them is text, and none ends another."""
    ledger = opener()
    with ledger.database.write() as connection:
        own = connection.execute(insert(detector_sets).returning(detector_sets.c.id), {"body": "{}"}).scalar_one()
        usual = {"size": 1, "media_type": "image/png", "width": 1, "height": 1, "decided": True, "scored_at": 1.0}
        usual |= {"verdict": "clear", "policy": "p", "labels": "[]", "reasons": "[]", "detectors_id": own}
        for place, (blob, text) in enumerate(zip(BLOBS, TEXTS, strict=True)):
            row = {
                "id": 70 - 3 * place,
                "sha256": bytes([place]) * 32,
                "frames": place,
                "scores": blob,
                "signals": text,
            }
            connection.execute(insert(contents), usual | row)
    names = ("id", "sha256", "frames", "scores", "signals")
    query = select(*(_c[name] for name in names)).where(_c.id > bindparam("after"))
    columns = joined.Columns(ledger.database, query, {"signals": "{}"})
    with ledger.database.read() as connection:
        for after in (0, 60, 70):
            found = columns.read(connection, after=after)
            rows = connection.execute(query.order_by(_c.id), {"after": after}).all()
            told = zip(*(list(found[name]) for name in names), strict=True)
            assert [tuple(row) for row in rows] == list(told)
            assert len(rows) == len(found["scores"]) == {0: 7, 60: 4, 70: 0}[after]


@pytest.mark.parametrize(("texts_of_rows", "statements"), [(("{}", "{}"), 1), (("{}", '{"a":1}'), 2)])
def test_texts_are_asked_for_where_there_are_unusual_ones(
    opener: Opener, texts_of_rows: Sequence[str], statements: int
) -> None:
    """Of most pages all texts are the usual one: to put them together took a sixth of reading such a page."""
    ledger = opener()
    with ledger.database.write() as connection:
        own = connection.execute(insert(detector_sets).returning(detector_sets.c.id), {"body": "{}"}).scalar_one()
        usual = {"size": 1, "media_type": "image/png", "width": 1, "height": 1, "decided": True, "scored_at": 1.0}
        usual |= {"verdict": "clear", "policy": "p", "labels": "[]", "reasons": "[]", "detectors_id": own, "frames": 1}
        for place, text in enumerate(texts_of_rows):
            row = {"id": place + 1, "sha256": bytes([place]) * 32, "scores": b"", "signals": text}
            connection.execute(insert(contents), usual | row)
    columns = joined.Columns(ledger.database, select(_c.id, _c.signals), {"signals": "{}"})
    said: list[str] = []
    with ledger.database.read() as connection:
        event.listen(connection, "before_cursor_execute", lambda *told: said.append(told[2]))
        assert list(columns.read(connection)["signals"]) == list(texts_of_rows)
    assert len([text for text in said if "contents" in text]) == statements


def test_columns_can_be_put_into_another_order() -> None:
    blobs, order = Blobs.of(BLOBS), np.array([3, 0, 6, 1, 2, 5, 4])
    blobs.arrange(order)
    assert list(blobs) == [BLOBS[at] for at in order]
    assert blobs.first().tolist() == [0xC3, 0, ord("a"), NOTHING, EMPTY, 0xED, 0]
    assert blobs.index(b"a") == 2, "the letter in the middle of another is none of its own"
    assert b"\xff" not in blobs and blobs.index(bytes(range(256))) == 6


NAMES = st.lists(st.sampled_from(["a.b", "%s", "100%", '"q"', "\x000", "ä", "z"]), min_size=1, max_size=5, unique=True)
VALUES = st.one_of(st.floats(allow_nan=True, allow_infinity=True), st.floats(0, 1, width=32))


@given(NAMES, st.data())
def test_patterns_write_what_the_codec_writes(names: list[str], data: st.DataObject) -> None:
    names = sorted(names)
    values = data.draw(st.lists(VALUES, min_size=len(names), max_size=len(names)))
    frames = data.draw(st.lists(st.integers(0, 1 << 30), min_size=len(names), max_size=len(names)))
    shape = data.draw(
        st.lists(
            st.tuples(st.sampled_from(["rule", "50 %", "\x001"]), st.lists(st.sampled_from(names), max_size=3)),
            min_size=1, max_size=3,
        )
    )  # fmt: skip

    def hits(signals: Mapping[str, Signal]) -> list[RuleHit]:
        return [
            RuleHit(rule, Verdict.BLOCK, None, tuple(_hit(name, signals[name]) for name in used), bool(used), False)
            for rule, used in shape
        ]

    signals = {name: Signal(value, frame) for name, value, frame in zip(names, values, frames, strict=True)}
    numbers = texts.numbers_of(values, frames)
    if numbers is None:
        with pytest.raises(ValueError, match="not JSON compliant"):
            codec.signals_text(signals)
        return
    of_signals, of_reasons = texts.signals_pattern(names), texts.reasons_pattern(names, hits)
    assert of_signals is None or of_signals.filled(numbers) == codec.signals_text(signals)
    assert of_reasons is None or of_reasons.filled(numbers) == codec.reasons_text(hits(signals))
    marked = any(word.startswith("\0") for word in (*names, *(rule for rule, _ in shape)))
    assert marked or (of_signals is not None and of_reasons is not None), "what is usual has a pattern"


def _hit(name: str, signal: Signal) -> FactorHit:
    return FactorHit(f"of {name}", 0.5, signal.value, name, signal.frame, signal.where, signal.matches)


@pytest.mark.parametrize("names", [["b", "a"], ["a", "a"]])
def test_names_that_nobody_here_wrote_have_no_pattern(names: Sequence[str]) -> None:
    assert texts.signals_pattern(names) is None


def test_a_signal_with_a_match_is_written_by_the_codec() -> None:
    """A pattern knows numbers alone; whoever fills one has looked that there is nothing else."""
    signals = {"known.block": Signal(1.0, 0, "", (Match("list", "7", 3),))}
    pattern = texts.signals_pattern(["known.block"])
    numbers = texts.numbers_of([1.0], [0])
    assert pattern is not None and numbers is not None
    assert pattern.filled(numbers) != codec.signals_text(signals)


CELLS = st.one_of(st.text(), st.integers(), st.none(), st.booleans(), st.floats(allow_nan=False, allow_infinity=False))


@given(st.lists(st.one_of(CELLS, st.sampled_from(Verdict))))
def test_a_flat_row_is_written_as_any_other(cells: list[object]) -> None:
    assert codec.dumps_flat(cells) == codec.dumps(cells)
    assert json.loads(codec.dumps_flat(cells)) == [str(c) if isinstance(c, Verdict) else c for c in cells]


def test_no_number_is_no_number_in_a_flat_row() -> None:
    for wrong in (float("nan"), float("inf"), struct.unpack("<d", b"\1\0\0\0\0\0\xf0\xff")[0]):
        with pytest.raises(ValueError, match="not JSON compliant"):
            codec.dumps_flat([wrong])


@given(
    st.lists(st.integers(-12, 12) | st.integers(-(2**63), 2**63 - 1), min_size=1)
    | st.lists(st.integers(0, 9), min_size=1)
)
def test_listed_numbers_are_read_whatever_their_width(wanted: list[int]) -> None:
    found = joined.numbers(",".join(map(str, wanted)))
    assert found.tolist() == wanted and found.dtype == np.int64
