"""A policy as the text of a file, which `load_policy` reads back as the same policy. Pure; keeps no comments."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from fedi_safety.config.writing import quoted
from fedi_safety.core.policy import ClearingBound, Policy, Rule

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def policy_file(policy: Policy, about: Sequence[str] = ()) -> str:
    """Return the file; `about` are lines of comment at its head. Raises `ValueError` for names that are not UTF-8."""
    lines = [f"# {line}" for line in about]
    lines += ["", "[factors]"] if lines else ["[factors]"]
    for name, signals in policy.factors.items():
        listed = f"[{', '.join(map(quoted, signals))}]"
        agree = policy.agree.get(name, 1)
        value = listed if agree == 1 else f"{{ signals = {listed}, agree = {agree} }}"
        lines.append(f"{_key(name)} = {value}")
    for rule in policy.rules:
        lines += ["", "[[rules]]", *_rule(rule)]
    if policy.cascade:
        lines += ["", "[cascade]"]
        lines += [f"{_key(factor)} = {_bounds(bounds)}" for factor, bounds in policy.cascade.items()]
    return "\n".join(lines) + "\n"


def _rule(rule: Rule) -> Iterator[str]:
    yield f"name = {quoted(rule.name)}"
    yield f"when = {_thresholds(rule.when)}"
    for key in ("verdict", "label", "across_frames", "second_look"):
        said = getattr(rule, key)
        if said is not None:
            yield f"{key} = {quoted(str(said))}"
    if rule.within_s is not None:
        yield f"within_s = {_number(rule.within_s)}"
    if rule.review_if:
        yield f"review_if = {_thresholds(rule.review_if)}"


def _bounds(bounds: Sequence[ClearingBound]) -> str:
    said = [
        f"{{ below = {_number(bound.below)}, by = [{', '.join(map(quoted, bound.by))}]"
        f"{', always = true' if bound.always else ''} }}"
        for bound in bounds
    ]
    return said[0] if len(said) == 1 else f"[{', '.join(said)}]"


def _thresholds(values: Mapping[str, float]) -> str:
    return f"{{ {', '.join(f'{_key(name)} = {_number(value)}' for name, value in values.items())} }}"


def _number(value: float) -> str:
    """Return a number as TOML has a float, exactly."""
    return repr(float(value))


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else quoted(name)
