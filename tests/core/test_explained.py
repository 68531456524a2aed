"""What verdicts rest on: gathered while detectors look, one finding a region, with the frame that it was made in."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from fedi_safety.core.cascade import Cascade
from fedi_safety.core.enums import Verdict
from fedi_safety.core.explained.account import MAX_FOUND, MAX_LOOKS, MAX_OF_A_FRAME, Account, basis_of, lasting
from fedi_safety.core.explained.text import MAX_TEXT, explanation_from, text_of
from fedi_safety.core.frames.places import Place
from fedi_safety.core.pipeline import Stages
from fedi_safety.core.policy import Policy, Rule, judge
from fedi_safety.core.types import (
    NO_SCORES,
    Explanation,
    FactorHit,
    Finding,
    Found,
    Judgement,
    LeftOut,
    Look,
    RuleHit,
    Scores,
)
from support.fakes import FakeClock, FakeDetector, detectors, red_circles, text_frame

FACE = Finding("FACE_MALE", 0.8, 0.1, 0.1, 0.5, 0.5, 40, signals={"face.present": 0.8})


def test_what_detectors_found_passes_through_the_cascade_with_its_frame() -> None:
    frames = [text_frame(0, b"red=0.1"), text_frame(1, b"red=0.7 circle=0.9")]
    turned = text_frame(1 << 22 | 1, b"red=0.6 circle=0.8")
    frames.append(replace(turned, part_of=1, place=Place(turned=90)))
    detectors = [FakeDetector("a", ("a.red",), cost=1), FakeDetector("b", ("b.circle",), cost=2)]
    (scores,) = Cascade(detectors, red_circles()).score([frames], [NO_SCORES], Stages(), FakeClock())
    assert isinstance(scores, Scores) and scores.explanation is not None
    assert [(f.detectors, f.frame, f.finding.score) for f in scores.explanation.found] == [
        (("a",), 0, 0.1),
        (("a",), 1, 0.7),
        (("a",), 1 << 22 | 1, 0.6),
        (("b",), 1, 0.9),
        (("b",), 1 << 22 | 1, 0.8),
    ]
    assert scores.explanation.looks[2] == Look(1 << 22 | 1, 1, "turned by 90°", turned.width, 1)


def test_a_region_that_two_detectors_speak_of_is_one_finding() -> None:
    """A face says how certain it is one and how old, in one place; the later detector says whether it counted."""
    account = Account([text_frame(0, b"pic")])
    other = replace(FACE, x=0.3)
    account.add("finder", text_frame(0, b"pic"), [FACE, other])
    told = replace(FACE, ages={"under 18": 0.3}, signals={"face.minor": 0.3}, counted=False, why="too small")
    account.add("reader", text_frame(0, b"pic"), [told])
    first, second = account.explanation().found
    assert (first.detectors, second.detectors) == (("finder", "reader"), ("finder",))
    assert first.finding.signals == {"face.present": 0.8, "face.minor": 0.3}
    assert (first.finding.ages, first.finding.counted, first.finding.why) == ({"under 18": 0.3}, False, "too small")
    assert second.finding == other


def test_of_a_crowd_the_strongest_are_kept_and_whoever_gave_the_signal() -> None:
    crowd = [replace(FACE, x=i / 1000, score=i / 1000, signals={"face.minor": 0.1}) for i in range(900)]
    youngest = replace(FACE, x=0.95, score=0.01, signals={"face.minor": 0.9})
    account = Account([text_frame(0, b"pic")])
    account.add("reader", text_frame(0, b"pic"), [*crowd, youngest])
    found = [f.finding for f in account.explanation().found]
    assert len(found) == MAX_OF_A_FRAME and found[0] == youngest and found[1].score == 0.899


# --- what lasts


def hit(frame: int, value: float, signal: str = "face.minor") -> FactorHit:
    return FactorHit("minor", 0.2, value, signal, frame)


def judged(*hits: FactorHit) -> Judgement:
    return Judgement(Verdict.BLOCK, (), (RuleHit("r", Verdict.BLOCK, None, hits),), "p")


def test_what_a_verdict_rests_on_lasts_whatever_else_there_is() -> None:
    """The youngest face of the 90th frame is the least certain of 10,000; it is why the content was condemned."""
    looks = tuple(Look(i, i, f"at 0:{i:02}.00", 9, 9) for i in range(100))
    crowd = [Found(("n",), i % 100, replace(FACE, x=i / 10_000, score=0.9)) for i in range(10_000)]
    youngest = Found(("n", "a"), 90, replace(FACE, score=0.01, signals={"face.minor": 0.25}))
    found = lasting(Explanation(looks, (*crowd, youngest)), judged(hit(90, 0.25)), [LeftOut("clip", "why")])
    assert (len(found.found), found.more_found) == (MAX_FOUND, 10_001 - MAX_FOUND)
    assert (len(found.looks), found.more_looks) == (MAX_LOOKS, 100 - MAX_LOOKS)
    assert basis_of(hit(90, 0.25), found.found) == youngest
    assert {one.frame for one in found.found} <= {look.frame for look in found.looks}
    assert found.left_out == (LeftOut("clip", "why"),)


def test_a_factor_rests_on_the_finding_that_gave_its_value_in_its_frame() -> None:
    young, old, elsewhere = (
        Found(("a",), frame, replace(FACE, x=value, signals={"face.minor": value}))
        for frame, value in ((1, 0.31239), (1, 0.1), (2, 0.31239))
    )
    assert basis_of(hit(1, 0.31239), [elsewhere, old, young]) == young
    assert basis_of(hit(1, 0.3124), [elsewhere, old, young]) == young, "what was kept is rounded"
    assert basis_of(hit(1, 0.2), [young, old]) is None
    assert basis_of(hit(1, 0.31239, "nsfw.open_nsfw"), [young, old]) is None


# --- who was not asked


def left_out(policy: Policy, *pictures: bytes, cascade: bool = True) -> list[tuple[str, str, int]]:
    """Score one medium of these pictures, and tell of each detector that was not asked of some why."""
    frames = [text_frame(i, text) for i, text in enumerate(pictures)]
    opened = Cascade(detectors(), policy, enabled=cascade)
    (scores,) = opened.score([frames], [NO_SCORES], Stages(), FakeClock())
    assert isinstance(scores, Scores)
    return [(out.detector, out.why, out.pictures) for out in opened.left_out(scores)]


def test_a_detector_that_was_left_out_says_by_what() -> None:
    own = red_circles(cascade=True)
    assert left_out(own, b"red=0.1 circle=1") == [
        ("b", "red 0.10 < 0.5", 1),
        ("c", "red 0.10 < 0.5", 1),
    ]
    assert left_out(own, b"red=0.7 circle=0.7") == [("c", "the rule `red circle` holds without it", 1)]
    assert left_out(own, b"red=0.7 circle=0.05") == [("c", "b.circle 0.05 < 0.1 rules circle out", 1)]
    assert left_out(own, b"red=0.7 circle=0.3") == []


def test_a_factor_that_no_active_detector_tells_is_no_score_of_zero() -> None:
    own = red_circles()
    child = Rule("child", {"child": 0.6, "circle": 0.5}, Verdict.REVIEW)
    policy = replace(own, factors={**own.factors, "child": ("clip.minor",)}, rules=(*own.rules, child))
    assert left_out(policy, b"red=0.1 circle=1")[0] == ("b", "red 0.10 < 0.5; no active detector tells child", 1)


def test_of_several_pictures_each_has_its_own_reason() -> None:
    assert left_out(red_circles(cascade=True), b"red=0.1", b"red=0.2", b"red=0.7 circle=0.05", b"red=0.2") == [
        ("b", "red 0.20 < 0.5", 2),
        ("b", "red 0.10 < 0.5", 1),
        ("c", "red 0.20 < 0.5", 2),
        ("c", "red 0.10 < 0.5", 1),
        ("c", "b.circle 0.05 < 0.1 rules circle out", 1),
    ]


def test_a_detector_that_no_rule_uses_says_so_also_without_the_cascade() -> None:
    only_red = Policy("r", {"red": ("a.red",)}, (Rule("red", {"red": 0.5}, Verdict.BLOCK),))
    unused = "no rule of the policy uses what it says"
    assert left_out(only_red, b"red=0.9", cascade=False) == [("b", unused, 1), ("c", unused, 1)]
    assert left_out(red_circles(), b"red=0.1", cascade=False) == []


# --- in words that are kept


FULL = Explanation(
    (Look(0, 0, "", 640, 480), Look(1 << 22, 0, "tile 3 of 9, 0-33 % x 20-60 %", 512, 512, True)),
    (
        Found(("nudenet", "age"), 0, replace(FACE, ages={"dlib under 18": 0.31}, counted=False, why="too small")),
        Found(("nudenet",), 1 << 22, replace(FACE, label="BELLY_COVERED", signals={})),
    ),
    (LeftOut("clip", "red 0.10 < 0.5", 3),),
    more_looks=2,
    more_found=7,
)


def test_it_is_kept_as_it_was() -> None:
    assert explanation_from(text_of(FULL)) == FULL
    assert explanation_from(text_of(Explanation())) == Explanation()


def test_numbers_are_rounded_and_words_made_printable_once_and_for_all() -> None:
    rough = replace(FACE, score=1 / 3, why="two\nlines \ud800" + "x" * 900, signals={"face.present": 1 / 3})
    text = text_of(Explanation((), (Found(("a",), 0, rough),)))
    again = explanation_from(text)
    assert again.found[0].finding.score == 0.3333 and again.found[0].finding.why.startswith("two\\nlines \\ud800x")
    assert text_of(again) == text


def test_however_much_was_found_it_stays_small() -> None:
    many = tuple(Found(("a" * 150,), 0, replace(FACE, label="L" * 190, why="w" * 190, x=i / 200)) for i in range(200))
    looks = tuple(Look(i, i, "somewhere " * 15, 9, 9) for i in range(200))
    text = text_of(Explanation(looks, many))
    found = explanation_from(text)
    assert len(text) <= MAX_TEXT
    assert len(found.found) + found.more_found == 200 and len(found.looks) + found.more_looks == 200


@pytest.mark.parametrize(
    "broken",
    [
        "",
        "[]",
        "{}",
        "null",
        "[" * 9_000,
        '{"v": 2, "looks": [], "found": [], "out": [], "more": [0, 0]}',
        *(
            text_of(FULL).replace(before, after)
            for before, after in (
                ('"more":[2,7]', '"more":[2,-7]'),
                ('"more":[2,7]', '"more":[2]'),
                ("0.8", "1.8"),
                ("0.31", "NaN"),
                ('"too small"', "7"),
                ('"too small"', json.dumps("w" * 201)),
                ('{"dlib under 18":0.31}', "[0.31]"),
                ('"looks":[[', '"looks":[[true,'),
                ('["nudenet","age"]', '"age"'),
            )
        ),
    ],
)
def test_what_is_none_is_refused(broken: str) -> None:
    assert broken != text_of(FULL)
    with pytest.raises(ValueError, match=r"explanation|Expecting|unpack"):
        explanation_from(broken)


def test_what_rests_on_nothing_is_judged_all_the_same() -> None:
    """Nothing is decided by findings: a detector may give none."""
    frames = [text_frame(0, b"red=0.9 circle=0.9")]
    (scores,) = Cascade(detectors(), red_circles()).score([frames], [NO_SCORES], Stages(), FakeClock())
    assert isinstance(scores, Scores)
    bare = replace(scores, explanation=None)
    assert judge(red_circles(), bare.signals, bare.frames) == judge(red_circles(), scores.signals, scores.frames)
