"""What dismissals taught never condemns alone, and lowers a verdict to review at most: for every policy that loads.

A head is a guess about what a person would say. So a policy that asks for one is held against the same policy without
it: nothing more is condemned, and nothing that the other one condemns is clear.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fedi_safety.core.enums import Verdict
from fedi_safety.core.errors import PolicyError
from fedi_safety.core.frames.scores import FrameScore, FrameScores
from fedi_safety.core.policy import Policy, Rule, judge
from fedi_safety.core.types import Signal
from fedi_safety.policies import parse_policy, warnings

FACTORS = {
    "minor": ["face.minor"],
    "sexual": ["a.sexual", "b.sexual"],
    "mine": ["learned.x"],
    "ours": ["learned.y", "learned.z"],
}
SIGNALS = [signal for signals in FACTORS.values() for signal in signals]
LEARNED = ("mine", "ours")


def text(rules: list[dict[str, Any]], factors: Mapping[str, list[str]] = FACTORS) -> str:
    lines = ["[factors]", *(f"{name} = {json.dumps(signals)}" for name, signals in factors.items())]
    for i, rule in enumerate(rules):
        when = ", ".join(f"{factor} = {threshold}" for factor, threshold in rule["when"].items())
        rest = [
            f"{key} = {json.dumps(value)}" for key, value in rule.items() if key not in ("when", "review_if") and value
        ]
        milder = ", ".join(f"{factor} = {threshold}" for factor, threshold in rule.get("review_if", {}).items())
        rest += [f"review_if = {{ {milder} }}"] if milder else []
        lines += ["[[rules]]", f'name = "rule {i}"', f"when = {{ {when} }}", *rest]
    return "\n".join(lines)


def loaded(rules: list[dict[str, Any]], factors: Mapping[str, list[str]] = FACTORS) -> Policy:
    return parse_policy(text(rules, factors), source="p.toml", name="p")


def refusal(rules: list[dict[str, Any]], factors: Mapping[str, list[str]] = FACTORS) -> str:
    with pytest.raises(PolicyError) as caught:
        loaded(rules, factors)
    assert "\n" not in caught.value.line()
    return caught.value.line()


def without_learning(policy: Policy) -> Policy:
    """The same policy, as if no rule that condemns asked for anything learned."""

    def plain(rule: Rule) -> Rule:
        return replace(rule, when={f: t for f, t in rule.when.items() if f not in LEARNED})

    return replace(policy, rules=tuple(plain(r) if r.verdict is Verdict.BLOCK else r for r in policy.rules))


BLOCK: dict[str, Any] = {"when": {"minor": 0.2, "sexual": 0.3, "mine": 0.5}, "verdict": "block"}
CAUGHT: dict[str, Any] = {"when": {"minor": 0.2, "sexual": 0.3}, "verdict": "review"}


# --- what is refused


@pytest.mark.parametrize("when", [{"mine": 0.9}, {"ours": 1.0}, {"mine": 0.9, "ours": 0.9}])
def test_a_rule_that_condemns_by_learned_factors_alone_is_refused(when: dict[str, float]) -> None:
    line = refusal([{"when": when, "verdict": "block"}, CAUGHT])
    assert "line 6: rule 'rule 0' condemns by what was learned alone" in line and all(f in line for f in when)


@pytest.mark.parametrize("other", ["face.minor", "clip.minor"])
def test_a_learned_signal_cannot_hide_in_a_factor_with_others(other: str) -> None:
    mixed = {**FACTORS, "minor": [other, "learned.x"]}
    line = refusal([{"when": {"minor": 0.2, "sexual": 0.3}, "verdict": "block"}], mixed)
    assert "line 2: factors.minor mixes what was learned with other signals" in line and "learned.x" in line


@pytest.mark.parametrize(
    "beside",
    [
        [],
        [{**CAUGHT, "verdict": None, "label": "seen"}],
        [{**CAUGHT, "verdict": "clear"}],
        [{**CAUGHT, "when": {"minor": 0.25, "sexual": 0.3}}],  # holds for less
        [{**CAUGHT, "when": {"minor": 0.2, "sexual": 0.3, "ours": 0.1}}],  # asks for what was learned as well
    ],
)
def test_what_a_learned_factor_keeps_from_condemning_must_be_reviewed(beside: list[dict[str, Any]]) -> None:
    line = refusal([BLOCK, *beside])
    assert "what mine keeps it from condemning would be clear" in line
    assert "add a rule with verdict = 'review' and when = { minor = 0.2, sexual = 0.3 }" in line


def test_the_rule_beside_must_join_frames_as_the_rule_does() -> None:
    across = {**BLOCK, "across_frames": "review", "within_s": 0.5}
    line = refusal([across, CAUGHT])
    assert "within_s = 0.5" in line and "across_frames = 'review'" in line
    assert loaded([across, {**CAUGHT, "across_frames": "review", "within_s": 0.5}])
    assert loaded([across, {"when": {"sexual": 0.3}, "verdict": "review"}])  # one factor needs no joining


def test_what_makes_a_block_milder_ends_at_review_and_needs_nothing_beside() -> None:
    assert loaded([{**BLOCK, "review_if": {"ours": 0.5}}, CAUGHT])
    line = refusal([{"when": {"mine": 0.5}, "verdict": "block", "review_if": {"minor": 0.5}}, CAUGHT])
    assert "by what was learned alone" in line


def test_the_rule_beside_must_not_let_a_second_look_go_clear() -> None:
    clear, review = {**CAUGHT, "second_look": "clear"}, {**CAUGHT, "second_look": "review"}
    asks = {**BLOCK, "second_look": "review"}
    for rule in (BLOCK, asks):
        assert "would be clear" in refusal([rule, clear])
        assert loaded([rule, CAUGHT]) and loaded([rule, review])
    assert loaded([{**BLOCK, "second_look": "clear"}, clear])  # it would have been clear without it


def test_what_is_allowed_and_what_is_noted() -> None:
    policy = loaded(
        [BLOCK, CAUGHT, {"when": {"mine": 0.9}, "verdict": "review"}, {"when": {"ours": 0.9}, "label": "x"}]
    )
    notes = [w for w in warnings(policy, frozenset(SIGNALS)) if "nothing but what was learned" in w]
    assert [note.split("'")[1] for note in notes] == ["rule 2", "rule 3"]
    assert loaded([{**BLOCK, "verdict": "review"}])  # nothing is removed by it


# --- what follows for every policy that loads

WORDS = ["clear", "review", "block"]
shares = st.sampled_from([0.1, 0.2, 0.3, 0.5, 0.9])
whens = st.dictionaries(st.sampled_from(list(FACTORS)), shares, min_size=1)
rules = st.fixed_dictionaries(
    {
        "when": whens,
        "verdict": st.sampled_from(["block", "block", "review", "clear"]),
        "within_s": st.sampled_from([None, 0.5, 1.0]),
    }
)
pictures = st.fixed_dictionaries({signal: st.sampled_from([0.0, 0.1, 0.2, 0.4, 0.6, 1.0]) for signal in SIGNALS})


@pytest.mark.long
@settings(max_examples=100, deadline=None)
@given(st.lists(rules, min_size=1, max_size=3), st.lists(pictures, min_size=1, max_size=3), st.data())
def test_a_policy_with_learned_factors_condemns_no_more_and_clears_nothing(
    drawn: list[dict[str, Any]], medium: list[dict[str, float]], data: st.DataObject
) -> None:
    """Rules that reviews catch are added to some, so that not nearly every policy is refused."""
    for rule in list(drawn):
        rule["across_frames"] = data.draw(st.sampled_from([None, "review"])) if rule["verdict"] != "clear" else None
        rule["second_look"] = data.draw(st.sampled_from([None, *WORDS[: WORDS.index(rule["verdict"]) + 1]]))
        rest = {f: t for f, t in rule["when"].items() if f not in LEARNED}
        caught = data.draw(st.booleans())
        if rest and caught:
            looser = {f: data.draw(st.sampled_from([t, t / 2, t * 2 if t < 0.5 else t])) for f, t in rest.items()}
            kept = {key: rule[key] if data.draw(st.booleans()) else None for key in ("within_s", "across_frames")}
            second = data.draw(st.sampled_from([None, None, "review", "clear"]))
            drawn.append({"when": looser, "verdict": "review", "second_look": second, **kept})
    try:
        policy = loaded(drawn)
    except PolicyError:
        assume(False)
        raise
    best = {s: Signal(max(p[s] for p in medium)) for s in SIGNALS}
    # A second pass shows further views of a picture, or further pictures.
    later = data.draw(st.sets(st.integers(1, 2)))
    places = data.draw(st.sampled_from([[0, 1, 2], [0, 0, 1], [0, 0, 0]]))
    rows = [
        FrameScore(i, places[i], time_ms=400 * i, signals=picture, second=i in later)
        for i, picture in enumerate(medium)
    ]
    frames = FrameScores.of(rows)
    with_it, without = judge(policy, best, frames).verdict, judge(without_learning(policy), best, frames).verdict
    assert with_it is not Verdict.BLOCK or without is Verdict.BLOCK
    assert without is Verdict.CLEAR or with_it is not Verdict.CLEAR
    nothing_else = {s: Signal(1.0 if s.startswith("learned.") else 0.0) for s in SIGNALS}
    assert judge(policy, nothing_else).verdict is not Verdict.BLOCK
