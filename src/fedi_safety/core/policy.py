"""Judging: signals in, a verdict with its reasons out. Pure; reads no file (see `fedi_safety.policies` for that).

Also answers which signals may still matter, which is what makes the cascade of detectors safe: a detector is left out
only when no rule can change by it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

from fedi_safety.core.enums import Verdict
from fedi_safety.core.frames.scores import ONE_PICTURE, FrameScores
from fedi_safety.core.pictures import Seen, seen
from fedi_safety.core.testcard import TEST_CARD_SHA256
from fedi_safety.core.types import FactorHit, Judgement, RuleHit, Signal

TEST_CARD_SIGNAL = "testcard.match"
"""The one signal that needs no detector: the content is the project's own harmless test card."""

DISMISSED_RULE = "dismissed by a person"

MAX_WITHIN_S = 1.0
"""How far apart frames of a clip may be that a rule joins."""

NEAR_SHARE = 0.5
"""From this share of every threshold on a rule is so near that a second pass is worth its price."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Holds when every factor in `when` reaches its threshold in the same picture.

    With `within_s` also in pictures of a clip that follow each other within so many seconds. What holds only in
    different pictures of a medium gets the verdict `across_frames`, if there is one, and no label.
    """

    name: str
    when: Mapping[str, float]
    verdict: Verdict | None = None
    label: str | None = None
    within_s: float | None = None
    across_frames: Verdict | None = None

    def body(self) -> dict[str, object]:
        """Return it as plain data; what it does not say is left out, so that older policies keep their ids."""
        own = asdict(self) | {"when": dict(self.when)}
        return {k: v for k, v in own.items() if v is not None or k not in ("within_s", "across_frames")}


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
            "rules": [rule.body() for rule in self.rules],
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


def open_signals(
    policy: Policy,
    known: Mapping[str, Signal],
    available: frozenset[str],
    frames: FrameScores | None = ONE_PICTURE,
    *,
    cascade: bool = True,
) -> frozenset[str]:
    """Return the signals, among those `available`, that could still change what some rule says.

    Empty means settled: `judge` is final. With `cascade=False` clearing bounds are ignored and every available signal
    that any rule uses is asked for. Of a content of which only the highest values were kept also those are open whose
    frames a rule would have to know.
    """
    wanted = Reading(policy, seen(known, frames), available, cascade=cascade).wanted()
    return frozenset().union(*wanted.values())


def judge(policy: Policy, known: Mapping[str, Signal], frames: FrameScores | None = ONE_PICTURE) -> Judgement:
    """Apply every rule to the measured signals; one that was not measured counts as 0.

    The factors of a rule must hold in one picture. Whether the word is final is `open_signals`' to say. The verdict is
    the most severe among the rules that hold.
    """
    return Reading(policy, seen(known, frames)).judgement()


def nearly(policy: Policy, known: Mapping[str, Signal], frames: FrameScores | None = ONE_PICTURE) -> bool:
    """Whether more frames might change the verdict: a severer rule does not hold, but each of its factors is near."""
    return Reading(policy, seen(known, frames)).near()


def decide(
    policy: Policy,
    known: Mapping[str, Signal],
    available: frozenset[str],
    frames: FrameScores | None = ONE_PICTURE,
    *,
    cascade: bool = True,
) -> Judgement | None:
    """Return what `judge` says where it is final; None where it is not."""
    reading = Reading(policy, seen(known, frames), available, cascade=cascade)
    return None if reading.wanted() else reading.judgement()


class _State(NamedTuple):
    """A factor in some pictures: its strongest signal, and whether unmeasured ones could still raise it."""

    name: str
    signal: Signal
    missing: bool


_NOTHING = Signal(0.0)


