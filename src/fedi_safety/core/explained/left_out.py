"""Why the cascade did not ask a detector: what settled every rule that its word could have changed. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from fedi_safety.core.pictures import Seen, seen
from fedi_safety.core.policy import Policy, Rule, judge
from fedi_safety.core.policy.reading import Reading
from fedi_safety.core.ports import Detector
from fedi_safety.core.types import LeftOut, Scores, Signal

MAX_REASONS = 4
"""How many reasons are told of a detector; pictures of a medium may each have another."""

_UNUSED = "no rule of the policy uses what it says"
_SETTLED = "no rule could change by it"


def left_out(
    policy: Policy, scores: Scores, order: Sequence[Detector], available: frozenset[str], *, cascade: bool
) -> list[LeftOut]:
    """Return of each detector that did not see every picture of a content why, and how many pictures that are.

    `order` is the cascade's, and `policy` the one as it is in force. What a picture shows is read as it was when the
    detector's turn came.
    """
    found = []
    holding = {hit.rule for hit in judge(policy, scores.signals, scores.frames).reasons}
    content = seen(scores.signals, scores.frames)
    pictures: list[Mapping[str, Signal]] = [picture.signals for picture in content.pictures] or [content.known]
    measured = {name for detector in order for name in detector.signals}
    earlier: set[str] = set()
    for detector in order:
        given = set(detector.signals).union(*(d.signals for d in order if detector.name in d.after))
        known = [
            {name: signal for name, signal in picture.items() if name in earlier or name not in measured}
            for picture in pictures
            if detector.name not in scores.detectors or not set(detector.signals) & picture.keys()
        ]
        whys = Counter(_why(policy, signals, given, available, holding, cascade=cascade) for signals in known)
        found += [LeftOut(detector.name, why, count) for why, count in whys.most_common(MAX_REASONS)]
        earlier |= set(detector.signals)
    return found


def _why(
    policy: Policy,
    known: Mapping[str, Signal],
    given: set[str],
    available: frozenset[str],
    holding: Collection[str],
    *,
    cascade: bool,
) -> str:
    """Return what settled the rules that use any of the signals `given`, each reason once."""
    rules = [
        r for r in policy.rules if any(given.intersection(policy.factors.get(f, ())) for f in (*r.when, *r.review_if))
    ]
    if not rules:
        return _UNUSED
    reading = Reading(policy, Seen(known), available, cascade=cascade)
    whys = dict.fromkeys(
        f"the rule `{rule.name}` holds without it"
        if rule.name in holding
        else _settled(policy, reading, rule, known, available)
        for rule in rules
    )
    return "; ".join(list(whys)[:MAX_REASONS])


def _settled(
    policy: Policy, reading: Reading, rule: Rule, known: Mapping[str, Signal], available: frozenset[str]
) -> str:
    """Return what settled one rule, which does not hold, in one picture."""
    untold = ""
    for factor, threshold in rule.when.items():
        if not available.intersection(policy.factors.get(factor, ())):
            untold = untold or f"no active detector tells {factor}"
            continue
        signal, most = reading.factor(factor)
        if most >= threshold:
            continue
        unmeasured = [s for s in policy.factors.get(factor, ()) if s in available and s not in known]
        if not unmeasured and signal.value > 0:
            return f"{factor} {signal.value:.2f} < {threshold:g}"
        for bound in policy.cascade.get(factor, ()):
            if all(name in known and known[name].value < bound.below for name in bound.by):
                told = " and ".join(f"{name} {known[name].value:.2f}" for name in bound.by)
                return f"{told} < {bound.below:g} rule{'s' if len(bound.by) == 1 else ''} {factor} out"
        return f"{factor} {'at most ' if unmeasured else ''}{most:.2f} < {threshold:g}"
    return untold or _SETTLED
