"""I7: the factors of a rule hold in one frame, whether a verdict comes from a scan or from what a ledger keeps.

Media here are tables of numbers, pictures by signals; an oracle says of each what somebody who reads the policy would.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import text

from fedi_safety.app.replay import Rejudge, preview
from fedi_safety.core.cascade import Cascade
from fedi_safety.core.enums import ActKind, MediaType, Verdict
from fedi_safety.core.frames.places import Place
from fedi_safety.core.frames.scores import ONE_PICTURE, FrameScore, FrameScores
from fedi_safety.core.frames.shown import VIEW_BITS
from fedi_safety.core.ledger.stored_scores import UNDECIDED
from fedi_safety.core.pipeline import Stages
from fedi_safety.core.policy import ClearingBound, Policy, Rule, decide, judge, nearly
from fedi_safety.core.types import NO_SCORES, Content, Frame, Judged, Object, Scores, Signal
from fedi_safety.ledger.ledger import SqlLedger, open_ledger
from support import stand_in
from support.corpus import shapes
from support.fakes import FakeClock, FakeDetector, FakeStore, detectors, red_circles, text_frame
from support.ledgers import make_older
from support.passes import Bench
from support.program import program

SIGNALS = ("a.red", "b.circle", "c.round")
ALL = frozenset(SIGNALS)
Medium = list[dict[str, float]]  # by picture, the value of every signal


def frames_of(medium: Medium, *, times: Sequence[float] | None = None) -> list[Frame]:
    """Return frames whose texts say what their detectors shall find."""
    return [
        replace(
            text_frame(i, " ".join(f"{name.split('.')[1]}={value!r}" for name, value in picture.items()).encode()),
            place=Place(time_s=float(i) if times is None else times[i]),
        )
        for i, picture in enumerate(medium)
    ]


def measured(
    policy: Policy, *media: Medium, cascade: bool = True, near: bool = False, found: Sequence[FakeDetector] = ()
) -> list[Scores]:
    """Run a cascade over media and return their scores."""
    frames = [frames_of(medium) for medium in media]
    ran = Cascade(found or detectors(), policy, enabled=cascade).score(
        frames, [NO_SCORES] * len(frames), Stages(), FakeClock(), [near] * len(frames)
    )
    assert all(isinstance(scores, Scores) for scores in ran)
    return [scores for scores in ran if isinstance(scores, Scores)]


def oracle(policy: Policy, medium: Medium) -> tuple[Verdict, set[str], set[str]]:
    """Say of a medium of which everything is known: verdict, rules that hold in a picture, rules that hold across."""

    def holds(rule: Rule, picture: dict[str, float]) -> bool:
        return all(max(picture[s] for s in policy.factors[f]) >= t for f, t in rule.when.items())

    highest = {name: max(picture[name] for picture in medium) for name in SIGNALS}
    inside = {rule.name for rule in policy.rules if any(holds(rule, picture) for picture in medium)}
    across = {
        r.name for r in policy.rules if r.name not in inside and r.across_frames is not None and holds(r, highest)
    }
    verdicts = [r.verdict for r in policy.rules if r.name in inside and r.verdict is not None]
    verdicts += [Verdict.REVIEW for r in policy.rules if r.name in across]
    return max(verdicts, key=lambda v: v.rank, default=Verdict.CLEAR), inside, across


def random_policy(random: np.random.Generator, *, bounds: bool) -> Policy:
    factors = {"red": ("a.red",), "circle": ("b.circle", "c.round"), "both": ("a.red", "c.round")}
    rules = []
    for number in range(random.integers(1, 4)):
        chosen = random.choice(sorted(factors), random.integers(1, 4), replace=False)
        when = {str(name): float(random.choice([0.2, 0.5, 0.8])) for name in chosen}
        verdict = Verdict(str(random.choice(["block", "review"])))
        across = Verdict.REVIEW if random.random() < 0.5 else None
        rules.append(Rule(f"r{number}", when, verdict, across_frames=across))
    below = {"circle": (ClearingBound(0.15, ("b.circle",)),)} if bounds else {}
    return Policy("random", factors, tuple(rules), below)


def random_medium(random: np.random.Generator, policy: Policy) -> Medium:
    """Return pictures in which nothing lies below a clearing bound that a rule would hold without."""
    pictures = random.integers(1, 6)
    values = [0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 1.0]
    medium = [{name: float(random.choice(values)) for name in SIGNALS} for _ in range(pictures)]
    for picture in medium:
        if policy.cascade and picture["b.circle"] < 0.15:
            picture["c.round"] = picture["b.circle"]
    return medium


def explains(policy: Policy, scores: Scores, judgement_rules: dict[str, set[int]], medium: Medium) -> None:
    """Every rule names one frame, and in that frame every factor has the value that is told."""
    for hit in judge(policy, scores.signals, scores.frames).reasons:
        frames = {factor.frame for factor in hit.factors}
        if not hit.across_frames:
            assert len(frames) == 1, "one picture"
        for factor in hit.factors:
            assert medium[factor.frame][factor.signal] == factor.value >= factor.threshold
        judgement_rules[hit.rule] = frames


@pytest.mark.sampled(16)
@pytest.mark.parametrize("cascade", [True, False])
@pytest.mark.parametrize("seed", range(60))
def test_what_the_cascade_leaves_out_changes_no_verdict(seed: int, cascade: bool) -> None:
    """Slideshows of random numbers: the cascade's word is that of somebody who knows every number of every picture."""
    random = np.random.default_rng(seed)
    policy = random_policy(random, bounds=seed % 2 == 0)
    media = [random_medium(random, policy) for _ in range(20)]
    for medium, scores in zip(media, measured(policy, *media, cascade=cascade), strict=True):
        verdict, inside, across = oracle(policy, medium)
        found = decide(policy, scores.signals, ALL, scores.frames, cascade=cascade)
        assert found is not None, "what the cascade ended is settled"
        assert found.verdict is verdict
        assert {hit.rule for hit in found.reasons if not hit.across_frames} == inside
        assert {hit.rule for hit in found.reasons if hit.across_frames} == across
        explains(policy, scores, {}, medium)


