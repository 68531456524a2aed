"""Judging: signals in, a verdict with its reasons out. Pure; reads no file (see `fedi_safety.policies` for that).

Also answers which signals may still matter, which is what makes the cascade of detectors safe: a detector is left out
only when no rule can change by it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property

from fedi_safety.core.enums import Verdict
from fedi_safety.core.testcard import TEST_CARD_SHA256
from fedi_safety.core.types import FactorHit, Judgement, RuleHit, Signal

TEST_CARD_SIGNAL = "testcard.match"
"""The one signal that needs no detector: the content is the project's own harmless test card."""

DISMISSED_RULE = "dismissed by a person"

NEAR_SHARE = 0.5
"""From this share of every threshold on a rule is so near that a second pass is worth its price."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Holds when every factor in `when` reaches its threshold in the same medium."""

    name: str
    when: Mapping[str, float]
    verdict: Verdict | None = None
    label: str | None = None


@dataclass(frozen=True, slots=True)
class ClearingBound:
    """When each signal in `by` was measured and stays below `below`, the factor counts as ruled out (0).

    A factor may have several: each of them is enough.
    """

    below: float
    by: tuple[str, ...]


TEST_CARD_RULE = Rule("test card", {"test card": 1.0}, Verdict.BLOCK, "test-card")


@dataclass(frozen=True)
class Policy:
    """Rules over factors. The rule that condemns the test card is part of every policy."""

    name: str
    factors: Mapping[str, tuple[str, ...]]
    rules: tuple[Rule, ...]
    cascade: Mapping[str, tuple[ClearingBound, ...]] = field(default_factory=dict)
    available: frozenset[str] | None = None
    definitions: Mapping[str, str] = field(default_factory=dict)

    def among(self, available: frozenset[str], definitions: Mapping[str, str] | None = None) -> Policy:
        """Return the policy as it judges where only these signals are measured; it has an id of its own.

        So a verdict that was given with fewer detectors counts as given under another policy, and is decided anew. The
        same goes for `definitions`: by signal, a digest of what the operator made it mean.
        """
        used = available & self.signals
        return replace(self, available=used, definitions={s: d for s, d in (definitions or {}).items() if s in used})

    @cached_property
    def id(self) -> str:
        """Return the name with a digest of the content; policies that differ in wording alone have the same digest."""
        body: dict[str, object] = {
            "factors": {k: sorted(v) for k, v in self.factors.items()},
            "rules": [asdict(r) | {"when": dict(r.when)} for r in self.rules],
            "cascade": {k: asdict(v[0]) if len(v) == 1 else [asdict(b) for b in v] for k, v in self.cascade.items()},
            "available": None if self.available is None else sorted(self.available),
        }
        if self.definitions:  # not named otherwise, so that policies without them keep their ids
            body["definitions"] = dict(self.definitions)
        digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
        return f"{self.name}@{digest[:12]}"

    @cached_property
    def signals(self) -> frozenset[str]:
        """Return every signal that some rule can depend on."""
        used = {f for rule in self.rules for f in rule.when}
        return frozenset(s for f in used for s in self.factors.get(f, ()))


def _factor(
    policy: Policy, factor: str, known: Mapping[str, Signal], available: frozenset[str], cascade: bool
) -> tuple[str, Signal, bool]:
    """Return the strongest signal of a factor, its value, and whether unmeasured signals could still raise it."""
    best_name, best = "", Signal(0.0)
    missing = False
    for name in policy.factors.get(factor, ()):
        signal = known.get(name)
        if signal is None:
            missing = missing or name in available
        elif signal.value > best.value or not best_name:
            best_name, best = name, signal
    if missing and cascade:
        for bound in policy.cascade.get(factor, ()):
            if all(n in known and known[n].value < bound.below for n in bound.by):
                missing = False
    return best_name, best, missing


def open_signals(
    policy: Policy, known: Mapping[str, Signal], available: frozenset[str], *, cascade: bool = True
) -> frozenset[str]:
    """Return the signals, among those `available`, that could still change what some rule says.

    Empty means settled: `judge` is final. With `cascade=False` clearing bounds are ignored and every available signal
    that any rule uses is asked for.
    """
    if not cascade:
        return frozenset(s for s in policy.signals & available if s not in known)
    wanted: set[str] = set()
    for rule in policy.rules:
        states = {f: _factor(policy, f, known, available, cascade) for f in rule.when}
        # A conjunction is settled as soon as one factor can no longer reach its threshold.
        if any(not missing and best.value < rule.when[f] for f, (_, best, missing) in states.items()):
            continue
        for f, (_, best, missing) in states.items():
            if missing and best.value < rule.when[f]:
                wanted.update(s for s in policy.factors[f] if s in available and s not in known)
    return frozenset(wanted)


def judge(policy: Policy, known: Mapping[str, Signal]) -> Judgement:
    """Apply every rule to the measured signals; one that was not measured counts as 0.

    Whether that is final is `open_signals`' to say. The verdict is the most severe among the rules that hold.
    """
    hits: list[RuleHit] = []
    if known.get(TEST_CARD_SIGNAL, Signal(0.0)).value >= 1.0:
        hit = FactorHit("test card", 1.0, 1.0, TEST_CARD_SIGNAL, 0)
        hits.append(RuleHit(TEST_CARD_RULE.name, TEST_CARD_RULE.verdict, TEST_CARD_RULE.label, (hit,)))
    for rule in policy.rules:
        factors: list[FactorHit] = []
        for factor, threshold in rule.when.items():
            name, best, _ = _factor(policy, factor, known, frozenset(), cascade=False)
            if best.value < threshold:
                break
            factors.append(FactorHit(factor, threshold, best.value, name, best.frame, best.where, best.matches))
        else:
            hits.append(RuleHit(rule.name, rule.verdict, rule.label, tuple(factors)))
    verdicts = [h.verdict for h in hits if h.verdict is not None]
    return Judgement(
        verdict=max(verdicts, key=lambda v: v.rank, default=Verdict.CLEAR),
        labels=tuple(dict.fromkeys(h.label for h in hits if h.label)),
        reasons=tuple(hits),
        policy=policy.id,
    )


def nearly(policy: Policy, known: Mapping[str, Signal]) -> bool:
    """Whether more frames might change the verdict: a severer rule does not hold, but each of its factors is near."""
    reached = judge(policy, known).verdict
    for rule in policy.rules:
        if rule.verdict is None or rule.verdict.rank <= reached.rank:
            continue
        states = (_factor(policy, f, known, frozenset(), cascade=False)[1].value / t for f, t in rule.when.items() if t)
        if all(share >= NEAR_SHARE for share in states):
            return True
    return False


def marks(sha256: bytes) -> dict[str, Signal]:
    """Return the signals that a content has by its hash alone, whatever detectors there are: the test card's."""
    return {TEST_CARD_SIGNAL: Signal(1.0)} if sha256 == TEST_CARD_SHA256 else {}


def dismissal(policy: str) -> Judgement:
    """Return the judgement of a content that a person dismissed: clear, under the policy of this id."""
    return Judgement(Verdict.CLEAR, (), (RuleHit(DISMISSED_RULE, Verdict.CLEAR, None, ()),), policy)
