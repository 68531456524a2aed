"""I7: what a ledger keeps is decided as a scan would, or undecided; what only a closer look shows condemns nothing.

Media here are tables of numbers: views of pictures, some of which a second pass alone shows. Every policy scans all of
them afresh, with the cascade and without, and decides what every other policy's scan left.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from fedi_safety.app.replay import Rejudge, preview
from fedi_safety.cli.text.lookup import reason_json
from fedi_safety.core.cascade import Cascade
from fedi_safety.core.enums import Detail, MediaType, Reason, Verdict
from fedi_safety.core.errors import Unscannable
from fedi_safety.core.examine import Examined, Examiner
from fedi_safety.core.frames.places import Place
from fedi_safety.core.frames.scores import FrameScore, FrameScores
from fedi_safety.core.frames.shown import VIEW_BITS
from fedi_safety.core.pipeline import Stages
from fedi_safety.core.policy import ClearingBound, Policy, Rule, decide, judge, nearly
from fedi_safety.core.types import Content, Decoded, Frame, Judged, Judgement, Object, Scores, Signal
from fedi_safety.core.wording.reasons import reason_text
from fedi_safety.ledger.ledger import SqlLedger, open_ledger
from fedi_safety.policies import PRESETS, load_policy
from support.fakes import FakeClock, FakeDecoder, FakeDetector, red_circles, text_frame

SIGNALS = ("a.red", "b.circle", "c.round")
ALL = frozenset(SIGNALS)
STORE = "fake://store"
VALUES = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9, 1.0)


@dataclass
class Medium:
    """What two passes show; `more` says that a second one shows anything."""

    first: tuple[Frame, ...]
    second: tuple[Frame, ...]
    more: bool


class Shown(FakeDecoder):
    """Shows media by their number."""

    def __init__(self, media: Sequence[Medium]) -> None:
        super().__init__()
        self.media = media
        self.looks: list[Detail] = []
        self.failing = False

    def decode(self, data: bytes, media_type: MediaType, detail: Detail = Detail.COARSE) -> Decoded:
        self.looks.append(detail)
        medium = self.media[int(data)]
        if detail is Detail.FINE and self.failing:
            raise Unscannable(Reason.TOO_SLOW, "cut short")
        frames = medium.first if detail is Detail.COARSE else medium.first[:1] + medium.second
        return Decoded(media_type, 9, 9, frames, more=medium.more and detail is Detail.COARSE)


def detectors() -> list[FakeDetector]:
    return [
        FakeDetector("a", ("a.red",), cost=1),
        FakeDetector("b", ("b.circle",), cost=10),
        FakeDetector("c", ("c.round",), cost=100),
    ]


def frame(index: int, signals: dict[str, float], part_of: int | None = None, time_s: float | None = None) -> Frame:
    text = " ".join(f"{name.partition('.')[2]}={value!r}" for name, value in signals.items())
    return replace(text_frame(index, text.encode()), place=Place(time_s=time_s), part_of=part_of)


def random_policy(random: np.random.Generator, name: str) -> Policy:
    """Return a policy in which nothing is left to chance: its bounds, where it has any, hold always."""
    factors = {"red": ("a.red",), "circle": ("b.circle", "c.round"), "any": SIGNALS, "most": SIGNALS}
    rules = []
    for number in range(random.integers(1, 4)):
        chosen = random.choice(sorted(factors), random.integers(1, 4), replace=False)
        verdict = Verdict(str(random.choice(["block", "block", "review"])))
        milder = [None, *(v for v in Verdict if v.rank <= verdict.rank)]
        rules.append(
            Rule(
                f"r{number}",
                {str(factor): float(random.choice([0.1, 0.2, 0.4, 0.8])) for factor in chosen},
                verdict,
                label=f"l{number}" if random.random() < 0.3 else None,
                within_s=1.0 if random.random() < 0.2 else None,
                across_frames=Verdict.REVIEW if random.random() < 0.3 else None,
                second_look=milder[random.integers(len(milder))],
                review_if={"circle": float(random.choice([0.3, 0.7]))} if random.random() < 0.25 else {},
            )
        )
    if random.random() < 0.3:
        rules.append(Rule("label", {"any": 0.8}, None, "any"))
    bounds = {
        "any": (ClearingBound(0.1, ("a.red",), always=True), ClearingBound(0.2, ("a.red", "b.circle"), always=True)),
        "most": (ClearingBound(0.1, ("b.circle",), always=True),),
    }
    kept = {factor: bound for factor, bound in bounds.items() if random.random() < 0.6}
    agree = {"most": int(random.integers(2, 4))} | ({"circle": 2} if random.random() < 0.3 else {})
    return Policy(name, factors, tuple(rules), kept, agree=agree)


def random_medium(random: np.random.Generator) -> Medium:
    """Return a still with views, or something that moves with more moments: of either a second pass may show more."""

    def values() -> dict[str, float]:
        return {name: float(random.choice(VALUES)) for name in SIGNALS}

    moves = random.random() < 0.4
    pictures = int(random.integers(1, 4)) if moves else 1
    first = [frame(i, values(), time_s=i * 0.8 if moves else None) for i in range(pictures)]
    if random.random() < 0.3:
        first.append(frame((1 << VIEW_BITS) + 0, values(), 0))
    second: list[Frame] = []
    if random.random() < 0.8:
        second += [frame(((2 + n) << VIEW_BITS) + 0, values(), 0) for n in range(random.integers(0, 4))]
        if moves:
            second += [frame(pictures + n, values(), time_s=n * 0.8 + 0.4) for n in range(random.integers(0, 3))]
    return Medium(tuple(first), tuple(second), more=bool(second) or random.random() < 0.3)


def scanned(policy: Policy, media: Sequence[Medium], *, cascade: bool = True) -> list[tuple[Content, Judgement]]:
    """Return what a scan under a policy says of media."""
    examiner = Examiner(Shown(media), Cascade(detectors(), policy, enabled=cascade), policy, Stages(), FakeClock())
    batch = [
        examiner.decode(hashlib.sha256(b"%d" % number).digest(), b"%d" % number, MediaType.PNG)
        for number in range(len(media))
    ]
    return [told(one) for one in examiner.examine(batch, lambda _: set())]


def told(examined: Examined) -> tuple[Content, Judgement]:
    assert not isinstance(examined, Unscannable)
    return examined


def word(judgement: Judgement | None) -> tuple[Verdict, tuple[str, ...]] | None:
    return None if judgement is None else (judgement.verdict, judgement.labels)


@pytest.mark.sampled(4)
@pytest.mark.parametrize("seed", range(25))
def test_the_cascade_changes_no_verdict_where_bounds_hold_always(seed: int) -> None:
    random = np.random.default_rng(seed)
    policy, media = random_policy(random, "p"), [random_medium(random) for _ in range(40)]
    spared, full = scanned(policy, media), scanned(policy, media, cascade=False)
    assert [word(judgement) for _, judgement in spared] == [word(judgement) for _, judgement in full]
    for content, judgement in spared:
        anew = decide(policy, content.scores.signals, ALL, content.scores.frames)
        assert anew == judgement, "what a scan under a policy left is decided under that policy"


@pytest.mark.sampled(4)
@pytest.mark.parametrize("seed", range(25))
def test_what_was_scanned_under_one_policy_is_decided_under_another_as_it_would_scan(seed: int) -> None:
    random = np.random.default_rng(1000 + seed)
    one, other = random_policy(random, "one"), random_policy(random, "other")
    media = [random_medium(random) for _ in range(40)]
    fresh = [word(judgement) for _, judgement in scanned(other, media)]
    for cascade in (True, False):
        stored = [content.scores for content, _ in scanned(one, media, cascade=cascade)]
        found = [word(decide(other, scores.signals, ALL, scores.frames)) for scores in stored]
        assert [was for was, now in zip(found, fresh, strict=True) if was not in (None, now)] == []
        if not cascade and other.signals <= one.signals:
            looked = [scores.frames is not None and scores.frames.closed for scores in stored]
            assert all(found[i] is not None for i in range(len(media)) if looked[i]), "all is known of these"


@pytest.mark.sampled(1)
@pytest.mark.parametrize("seed", range(6))
def test_a_ledger_says_of_them_what_is_said_one_by_one(seed: int, tmp_path: Path) -> None:
    """Recorded, read by the page, decided anew and previewed."""
    random = np.random.default_rng(2000 + seed)
    one, other = random_policy(random, "one"), random_policy(random, "other")
    media = [random_medium(random) for _ in range(150)]
    left = scanned(one, media, cascade=seed % 2 == 0)
    ledger = open_ledger(tmp_path / "ledger.db", clock=FakeClock())
    kept(ledger, left)
    rejudge = Rejudge(other, ALL)
    expected = [rejudge(content.sha256, content.scores) for content, _ in left]
    shown = preview(rejudge, ledger.score_pages())
    assert shown.undecided == sum(judgement is None for judgement in expected)
    run = ledger.begin_run("scan", STORE, {})
    ledger.redecide(run, other.id, rejudge, outcomes=rejudge.outcomes)
    found = ledger.contents([content.sha256 for content, _ in left])
    for (content, _), judgement in zip(left, expected, strict=True):
        again, now, decided = found[content.sha256]
        assert again.scores.frames == content.scores.frames
        assert (now if decided else None) == judgement
    ledger.dispose()


def kept(ledger: SqlLedger, contents: Sequence[tuple[Content, Judgement]]) -> None:
    run = ledger.begin_run("scan", STORE, {})
    ledger.record(run, STORE, [Judged(Object(f"{i}", 1, 1), *found) for i, found in enumerate(contents)])


# --- what a second look alone shows


def looked_twice(policy: Policy, whole: dict[str, float], tile: dict[str, float]) -> tuple[Content, Judgement]:
    """Return what a scan says of a still and a tile of it, which a second pass shows."""
    return scanned(policy, [Medium((frame(0, whole),), (frame(5 << VIEW_BITS, tile, 0),), True)])[0]


LATE = [  # second_look; verdict and label of what only a tile shows
    (None, Verdict.BLOCK, ("found",)),
    (Verdict.BLOCK, Verdict.BLOCK, ()),
    (Verdict.REVIEW, Verdict.REVIEW, ()),
    (Verdict.CLEAR, Verdict.CLEAR, ()),
]


@pytest.mark.parametrize(("second_look", "verdict", "labels"), LATE)
def test_what_only_a_second_look_shows_has_the_verdict_that_the_rule_has_for_it(
    second_look: Verdict | None, verdict: Verdict, labels: tuple[str, ...]
) -> None:
    rule = Rule("r", {"red": 0.5, "circle": 0.5}, Verdict.BLOCK, "found", second_look=second_look)
    policy = replace(red_circles(), rules=(rule,))
    near, red = {"a.red": 0.9, "b.circle": 0.3}, {"a.red": 0.1, "b.circle": 0.9}
    content, judgement = looked_twice(policy, near | {"c.round": 0.0}, red | {"c.round": 0.0})
    assert word(judgement) == (verdict, labels)
    assert all(hit.second_look == (second_look is not None) for hit in judgement.reasons)
    for hit in judgement.reasons:
        assert reason_json(hit)["second_look"] is hit.second_look
        assert reason_text(hit).endswith(", seen by a second look only") == hit.second_look
    content, judgement = looked_twice(policy, {"a.red": 0.9, "b.circle": 0.9, "c.round": 0.0}, red | {"c.round": 0.0})
    assert word(judgement) == (Verdict.BLOCK, ("found",)) and content.frames == 1, "the whole picture shows it"


def test_a_moment_that_only_a_second_pass_came_to_counts_in_full() -> None:
    rule = Rule("r", {"red": 0.5, "circle": 0.5}, Verdict.BLOCK, second_look=Verdict.REVIEW)
    policy = replace(red_circles(), rules=(rule,))
    near, both = {"a.red": 0.9, "b.circle": 0.3, "c.round": 0.0}, {"a.red": 0.9, "b.circle": 0.9, "c.round": 0.0}
    moves = Medium((frame(0, near, time_s=0.0),), (frame(7, both, time_s=2.0),), True)
    _, judgement = scanned(policy, [moves])[0]
    assert judgement.verdict is Verdict.BLOCK and not judgement.reasons[0].second_look
    tiled = Medium(moves.first, (frame((5 << VIEW_BITS) + 7, both, 7, 2.0), frame(7, near, time_s=2.0)), True)
    _, judgement = scanned(policy, [tiled])[0]
    assert judgement.verdict is Verdict.REVIEW and judgement.reasons[0].second_look


def test_a_second_look_that_failed_is_not_asked_for_again_and_again() -> None:
    near = {"a.red": 0.9, "b.circle": 0.3, "c.round": 0.0}
    decoder = Shown([Medium((frame(0, near),), (frame(5 << VIEW_BITS, near, 0),), True)])
    decoder.failing = True
    policy = red_circles()
    examiner = Examiner(decoder, Cascade(detectors(), policy), policy, Stages(), FakeClock())
    content, judgement = told(examiner.examine([examiner.decode(bytes(32), b"0", MediaType.PNG)], lambda _: set())[0])
    assert decoder.looks == [Detail.COARSE, Detail.FINE] and content.partly is not None
    assert decide(policy, content.scores.signals, ALL, content.scores.frames) == judgement


def test_what_was_not_measured_may_be_near() -> None:
    policy = red_circles()
    known = {"a.red": Signal(0.4)}
    assert nearly(policy, known, available=ALL) and not nearly(policy, known)
    assert not nearly(policy, {"a.red": Signal(0.2)}, available=ALL), "half of the threshold is out of reach"


def test_what_may_be_ruled_out_yet_is_not_settled() -> None:
    """A threshold below a bound: what one signal reaches does not hold where the others stay below."""
    bounds = {"any": (ClearingBound(0.2, ("a.red", "b.circle"), always=True),)}
    policy = Policy("p", {"any": SIGNALS}, (Rule("r", {"any": 0.1}, Verdict.BLOCK),), bounds)
    assert decide(policy, {"a.red": Signal(0.15)}, ALL) is None
    assert decide(policy, {"a.red": Signal(0.15)}, ALL - {"b.circle"}) == judge(policy, {"a.red": Signal(0.15)})
    media = [Medium((frame(0, {"a.red": 0.15, "b.circle": b, "c.round": 0.9}),), (), False) for b in (0.1, 0.3)]
    for cascade in (True, False):
        verdicts = [judgement.verdict for _, judgement in scanned(policy, media, cascade=cascade)]
        assert verdicts == [Verdict.CLEAR, Verdict.BLOCK]


# --- signals that must agree


@pytest.mark.parametrize(
    ("signals", "value"),
    [
        ({}, 0.0),
        ({"a.red": 0.9}, 0.0),
        ({"a.red": 0.9, "b.circle": 0.0}, 0.0),
        ({"a.red": 0.9, "c.round": 0.3}, 0.3),
        ({"a.red": 0.2, "b.circle": 0.6, "c.round": 0.4}, 0.4),
    ],
)
def test_a_factor_is_what_so_many_of_its_signals_reach(signals: dict[str, float], value: float) -> None:
    policy = Policy("p", {"most": SIGNALS}, (Rule("r", {"most": 0.25}, Verdict.BLOCK),), agree={"most": 2})
    known = {name: Signal(found) for name, found in signals.items()}
    judgement = judge(policy, known)
    assert (judgement.verdict is Verdict.BLOCK) == (value >= 0.25)
    if judgement.reasons:
        assert judgement.reasons[0].factors[0].value == value
        assert known[judgement.reasons[0].factors[0].signal].value == value


def test_signals_of_different_frames_do_not_agree() -> None:
    policy = Policy("p", {"most": SIGNALS}, (Rule("r", {"most": 0.25}, Verdict.BLOCK),), agree={"most": 2})
    rows = [FrameScore(i, i, signals=dict.fromkeys(SIGNALS, 0.0) | {name: 0.9}) for i, name in enumerate(SIGNALS[:2])]
    known = {"a.red": Signal(0.9, 0), "b.circle": Signal(0.9, 1), "c.round": Signal(0.0)}
    apart, together = FrameScores.of(rows, closed=True), FrameScores.of((), closed=True)
    assert decide(policy, known, ALL, apart) == Judgement(Verdict.CLEAR, policy=policy.id)
    assert judge(policy, known, together).verdict is Verdict.BLOCK


# --- the presets

SEXUAL = ("nsfw.open_nsfw", "nudity.exposed", "clip.sexual")
AGES = ("face.minor", "face.young", "face.under_18", "face.under_20")
REST = (*AGES, "face.present", "face.confirmed", "clip.minor", "clip.drawn")


def preset_signals(random: np.random.Generator, loud: str | None) -> dict[str, float]:
    """Return numbers for a picture that only one detector takes for sexual, or that anything may be said of."""
    found = {name: float(random.choice(VALUES)) for name in (*SEXUAL, *REST)}
    return found | {name: 0.0 for name in SEXUAL if loud not in (None, name)}


@pytest.mark.sampled(3)
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("loud", SEXUAL)
def test_no_preset_condemns_by_one_detectors_word_that_a_picture_is_sexual(preset: str, loud: str) -> None:
    random = np.random.default_rng(7)
    policy = load_policy(preset)
    for _ in range(400):
        signals = preset_signals(random, loud) | dict.fromkeys((loud, *AGES, "clip.minor"), 1.0)
        assert judge(policy, {name: Signal(value) for name, value in signals.items()}).verdict is not Verdict.BLOCK


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_condemns_what_two_detectors_plainly_say(preset: str) -> None:
    plain = {"nsfw.open_nsfw": 0.9, "nudity.exposed": 0.6, "face.present": 0.9, "face.confirmed": 0.9}
    plain |= dict.fromkeys(AGES, 0.9)
    policy = load_policy(preset).among(frozenset(plain))
    assert judge(policy, {name: Signal(value) for name, value in plain.items()}).verdict is Verdict.BLOCK


@pytest.mark.sampled(1)
@pytest.mark.parametrize("preset", PRESETS)
def test_no_preset_condemns_by_a_second_look(preset: str) -> None:
    """Nor leaves anything to the cascade: what its bounds rule out is ruled out, whatever was measured."""
    random = np.random.default_rng(11)
    policy = load_policy(preset)
    assert all(bound.always for bounds in policy.cascade.values() for bound in bounds)
    late = 0
    for _ in range(600):
        whole, tile = preset_signals(random, None), preset_signals(random, None)
        rows = [FrameScore(0, 0, signals=whole), FrameScore(5 << VIEW_BITS, 0, signals=tile, second=True)]
        known = {n: Signal(max(whole[n], tile[n]), 0 if whole[n] >= tile[n] else 5 << VIEW_BITS) for n in whole}
        table = FrameScores.of(rows, closed=True)
        by_whole = judge(policy, {n: Signal(v) for n, v in whole.items()})
        by_all = judge(policy, known, table)
        if by_whole.verdict is not Verdict.BLOCK:
            assert by_all.verdict is not Verdict.BLOCK
            late += any(hit.second_look for hit in by_all.reasons)
    assert late, "some of them had something to show"


# --- older rows


def test_what_an_older_version_found_by_a_view_is_undecided_until_it_is_read_again() -> None:
    """It did not keep which views a second look had shown; what whole frames show stands, and what nothing shows."""
    policy = red_circles()
    tile = 5 << VIEW_BITS

    def anew(red: Signal, circle: Signal, frames: FrameScores) -> Verdict | None:
        known = {"a.red": red, "b.circle": circle, "c.round": Signal(0.0)}
        found = decide(policy, known, ALL, frames)
        return None if found is None else found.verdict

    kept_none = FrameScores(b"")
    assert anew(Signal(0.9), Signal(0.9), kept_none) is Verdict.BLOCK
    assert anew(Signal(0.9), Signal(0.9, tile), kept_none) is None
    assert anew(Signal(0.2), Signal(0.9, tile), kept_none) is Verdict.CLEAR
    assert anew(Signal(0.9), Signal(0.3), kept_none) is None, "near, and nobody knows whether it was looked at again"
    rows = [
        FrameScore(0, 0, signals={"a.red": 0.9, "b.circle": 0.1, "c.round": 0.0}),
        FrameScore(tile, 0, signals={"a.red": 0.0, "b.circle": 0.9, "c.round": 0.0}),
        FrameScore(1, 1, signals={"a.red": 0.0, "b.circle": 0.0, "c.round": 0.0}),
    ]
    told_apart = FrameScores.of(rows, closed=True)
    assert anew(Signal(0.9), Signal(0.9, tile), told_apart) is Verdict.BLOCK, "a first look's tile"
    assert anew(Signal(0.9), Signal(0.9, tile), told_apart.as_older()) is None


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqlLedger]:
    made = open_ledger(tmp_path / "ledger.db", clock=FakeClock())
    yield made
    made.dispose()


@pytest.mark.sampled(1)
@pytest.mark.parametrize("seed", range(4))
def test_pages_of_older_rows_say_what_is_said_one_by_one(seed: int, ledger: SqlLedger) -> None:
    random = np.random.default_rng(3000 + seed)
    one, other = random_policy(random, "one"), random_policy(random, "other")
    left = [
        (replace(content, scores=replace(content.scores, frames=older(content.scores))), judgement)
        for content, judgement in scanned(one, [random_medium(random) for _ in range(150)], cascade=False)
    ]
    kept(ledger, left)
    rejudge = Rejudge(other, ALL)
    run = ledger.begin_run("scan", STORE, {})
    ledger.redecide(run, other.id, rejudge, outcomes=rejudge.outcomes)
    found = ledger.contents([content.sha256 for content, _ in left])
    decided = [found[content.sha256][2] for content, _ in left]
    expected = [rejudge(content.sha256, content.scores) for content, _ in left]
    assert decided == [judgement is not None for judgement in expected]
    assert 0 < sum(decided) < len(decided)


def older(scores: Scores) -> FrameScores:
    assert scores.frames is not None
    return scores.frames.as_older()
