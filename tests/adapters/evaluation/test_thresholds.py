"""Calibration: sampling, shares with their bounds, and what is proposed."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest

from fedi_safety.cli.calibrate_cmd import bar
from fedi_safety.core.enums import Reason, Verdict
from fedi_safety.core.pipeline import Options
from fedi_safety.core.policy import Policy, Rule
from fedi_safety.core.types import Object, Unscanned
from fedi_safety.evaluation.sampling import sample_objects
from fedi_safety.evaluation.scores import sample_scores
from fedi_safety.evaluation.thresholds import Calibration, calibrate, pictures_needed, upper_bound
from fedi_safety.reports.calibration import conclusion, proposals, render, shown_points
from support.fakes import FakeClock, FakeDecoder, FakeStore, detectors, red_circles

# --- drawing


def objects(count: int) -> list[Object]:
    return [Object(f"{i:04}", 1, 1) for i in range(count)]


def test_the_same_objects_are_drawn_in_whatever_order_they_are_listed() -> None:
    listed = objects(1000)
    first = sample_objects(listed, 50)
    random.Random(1).shuffle(listed)
    assert sample_objects(listed, 50) == first and first.listed == 1000 and len(first.objects) == 50
    assert {o.key for o in sample_objects(listed, 50, seed=1).objects} != {o.key for o in first.objects}


def test_a_smaller_draw_is_the_first_part_of_a_larger_one() -> None:
    assert sample_objects(objects(500), 30).objects == sample_objects(objects(500), 80).objects[:30]


def test_every_object_has_the_same_chance() -> None:
    drawn = Counter(o.key for seed in range(2000) for o in sample_objects(objects(20), 5, seed).objects)
    # 500 expected for each, with a standard deviation of about 19.
    assert len(drawn) == 20 and all(410 < count < 590 for count in drawn.values())


def test_what_cannot_be_read_is_listed_but_not_drawn_and_little_is_taken_whole() -> None:
    found = sample_objects([*objects(3), Unscanned(Object("x", 0, 0), Reason.SYMLINK)], 10)
    assert found.listed == 4 and len(found.objects) == 3


# --- bounds


@pytest.mark.parametrize(
    ("hits", "of", "confidence", "bound"),
    [
        (0, 299, 0.95, 0.00997),  # the rule of three
        (0, 100, 0.95, 0.02951),
        (1, 100, 0.95, 0.04656),  # these by scipy.stats.beta.ppf
        (5, 100, 0.95, 0.10225),
        (10, 1000, 0.95, 0.01690),
        (50, 100, 0.99, 0.61928),
        (100, 100, 0.95, 1.0),
    ],
)
def test_the_bound_is_clopper_and_pearsons(hits: int, of: int, confidence: float, bound: float) -> None:
    assert upper_bound(hits, of, confidence) == pytest.approx(bound, abs=2e-5)


@pytest.mark.parametrize("share", [0.001, 0.01, 0.2])
def test_so_many_clean_pictures_show_a_share_and_one_less_does_not(share: float) -> None:
    needed = pictures_needed(share, 0.95)
    assert upper_bound(0, needed, 0.95) <= share < upper_bound(0, needed - 1, 0.95)


def test_the_bound_holds_as_often_as_it_promises() -> None:
    """The true share lies below the bound in at least 95 of 100 samples."""
    rng = random.Random(5)
    kept = sum(upper_bound(sum(rng.random() < 0.03 for _ in range(200)), 200, 0.95) >= 0.03 for _ in range(400))
    assert kept >= 372


# --- policies over samples


def some(count: int) -> dict[str, dict[str, float]]:
    """Pictures with red and circle evenly spread and independent of each other."""
    rng = random.Random(2)
    return {f"{i:04}": {"a.red": rng.random(), "b.circle": rng.random()} for i in range(count)}


def found(share: float = 0.01, count: int = 2000) -> Calibration:
    policy = red_circles().among(frozenset({"a.red", "b.circle"}))
    return calibrate(policy, some(count), share=share)


@pytest.mark.long
def test_shares_are_those_of_the_rules() -> None:
    pictures = some(2000)
    held = sum(p["a.red"] >= 0.5 and p["b.circle"] >= 0.5 for p in pictures.values())
    circle, red = found().rules
    assert (circle.rule, circle.effect, circle.holds.count, circle.holds.of) == ("red circle", "block", held, 2000)
    assert (red.rule, red.effect) == ("very red", "label red")
    assert found().condemned.count == held  # labels condemn nothing
    curve = circle.curves[0]
    assert (curve.factor, curve.threshold) == ("red", 0.5)
    at = {point.threshold: point for point in curve.points}
    assert at[0.5].holds == circle.holds and at[0.01].reached > at[0.5].reached > at[0.99].reached
    assert all(a.holds.count >= b.holds.count for a, b in zip(curve.points, curve.points[1:], strict=False))
    assert len(circle.examples) == 10 and all(pictures[k]["a.red"] >= 0.5 for k in circle.examples)


def test_proposals_keep_to_the_share_and_a_step_less_does_not() -> None:
    pictures = some(2000)
    rule = found(share=0.05).rules[0]

    def share(red: float, circle: float) -> float:
        held = sum(p["a.red"] >= red and p["b.circle"] >= circle for p in pictures.values())
        return upper_bound(held, 2000, 0.95)

    red, circle = rule.curves
    assert red.proposed is not None and circle.proposed is not None and rule.together is not None
    assert share(red.proposed, 0.5) <= 0.05 < share(red.proposed - 0.01, 0.5)
    assert share(0.5, circle.proposed) <= 0.05 < share(0.5, circle.proposed - 0.01)
    assert share(rule.together["red"], rule.together["circle"]) <= 0.05
    assert red.proposed > rule.together["red"] > 0.5
    said = "\n".join(proposals(rule, 0.05))
    assert f"red {red.proposed:g} instead of 0.5" in said and "raised together" in said


def test_a_rule_that_keeps_to_the_share_stays_as_it_is() -> None:
    rule = found(share=0.9).rules[0]
    assert rule.kept(0.9) and rule.together == {"red": 0.5, "circle": 0.5}
    assert "as it is" in proposals(rule, 0.9)[0]


def test_too_few_pictures_show_nothing_and_say_how_many_would() -> None:
    few = found(share=0.001, count=50)
    assert few.needed == 2995 and "at least 2,995 pictures" in conclusion(few)
    assert few.rules[0].together is None and "no threshold" in proposals(few.rules[0], 0.001)[0]


def test_a_rule_that_nothing_measures_is_named_apart() -> None:
    policy = red_circles().among(frozenset({"a.red"}))
    calibrated = calibrate(policy, some(10), share=0.1)
    assert [r.rule for r in calibrated.rules] == ["very red"] and calibrated.unmeasured == ("red circle",)


def test_of_what_moves_a_rule_holds_in_one_picture() -> None:
    """Three media with the same highest values; in one of them one picture has both."""
    red, circle, nothing = {"a.red": 0.9}, {"b.circle": 0.9}, {"a.red": 0.0, "b.circle": 0.0}
    pictures = {"apart": [red, circle, nothing], "both": [nothing, red | circle]}
    policy = red_circles().among(frozenset({"a.red", "b.circle"}))
    signals = dict.fromkeys(("apart", "both", "still"), red | circle)
    calibrated = calibrate(policy, signals, pictures, share=0.5)
    (rule, _) = calibrated.rules
    assert (rule.holds.count, rule.holds.of, calibrated.condemned.count, rule.examples) == (2, 3, 2, ("both", "still"))
    (curve, _) = rule.curves
    assert curve.values.tolist() == [0.9] * 3
    assert {(point.reached, point.holds.count) for point in curve.points if point.threshold <= 0.9} == {(3, 2)}


def test_tables_leave_out_what_says_the_same() -> None:
    policy = Policy("p", {"x": ("a.x",)}, (Rule("r", {"x": 0.5}, Verdict.BLOCK),)).among(frozenset({"a.x"}))
    calibrated = calibrate(policy, {str(i): {"a.x": 0.31} for i in range(9)}, share=0.5)
    assert [p.threshold for p in shown_points(calibrated.rules[0].curves[0])] == [0.05, 0.32, 0.5]


def test_the_page_is_whole_and_escapes_what_others_wrote() -> None:
    from xml.etree import ElementTree

    policy = Policy("p", {"x": ("a.x",)}, (Rule("<b>&", {"x": 0.5}, Verdict.BLOCK),)).among(frozenset({"a.x"}))
    calibrated = calibrate(policy, {"<script>\n": {"a.x": 0.9}, "b": {"a.x": 0.1}}, share=0.5)
    page = render(calibrated, "file:///<x>", "2 of 2")
    ElementTree.fromstring(page.split("\n", 1)[1].replace("&nbsp;", " "))
    assert "<script>" not in page and "&lt;script&gt;\\n" in page and 'data-threshold="0.5"' in page


@pytest.mark.parametrize(("share", "cells"), [(0.0, 0), (1e-9, 1), (0.01, 8), (1.0, 16)])
def test_bars_stand_on_a_log_scale(share: float, cells: int) -> None:
    assert math.ceil(len(bar(share))) == cells


# --- scoring a sample


def test_a_sample_is_scored_in_full_and_nothing_is_written() -> None:
    store = FakeStore(
        {f"{i}": f"pic red=0.1 circle=0.{i}".encode() for i in range(8)} | {"x": b"csv", "y": b"bad corrupt"}
    )
    found_detectors = detectors()
    policy = red_circles(cascade=True)
    progress: list[int] = []
    sample = sample_scores(
        store,
        FakeDecoder(),
        found_detectors,
        policy,
        sample_objects(store.list(), 100),
        Options(),
        FakeClock(),
        on_progress=progress.append,
    )
    assert (sample.listed, sample.sampled, len(sample.signals)) == (10, 10, 8)
    assert (sample.skipped, sample.unscanned) == ({"not_media": 1}, {"corrupt": 1})
    # Red is ruled out for all of them, yet everything is measured: other thresholds are to be tried.
    assert all(set(signals) == {"a.red", "b.circle", "c.round"} for signals in sample.signals.values())
    assert progress[-1] == 10 and store.removed == [] and len(store.objects) == 10