class Reading:
    """One content under one policy: what each of its pictures says of each factor, and what that comes to."""

    def __init__(
        self, policy: Policy, content: Seen, available: frozenset[str] = frozenset(), *, cascade: bool = True
    ) -> None:
        """Read nothing yet. `available` are the signals that could still be measured."""
        self._policy = policy
        self._content = content
        self._available = available
        self._cascade = cascade
        self._pictures: Sequence[Mapping[str, Signal]] = (
            [picture.signals for picture in content.pictures] if content.pictures else [content.known]
        )
        self._states: dict[str, list[_State]] = {}
        self._whole: dict[str, _State] = {}

    # --- factors

    def factor(self, name: str) -> tuple[Signal, bool]:
        """Return a factor's strongest signal over all that the medium shows, and whether others could yet raise it."""
        state = self._anywhere(name)
        return state.signal, state.missing

    def _factor(self, factor: str, known: Mapping[str, Signal]) -> _State:
        best_name, best = "", _NOTHING
        missing = False
        for name in self._policy.factors.get(factor, ()):
            signal = known.get(name)
            if signal is None:
                missing = missing or name in self._available
            elif signal.value > best.value or not best_name:
                best_name, best = name, signal
        if missing and self._cascade:
            for bound in self._policy.cascade.get(factor, ()):
                if all(n in known and known[n].value < bound.below for n in bound.by):
                    missing = False
        return _State(best_name, best, missing)

    def _each(self, factor: str) -> list[_State]:
        """Return a factor's state in every picture."""
        if factor not in self._states:
            self._states[factor] = [self._factor(factor, known) for known in self._pictures]
        return self._states[factor]

    def _anywhere(self, factor: str) -> _State:
        """Return a factor's state over all that the medium shows."""
        if factor not in self._whole:
            whole = self._factor(factor, self._content.known)
            if self._content.pictures and not self._content.partial:
                whole = whole._replace(missing=any(state.missing for state in self._each(factor)))
            self._whole[factor] = whole
        return self._whole[factor]

    def _joined(self, rule: Rule, group: Sequence[int]) -> dict[str, _State]:
        if len(group) == 1:
            return {factor: self._each(factor)[group[0]] for factor in rule.when}
        joined = {}
        for factor in rule.when:
            states = [self._each(factor)[i] for i in group]
            best = max(states, key=lambda state: state.signal.value)
            joined[factor] = best._replace(missing=any(state.missing for state in states))
        return joined

    def _groups(self, rule: Rule) -> Sequence[Sequence[int]]:
        """Return in which pictures together the factors of a rule must hold."""
        return self._content.groups(rule.within_s) if self._content.pictures else ((0,),)

    # --- rules

    def judgement(self) -> Judgement:
        """Return the policy's word, as far as was measured."""
        hits: list[RuleHit] = []
        if self._content.known.get(TEST_CARD_SIGNAL, _NOTHING).value >= 1.0:
            card = FactorHit("test card", 1.0, 1.0, TEST_CARD_SIGNAL, 0)
            hits.append(RuleHit(TEST_CARD_RULE.name, TEST_CARD_RULE.verdict, TEST_CARD_RULE.label, (card,)))
        hits += [hit for rule in self._policy.rules if (hit := self._hit(rule)) is not None]
        verdicts = [h.verdict for h in hits if h.verdict is not None]
        return Judgement(
            verdict=max(verdicts, key=lambda v: v.rank, default=Verdict.CLEAR),
            labels=tuple(dict.fromkeys(h.label for h in hits if h.label)),
            reasons=tuple(hits),
            policy=self._policy.id,
        )

    def _hit(self, rule: Rule) -> RuleHit | None:
        anywhere = {factor: self._anywhere(factor) for factor in rule.when}
        if not _reach(rule, anywhere):
            return None
        if len(rule.when) == 1 or not self._content.pictures:
            return RuleHit(rule.name, rule.verdict, rule.label, _factor_hits(rule, anywhere))
        found, most = None, 0.0
        for group in self._groups(rule):
            states = self._joined(rule, group)
            if _reach(rule, states):
                share = min(states[factor].signal.value / threshold for factor, threshold in rule.when.items())
                if found is None or share > most:
                    found, most = states, share
        if found is not None:
            return RuleHit(rule.name, rule.verdict, rule.label, _factor_hits(rule, found))
        if rule.across_frames is None:
            return None
        return RuleHit(rule.name, rule.across_frames, None, _factor_hits(rule, anywhere), across_frames=True)

    def near(self) -> bool:
        """See `nearly`."""
        reached = self.judgement().verdict
        for rule in self._policy.rules:
            if rule.verdict is None or rule.verdict.rank <= reached.rank:
                continue
            if _reach(rule, {factor: self._anywhere(factor) for factor in rule.when}, NEAR_SHARE) and (
                rule.across_frames is not None
                or any(_reach(rule, self._joined(rule, group), NEAR_SHARE) for group in self._groups(rule))
            ):
                return True
        return False

    # --- what is to be measured yet

    def wanted(self, *, near: bool = False) -> dict[int, set[str]]:
        """Return by picture the signals that could still change what some rule says.

        With `near` also those that could change whether the verdict is near a severer one.
        """
        wanted: dict[int, set[str]] = {}
        if not self._cascade:
            for i, known in enumerate([self._content.known] if self._content.partial else self._pictures):
                if missing := {s for s in self._policy.signals & self._available if s not in known}:
                    wanted[i] = missing
        for rule in self._policy.rules:
            self._add_wanted(rule, 1.0, wanted)
        if near:
            reached = self.judgement().verdict
            for rule in self._policy.rules:
                if rule.verdict is not None and rule.verdict.rank > reached.rank:
                    self._add_wanted(rule, NEAR_SHARE, wanted)
        return wanted

    def _add_wanted(self, rule: Rule, share: float, wanted: dict[int, set[str]]) -> None:
        """Add what a rule needs yet, to say whether this share of every threshold is reached."""
        anywhere = {factor: self._anywhere(factor) for factor in rule.when}
        # A conjunction is settled as soon as one factor can no longer reach its threshold.
        if _ruled_out(rule, anywhere, share):
            return
        if not self._content.partial and not any(state.missing for state in anywhere.values()):
            return
        groups = list(self._groups(rule))
        if len(rule.when) == 1 or (share < 1.0 and rule.across_frames is not None):
            groups = [range(len(self._pictures))]
        joined = [(group, self._joined(rule, group)) for group in groups]
        if any(_reach(rule, states, share) for _, states in joined):
            return
        if self._content.partial:
            wanted.setdefault(0, set()).update(s for factor in rule.when for s in self._policy.factors.get(factor, ()))
            return
        if share == 1.0 and rule.across_frames is not None and not _reach(rule, anywhere):
            joined.append((range(len(self._pictures)), anywhere))
        for group, states in joined:
            if not _ruled_out(rule, states, share):
                self._add_missing(rule, share, group, states, wanted)

    def _add_missing(
        self, rule: Rule, share: float, group: Sequence[int], states: Mapping[str, _State], wanted: dict[int, set[str]]
    ) -> None:
        for factor, threshold in rule.when.items():
            if not states[factor].missing or states[factor].signal.value >= share * threshold:
                continue
            for i in group:
                if self._each(factor)[i].missing:
                    known = self._pictures[i]
                    names = self._policy.factors.get(factor, ())
                    wanted.setdefault(i, set()).update(s for s in names if s in self._available and s not in known)