@pytest.mark.sampled(8)
@pytest.mark.parametrize("seed", range(40))
def test_what_is_near_does_not_rest_on_what_the_cascade_left_out(seed: int) -> None:
    """The second pass is made of the same media whether detectors were left out or not."""
    random = np.random.default_rng(1000 + seed)
    policy = random_policy(random, bounds=seed % 2 == 0)
    media = [random_medium(random, policy) for _ in range(20)]
    pairs = zip(measured(policy, *media, near=True), measured(policy, *media, cascade=False), strict=True)
    for spared, full in pairs:
        assert nearly(policy, spared.signals, spared.frames) == nearly(policy, full.signals, full.frames)


def test_a_cheap_factor_just_below_its_threshold_does_not_hide_that_a_rule_is_near() -> None:
    found = detectors()
    medium = [{"a.red": 0.4, "b.circle": 0.9, "c.round": 0.0}]
    (scores,) = measured(red_circles(), medium, near=True, found=found)
    assert nearly(red_circles(), scores.signals, scores.frames)
    (scores,) = measured(red_circles(), medium)
    assert "b.circle" not in scores.signals, "without a second pass to make, the dear one is left out"


def test_a_frame_that_a_cheap_detector_settles_is_shown_to_no_dear_one() -> None:
    c, b, a = found = detectors()
    medium = [{"a.red": red, "b.circle": 0.3, "c.round": 0.0} for red in (0.1, 0.9, 0.1, 0.8)]
    measured(red_circles(), medium, found=found)
    assert (len(a.seen), len(b.seen), len(c.seen)) == (4, 2, 2)


def test_where_frames_are_reviewed_together_all_are_measured() -> None:
    policy = across(red_circles())
    medium = [{"a.red": 0.1, "b.circle": 0.9, "c.round": 0.0}, {"a.red": 0.9, "b.circle": 0.0, "c.round": 0.0}]
    (scores,) = measured(policy, medium)
    judgement = judge(policy, scores.signals, scores.frames)
    assert judgement.verdict is Verdict.REVIEW and judgement.labels == ("red",)
    hit = judgement.reasons[0]
    assert hit.across_frames and {factor.frame for factor in hit.factors} == {0, 1}
    assert {factor.where for factor in hit.factors} == {"at 0:00.00", "at 0:01.00"}


def across(policy: Policy) -> Policy:
    """Return the policy with its first rule sending to review what different frames show."""
    return replace(policy, rules=(replace(policy.rules[0], across_frames=Verdict.REVIEW), *policy.rules[1:]))


# --- what belongs together


def table(*rows: FrameScore) -> FrameScores:
    return FrameScores.of(rows)


def verdict_of(policy: Policy, frames: FrameScores) -> Verdict:
    known: dict[str, Signal] = {}
    for row in frames.rows():
        for name, value in row.signals.items():
            if name not in known or value > known[name].value:
                known[name] = Signal(value, row.frame, row.where)
    return judge(policy, known, frames).verdict


