"""Judging is a table: signals in, verdict and reasons out. What the cascade may leave out is another."""

from __future__ import annotations

import itertools
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedi_safety.core.enums import Verdict
from fedi_safety.core.errors import PolicyError
from fedi_safety.core.policy import (
    TEST_CARD_SIGNAL,
    ClearingBound,
    Policy,
    Rule,
    decide,
    dismissal,
    judge,
    open_signals,
)
from fedi_safety.core.types import Signal
from fedi_safety.policies import PRESETS, load_policy, parse_policy, warnings
from support.fakes import red_circles
from support.share import examples

ALL = frozenset({"a.red", "b.circle", "c.round"})


def signals(**values: float) -> dict[str, Signal]:
    return {name.replace("__", "."): Signal(value) for name, value in values.items()}


@pytest.mark.parametrize(
    ("known", "verdict", "labels"),
    [
        ({}, Verdict.CLEAR, ()),
        (signals(a__red=0.5), Verdict.CLEAR, ()),
        (signals(a__red=0.5, b__circle=0.49), Verdict.CLEAR, ()),
        (signals(a__red=0.5, b__circle=0.5), Verdict.BLOCK, ()),
        (signals(a__red=0.5, c__round=1.0), Verdict.BLOCK, ()),
        (signals(a__red=0.9), Verdict.CLEAR, ("red",)),
        (signals(a__red=0.9, c__round=0.6), Verdict.BLOCK, ("red",)),
        (signals(b__circle=1.0), Verdict.CLEAR, ()),
    ],
)
def test_both_factors_are_needed_and_neither_alone_condemns(
    known: dict[str, Signal], verdict: Verdict, labels: tuple[str, ...]
) -> None:
    judgement = judge(red_circles(), known)
    assert (judgement.verdict, judgement.labels) == (verdict, labels)


def test_a_verdict_names_rule_factor_signal_value_and_frame() -> None:
    known = {"a.red": Signal(0.7, 2), "b.circle": Signal(0.1, 0), "c.round": Signal(0.8, 5)}
    (hit,) = judge(red_circles(), known).reasons
    assert hit.rule == "red circle"
    assert [(f.factor, f.signal, f.value, f.frame, f.threshold) for f in hit.factors] == [
        ("red", "a.red", 0.7, 2, 0.5),
        ("circle", "c.round", 0.8, 5, 0.5),
    ]


def test_the_test_card_is_condemned_under_every_policy() -> None:
    empty = Policy("nothing", {"x": ("x.y",)}, (Rule("never", {"x": 1.0}, Verdict.REVIEW),))
    for policy in [empty, *map(load_policy, PRESETS)]:
        judgement = judge(policy, {TEST_CARD_SIGNAL: Signal(1.0)})
        assert judgement.verdict is Verdict.BLOCK
        assert judgement.labels == ("test-card",)


def test_a_dismissed_content_is_clear_and_says_why() -> None:
    judgement = dismissal(red_circles().id)
    assert judgement.verdict is Verdict.CLEAR
    assert judgement.reasons[0].rule == "dismissed by a person"


@pytest.mark.parametrize(
    ("known", "cascade", "still_open"),
    [
        ({}, True, {"a.red", "b.circle", "c.round"}),
        (signals(a__red=0.1), True, set()),  # red is ruled out: nothing can hold
        (signals(a__red=0.6), True, {"b.circle", "c.round"}),
        (signals(a__red=0.6, b__circle=0.6), True, set()),  # both reached
        (signals(a__red=0.6, b__circle=0.05), True, set()),  # the clearing bound rules the circle out
        (signals(a__red=0.6, b__circle=0.1), True, {"c.round"}),  # not below the bound
        (signals(a__red=0.1), False, {"b.circle", "c.round"}),  # without the cascade everything is measured
    ],
)
def test_what_may_still_matter(known: dict[str, Signal], cascade: bool, still_open: set[str]) -> None:
    assert open_signals(red_circles(cascade=True), known, ALL, cascade=cascade) == still_open


def test_without_a_clearing_bound_every_signal_of_a_reached_rule_is_asked_for() -> None:
    assert open_signals(red_circles(), signals(a__red=0.6, b__circle=0.0), ALL) == {"c.round"}


def test_a_signal_that_no_detector_gives_is_not_waited_for() -> None:
    assert open_signals(red_circles(), signals(a__red=0.6, b__circle=0.2), ALL - {"c.round"}) == frozenset()


