"""Reads policy files and the bundled presets. Finds every mistake in a file, with its line, before complaining.

It decides nothing: see `core.policy` for that.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from fedi_safety.config.toml_lines import KeyPath, dotted, line_numbers, problem_at, syntax_problem
from fedi_safety.core.enums import Verdict
from fedi_safety.core.errors import PolicyError
from fedi_safety.core.known.effects import SIGNALS
from fedi_safety.core.policy import MAX_WITHIN_S, ClearingBound, Policy, Rule
from fedi_safety.core.wording.nearest import did_you_mean
from fedi_safety.policies import learned

PRESETS = ("cautious", "balanced", "strict")
DEFAULT = "balanced"

_RULE_KEYS = ("name", "when", "verdict", "label", "within_s", "across_frames", "second_look", "review_if")

_NAME = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)*")


def load_policy(name_or_path: str) -> Policy:
    """Return a bundled preset by its name, or the policy in a file.

    Raises `PolicyError` with every problem found, or when there is no such preset or file.
    """
    text, source = policy_text(name_or_path)
    return parse_policy(text, source=source, name=Path(name_or_path).stem)


def policy_text(name_or_path: str) -> tuple[str, str]:
    """Return the text of a preset or policy file and how to call it in messages. Raises `PolicyError`."""
    if name_or_path in PRESETS:
        return files(__package__).joinpath(f"{name_or_path}.toml").read_text("utf-8"), f"preset {name_or_path}"
    try:
        return Path(name_or_path).read_text("utf-8"), name_or_path
    except FileNotFoundError as error:
        near = did_you_mean(name_or_path, PRESETS)
        what = f"no such policy file, and no preset of that name ({', '.join(PRESETS)}){near}"
        raise PolicyError(name_or_path, (what,)) from error
    except UnicodeDecodeError as error:
        raise PolicyError(name_or_path, ("it is not UTF-8 text",)) from error
    except (OSError, ValueError) as error:
        raise PolicyError(name_or_path, (f"it cannot be read: {getattr(error, 'strerror', None) or error}",)) from error


def parse_policy(text: str, *, source: str, name: str) -> Policy:
    """Return the policy that `text` (TOML) describes. Raises `PolicyError` that lists every problem with its line."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PolicyError(source, (syntax_problem(str(error)),)) from error
    reader = _Reader(document, line_numbers(text))
    policy = reader.policy(name)
    if policy is None:
        raise PolicyError(source, tuple(reader.problems))
    return policy


def warnings(policy: Policy, available: frozenset[str], switched_off: frozenset[str] = frozenset()) -> list[str]:
    """Return what is allowed but probably not meant, given the signals that active detectors give.

    Of the signals that are `switched_off`, which nobody asked for, nothing is said, nor of rules that need one of them.
    What lists of known images say is there as soon as there is a list.
    """
    available = available | frozenset(SIGNALS)
    missing = sorted({s for signals in policy.factors.values() for s in signals} - available - switched_off)
    found = [f"no active detector gives {', '.join(missing)}: such signals count as 0"] if missing else []
    used = {factor for rule in policy.rules for factor in (*rule.when, *rule.review_if)}
    found += [f"factor {factor}: no rule uses it" for factor in policy.factors if factor not in used]
    for rule in policy.rules:
        dead = policy.dead_factors(rule, available)
        if dead and not any(switched_off.issuperset(policy.factors[f]) for f in dead):
            few = any(policy.agree.get(factor, 1) > 1 for factor in dead)
            why = "too few signals are measured of" if few else "nothing measures"
            found.append(f"rule {rule.name!r} can never hold: {why} {', '.join(dead)}")
    for rule in policy.rules:
        idle = [key for key in ("within_s", "across_frames") if getattr(rule, key) is not None and len(rule.when) == 1]
        found += [f"rule {rule.name!r}: {key} says nothing, as the rule has one factor" for key in idle]
    found += [
        f'rule {rule.name!r} condemns by what a second look alone shows; second_look = "review" asks a person instead'
        for rule in policy.rules
        if rule.verdict is Verdict.BLOCK and rule.second_look is None
    ]
    found += learned.warnings(policy)
    for rule in policy.rules:
        milder = {signal for factor in rule.review_if for signal in policy.factors[factor]}
        if not milder & available and not milder <= switched_off:
            found.append(
                f"rule {rule.name!r}: nothing measures what would make it a review: {', '.join(rule.review_if)}"
            )
    if not any(rule.verdict is Verdict.BLOCK for rule in policy.rules):
        found.append("no rule condemns: nothing but the test card will ever be removed")
    return found