def test_tiles_borders_turns_and_what_shows_on_black_are_the_frame_that_they_are_of() -> None:
    red, circle = {"a.red": 0.9, "b.circle": 0.0}, {"a.red": 0.0, "b.circle": 0.9}
    view = (5 << VIEW_BITS) + 3
    together = table(FrameScore(3, 3, signals=red), FrameScore(view, 3, signals=circle), FrameScore(4, 4, signals=red))
    apart = table(FrameScore(3, 3, signals=red), FrameScore(view, 4, signals=circle), FrameScore(4, 4, signals=circle))
    assert (verdict_of(red_circles(), together), verdict_of(red_circles(), apart)) == (Verdict.BLOCK, Verdict.CLEAR)


@pytest.mark.parametrize(
    ("times", "streams", "verdict"),
    [
        ((1000, 1500), (0, 0), Verdict.BLOCK),
        ((1000, 1501), (0, 0), Verdict.CLEAR),
        ((1500, 1000), (0, 0), Verdict.BLOCK),
        ((1000, 1000), (1, 2), Verdict.CLEAR),  # another track has another time
        ((None, None), (0, 0), Verdict.CLEAR),  # pages have none
    ],
)
def test_frames_within_a_second_join_only_where_the_policy_says_so(
    times: tuple[int | None, int | None], streams: tuple[int, int], verdict: Verdict
) -> None:
    rows = [
        FrameScore(i, i, streams[i], times[i], signals=signals)
        for i, signals in enumerate(({"a.red": 0.9, "b.circle": 0.1}, {"a.red": 0.1, "b.circle": 0.9}))
    ]
    policy = red_circles()
    within = replace(policy, rules=(replace(policy.rules[0], within_s=0.5), *policy.rules[1:]))
    assert verdict_of(within, table(*rows)) is verdict
    assert verdict_of(policy, table(*rows)) is Verdict.CLEAR


def test_a_join_never_grows_beyond_its_seconds() -> None:
    """Red at 0 s, something at 0.4 s, a circle at 0.8 s: neighbours of neighbours are no neighbours."""
    signals = [{"a.red": 0.9, "b.circle": 0.0}, {"a.red": 0.0, "b.circle": 0.0}, {"a.red": 0.0, "b.circle": 0.9}]
    rows = [FrameScore(i, i, 0, 400 * i, signals=found) for i, found in enumerate(signals)]
    policy = red_circles()
    within = replace(policy, rules=(replace(policy.rules[0], within_s=0.5),))
    assert verdict_of(within, table(*rows)) is Verdict.CLEAR
    assert verdict_of(replace(policy, rules=(replace(policy.rules[0], within_s=0.8),)), table(*rows)) is Verdict.BLOCK


def test_what_a_content_has_by_its_bytes_holds_for_every_frame() -> None:
    policy = Policy(
        "p", {"known": ("known.block",), "red": ("a.red",)}, (Rule("r", {"known": 1.0, "red": 0.5}, Verdict.BLOCK),)
    )
    own = {"known.block": Signal(1.0)}
    cascade = Cascade([FakeDetector("a", ("a.red",))], policy)
    frames = frames_of([{"a.red": 0.1}, {"a.red": 0.9}])
    (scores,) = cascade.score([frames], [Scores(own, {"lists": "1"})], Stages(), FakeClock())
    assert isinstance(scores, Scores)
    judgement = judge(policy, scores.signals, scores.frames)
    assert judgement.verdict is Verdict.BLOCK
    assert {factor.signal: factor.frame for factor in judgement.reasons[0].factors} == {"known.block": 0, "a.red": 1}


# --- the table


def test_a_table_says_what_it_was_made_of() -> None:
    rows = [
        FrameScore(7, 7, 1, 1500, "at 0:01.50", {"a.red": 0.1 + 0.2}),
        FrameScore(2, 2, 1, None, "", {"a.red": 1.0, "b.circle": 5e-324}),
        FrameScore((3 << VIEW_BITS) + 2, 2, 1, 0, "tile 1 of 2, ä", {"b.circle": 0.0}),
    ]
    made = table(*rows)
    assert made.rows() == [rows[1], rows[2], rows[0]]
    assert FrameScores.checked(made.data) == made
    assert FrameScores.of(rows[:1]) == ONE_PICTURE and not ONE_PICTURE.told
    views = FrameScores.of([rows[1], rows[2]])
    assert views.told and not views.rows(), "one picture: the highest values say all but that a first pass saw them"
    many = table(*(FrameScore(i, i, 0, 1000 * i, "at 0:00.00", dict.fromkeys("abcdefgh", 0.5)) for i in range(64)))
    assert len(many.data) < 6500, "64 frames with eight signals"