@given(st.fixed_dictionaries({name: st.sampled_from([0.0, 0.3, 0.5, 0.9, 1.0]) for name in sorted(ALL)}))
def test_a_settled_verdict_never_changes_when_more_is_measured(values: dict[str, float]) -> None:
    """Without clearing bounds the cascade is exact: settled early and measured in full agree."""
    policy = red_circles()
    full = judge(policy, {name: Signal(v) for name, v in values.items()})
    for order in itertools.permutations(sorted(ALL)):
        known: dict[str, Signal] = {}
        for name in order:
            if not open_signals(policy, known, ALL):
                break
            known[name] = Signal(values[name])
        early = judge(policy, known)
        assert (early.verdict, early.labels) == (full.verdict, full.labels)


def test_the_id_follows_the_content_not_the_order_of_signals() -> None:
    one = Policy("p", {"f": ("a.b", "c.d")}, (Rule("r", {"f": 0.5}, Verdict.BLOCK),))
    same = Policy("p", {"f": ("c.d", "a.b")}, (Rule("r", {"f": 0.5}, Verdict.BLOCK),))
    other = Policy("p", {"f": ("c.d", "a.b")}, (Rule("r", {"f": 0.51}, Verdict.BLOCK),))
    assert one.id == same.id != other.id


def test_the_id_follows_what_is_measured_and_how_it_is_defined() -> None:
    bound = {"f": (ClearingBound(0.1, ("a.b",)),)}
    policy = Policy("p", {"f": ("a.b", "c.d")}, (Rule("r", {"f": 0.5}, Verdict.BLOCK),), bound)
    # Ledgers hold these: another id makes every one of their verdicts be decided anew.
    assert (policy.id, policy.among(frozenset({"a.b"})).id) == ("p@396758a585dd", "p@e2b34798619b")
    ids = {
        policy.among(available, definitions).id
        for available, definitions in [
            (frozenset({"a.b"}), {}),
            (frozenset({"a.b"}), {"c.d": "1"}),  # not measured: what it would mean does not matter
            (frozenset({"a.b", "c.d"}), {}),
            (frozenset({"a.b", "c.d"}), {"c.d": "1"}),
            (frozenset({"a.b", "c.d"}), {"c.d": "1", "e.f": "no rule asks for it"}),
            (frozenset({"a.b", "c.d"}), {"c.d": "2"}),
        ]
    }
    assert len(ids) == 4


def test_each_of_several_clearing_bounds_is_enough() -> None:
    text = """\
[factors]
sexual = ["a.b", "c.d", "e.f"]
[[rules]]
name = "r"
when = { sexual = 0.5 }
label = "l"
[cascade]
sexual = [{ below = 0.02, by = ["a.b"] }, { below = 0.1, by = ["a.b", "c.d"] }]
"""
    policy = parse_policy(text, source="x", name="x")
    available = frozenset({"a.b", "c.d", "e.f"})

    def still_open(**values: float) -> frozenset[str]:
        return open_signals(policy, signals(**values), available)

    assert still_open(a__b=0.01) == frozenset()
    assert still_open(a__b=0.05) == {"c.d", "e.f"}
    assert still_open(a__b=0.05, c__d=0.05) == frozenset()
    assert still_open(a__b=0.05, c__d=0.2) == {"e.f"}
    assert policy.id != parse_policy(text.replace("0.1", "0.2"), source="x", name="x").id


def test_every_mistake_is_listed_with_its_line() -> None:
    text = """\
[factors]
minor = []
x = ["A b"]
[foo]
[[rules]]
name = "a"
when = { minor = 2, nope = 0.5 }
verdict = "kill"
[[rules]]
name = "a"
wen = 1
[cascade]
sexual = { below = 0.1 }
x = [{ below = 0.1, by = ["y.z"] }, 3]
"""
    with pytest.raises(PolicyError) as caught:
        parse_policy(text, source="mine.toml", name="mine")
    said = "\n".join(caught.value.problems)
    for line, word in [
        (2, "factors.minor"),
        (3, "'A b'"),
        (4, "'foo'"),
        (7, "not 2"),
        (7, "'nope'"),
        (8, "'kill'"),
        (9, "neither a verdict nor a label"),
        (11, "'wen'"),
        (13, "'sexual'"),
        (14, "y.z is not a signal"),
        (14, "must be a table"),
    ]:
        assert any(p.startswith(f"line {line}:") and word in p for p in caught.value.problems), (line, word, said)
    assert "\n" not in caught.value.line()


def joined(rule: str) -> str:
    return f"""\
[factors]
red = ["a.red"]
round = ["c.round"]
[[rules]]
name = "r"
when = {{ red = 0.5, round = 0.5 }}
{rule}
"""


def test_what_else_a_rule_joins_is_part_of_the_policy() -> None:
    plain = parse_policy(joined('verdict = "block"'), source="x", name="x")
    policies = [
        parse_policy(joined(f'verdict = "block"\n{more}'), source="x", name="x")
        for more in ('across_frames = "review"', "within_s = 0.5", "within_s = 1")
    ]
    assert len({policy.id for policy in (plain, *policies)}) == 4
    assert [(p.rules[0].across_frames, p.rules[0].within_s) for p in policies] == [
        (Verdict.REVIEW, None),
        (None, 0.5),
        (None, 1.0),
    ]