def _reach(rule: Rule, states: Mapping[str, _State], share: float = 1.0) -> bool:
    return all(states[factor].signal.value >= share * threshold for factor, threshold in rule.when.items())


def _ruled_out(rule: Rule, states: Mapping[str, _State], share: float) -> bool:
    return any(
        not states[factor].missing and states[factor].signal.value < share * threshold
        for factor, threshold in rule.when.items()
    )


def _factor_hits(rule: Rule, states: Mapping[str, _State]) -> tuple[FactorHit, ...]:
    hits = []
    for factor, threshold in rule.when.items():
        name, best = states[factor].name, states[factor].signal
        hits.append(FactorHit(factor, threshold, best.value, name, best.frame, best.where, best.matches))
    return tuple(hits)


def marks(sha256: bytes) -> dict[str, Signal]:
    """Return the signals that a content has by its hash alone, whatever detectors there are: the test card's."""
    return {TEST_CARD_SIGNAL: Signal(1.0)} if sha256 == TEST_CARD_SHA256 else {}


def dismissal(policy: str) -> Judgement:
    """Return the judgement of a content that a person dismissed: clear, under the policy of this id."""
    return Judgement(Verdict.CLEAR, (), (RuleHit(DISMISSED_RULE, Verdict.CLEAR, None, ()),), policy)