class _Reader:
    """Turns a parsed document into a policy, collecting problems instead of stopping at the first."""

    def __init__(self, document: Mapping[str, Any], lines: Mapping[KeyPath, int]) -> None:
        self._document = document
        self._lines = lines
        self.problems: list[str] = []
        self._agree: dict[str, int] = {}

    def policy(self, name: str) -> Policy | None:
        for key in self._document:
            if key not in ("factors", "rules", "cascade"):
                self._problem((key,), f"unknown key {key!r}; the keys are factors, rules, cascade")
        factors = self._factors()
        rules = self._rules(factors)
        cascade = self._cascade(factors)
        if not self.problems:
            for path, text in learned.problems(factors, rules):
                self._problem(path, text)
        return None if self.problems else Policy(name, factors, tuple(rules), cascade, agree=self._agree)

    def _problem(self, path: KeyPath, text: str) -> None:
        self.problems.append(problem_at(self._lines, path, text))

    def _table(self, path: KeyPath, value: object) -> Mapping[str, Any]:
        if isinstance(value, dict):
            return value
        self._problem(path, f"{dotted(path)} must be a table")
        return {}

    def _factors(self) -> dict[str, tuple[str, ...]]:
        factors: dict[str, tuple[str, ...]] = {}
        if "factors" not in self._document:
            self._problem((), "there is no [factors] table")
        for name, signals in self._table(("factors",), self._document.get("factors", {})).items():
            factors[name] = self._factor(("factors", name), signals)
        return factors

    def _factor(self, path: KeyPath, value: object) -> tuple[str, ...]:
        if not isinstance(value, dict):
            return self._signals(path, value)
        for key in value:
            if key not in ("signals", "agree"):
                self._problem(path, f"unknown key {key!r}; a factor is a list of signals, or has signals and agree")
        signals = self._signals((*path, "signals"), value.get("signals"))
        agree = value.get("agree", 1)
        if isinstance(agree, bool) or not isinstance(agree, int) or not 1 <= agree <= max(1, len(signals)):
            self._problem(path, f"{dotted(path)}: agree must be a whole number from 1 to the number of its signals")
        elif agree > 1:
            self._agree[str(path[-1])] = agree
        return signals

    def _signals(self, path: KeyPath, value: object) -> tuple[str, ...]:
        if not isinstance(value, list) or not value or not all(isinstance(s, str) for s in value):
            self._problem(path, f"{dotted(path)} must be a list of signal names, not empty")
            return ()
        for signal in value:
            if not _NAME.fullmatch(signal):
                self._problem(path, f"{dotted(path)}: {signal!r} is not a signal name")
        return tuple(dict.fromkeys(value))

    def _rules(self, factors: Mapping[str, object]) -> list[Rule]:
        value = self._document.get("rules")
        if not isinstance(value, list) or not value:
            self._problem(("rules",), "there must be at least one [[rules]] table")
            return []
        rules = [self._rule(("rules", i), rule, factors) for i, rule in enumerate(value)]
        names = [rule.name for rule in rules if rule]
        for i, name in enumerate(names):
            if name in names[:i]:
                self._problem(("rules", i, "name"), f"a rule named {name!r} exists already")
        return [rule for rule in rules if rule]

    def _rule(self, path: KeyPath, value: object, factors: Mapping[str, object]) -> Rule | None:
        table = self._table(path, value)
        before = len(self.problems)
        for key in table:
            if key not in _RULE_KEYS:
                self._problem((*path, key), f"unknown key {key!r}; a rule has {', '.join(_RULE_KEYS)}")
        name = self._text((*path, "name"), table.get("name"), required=True)
        label = self._text((*path, "label"), table.get("label"), required=False)
        verdict = self._verdict((*path, "verdict"), table.get("verdict"))
        when = self._thresholds((*path, "when"), table.get("when"), factors)
        if table and "verdict" not in table and "label" not in table:
            self._problem(path, f"rule {name!r} has neither a verdict nor a label")
        within_s = self._within((*path, "within_s"), table.get("within_s"))
        across = self._across((*path, "across_frames"), table.get("across_frames"), verdict)
        second = self._second((*path, "second_look"), table.get("second_look"), verdict)
        review_if: dict[str, float] = {}
        if "review_if" in table:
            review_if = self._thresholds((*path, "review_if"), table["review_if"], factors)
            if verdict is not Verdict.BLOCK:
                self._problem((*path, "review_if"), "review_if needs a rule whose verdict is block")
        if len(self.problems) > before:
            return None
        return Rule(name, when, verdict, label or None, within_s, across, second, review_if)

    def _within(self, path: KeyPath, value: object) -> float | None:
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MAX_WITHIN_S:
            self._problem(
                path, f"within_s must be a number of seconds above 0 and at most {MAX_WITHIN_S:g}, not {value!r}"
            )
            return None
        return float(value)

    def _across(self, path: KeyPath, value: object, verdict: Verdict | None) -> Verdict | None:
        if value is None:
            return None
        if value != Verdict.REVIEW.value:
            self._problem(path, f"across_frames must be 'review', not {value!r}: what no frame shows is not condemned")
        elif verdict not in (Verdict.REVIEW, Verdict.BLOCK):
            self._problem(path, "across_frames needs a rule whose verdict is review or block")
        return Verdict.REVIEW

    def _second(self, path: KeyPath, value: object, verdict: Verdict | None) -> Verdict | None:
        if value is None:
            return None
        said = self._verdict(path, value)
        if said is not None and (verdict is None or said.rank > verdict.rank):
            self._problem(path, "second_look must be no severer than the rule's verdict")
        return said

    def _thresholds(self, path: KeyPath, value: object, factors: Mapping[str, object]) -> dict[str, float]:
        when: dict[str, float] = {}
        table = self._table(path, {} if value is None else value)
        if not table:
            self._problem(path, f"`{path[-1]}` must name at least one factor with its threshold")
        for factor, threshold in table.items():
            if factor not in factors:
                self._problem((*path, factor), f"factor {factor!r} is not defined in [factors]")
            when[factor] = self._share((*path, factor), threshold)
        return when

    def _share(self, path: KeyPath, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
            self._problem(path, f"{dotted(path)} must be a number above 0 and at most 1, not {value!r}")
            return 1.0
        return float(value)

    def _text(self, path: KeyPath, value: object, *, required: bool) -> str:
        if value is None and not required:
            return ""
        if not isinstance(value, str) or not value.strip() or not value.isprintable():
            self._problem(path, f"{path[-1]} must be a text on one line, not empty")
            return ""
        return value

    def _verdict(self, path: KeyPath, value: object) -> Verdict | None:
        if value is None:
            return None
        if value not in tuple(Verdict):
            self._problem(path, f"{path[-1]} must be one of {', '.join(Verdict)}, not {value!r}")
            return None
        return Verdict(str(value))

    def _cascade(self, factors: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[ClearingBound, ...]]:
        bounds: dict[str, tuple[ClearingBound, ...]] = {}
        for factor, value in self._table(("cascade",), self._document.get("cascade", {})).items():
            path = ("cascade", factor)
            if factor not in factors:
                self._problem(path, f"factor {factor!r} is not defined in [factors]")
            several = value if isinstance(value, list) and value else [value]
            bounds[factor] = tuple(self._bound(path, each, factors.get(factor)) for each in several)
        return bounds

    def _bound(self, path: KeyPath, value: object, signals: tuple[str, ...] | None) -> ClearingBound:
        table = self._table(path, value)
        for key in table:
            if key not in ("below", "by", "always"):
                self._problem(path, f"unknown key {key!r}; a bound has below, by and always")
        by = self._signals((*path, "by"), table.get("by"))
        for signal in by:
            if signals is not None and signal not in signals:
                self._problem(path, f"{signal} is not a signal of factor {path[-1]!r}")
        always = table.get("always", False)
        if not isinstance(always, bool):
            self._problem(path, f"always must be true or false, not {always!r}")
        return ClearingBound(self._share((*path, "below"), table.get("below")), by, always is True)