def test_what_else_a_policy_says_is_a_part_of_it_and_keeps_ids_where_it_is_not_said() -> None:
    text = joined('verdict = "block"')
    plain = parse_policy(text, source="x", name="x")
    said = [
        text.replace('red = ["a.red"]', 'red = { signals = ["a.red", "a.blue"], agree = 2 }'),
        text + 'second_look = "review"\n',
        text + 'second_look = "block"\n',
        text + '[cascade]\nred = { below = 0.1, by = ["a.red"] }\n',
        text + '[cascade]\nred = { below = 0.1, by = ["a.red"], always = true }\n',
    ]
    policies = [parse_policy(one, source="x", name="x") for one in said]
    assert len({policy.id for policy in (plain, *policies)}) == 6
    assert (plain.id, policies[0].agree, policies[1].rules[0].second_look) == (
        "x@3696b0a958c6",
        {"red": 2},
        Verdict.REVIEW,
    )
    saying_nothing = text.replace('["a.red"]', '{ signals = ["a.red"], agree = 1 }')
    assert parse_policy(saying_nothing, source="x", name="x").id == plain.id


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('second_look = "maybe"', "second_look must be one of"),
        ('second_look = "block"', "no severer than the rule's verdict"),
        ("second_look = true", "second_look must be one of"),
        ('[cascade]\nred = { below = 0.1, by = ["a.red"], always = 1 }', "always must be true or false"),
    ],
)
def test_what_else_a_policy_says_wrongly_is_told(text: str, said: str) -> None:
    with pytest.raises(PolicyError, match=said):
        parse_policy(joined('verdict = "review"\n' + text), source="x", name="x")


@pytest.mark.parametrize("agree", ["0", "3", "true", '"2"', "1.5"])
def test_no_more_signals_agree_than_there_are(agree: str) -> None:
    text = joined('verdict = "block"').replace('["a.red"]', f'{{ signals = ["a.red", "a.blue"], agree = {agree} }}')
    with pytest.raises(PolicyError, match=r"line 2: factors\.red: agree must be a whole number"):
        parse_policy(text, source="x", name="x")
    with pytest.raises(PolicyError, match="unknown key 'agreed'"):
        parse_policy(text.replace("agree =", "agreed ="), source="x", name="x")


def test_a_rule_that_too_few_signals_are_measured_for_is_told() -> None:
    said = warnings(load_policy("balanced"), frozenset({"clip.minor", "clip.sexual", "clip.drawn"}))
    assert "rule 'minor in a sexual picture, by clip' can never hold: too few signals are measured of agreed" in said
    assert not any("by what a second look alone shows" in line for line in said), "the presets say what they want"
    plain = warnings(parse_policy(joined('verdict = "block"'), source="x", name="x"), frozenset({"a.red", "c.round"}))
    assert any("by what a second look alone shows" in line for line in plain)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ('verdict = "block"\nacross_frames = "block"', "must be 'review'"),
        ('verdict = "block"\nacross_frames = true', "must be 'review'"),
        ('label = "l"\nacross_frames = "review"', "needs a rule whose verdict is review or block"),
        ('verdict = "clear"\nacross_frames = "review"', "needs a rule whose verdict is review or block"),
        ('verdict = "block"\nwithin_s = 1.01', "at most 1"),
        ('verdict = "block"\nwithin_s = 0', "above 0"),
        ('verdict = "block"\nwithin_s = true', "above 0"),
    ],
)
def test_nothing_is_condemned_for_what_no_frame_shows(rule: str, said: str) -> None:
    with pytest.raises(PolicyError, match=said):
        parse_policy(joined(rule), source="x", name="x")


def test_a_rule_about_one_factor_joins_nothing_and_is_told_so() -> None:
    text = joined('verdict = "block"\nacross_frames = "review"\nwithin_s = 0.5').replace(", round = 0.5", "")
    found = warnings(parse_policy(text, source="x", name="x"), frozenset({"a.red"}))
    assert [w for w in found if "says nothing" in w] == [
        "rule 'r': within_s says nothing, as the rule has one factor",
        "rule 'r': across_frames says nothing, as the rule has one factor",
    ]