def test_bytes_that_are_no_table_are_refused() -> None:
    """Cut, grown, altered at every place: `ValueError`, or a table that is as sound as one of ours."""
    data = table(FrameScore(0, 0, 0, 5, "x", {"a": 0.5}), FrameScore(1, 1, 0, 9, "y", {"b": 0.25})).data
    refused = 0
    for number in range(len(data)):
        for other in (data[:number], data[:number] + bytes([data[number] ^ 0xFF]) + data[number + 1 :], data + b"0"):
            if not other:
                continue
            try:
                assert FrameScores.checked(other).data == other
            except ValueError:
                refused += 1
    assert refused > 2 * len(data)


# --- what the ledger decides anew


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqlLedger]:
    made = open_ledger(tmp_path / "ledger.db", clock=FakeClock())
    yield made
    made.dispose()


STORE = "fake://store"


def kept(ledger: SqlLedger, policy: Policy, media: Sequence[Medium], scores: Sequence[Scores]) -> list[bytes]:
    """Record media as a scan does and return their contents."""
    run = ledger.begin_run("scan", STORE, {})
    results, names = [], []
    for number, (medium, found) in enumerate(zip(media, scores, strict=True)):
        sha256 = hashlib.sha256(f"{number}".encode()).digest()
        content = Content(sha256, 1, MediaType.GIF, 9, 9, len(medium), found)
        results.append(Judged(Object(f"{number}", 1, 1), content, judge(policy, found.signals, found.frames)))
        names.append(sha256)
    ledger.record(run, STORE, results)
    return names


@pytest.mark.sampled(2)
@pytest.mark.parametrize("seed", range(12))
def test_deciding_anew_says_what_judging_would_say(seed: int, ledger: SqlLedger) -> None:
    """By the page and one by one: a verdict only where it is that of a scan, else undecided; never silently clear."""
    random = np.random.default_rng(seed)
    first, second = random_policy(random, bounds=False), random_policy(random, bounds=seed % 2 == 0)
    second = replace(second, name="second")
    media = [random_medium(random, second) for _ in range(120)]
    names = kept(ledger, first, media, measured(first, *media))
    rejudge = Rejudge(second, ALL)
    told = preview(rejudge, ledger.score_pages())
    ledger.redecide(ledger.begin_run("scan", STORE, {}), second.id, rejudge, outcomes=rejudge.outcomes)
    decided = 0
    remembered = ledger.contents(names)
    for sha256, medium in zip(names, media, strict=True):
        content, judgement, settled = remembered[sha256]
        if not settled:
            continue
        decided += 1
        verdict, inside, over = oracle(second, medium)
        assert judgement.verdict is verdict
        assert {hit.rule for hit in judgement.reasons} == inside | over
        explains(second, content.scores, {}, medium)
    assert told.undecided == len(media) - decided
    full = measured(second, *media, cascade=False)
    kept(ledger, second, media, full)
    third = replace(first, name="third")
    again = Rejudge(third, ALL)
    run = ledger.begin_run("scan", STORE, {})
    ledger.redecide(run, third.id, again, outcomes=again.outcomes)
    found = ledger.contents(names)
    assert all(found[name][2] for name in names), "all is known of every frame: nothing is undecided"
    assert [found[name][1].verdict for name in names] == [oracle(third, medium)[0] for medium in media]


@pytest.mark.sampled(1)
@pytest.mark.parametrize("cascade", [True, False])
def test_pages_leave_no_verdict_to_chance(cascade: bool, ledger: SqlLedger) -> None:
    """What the page says is what is said one by one, with clips that were measured in part among them."""
    random = np.random.default_rng(5)
    policy = random_policy(random, bounds=True)
    media = [random_medium(random, policy) for _ in range(300)]
    kept(ledger, policy, media, measured(policy, *media))
    for seed in range(12):
        other = random_policy(np.random.default_rng(100 + seed), bounds=seed % 2 == 0)
        rejudge = Rejudge(other, ALL, cascade=cascade)
        (page,) = ledger.score_pages()
        words = rejudge.outcomes(page).words.tolist()
        for at, word in enumerate(words):
            found = rejudge(page.cells["sha256"][at], page.scores(at))
            assert word == (UNDECIDED if found is None else found.verdict.rank)


OLD = [  # medium, and what its highest values alone settle under red_circles
    ([{"a.red": 0.1, "b.circle": 0.9}, {"a.red": 0.2, "b.circle": 0.9}], Verdict.CLEAR),
    ([{"a.red": 0.9, "b.circle": 0.9}, {"a.red": 0.1, "b.circle": 0.1}], Verdict.BLOCK),
    ([{"a.red": 0.9, "b.circle": 0.1}, {"a.red": 0.1, "b.circle": 0.9}], None),
    ([{"a.red": 0.9, "b.circle": 0.8}, {"a.red": 0.6, "b.circle": 0.9}], None),  # it holds in both; nobody kept that
    ([{"a.red": 0.9, "b.circle": 0.9}], Verdict.BLOCK),
]


