"""I7: a block that something makes a review is settled with that something measured, or it is undecided.

Media here are tables of numbers; an oracle says of each what somebody who reads the policy would. What is measured too
late, or not at all, neither hides a block nor leaves one standing.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fedi_safety.app.replay import Rejudge, preview
from fedi_safety.core.cascade import Cascade
from fedi_safety.core.enums import MediaType, Verdict
from fedi_safety.core.frames.places import Place
from fedi_safety.core.pipeline import Stages
from fedi_safety.core.policy import ClearingBound, Policy, Rule, decide, judge
from fedi_safety.core.types import NO_SCORES, Content, Frame, Judged, Object, Scores, Signal
from fedi_safety.ledger.ledger import open_ledger
from fedi_safety.policies import PRESETS, load_policy
from support.fakes import FakeClock, FakeDetector, text_frame

SIGNALS = ("a.red", "b.circle", "d.drawn")
ALL = frozenset(SIGNALS)
Medium = list[dict[str, float]]  # by picture, the value of every signal


ORDERS: tuple[tuple[tuple[str, ...], float, float], ...] = (((), 1, 5), (("b",), 1, 5), (("b",), 5, 1))
"""What the detector of drawings needs, and what the others cost: its turn is the first, the last, or between them."""


def detectors(after: tuple[str, ...] = (), a: float = 1, b: float = 5) -> list[FakeDetector]:
    """Return the three; what tells drawings is the cheapest."""
    return [
        FakeDetector("d", ("d.drawn",), cost=0.5, after=after),
        FakeDetector("a", ("a.red",), cost=a),
        FakeDetector("b", ("b.circle",), cost=b),
    ]


def drawn_circles(**more: object) -> Policy:
    """Return the stand-in policy: a red circle is condemned, a drawn one goes to review."""
    rule = Rule("red circle", {"red": 0.5, "circle": 0.5}, Verdict.BLOCK, review_if={"drawing": 0.9})
    factors = {"red": ("a.red",), "circle": ("b.circle",), "drawing": ("d.drawn",)}
    return Policy("drawn-circles", factors, (replace(rule, **more),))  # type: ignore[arg-type]


def frames_of(medium: Medium) -> list[Frame]:
    return [
        replace(
            text_frame(i, " ".join(f"{name.split('.')[1]}={value!r}" for name, value in picture.items()).encode()),
            place=Place(time_s=float(i)),
        )
        for i, picture in enumerate(medium)
    ]


def measured(
    policy: Policy, *media: Medium, cascade: bool = True, found: list[FakeDetector] | None = None
) -> list[Scores]:
    ran = Cascade(found or detectors(), policy, enabled=cascade).score(
        [frames_of(medium) for medium in media], [NO_SCORES] * len(media), Stages(), FakeClock()
    )
    assert all(isinstance(scores, Scores) for scores in ran)
    return [scores for scores in ran if isinstance(scores, Scores)]


def oracle(policy: Policy, medium: Medium) -> Verdict:
    """Say of a medium of which everything is known which verdict it gets."""

    def reached(bounds: object, picture: dict[str, float]) -> list[bool]:
        assert isinstance(bounds, dict)
        return [max(picture[s] for s in policy.factors[f]) >= t for f, t in bounds.items()]

    verdicts = []
    for rule in policy.rules:
        for picture in medium:
            if all(reached(rule.when, picture)) and rule.verdict is not None:
                milder = rule.verdict is Verdict.BLOCK and any(reached(rule.review_if, picture))
                verdicts.append(Verdict.REVIEW if milder else rule.verdict)
    return max(verdicts, key=lambda v: v.rank, default=Verdict.CLEAR)


def random_policy(random: np.random.Generator) -> Policy:
    factors = {
        "red": ("a.red",),
        "circle": ("b.circle", "a.red"),
        "drawing": ("d.drawn",),
        "either": ("d.drawn", "b.circle"),
    }
    rules = []
    for number in range(random.integers(1, 4)):
        chosen = random.choice(["red", "circle"], random.integers(1, 3), replace=False)
        when = {str(name): float(random.choice([0.2, 0.5, 0.8])) for name in chosen}
        verdict = Verdict(str(random.choice(["block", "block", "review"])))
        makes = random.choice(["drawing", "either"], random.integers(0, 3), replace=False)
        review_if = {str(name): float(random.choice([0.3, 0.7])) for name in makes} if verdict is Verdict.BLOCK else {}
        rules.append(Rule(f"r{number}", when, verdict, review_if=review_if))
    below = {"circle": (ClearingBound(0.15, ("b.circle",)),)} if random.random() < 0.5 else {}
    return Policy("random", factors, tuple(rules), below)


def random_medium(random: np.random.Generator, policy: Policy) -> Medium:
    values = [0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 1.0]
    medium = [{name: float(random.choice(values)) for name in SIGNALS} for _ in range(random.integers(1, 5))]
    for picture in medium:
        if policy.cascade and picture["b.circle"] < 0.15:
            picture["a.red"] = min(picture["a.red"], 0.1)
    return medium


@pytest.mark.sampled(12)
@pytest.mark.parametrize("cascade", [True, False])
@pytest.mark.parametrize("seed", range(60))
def test_the_cascade_ends_with_the_verdict_of_who_knows_every_number(seed: int, cascade: bool) -> None:
    random = np.random.default_rng(seed)
    policy = random_policy(random)
    media = [random_medium(random, policy) for _ in range(20)]
    found_by = detectors(*ORDERS[seed % len(ORDERS)])
    for medium, scores in zip(media, measured(policy, *media, cascade=cascade, found=found_by), strict=True):
        found = decide(policy, scores.signals, ALL, scores.frames, cascade=cascade)
        assert found is not None, "what the cascade ended is settled"
        assert found.verdict is oracle(policy, medium)
        for hit in found.reasons:
            assert len({factor.frame for factor in hit.factors}) == 1, "one picture"
            assert all(medium[f.frame][f.signal] == f.value >= f.threshold for f in hit.factors)


@pytest.mark.parametrize("order", ORDERS)
def test_nothing_is_asked_whether_it_is_drawn_that_is_not_about_to_be_condemned(
    order: tuple[tuple[str, ...], float, float],
) -> None:
    found = detectors(*order)
    media: list[Medium] = [
        [{"a.red": 0.1, "b.circle": 0.9, "d.drawn": 1.0}],
        [{"a.red": 0.9, "b.circle": 0.2, "d.drawn": 1.0}],
        [{"a.red": 0.9, "b.circle": 0.9, "d.drawn": 1.0}],
    ]
    measured(drawn_circles(), *media, found=found)
    drawn, red, circle = (len(detector.seen) for detector in found)
    assert (drawn, {red, circle}) == (1, {2, 3}), (
        "what rules the other out first sees all of them, and nobody asks twice"
    )


def test_a_photograph_among_drawings_is_condemned() -> None:
    drawn, taken = {"a.red": 0.9, "b.circle": 0.9, "d.drawn": 1.0}, {"a.red": 0.6, "b.circle": 0.6, "d.drawn": 0.1}
    for medium, verdict in (
        ([drawn], "review"),
        ([drawn, drawn], "review"),
        ([drawn, taken], "block"),
        ([taken], "block"),
    ):
        (scores,) = measured(drawn_circles(), medium)
        judgement = judge(drawn_circles(), scores.signals, scores.frames)
        assert judgement.verdict.value == verdict
        assert [f.factor for f in judgement.reasons[0].factors] == [
            "red",
            "circle",
            *["drawing"] * (verdict == "review"),
        ]


def test_frames_that_are_joined_are_all_drawn_or_none_is() -> None:
    """A drawing that is shown for a moment beside a photograph takes nothing away."""
    drawn, taken = {"a.red": 0.9, "b.circle": 0.1, "d.drawn": 1.0}, {"a.red": 0.1, "b.circle": 0.9, "d.drawn": 0.1}
    policy = drawn_circles(within_s=1.0)
    (mixed, pure) = measured(policy, [drawn, taken], [drawn, taken | {"d.drawn": 0.95}])
    assert judge(policy, mixed.signals, mixed.frames).verdict is Verdict.BLOCK
    assert judge(policy, pure.signals, pure.frames).verdict is Verdict.REVIEW


def test_where_nothing_measures_it_the_block_stands_and_where_it_was_not_measured_it_is_undecided() -> None:
    known = {"a.red": Signal(0.9), "b.circle": Signal(0.9)}
    policy = drawn_circles()
    assert decide(policy, known, ALL) is None
    without = decide(policy, known, ALL - {"d.drawn"})
    assert without is not None and without.verdict is Verdict.BLOCK
    assert decide(policy, known, ALL, None) is None, "highest values of an older ledger alone"


def test_a_ledger_that_never_asked_says_undecided_and_one_that_did_says_what_a_scan_says(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path / "ledger.db", clock=FakeClock())
    before = replace(drawn_circles(), rules=(replace(drawn_circles().rules[0], review_if={}),))
    medium: Medium = [{"a.red": 0.9, "b.circle": 0.9, "d.drawn": 1.0}]
    for policy, verdict in ((before, None), (drawn_circles(), Verdict.REVIEW)):
        (scores,) = measured(policy, medium)
        content = Content(hashlib.sha256(b"1").digest(), 1, MediaType.PNG, 9, 9, 1, scores)
        judged = Judged(Object("1", 1, 1), content, judge(policy, scores.signals, scores.frames))
        ledger.record(ledger.begin_run("scan", "fake://store", {}), "fake://store", [judged])
        told = preview(Rejudge(drawn_circles(), ALL), ledger.score_pages())
        assert (told.undecided, dict(told.changes)) == ((1, {}) if verdict is None else (0, {("review", "review"): 1}))
    ledger.dispose()


@pytest.mark.parametrize("preset", PRESETS)
def test_no_preset_condemns_what_is_surely_drawn_by_the_age_of_a_photographs_face(preset: str) -> None:
    """Every rule that condemns by an age model's word sends what is drawn to review, and only that."""
    policy = load_policy(preset)
    ages = {signal: Signal(1.0) for signal in policy.signals if signal.startswith("face.")}
    rest = {"nsfw.open_nsfw": Signal(1.0), "nudity.exposed": Signal(1.0)}
    for drawn, verdict in ((1.0, Verdict.REVIEW), (0.5, Verdict.BLOCK)):
        assert judge(policy, ages | rest | {"clip.drawn": Signal(drawn)}).verdict is verdict
