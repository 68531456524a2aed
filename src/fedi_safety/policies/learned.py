"""What a policy may do with signals that were learned: never condemn by them alone, never clear by them.

They tell what a person dismissed from everything else. So they may keep a rule from condemning, and what they keep from
it goes to review.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields

from fedi_safety.core.enums import LEARNED_PREFIX, Verdict
from fedi_safety.core.policy import Policy, Rule

Place = tuple[str | int, ...]

_COMPARED = ("name", "when", "verdict", "label", "within_s", "across_frames", "review_if")
"""What of two rules is compared for itself, or lets nothing be clear: `review_if` ends at review."""


def problems(factors: Mapping[str, Sequence[str]], rules: Sequence[Rule]) -> Iterator[tuple[Place, str]]:
    """Yield what is not allowed, with its place in the file."""
    for name, signals in factors.items():
        own = [signal for signal in signals if signal.startswith(LEARNED_PREFIX)]
        if own and len(own) < len(signals):
            yield (
                ("factors", name),
                f"factors.{name} mixes what was learned with other signals: give {', '.join(own)} a factor of its own",
            )
    for i, rule in enumerate(rules):
        asked, rest = _parts(factors, rule)
        if rule.verdict is not Verdict.BLOCK or not asked:
            continue
        if not rest:
            yield (
                ("rules", i),
                f"rule {rule.name!r} condemns by what was learned alone ({', '.join(asked)}): "
                "let it ask for another factor as well, or give it the verdict review",
            )
        elif not any(_catches(other, rule, rest) for other in rules):
            yield (
                ("rules", i),
                f"rule {rule.name!r}: what {' and '.join(asked)} keeps it from condemning would be clear: "
                f"add a rule with verdict = 'review' and {_words(rule, rest)}",
            )


def warnings(policy: Policy) -> list[str]:
    """Return what is allowed but probably not meant."""
    return [
        f"rule {rule.name!r} asks for nothing but what was learned: that is high for every picture that does not look "
        "like dismissed ones"
        for rule in policy.rules
        if not _parts(policy.factors, rule)[1]
    ]


def _parts(factors: Mapping[str, Sequence[str]], rule: Rule) -> tuple[list[str], dict[str, float]]:
    """Return the learned factors that a rule asks for, and the others with their thresholds."""
    asked = [f for f in rule.when if any(s.startswith(LEARNED_PREFIX) for s in factors.get(f, ()))]
    return asked, {factor: threshold for factor, threshold in rule.when.items() if factor not in asked}


def _catches(other: Rule, rule: Rule, rest: Mapping[str, float]) -> bool:
    """Whether `other` holds wherever these factors of `rule` do, with a verdict of its own."""
    if other is rule or other.verdict in (None, Verdict.CLEAR):
        return False
    if any(factor not in rest or threshold > rest[factor] for factor, threshold in other.when.items()):
        return False
    if not _says_the_same(other, rule):
        return False
    joins = (other.within_s or 0.0) >= (rule.within_s or 0.0)
    return len(other.when) == 1 or (joins and (rule.across_frames is None or other.across_frames is not None))


def _says_the_same(other: Rule, rule: Rule) -> bool:
    """Whether what a rule says beyond `_COMPARED` lets nothing be clear that the other one would not let be clear."""
    for each in fields(rule):
        ours, theirs = getattr(rule, each.name), getattr(other, each.name)
        if each.name in _COMPARED or ours == theirs:
            continue
        if not isinstance(ours or theirs, Verdict):
            return False
        # A word of its own for some case; left out, it is the rule's.
        if (theirs or other.verdict) is Verdict.CLEAR and (ours or rule.verdict) is not Verdict.CLEAR:
            return False
    return True


def _words(rule: Rule, rest: Mapping[str, float]) -> str:
    """Return, as a file has it, what a rule that catches the rest needs."""
    words = [f"when = {{ {', '.join(f'{factor} = {threshold:g}' for factor, threshold in rest.items())} }}"]
    if len(rest) > 1:
        words += [f"within_s = {rule.within_s:g}"] if rule.within_s is not None else []
        words += ["across_frames = 'review'"] if rule.across_frames is not None else []
    return ", ".join(words)