def test_what_makes_a_block_milder_is_part_of_the_policy_and_older_policies_keep_their_ids() -> None:
    plain, milder, other = (
        parse_policy(joined(f'verdict = "block"\n{more}'), source="x", name="x")
        for more in ("", "review_if = { red = 0.9 }", "review_if = { red = 0.8 }")
    )
    assert len({plain.id, milder.id, other.id}) == 3 and milder.rules[0].review_if == {"red": 0.9}
    assert "review_if" not in plain.rules[0].body()


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ('label = "l"\nreview_if = { red = 0.9 }', "review_if needs a rule whose verdict is block"),
        ('verdict = "review"\nreview_if = { red = 0.9 }', "review_if needs a rule whose verdict is block"),
        ('verdict = "block"\nreview_if = {}', "`review_if` must name at least one factor"),
        ('verdict = "block"\nreview_if = 0.9', "rules.0.review_if must be a table"),
        ('verdict = "block"\nreview_if = { blue = 0.9 }', "factor 'blue' is not defined"),
        ('verdict = "block"\nreview_if = { red = 0 }', "must be a number above 0"),
    ],
)
def test_only_a_block_becomes_milder_and_by_a_factor_with_a_threshold(rule: str, said: str) -> None:
    with pytest.raises(PolicyError) as caught:
        parse_policy(joined(rule), source="x", name="x")
    assert said in str(caught.value)


def test_what_would_make_a_block_milder_and_is_not_measured_is_told() -> None:
    text = joined('verdict = "block"\nreview_if = { round = 0.9 }').replace(", round = 0.5", "")
    policy = parse_policy(text, source="x", name="x")
    words = "nothing measures what would make it a review: round"
    assert any(words in said for said in warnings(policy, frozenset({"a.red"})))
    said = warnings(policy, frozenset({"a.red", "c.round"}))
    assert not any(words in line or "no rule uses it" in line for line in said)


@pytest.mark.parametrize("text", ["", "[factors", "rules = 3", "\x00", "[factors]\na = ['b.c']"])
def test_any_broken_text_is_a_policy_error(text: str) -> None:
    with pytest.raises(PolicyError):
        parse_policy(text, source="x", name="x")


@settings(max_examples=examples(60))
@given(st.text(max_size=200))
def test_no_text_escapes_as_another_error(text: str) -> None:
    with suppress(PolicyError):
        parse_policy(text, source="x", name="x")


def test_presets_differ_as_documented() -> None:
    def face(under_18: float, under_20: float, nsfw: float, nudity: float = 0.4) -> dict[str, Signal]:
        ages = {"face.under_18": under_18, "face.under_20": under_20}
        # What dlib alone says of whatever NudeNet calls a face is nothing to a preset.
        by_one = {"face.minor": 1.0, "face.young": 1.0}
        sexual = {"nsfw.open_nsfw": nsfw, "nudity.exposed": nudity}
        return {name: Signal(value) for name, value in (ages | by_one | sexual).items()}

    child, teen, young = face(0.6, 0.8, 0.9), face(0.35, 0.45, 0.9), face(0.1, 0.25, 0.9)
    child_by_one, teen_by_one = face(0.6, 0.8, 0.9, 0.0), face(0.35, 0.45, 0.9, 0.0)
    adult, child_clothed, no_face = face(0.02, 0.05, 0.9), face(0.9, 1.0, 0.05, 0.0), face(0.0, 0.0, 0.9)
    contents = (child, teen, young, child_by_one, teen_by_one, adult, child_clothed, no_face)
    verdicts = {name: [judge(load_policy(name), signals).verdict.value for signals in contents] for name in PRESETS}
    assert verdicts == {
        "cautious": ["block", "review", "clear", "review", "clear", "clear", "clear", "clear"],
        "balanced": ["block", "block", "clear", "review", "review", "clear", "clear", "clear"],
        "strict": ["block", "block", "block", "review", "review", "clear", "clear", "clear"],
    }


@pytest.mark.parametrize("name", PRESETS)
def test_scores_from_before_two_age_models_are_undecided_never_clear(name: str) -> None:
    """What was scored without the signals that a preset asks for now, and what the cascade did not clear, is open."""
    policy = load_policy(name)
    measured = ("nsfw.open_nsfw", "nudity.exposed", "face.present", "face.minor", "face.young")
    available = frozenset({*measured, "face.confirmed", "face.under_18", "face.under_20"})
    for minor in (0.0, 0.9):
        old = dict.fromkeys(measured, Signal(minor)) | {"nsfw.open_nsfw": Signal(0.9)}
        assert decide(policy, old, available) is None
    cleared = {"nsfw.open_nsfw": Signal(0.001)}
    settled = decide(policy, cleared, available)
    assert settled is not None and settled.verdict is Verdict.CLEAR


def test_warnings_say_what_has_no_effect() -> None:
    said = warnings(load_policy("balanced"), frozenset({"face.under_20", "nsfw.open_nsfw", "nudity.exposed"}))
    assert any("clip.minor" in w and "count as 0" in w for w in said)
    assert not any("face.under_20" in w for w in said)
    assert not any("known image" in w for w in said), "it may hold as soon as there is a list"
