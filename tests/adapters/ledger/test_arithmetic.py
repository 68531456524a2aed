"""What is decided by arithmetic on whole pages is what the core's own functions decide, content by content.

Policies and scores are drawn so that every way in which they can meet is among them: what was not measured, several
pictures, pictures close together, two looks, tables of older versions, lists of known images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedi_safety.app.replay import Rejudge
from fedi_safety.core.enums import Verdict
from fedi_safety.core.frames.scores import FrameScore, FrameScores
from fedi_safety.core.frames.shown import VIEW_BITS
from fedi_safety.core.ledger.stored_scores import ONE_BY_ONE, UNDECIDED
from fedi_safety.core.policy import ClearingBound, Policy, Rule
from fedi_safety.core.testcard import TEST_CARD_SHA256
from fedi_safety.core.types import Scores, Signal
from fedi_safety.ledger.codec import frames_from
from fedi_safety.ledger.frame_tables import read_tables
from fedi_safety.ledger.score_pages import Page

MEASURED = ("a", "b", "c", "d")
LISTED = ("known.block", "known.review")
FACTORS = ("one", "two", "three", "listed")
VALUES = st.sampled_from((0.0, 0.05, 0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.9, 1.0))
BOUNDS = st.sampled_from((0.1, 0.2, 0.3, 0.5, 0.6, 0.9))
Stored = tuple[int, bytes | None, dict[str, Signal]]
"""How many frames a content has, what is kept of them, and its highest signals."""


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Draw a policy with all that rules can say."""
    some = st.lists(st.sampled_from(MEASURED), min_size=1, max_size=3, unique=True)
    factors = {name: tuple(draw(some)) for name in FACTORS[:3]} | {"listed": LISTED}
    agree = {name: 2 for name, signals in factors.items() if len(signals) > 1 and draw(st.booleans())}
    bound = st.builds(ClearingBound, BOUNDS, some.map(tuple), st.booleans())
    bounds = draw(st.dictionaries(st.sampled_from(FACTORS[:3]), st.lists(bound, min_size=1, max_size=2).map(tuple)))
    return Policy("drawn", factors, tuple(draw(st.lists(rules(), min_size=1, max_size=5))), bounds, agree=agree)


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    verdict = draw(st.sampled_from((Verdict.BLOCK, Verdict.BLOCK, Verdict.REVIEW, None)))
    milder = st.sampled_from([None, *(v for v in Verdict if verdict is not None and v.rank <= verdict.rank)])
    return Rule(
        draw(st.sampled_from(("red", "blue", "green"))),  # two rules may have one name
        draw(st.dictionaries(st.sampled_from(FACTORS), BOUNDS, min_size=1, max_size=3)),
        verdict,
        None if verdict else "label",
        draw(st.sampled_from((None, None, 0.5, 1.0))),
        draw(milder),
        draw(milder),
        draw(st.dictionaries(st.sampled_from(FACTORS), BOUNDS, max_size=2)) if verdict is Verdict.BLOCK else {},
    )


@st.composite
def contents(draw: st.DrawFn) -> Stored:
    """Draw a content as a ledger keeps it."""
    kind = draw(st.sampled_from(("one", "closed", "highest", "moments", "several", "twice", "older")))
    listed = {name: Signal(1.0) for name in LISTED if draw(st.integers(0, 7)) == 0}
    if kind in ("one", "closed", "highest", "moments"):
        frames = st.sampled_from((0, 0, 1, 1 << VIEW_BITS)) if kind in ("highest", "moments") else st.just(0)
        signals = {name: Signal(draw(VALUES), draw(frames)) for name in MEASURED if draw(st.integers(0, 3))} | listed
        kept = {"one": b"", "highest": None, "moments": b"", "closed": FrameScores.of((), closed=True).data}
        return 3 if kind == "highest" else 1, kept[kind], signals
    rows = draw(st.lists(frame_scores(second=kind == "twice"), min_size=1, max_size=6, unique_by=lambda r: r.frame))
    table = FrameScores.of(rows, closed=draw(st.booleans()))
    if kind == "older":
        table = table.as_older()
    highest: dict[str, Signal] = {}
    for row in rows:
        for name, value in row.signals.items():
            if name not in highest or value > highest[name].value:
                highest[name] = Signal(value, row.frame)
    return len(rows), table.data, highest | listed


