"""A policy's word on a content that was looked at once or twice. Pure.

A second look is made where the first came near to a rule; the same is asked again whenever stored scores are decided,
so that they come to what a scan under this policy would come to, or are undecided.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

from fedi_safety.core.enums import Verdict
from fedi_safety.core.pictures import Passes
from fedi_safety.core.policy.reading import Reading, Wanted
from fedi_safety.core.policy.rules import Policy, Rule
from fedi_safety.core.types import Judgement, RuleHit


class Word:
    """One content under one policy."""

    def __init__(
        self, policy: Policy, passes: Passes, available: frozenset[str] = frozenset(), *, cascade: bool = True
    ) -> None:
        """Read nothing yet. `available` are the signals that could still be measured."""
        self._policy = policy
        self._passes = passes
        self._cascade = cascade
        self._first = Reading(policy, passes.first, available, cascade=cascade)
        self._nearly = Reading(policy, passes.first, available, cascade=cascade, near_as=self._first)
        self._whole = self._every = self._first
        if passes.second:
            self._whole = Reading(policy, passes.whole, available, cascade=cascade)
            self._every = Reading(policy, passes.every, available, cascade=cascade)

    def judgement(self) -> Judgement:
        """Return the policy's word, as far as was measured."""
        if not self._passes.second or not self.near():
            return self._first_word
        hits = [hit for rule in self._policy.rules if (hit := self._last_hit(rule)) is not None]
        return self._of_hits(self._every.card() + hits)

    def near(self) -> bool:
        """Whether the first look came near to a rule that is severer than what it found, or may have done so."""
        return any(self._nearly.possible(rule) for rule in self._severer())

    def final(self) -> Judgement | None:
        """Return what a scan would say; None where that is not known."""
        if self.wanted(later=False):
            return None
        if not self._passes.second:
            return None if not self._passes.closed and self.near() else self.judgement()
        return None if self.near() and self.wanted() else self.judgement()

    def wanted(self, *, near: bool = True, later: bool = True) -> Wanted:
        """Return by picture the signals that could still change the word.

        Without `near` it does not matter whether a second look is to be made. With `later` those too that would tell
        what the second look showed, where one was made.
        """
        wanted: Wanted = {}
        rules, passes = self._policy.rules, self._passes
        if not self._cascade:
            self._every.want_all(wanted)
        for rule in rules:
            self._first.want(rule, wanted)
        if near and (passes.second or not passes.closed):
            for rule in self._severer():
                self._nearly.want(rule, wanted)
        if later and passes.second:
            for rule in rules:
                self._want_at_last(rule, wanted)
        return wanted

    def _severer(self) -> list[Rule]:
        reached = self._first_word.verdict.rank
        return [rule for rule in self._policy.rules if rule.verdict is not None and rule.verdict.rank > reached]

    @cached_property
    def _first_word(self) -> Judgement:
        hits = [hit for rule in self._policy.rules if (hit := self._first.hit(rule)) is not None]
        return self._of_hits(self._first.card() + hits)

    def _of_hits(self, hits: list[RuleHit]) -> Judgement:
        verdicts = [hit.verdict for hit in hits if hit.verdict is not None]
        return Judgement(
            verdict=max(verdicts, key=lambda v: v.rank, default=Verdict.CLEAR),
            labels=tuple(dict.fromkeys(hit.label for hit in hits if hit.label)),
            reasons=tuple(hits),
            policy=self._policy.id,
        )

    def _last_hit(self, rule: Rule) -> RuleHit | None:
        """Return that a rule holds by all that was seen.

        What holds by further views alone has the verdict that the rule has for that, if it says so.
        """
        every = self._every.hit(rule)
        if every is None or rule.second_look is None or rule.verdict is None:
            return every
        whole = self._whole.hit(rule)
        if whole is not None and not whole.across_frames:
            return whole
        if rule.second_look is Verdict.CLEAR:
            return whole
        milder = min(rule.second_look, every.verdict or Verdict.CLEAR, key=lambda verdict: verdict.rank)
        late = replace(every, verdict=milder, label=None, second_look=True)
        return whole if whole is not None and (whole.verdict or Verdict.CLEAR).rank >= milder.rank else late

    def _want_at_last(self, rule: Rule, wanted: Wanted) -> None:
        if rule.second_look is not None:
            self._whole.want(rule, wanted)
            whole = self._whole.hit(rule)
            if whole is not None and not whole.across_frames:
                return
        self._every.want(rule, wanted)