def test_rows_without_frames_are_clear_condemned_in_one_frame_or_undecided(ledger: SqlLedger) -> None:
    policy = red_circles()
    media: list[Medium] = [[picture | {"c.round": 0.0} for picture in medium] for medium, _ in OLD]
    names = kept(ledger, policy, media, measured(policy, *media, cascade=False))
    with ledger.database.write() as connection:
        connection.execute(text("UPDATE contents SET frame_scores = NULL, decided = false"))
    policies = replace(policy, name="second"), replace(across(policy), name="third")
    for other, available in product(policies, (ALL, frozenset[str]())):  # also where no detector is active any more
        other = replace(other, available=available)
        rejudge = Rejudge(other, available)
        run = ledger.begin_run("scan", STORE, {})
        ledger.redecide(run, other.id, rejudge, outcomes=rejudge.outcomes)
        found = ledger.contents(names)
        assert [found[n][1].verdict if found[n][2] else None for n in names] == [verdict for _, verdict in OLD]


def test_an_older_ledger_acts_on_nothing_that_different_frames_made(tmp_path: Path) -> None:
    """Plans of media with several frames wait after the upgrade, and a scan reads again what its ledger cannot tell."""
    store = FakeStore({"apart": b"pic red=0.9|pic circle=0.9", "together": b"pic red=0.9 circle=0.9|pic"})
    store.put("still", b"pic red=0.8 circle=0.8")
    bench = Bench(tmp_path / "ledger.db", store)
    bench.scan(dry_run=True)
    bench.close()
    make_older(tmp_path / "ledger.db", "0008")
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as older, older:
        reasons = '[{"factors":[],"label":null,"rule":"red circle","verdict":"block"}]'
        older.execute("UPDATE contents SET verdict = 'block', reasons = ? WHERE frames > 1", (reasons,))
        both = '{"a.red":[0.9,0],"b.circle":[0.9,1],"c.round":[0.0,0]}'  # every frame was measured then
        apart = "UPDATE contents SET signals = ? WHERE verdict = 'block' AND signals LIKE ?"
        assert older.execute(apart, (both, '%"b.circle":[0.0,%')).rowcount
    bench = Bench(tmp_path / "ledger.db", store)
    run = bench.ledger.begin_run("apply", store.url, {})
    wanted = [(row.key, row.sha256) for row in bench.rows(verdict=Verdict.BLOCK)]
    assert {key for key, _ in wanted} == {"apart", "together", "still"}
    plans = bench.ledger.plan(
        run, store.url, [(store.describe(key), sha256) for key, sha256 in wanted if sha256], ActKind.DELETE
    )
    assert [plan.object.key for plan in bench.ledger.start(run, plans)] == ["still"]
    bench.ledger.give_back(run, plans)
    tally, _ = bench.scan(dry_run=True)
    assert sorted(store.fetched) == ["apart", "apart", "still", "together"]
    assert (tally.block, tally.clear) == (2, 1) and bench.row("together").verdict is Verdict.BLOCK
    assert bench.row("apart").verdict is Verdict.CLEAR
    bench.close()


# --- the real program


@pytest.mark.long
def test_a_slideshow_of_harmless_pictures_is_harmless(tmp_path: Path) -> None:
    """A red square, then a blue circle: each is clear as a still, and so is what shows one after the other."""
    media = tmp_path / "media"
    media.mkdir()
    things = ("red", "square"), ("blue", "circle"), ("red", "circle")
    square, circle, both = (shapes.draw(shapes.scene(seed, (thing,))) for seed, thing in enumerate(things))
    _slideshow(media / "apart.gif", square, circle)
    _slideshow(media / "together.gif", square, both)
    square.save(media / "square.png")
    circle.save(media / "circle.png")
    config = stand_in.write_config(tmp_path, media)
    own = "--config", str(config), "--ledger", str(tmp_path / "ledger.db")
    done = program("scan", "--dry-run", *own)
    assert done.code == 0, done.err
    told = {row["key"]: row["verdict"] for row in program("list", "--json", *own).lines}
    assert told == {"apart.gif": "clear", "together.gif": "block", "square.png": "clear", "circle.png": "clear"}


def _slideshow(path: Path, *pictures: Image.Image) -> None:
    pictures[0].save(path, save_all=True, append_images=list(pictures[1:]), duration=2000)
