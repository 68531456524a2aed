"""What one look at a content says of each factor and rule of a policy, and what is to be measured yet. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from fedi_safety.core.enums import Verdict
from fedi_safety.core.pictures import Seen
from fedi_safety.core.policy.rules import NEAR_SHARE, TEST_CARD_RULE, TEST_CARD_SIGNAL, Policy, Rule
from fedi_safety.core.types import FactorHit, RuleHit, Signal

Wanted = dict[int, set[str]]
"""By picture, as it is numbered in its medium, signals that could still change something."""

NOTHING = Signal(0.0)
_ANYTHING = 1.0


class _State(NamedTuple):
    """A factor in some pictures: what it is at least, by which signal, and what it could be at most."""

    name: str
    signal: Signal
    most: float

    @property
    def open(self) -> bool:
        """Whether what was not measured could still raise it."""
        return self.most > self.signal.value


class Reading:
    """What one look showed, under one policy."""

    def __init__(
        self,
        policy: Policy,
        content: Seen,
        available: frozenset[str] = frozenset(),
        *,
        cascade: bool = True,
        near_as: Reading | None = None,
    ) -> None:
        """Read nothing yet. `available` are the signals that could still be measured.

        With `near_as` a rule counts from a share of its thresholds on, and of signals that must agree one is enough;
        all other factors are those of that reading, of the same content.
        """
        self._policy = policy
        self._content = content
        self._available = available
        self._cascade = cascade
        self._share = 1.0 if near_as is None else NEAR_SHARE
        self._agree: Mapping[str, int] = policy.agree if near_as is None else {}
        self._same = near_as
        self._pictures: Sequence[Mapping[str, Signal]] = (
            [picture.signals for picture in content.pictures] if content.pictures else [content.known]
        )
        self._states: dict[str, list[_State]] = {}
        self._whole: dict[str, _State] = {}

    # --- factors

    def factor(self, name: str) -> tuple[Signal, float]:
        """Return a factor's value over all that the medium shows, by its signal, and what it could be at most."""
        state = self._anywhere(name)
        return state.signal, state.most

    def _factor(self, factor: str, known: Mapping[str, Signal]) -> _State:
        names = self._policy.factors.get(factor, ())
        agree = self._agree.get(factor, 1)
        name, signal, unmeasured = "", NOTHING, 0
        measured = []
        for each in names:
            found = known.get(each)
            if found is None:
                unmeasured += each in self._available
            else:
                measured.append((each, found))
                if not name or found.value > signal.value:
                    name, signal = each, found
        if agree == 1:
            most = _ANYTHING if unmeasured else signal.value
        else:
            measured.sort(key=lambda found: -found[1].value)
            name, signal = measured[agree - 1] if len(measured) >= agree else ("", NOTHING)
            left = agree - 1 - unmeasured  # so many of those that were measured must agree at least
            most = _ANYTHING if left < 0 else measured[left][1].value if left < len(measured) else 0.0
        for bound in self._policy.cascade.get(factor, ()):
            if not bound.always and not self._cascade:
                continue
            below = [n for n in bound.by if n in known and known[n].value < bound.below]
            if len(below) == len(bound.by):
                if bound.always:
                    return _State(name, NOTHING, 0.0)
                most = signal.value
            elif bound.always and all(n in below or (n not in known and n in self._available) for n in bound.by):
                signal = NOTHING  # it may be ruled out yet
        return _State(name, signal, most)

    def _each(self, factor: str) -> list[_State]:
        """Return a factor's state in every picture."""
        states = self._states.get(factor)
        if states is None:
            if self._same is not None and factor not in self._policy.agree:
                states = self._same._each(factor)
            else:
                states = [self._factor(factor, known) for known in self._pictures]
            self._states[factor] = states
        return states

    def _anywhere(self, factor: str) -> _State:
        """Return a factor's state over all that the medium shows."""
        whole = self._whole.get(factor)
        if whole is None:
            if self._content.partial:
                whole = self._factor(factor, self._content.known)
            else:
                states = self._each(factor)
                whole = states[0] if len(states) == 1 else _highest(states)
            self._whole[factor] = whole
        return whole

    def _joined(self, rule: Rule, group: Sequence[int]) -> dict[str, _State]:
        if len(group) == 1:
            return {factor: self._each(factor)[group[0]] for factor in rule.when}
        return {factor: _highest([self._each(factor)[i] for i in group]) for factor in rule.when}

    def _groups(self, rule: Rule) -> Sequence[Sequence[int]]:
        """Return in which pictures together the factors of a rule must hold."""
        return self._content.groups(rule.within_s) if self._content.pictures else ((0,),)

    # --- rules

    def card(self) -> list[RuleHit]:
        """Return that the content is the test card, where it is."""
        if self._content.known.get(TEST_CARD_SIGNAL, NOTHING).value < 1.0:
            return []
        card = FactorHit("test card", 1.0, 1.0, TEST_CARD_SIGNAL, 0)
        return [RuleHit(TEST_CARD_RULE.name, TEST_CARD_RULE.verdict, TEST_CARD_RULE.label, (card,))]

    def hit(self, rule: Rule) -> RuleHit | None:
        """Return that a rule holds, and why, as far as was measured."""
        if not all(self._anywhere(factor).signal.value >= self._share * least for factor, least in rule.when.items()):
            return None
        anywhere = {factor: self._anywhere(factor) for factor in rule.when}
        if not self._content.pictures or (len(rule.when) == 1 and not rule.may_relent):
            return _told(rule, anywhere, self._milder(rule, range(len(self._pictures))))
        found, most = None, (False, 0.0)
        for group in self._groups(rule):
            states = self._joined(rule, group)
            if self._reach(rule, states):
                milder = self._milder(rule, group)
                share = min(states[factor].signal.value / threshold for factor, threshold in rule.when.items())
                if found is None or (not milder, share) > most:
                    found, most = _told(rule, states, milder), (not milder, share)
        if found is not None:
            return found
        if rule.across_frames is None:
            return None
        return RuleHit(rule.name, rule.across_frames, None, _factor_hits(rule.when, anywhere), across_frames=True)

    def _milder(self, rule: Rule, group: Sequence[int]) -> tuple[FactorHit, ...]:
        """Return what of `review_if` is reached in each of these pictures; empty where nothing makes it milder."""
        if not rule.may_relent:
            return ()
        lowest = {f: min((self._each(f)[i] for i in group), key=lambda s: s.signal.value) for f in rule.review_if}
        reached = {f: t for f, t in rule.review_if.items() if lowest[f].signal.value >= t}
        return _factor_hits(reached, lowest)

    def possible(self, rule: Rule) -> bool:
        """Whether a rule holds, in one picture or across them, or could hold by what was not measured."""
        if self._nowhere(rule):
            return False
        if rule.across_frames is not None or self._content.partial:
            return True
        return any(not self._ruled_out(rule, self._joined(rule, group)) for group in self._groups(rule))

    # --- what is to be measured yet

    def want_all(self, wanted: Wanted) -> None:
        """Add everything that some rule uses, whether it could change something or not."""
        used = self._policy.signals & self._available
        for i, known in enumerate([self._content.known] if self._content.partial else self._pictures):
            self._want(i, {s for s in used if s not in known}, wanted)

    def want(self, rule: Rule, wanted: Wanted) -> None:
        """Add what is needed yet to say whether a rule holds, in one picture or across them."""
        # A conjunction is settled as soon as one factor can no longer reach its threshold.
        if self._nowhere(rule):
            return
        anywhere = {factor: self._anywhere(factor) for factor in rule.when}
        relents = self._share == 1.0 and rule.may_relent
        factors = (*rule.when, *rule.review_if) if relents else rule.when
        if not self._content.partial and not any(state.open for factor in factors for state in self._each(factor)):
            return
        groups = list(self._groups(rule))
        across = rule.across_frames is not None
        if (len(rule.when) == 1 and not relents) or (self._share < 1.0 and across):
            groups = [range(len(self._pictures))]
        joined = [(group, self._joined(rule, group)) for group in groups]
        reached = [group for group, states in joined if self._reach(rule, states)]
        if reached and (not relents or self._surely_blocks(rule, reached, wanted)):
            return
        if self._content.partial:
            self._want(0, {s for factor in rule.when for s in self._policy.factors.get(factor, ())}, wanted)
            return
        if self._share == 1.0 and across and not self._reach(rule, anywhere):
            joined.append((range(len(self._pictures)), anywhere))
        for group, states in joined:
            if not self._ruled_out(rule, states):
                self._want_missing(rule, group, states, wanted)

    def _want_missing(self, rule: Rule, group: Sequence[int], states: Mapping[str, _State], wanted: Wanted) -> None:
        for factor, threshold in rule.when.items():
            if not states[factor].open or states[factor].signal.value >= self._share * threshold:
                continue
            for i in group:
                if self._each(factor)[i].open:
                    self._want(i, self._unmeasured(factor, i), wanted)

    def _surely_blocks(self, rule: Rule, reached: Sequence[Sequence[int]], wanted: Wanted) -> bool:
        """Whether the rule holds somewhere and nothing can make it milder there; else add what is to be known yet."""
        asked: list[tuple[str, int]] = []
        for group in reached:
            if self._milder(rule, group):
                continue
            here = [
                (factor, i)
                for factor, least in rule.review_if.items()
                if all(self._each(factor)[i].most >= least for i in group)
                for i in group
                if self._each(factor)[i].open
            ]
            if not here:
                return True
            asked += here
        for factor, i in asked:
            self._want(i, self._unmeasured(factor, i), wanted)
        return False

    def _unmeasured(self, factor: str, picture: int) -> set[str]:
        names, known = self._policy.factors.get(factor, ()), self._pictures[picture]
        return {s for s in names if s in self._available and s not in known}

    def _want(self, picture: int, signals: set[str], wanted: Wanted) -> None:
        if signals:
            places = self._content.places
            wanted.setdefault(picture if places is None else places[picture], set()).update(signals)

    def _nowhere(self, rule: Rule) -> bool:
        return any(self._anywhere(factor).most < self._share * least for factor, least in rule.when.items())

    def _reach(self, rule: Rule, states: Mapping[str, _State]) -> bool:
        return all(states[factor].signal.value >= self._share * least for factor, least in rule.when.items())

    def _ruled_out(self, rule: Rule, states: Mapping[str, _State]) -> bool:
        return any(states[factor].most < self._share * least for factor, least in rule.when.items())


def _highest(states: Sequence[_State]) -> _State:
    best = max(states, key=lambda state: state.signal.value)
    return best._replace(most=max(state.most for state in states))


def _told(rule: Rule, states: Mapping[str, _State], milder: tuple[FactorHit, ...]) -> RuleHit:
    verdict = Verdict.REVIEW if milder else rule.verdict
    return RuleHit(rule.name, verdict, rule.label, (*_factor_hits(rule.when, states), *milder))


def _factor_hits(reached: Mapping[str, float], states: Mapping[str, _State]) -> tuple[FactorHit, ...]:
    hits = []
    for factor, threshold in reached.items():
        name, best = states[factor].name, states[factor].signal
        hits.append(FactorHit(factor, threshold, best.value, name, best.frame, best.where, best.matches))
    return tuple(hits)


def strength(policy: Policy, factor: str, signals: Mapping[str, float]) -> float:
    """Return what a factor comes to in one picture in which all was measured that is to be."""
    known = {name: Signal(value) for name, value in signals.items()}
    return Reading(policy, Seen(known), cascade=False)._factor(factor, known).signal.value
