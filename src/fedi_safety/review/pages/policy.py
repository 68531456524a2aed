"""The policy: what other thresholds would change of what is stored, and a file of them. Nothing is applied here."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from markupsafe import Markup
from starlette.responses import Response

from fedi_safety.app.engine import measurable
from fedi_safety.app.replay import UNDECIDED
from fedi_safety.core.enums import KNOWN_PREFIX, Verdict
from fedi_safety.core.errors import PolicyError, printable
from fedi_safety.core.policy import Policy
from fedi_safety.core.policy import Rule as PolicyRule
from fedi_safety.policies import PRESETS, load_policy, parse_policy, warnings
from fedi_safety.policies.writing import policy_file
from fedi_safety.reports import plots
from fedi_safety.review.previewing import Count
from fedi_safety.review.rules import Right, Rule
from fedi_safety.review.visit import Refused, Visit

_WAIT_S = 0.05  # that a page without a script waits for what it asked for by its button
_STEP = 0.01


@dataclass(frozen=True, slots=True)
class Slider:
    """One threshold: the field that it has in the form, what it is of, as it is and as it was."""

    name: str
    factor: str
    value: float
    before: float
    milder: bool = False  # whether it makes a block a review


@dataclass(frozen=True, slots=True)
class Ruled:
    """A rule with its thresholds. One that rests on lists of known images alone has none that could be moved."""

    rule: PolicyRule
    sliders: tuple[Slider, ...]


@dataclass(frozen=True, slots=True)
class Histogram:
    """How high a factor is among stored contents, with the thresholds of the rules that use it."""

    factor: str
    plot: Markup
    total: int


def policy(visit: Visit) -> Response:
    """Show the thresholds, and what would be another verdict under them."""
    base, called = _base(visit)
    moved = _moved(visit, base)
    text = policy_file(moved)
    in_place = "hx-request" in visit.request.headers
    wait_s = _WAIT_S if visit.query.get("go") and not in_place else 0.0
    count = visit.pages.previews.ask(visit.who.session.digest, text, moved.name, wait_s=wait_s)
    return visit.page(
        "policy.html", base=base, called=called, presets=_choices(visit), moved=moved.rules != base.rules,
        ruled=list(_ruled(base, moved)), count=count, ended=count.ended.is_set(), histograms=_histograms(moved, count),
        changes=_changes(count), undecided=UNDECIDED, again=visit.path("policy") + _asked(visit),
        notes=warnings(moved, measurable(visit.pages.settings).signals),
    )  # fmt: skip


def save(visit: Visit) -> Response:
    """Give the policy with these thresholds as a file; nothing here uses it."""
    base, _ = _base(visit)
    moved = _moved(visit, base)
    made = f"{datetime.fromtimestamp(visit.pages.clock.now(), UTC):%Y-%m-%d %H:%M}"
    about = [
        f"Made on the review pages by {printable(visit.who.person.name)} from {printable(base.id)} on {made} UTC.",
        'Nothing uses it until the configuration names it: policy = "/path/to/this/file". See docs/policy.md.',
    ]
    text = policy_file(moved, about)
    headers = {"Content-Disposition": 'attachment; filename="policy.toml"'}
    return Response(text.encode("utf-8"), media_type="application/toml", headers=headers)


def _choices(visit: Visit) -> list[str]:
    configured = visit.pages.settings.policy
    return [configured, *(name for name in PRESETS if name != configured)]


def _base(visit: Visit) -> tuple[Policy, str]:
    """Return the policy that is changed, and by what name it was chosen: the configured one, or a preset."""
    choices = _choices(visit)
    called = visit.query.get("base") if visit.query.get("base") in choices else choices[0]
    assert called is not None
    return load_policy(called), called


def _asked(visit: Visit) -> str:
    query = visit.request.url.query
    return f"?{query}" if query else ""


def _moved(visit: Visit, base: Policy) -> Policy:
    """Return the policy with the thresholds that were asked for. Raises `Refused` for what is none."""
    if visit.query.get("of") != base.id:  # of another policy, or of none
        return base
    rules = tuple(
        replace(
            rule,
            when=_thresholds(visit.query, "t", number, rule.when, base),
            review_if=_thresholds(visit.query, "m", number, rule.review_if, base),
        )
        for number, rule in enumerate(base.rules)
    )
    moved = replace(base, rules=rules)
    try:
        return parse_policy(policy_file(moved), source="this policy", name=base.name)
    except PolicyError as error:
        raise Refused(400, "This is no policy", "With these thresholds its rules contradict each other.") from error


def _thresholds(
    asked: Mapping[str, str], kind: str, rule: int, values: Mapping[str, float], base: Policy
) -> dict[str, float]:
    found = dict(values)
    for number, factor in enumerate(values):
        text = asked.get(f"{kind}{rule}.{number}", "")
        if text and _moves(base, factor):
            found[factor] = _threshold(text)
    return found


def _threshold(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 < value <= 1.0:
        raise Refused(400, "This is no threshold", "A threshold is a number above 0 and at most 1.")
    return value


def _moves(base: Policy, factor: str) -> bool:
    """Whether a factor has a threshold that says something: lists of known images say yes or no."""
    return not all(signal.startswith(KNOWN_PREFIX) for signal in base.factors.get(factor, ()))


def _ruled(base: Policy, moved: Policy) -> Iterator[Ruled]:
    for number, (before, rule) in enumerate(zip(base.rules, moved.rules, strict=True)):
        sliders = [
            Slider(f"{kind}{number}.{i}", factor, now[factor], value, kind == "m")
            for kind, was, now in (("t", before.when, rule.when), ("m", before.review_if, rule.review_if))
            for i, (factor, value) in enumerate(was.items())
            if _moves(base, factor)
        ]
        yield Ruled(rule, tuple(sliders))


def _histograms(policy: Policy, count: Count) -> list[Histogram]:
    if count.found is None:
        return []
    marks: dict[str, dict[float, str]] = {}
    for rule in policy.rules:
        for factor, value in (*rule.when.items(), *rule.review_if.items()):
            of_factor = marks.setdefault(factor, {})
            of_factor[value] = f"{of_factor[value]}; {rule.name}" if value in of_factor else rule.name
    found = []
    for number, (factor, bins) in enumerate(count.found["histograms"].items()):
        if not _moves(policy, factor) or not sum(bins):
            continue
        said = f"{sum(bins):,} in {len(bins)} equal bins from 0 to 1"
        plot = Markup(plots.histogram(f"factor{number}", factor, said, bins, marks.get(factor, {})))
        found.append(Histogram(factor, plot, sum(bins)))
    return found


def _changes(count: Count) -> list[tuple[str, str, int]]:
    """Return verdict now, verdict then and how many objects; what changes comes first, the gravest first."""
    if count.found is None:
        return []
    rank = {Verdict.BLOCK.value: 0, Verdict.REVIEW.value: 1, Verdict.CLEAR.value: 2}
    changes = [(str(a), str(b), int(n)) for a, b, n in count.found["changes"]]
    return sorted(changes, key=lambda one: (one[0] == one[1], rank.get(one[1], 3), rank.get(one[0], 3)))


RULES = (
    Rule("/policy", "GET", Right.SEE, policy),
    Rule("/policy/file", "GET", Right.SEE, save),
)
