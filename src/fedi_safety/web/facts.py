"""What a report tells, ready to be shown: figures with the moment they were read, and the sentences that name gaps.

Pure; shared by the page and the command line, so that both say the same.
"""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fedi_safety.core.errors import printable

if TYPE_CHECKING:
    from fedi_safety.core.policy import Policy
    from fedi_safety.ledger.figures import Figures, StoreActs, StoreFigures


@dataclass(frozen=True, slots=True)
class Threshold:
    """A policy's mark on a signal: the rule that looks at it through a factor, and from where on."""

    value: float
    rule: str
    factor: str
    effect: str  # block, review, or the label it gives


@dataclass(frozen=True, slots=True)
class Report:
    """Everything a report shows. `store` is set when it is of one store only; times are seconds since the epoch."""

    figures: Figures
    acts: Mapping[str, StoreActs]
    made_at: float
    version: str
    store: str | None = None
    several_stores: bool = False  # whether the ledger knows more than the one that commands would mean
    policy: str = ""
    thresholds: Mapping[str, tuple[Threshold, ...]] = field(default_factory=dict)


def thresholds_of(policy: Policy) -> dict[str, tuple[Threshold, ...]]:
    """Return, for each signal that the rules of a policy look at, where they begin to hold, lowest first."""
    found: dict[str, list[Threshold]] = {}
    for rule in policy.rules:
        effects = [rule.verdict.value] if rule.verdict else []
        effect = ", ".join([*effects, *([f"label {rule.label}"] if rule.label else [])])
        for factor, value in rule.when.items():
            for signal in policy.factors.get(factor, ()):
                found.setdefault(signal, []).append(Threshold(value, rule.name, factor, effect))
    return {signal: tuple(sorted(marks, key=lambda m: (m.value, m.rule))) for signal, marks in found.items()}


def by_count(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """Return what occurs, most frequent first, then by name."""
    return sorted(((name, n) for name, n in counts.items() if n), key=lambda item: (-item[1], item[0]))


def summed(counters: Iterable[Mapping[str, int]]) -> Counter[str]:
    """Return the sum of several counts."""
    total: Counter[str] = Counter()
    for counter in counters:
        total.update(counter)
    return total


def objects_text(count: int) -> str:
    """Return `1 object`, `2,000 objects`."""
    return f"{count:,} object{'' if count == 1 else 's'}"


def percent(share: float) -> str:
    """Return a share with one decimal, rounded down: 100.0 % means nothing is missing, and 0.0 % nothing is there."""
    if 0 < share < 0.001:
        return "< 0.1 %"
    return f"{math.floor(share * 1000 + 1e-9) / 10:.1f} %"


def coverage_text(store: StoreFigures) -> str:
    """Return the coverage, and by reason what has no verdict."""
    if not store.present:
        return "no object is known to be there"
    text = f"coverage {percent(store.coverage)}"
    missing = store.unscanned.total()
    if not missing:
        return f"{text}: every object has a verdict"
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in by_count(store.unscanned))
    return f"{text}: {objects_text(missing)} {'has' if missing == 1 else 'have'} no verdict: {reasons}"


def list_command(report: Report, store: str, reason: str) -> str:
    """Return the command that lists a gap's objects, ready to be pasted into a shell."""
    named = f" {shlex.quote(printable(store))}" if report.several_stores else ""
    return f"fedi-safety list{named} --state unscanned --unscanned {reason}"


def warnings(report: Report) -> list[str]:
    """Return what the operator must look at, gravest first, each with what to do."""
    found = []
    for store in report.figures.stores:
        if store.breaker is not None:
            found.append(
                f"The breaker has stopped the acts on {store.store}: {store.breaker}. Look at `fedi-safety list "
                "--verdict block`; if it is right, run `fedi-safety apply --resume-acts` on it."
            )
    for store in report.figures.stores:
        acts = report.acts.get(store.store)
        if acts is None:
            continue
        if failed := acts.plans["failed"]:
            found.append(
                f"{objects_text(failed)} of {store.store} could not be removed; the next real run tries again. "
                "See `fedi-safety list --act failed`."
            )
        if waiting := acts.plans["planned"]:
            found.append(
                f"{objects_text(waiting)} of {store.store} {'is' if waiting == 1 else 'are'} condemned and still "
                "there. `fedi-safety apply` removes what was planned; `fedi-safety list --act planned` lists it."
            )
        if started := acts.plans["started"]:
            found.append(
                f"{objects_text(started)} of {store.store} may be half removed: the act began and was not closed. The "
                "next real run or `fedi-safety apply` finishes it."
            )
    return found
