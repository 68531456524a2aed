"""Cheap detectors first, dear ones only where a rule is still open, and one bad medium harms no other."""

from __future__ import annotations

import struct

import pytest

from fedi_safety.core.cascade import Cascade
from fedi_safety.core.errors import Unscannable
from fedi_safety.core.pipeline import Stages
from fedi_safety.core.policy import TEST_CARD_SIGNAL
from fedi_safety.core.types import NO_SCORES, Frame, Scores, Signal
from support.fakes import FakeClock, FakeDetector, FakeEmbedder, detectors, red_circles, text_frame


def score(cascade: Cascade, *media: bytes) -> list[Scores | Unscannable]:
    frames: list[list[Frame]] = [[text_frame(i, part) for i, part in enumerate(m.split(b"|"))] for m in media]
    return cascade.score(frames, [NO_SCORES] * len(frames), Stages(), FakeClock())


def test_dear_detectors_see_only_what_stays_open() -> None:
    c, b, a = found = detectors()
    results = score(
        Cascade(found, red_circles(cascade=True)),
        b"red=0.1 circle=1 round=1",  # not red: settled by a
        b"red=0.7 circle=0.7",  # settled by b
        b"red=0.7 circle=0.05 round=1",  # b's clearing bound
        b"red=0.7 circle=0.3 round=1",  # goes all the way
    )
    assert len(a.seen) == 4
    assert len(b.seen) == 3
    assert c.seen == ["red=0.7 circle=0.3 round=1"]
    assert c.with_boxes == 1
    assert [sorted(r.detectors) for r in results if isinstance(r, Scores)] == [
        ["a"],
        ["a", "b"],
        ["a", "b"],
        ["a", "b", "c"],
    ]


def test_without_the_cascade_every_detector_sees_everything() -> None:
    found = detectors()
    score(Cascade(found, red_circles(cascade=True), enabled=False), b"red=0.1", b"red=0.7 circle=0.7")
    assert [len(d.seen) for d in found] == [2, 2, 2]


def test_a_needed_detector_runs_first_even_if_its_own_signal_is_settled() -> None:
    first = FakeDetector("finder", ("finder.face",))
    then = FakeDetector("reader", ("a.red",), cost=0.1, after=("finder",))
    cascade = Cascade([then, first], red_circles())
    score(cascade, b"red=0.2")
    assert len(first.seen) == len(then.seen) == 1


def test_the_highest_frame_decides_and_is_named() -> None:
    (result,) = score(Cascade(detectors(), red_circles()), b"red=0.1|red=0.8 circle=0.2|red=0.6 circle=0.9|red=0.3")
    assert isinstance(result, Scores)
    assert result.signals["a.red"] == Signal(0.8, 1)
    assert result.signals["b.circle"] == Signal(0.9, 2)
    assert result.frames is not None
    assert [sorted(row.signals) for row in result.frames.rows()] == [
        ["a.red"],
        ["a.red", "b.circle"],
        ["a.red", "b.circle"],
        ["a.red"],
    ]


def test_embeddings_come_with_the_scores_one_for_each_frame_that_was_embedded() -> None:
    embedder = FakeEmbedder("e", ("c.round",), definitions={"c.round": "1"}, cost=50)
    _, b, a = detectors()
    seen, spared = score(
        Cascade([a, b, embedder], red_circles()), b"red=0.9 e=0.25,1|red=0.2|red=0.6 e=0.375,0", b"red=0.1"
    )
    assert isinstance(seen, Scores) and isinstance(spared, Scores)
    found = [(e.frame, e.model, struct.unpack("<2e", e.data)) for e in seen.embeddings]
    assert found == [(0, "fake network fp32", (0.25, 1.0)), (2, "fake network fp32", (0.375, 0.0))]
    assert seen.signals["c.round"] == Signal(0.375, 2) and spared.embeddings == ()


def test_batches_respect_the_detectors_limit() -> None:
    found = detectors()
    score(Cascade(found, red_circles()), *[b"red=0.1"] * 10)
    assert found[2].batches == [4, 4, 2]


def test_one_poisoned_medium_costs_only_itself() -> None:
    results = score(Cascade(detectors(), red_circles()), b"red=0.1", b"poison", b"red=0.9 circle=0.9")
    assert [type(r).__name__ for r in results] == ["Scores", "Unscannable", "Scores"]


def test_signals_known_beforehand_are_kept() -> None:
    cascade = Cascade(detectors(), red_circles())
    (result,) = cascade.score(
        [[text_frame(0, b"red=0.1")]], [Scores({TEST_CARD_SIGNAL: Signal(1.0)}, {})], Stages(), FakeClock()
    )
    assert isinstance(result, Scores)
    assert result.signals[TEST_CARD_SIGNAL] == Signal(1.0)


def test_a_detector_without_what_it_needs_is_refused() -> None:
    with pytest.raises(ValueError, match="needs b"):
        Cascade([FakeDetector("c", ("c.round",), after=("b",))], red_circles())