@st.composite
def frame_scores(draw: st.DrawFn, *, second: bool) -> FrameScore:
    moment, view = draw(st.integers(0, 3)), draw(st.sampled_from((0, 0, 1, 2)))
    signals = {name: draw(VALUES) for name in MEASURED if draw(st.integers(0, 4))}
    time_ms = draw(st.sampled_from((None, moment * 400, moment * 900)))
    late = second and draw(st.booleans())
    return FrameScore((view << VIEW_BITS) + moment, moment, moment % 2, time_ms, "", signals, late)


def page_of(stored: Sequence[Stored], sha256s: Sequence[bytes] | None = None) -> Page:
    """Return a page as the ledger would read it."""
    names = [*MEASURED, *LISTED]
    values, frames = np.full((len(stored), len(names)), np.nan), np.zeros((len(stored), len(names)), np.int32)
    for at, (_, _, signals) in enumerate(stored):
        for name, signal in signals.items():
            values[at, names.index(name)], frames[at, names.index(name)] = signal.value, signal.frame
    blobs = tuple(blob for _, blob, _ in stored)
    sha256s = sha256s or [bytes([at]) * 32 for at in range(len(stored))]
    cells: dict[str, Any] = {"sha256": tuple(sha256s), "frames": [count for count, *_ in stored], "frame_scores": blobs}
    table = read_tables(blobs, names, values)
    return Page(cells, names, values, frames, [{}] * len(stored), np.zeros(len(stored), bool), table=table)


AVAILABLE = st.frozensets(st.sampled_from(MEASURED))


@given(policies(), st.lists(contents(), min_size=1, max_size=12), AVAILABLE, st.booleans())
def test_a_page_says_what_is_said_one_by_one(
    policy: Policy, stored: list[Stored], available: frozenset[str], cascade: bool
) -> None:
    rejudge = Rejudge(policy, available, cascade=cascade)
    page = page_of(stored)
    found = rejudge.outcomes(page)
    for at, (count, blob, signals) in enumerate(stored):
        alone = rejudge(page.cells["sha256"][at], Scores(signals, {}, frames=frames_from(count, blob)))
        assert found.words[at] == (UNDECIDED if alone is None else alone.verdict.rank), stored[at]
        held = set() if alone is None else {hit.rule for hit in alone.reasons}
        assert {rule for rule, holds in found.rules.items() if holds[at]} == held
        assert found.reasoned[at] == bool(held)


def test_nothing_but_the_test_card_is_left_to_ask_about() -> None:
    """So that a preview takes no longer where signals are missing, or rules hold."""
    policy = Policy("p", {"f": ("a", "b")}, (Rule("r", {"f": 0.5}, Verdict.BLOCK),))
    rows = [FrameScore(i, i, 0, 100 * i, "", {"a": 0.9}, second=i == 1) for i in range(2)]
    stored: list[Stored] = [
        (1, b"", {"a": Signal(0.9)}),
        (1, b"", {"a": Signal(0.1)}),
        (2, None, {"a": Signal(0.4, 1)}),
        (2, FrameScores.of(rows).data, {"a": Signal(0.9, 1)}),
        (1, b"", {"a": Signal(0.1)}),
    ]
    found = Rejudge(policy, frozenset("ab")).outcomes(page_of(stored, [*[bytes(32)] * 4, TEST_CARD_SHA256]))
    assert found.words.tolist() == [2, UNDECIDED, UNDECIDED, 2, ONE_BY_ONE]
    assert found.reasoned.tolist() == [True, False, False, True, False]


@pytest.mark.parametrize("rows", [0, 3])
def test_a_page_without_several_pictures_has_no_table(rows: int) -> None:
    looks = page_of([(1, b"", {"a": Signal(0.9)})] * rows).looks
    assert looks.plain[0].tolist() == list(range(rows)) and not len(looks.once[0]) and not len(looks.twice[0])
