"""What a report tells, ready to be shown: figures with the moment they were read, and the sentences that name gaps.

Pure; shared by the page and the command line, so that both say the same.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from fedi_safety.core.classes import dataclass
from fedi_safety.core.decide import tells_of_gone
from fedi_safety.core.enums import SKIPPED
from fedi_safety.core.errors import printable
from fedi_safety.core.presence import remedy
from fedi_safety.core.wording.hints import command, hint

if TYPE_CHECKING:
    from fedi_safety.app.known.figures import ListFigures, SourceFigures
    from fedi_safety.core.ledger.history import Condemned, History
    from fedi_safety.core.ledger.notices import ChannelFigures
    from fedi_safety.core.ledger.progress import Progress
    from fedi_safety.core.ledger.records import Figures, StoreActs, StoreFigures
    from fedi_safety.core.ledger.uploads import UploadFigures
    from fedi_safety.core.policy import Policy
    from fedi_safety.core.sightings import Source, SourceKind

SHOWN_SOURCES = 20
"""How many sources of a kind a report shows."""

SHOWN_CONDEMNED = 50
"""How many condemned objects a report shows."""

_Z_95 = 1.959963984540054  # of the normal distribution, two-sided


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
    gate: UploadFigures | None = None  # what the gate refused and let in unjudged; None: no trace of it
    alert_s: float = 3600.0  # how long an upload may wait before that is an alert
    ledger: str = ""  # what a person knows the ledger by
    # Where condemned contents came from, most first; one more than is shown where there are more.
    sources: Mapping[SourceKind, Sequence[Source]] = field(default_factory=dict)
    history: History | None = None  # what happened since the time that was asked for
    under_way: Sequence[Progress] = ()  # passes that run now
    lists: Sequence[ListFigures] = ()  # of known images
    list_sources: Sequence[SourceFigures] = ()  # where these are fetched from
    notices: Sequence[ChannelFigures] = ()  # how the telling goes
    condemned: Sequence[Condemned] = ()  # the newest objects that stand condemned, removed ones as well


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


def wilson(hits: int, of: int) -> tuple[float, float]:
    """Return between what shares the true one lies, at 95 %, where `hits` of `of` were found (Wilson's score interval).

    Of nothing nothing is known: 0 to 1.
    """
    if of <= 0:
        return 0.0, 1.0
    share, z2 = hits / of, _Z_95 * _Z_95
    middle = (share + z2 / (2 * of)) / (1 + z2 / of)
    half = _Z_95 / (1 + z2 / of) * math.sqrt(share * (1 - share) / of + z2 / (4 * of * of))
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))


def source_cells(source: Source) -> tuple[str, str, str, str, str]:
    """Return how many came from there, of how many, what share that may mean, when last, from where, and the name."""
    low, high = wilson(source.contents, source.of)
    where = {True: "local", False: "remote", None: ""}[source.local]
    last = f"{datetime.fromtimestamp(source.last_at, UTC):%Y-%m-%d}"
    return (
        f"{source.contents:,} of {source.of:,}",
        f"{percent(low)} to {percent(high)}",
        last,
        where,
        printable(source.name),
    )


LIST_HEADINGS = ("entries", "changed", "hits", "confirmed", "dismissed", "effect", "list")
"""Of the cells of a list of known images; the first five are counts and a day."""


def list_cells(found: ListFigures) -> tuple[str, ...]:
    """Return a list of known images as cells under `LIST_HEADINGS`."""
    hits = (f"{count:,}" for count in (found.hits.contents, found.hits.confirmed, found.hits.dismissed))
    changed = f"{datetime.fromtimestamp(found.changed_s, UTC):%Y-%m-%d}"
    return f"{found.entries:,}", changed, *hits, found.effect.value, printable(found.name)


def sources_shown(report: Report, by: SourceKind) -> tuple[Sequence[Source], bool]:
    """Return the sources of a kind that a report shows, most first, and whether there are more."""
    found = report.sources.get(by, ())
    return found[:SHOWN_SOURCES], len(found) > SHOWN_SOURCES


def sources_command(report: Report, by: SourceKind) -> str:
    """Return the command that lists all sources of a kind, ready to be pasted into a shell."""
    return list_of(report, report.store, f"--by {by.value}")


def percent(share: float) -> str:
    """Return a share with one decimal, rounded down: 100.0 % means nothing is missing, and 0.0 % nothing is there."""
    if 0 < share < 0.001:
        return "< 0.1 %"
    return f"{math.floor(share * 1000 + 1e-9) / 10:.1f} %"


def coverage_text(store: StoreFigures) -> str:
    """Return the coverage of the media, by reason what has no verdict, and how many have one of a part only."""
    if not store.present:
        return "no object is known to be there"
    if not store.media:
        return f"no media is known to be there{_also_skipped(store)}"
    text = f"coverage {percent(store.coverage)}"
    missing = store.unscanned.total()
    partly = f"; {objects_text(store.partly)} judged in part" if store.partly else ""
    if not missing:
        return f"{text}: all media have a verdict{partly}{_also_skipped(store)}"
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in by_count(store.unscanned))
    have = f"{objects_text(missing)} {'has' if missing == 1 else 'have'} no verdict: {reasons}"
    return f"{text}: {have}{partly}{_also_skipped(store)}"


def _also_skipped(store: StoreFigures) -> str:
    count = store.skipped.total()
    return f"; {objects_text(count)} skipped, no media" if count else ""


def gaps_of(summary: Mapping[str, Any]) -> int | None:
    """Return how many media a run left without a verdict; None where it does not say.

    The first versions counted there what is no media, too.
    """
    reasons = summary.get("unscanned")
    if not isinstance(reasons, dict):
        return None
    return sum(int(count) for reason, count in reasons.items() if reason not in SKIPPED)


def list_command(report: Report, store: str, reason: str, state: str = "unscanned") -> str:
    """Return the command that lists what is unscanned or skipped for a reason, ready to be pasted into a shell."""
    return list_of(report, store, f"--state {state} --{state} {reason}")


def list_of(report: Report, store: str | None, options: str, *values: str) -> str:
    """Return a command that lists, of a store only where the ledger knows several; see `command` for `values`."""
    if store is None or not report.several_stores:
        return command(f"list {options}", *values)
    return command(f"list {{}} {options}", printable(store), *values)


def capitalized(text: str) -> str:
    """Return a text as a sentence begins."""
    return text[:1].upper() + text[1:]


def span_text(seconds: float) -> str:
    """Return `40 s`, `5 min`, `3 h`, `2 days`, rounded down."""
    for size, unit in ((172_800.0, "days"), (7_200.0, "h"), (120.0, "min")):
        if seconds >= size:
            return f"{int(seconds // {'days': 86_400, 'h': 3_600, 'min': 60}[unit]):,} {unit}"
    return f"{int(seconds)} s"


def gate_rows(gate: UploadFigures, now: float) -> list[tuple[str, int, str]]:
    """Return what the gate refused and what waits for a verdict: name, count, and what is to be known of it."""
    by = by_count
    age = "" if gate.oldest_at is None else f"the oldest for {span_text(max(0.0, now - gate.oldest_at))}"
    rows = [("contents judged", gate.judged, ""), ("refused", gate.refused.total(), f"{gate.refused_day:,} in a day")]
    rows += [(f"  {reason}", count, "") for reason, count in by(gate.refused)]
    rows.append(("waiting", gate.owed.total(), age if gate.owed else "let in without a verdict, not judged since"))
    rows += [(f"  {reason}", count, "") for reason, count in by(gate.owed)]
    rows.append(
        ("condemned since", gate.condemned, "let in without a verdict; not removed yet" if gate.condemned else "")
    )
    rows.append(("held", gate.held.total(), "let in; this version cannot judge them" if gate.held else ""))
    rows += [(f"  {reason}", count, "") for reason, count in by(gate.held)]
    said = "of all these, by what they show: their server may have written them anew"
    if gate.unlike:
        rows.append(("not found again", gate.unlike.total(), said))
        rows += [(f"  {why}", count, "") for why, count in by(gate.unlike)]
    rows.append(("settled", gate.settled.total(), ""))
    rows += [(f"  {outcome}", count, "") for outcome, count in by(gate.settled)]
    return rows


def _gate_warnings(report: Report) -> Iterable[str]:
    gate = report.gate
    if gate is None:
        return
    if gate.condemned:
        yield (
            f"{_uploads_text(gate.condemned)} let in without a verdict, {'is' if gate.condemned == 1 else 'are'} "
            "condemned since and not removed yet. The gate removes them where `gate.store` is a pict-rs or has one; "
            f"else {hint('scan')} does."
        )
    age = 0.0 if gate.oldest_at is None else report.made_at - gate.oldest_at
    if gate.owed and age >= report.alert_s:
        yield (
            f"{_uploads_text(gate.owed.total())} let in without a verdict and not judged since, the oldest for "
            f"{span_text(age)}. See whether the gate runs and can reach its store; {hint('scan')} judges them too."
        )


def _uploads_text(count: int) -> str:
    return f"{count:,} upload{' was' if count == 1 else 's were'}"


def actions_text(store: StoreFigures) -> str:
    """Return how the actions through the app stand that are not done, the commonest first."""
    left = [(state, count) for state, count in store.actions.most_common() if state != "done" and count]
    return ", ".join(f"{count:,} {state}" for state, count in left)


def _action_warnings(store: StoreFigures) -> Iterator[str]:
    if store.action_breaker is not None:
        yield (
            f"The breaker has stopped the actions through the app for {store.store}: {store.action_breaker}. Look at "
            f"{hint('show KEY')}; if it is right, run {hint('apply {} --resume-actions', store.store)}."
        )
    if waiting := store.actions["unconfirmed"]:
        yield (
            f"{waiting:,} actions about people or instances behind contents of {store.store} wait for a person's word: "
            f"{hint('show KEY')} names them, {hint('confirm KEY')} lets them be done."
        )


def warnings(report: Report) -> list[str]:
    """Return what the operator must look at, gravest first, each with what to do."""
    found = list(_gate_warnings(report))
    found += [f"{capitalized(each.line())}. See {hint('notify list')}." for each in report.notices if each.late]
    for store in report.figures.stores:
        if store.breaker is not None:
            look, resume = hint("list {} --verdict block", store.store), hint("apply {} --resume-acts", store.store)
            shown = f"look at {look}; if it is right, run {resume}"
            shown = capitalized(remedy(store.store) if tells_of_gone(store.breaker) else shown)
            found.append(f"The breaker has stopped the actions on {store.store}: {store.breaker}. {shown}.")
    for store in report.figures.stores:
        found += _action_warnings(store)
        acts = report.acts.get(store.store)
        if acts is None:
            continue
        if failed := acts.plans["failed"]:
            found.append(
                f"{objects_text(failed)} of {store.store} could not be removed; the next real run tries again. "
                f"See {hint('list --act failed')}."
            )
        if waiting := acts.plans["planned"]:
            found.append(
                f"{objects_text(waiting)} of {store.store} {'is' if waiting == 1 else 'are'} condemned and still "
                f"there. {hint('apply {}', store.store)} removes what was planned; "
                f"{hint('list --act planned')} lists it."
            )
        if started := acts.plans["started"]:
            found.append(
                f"{objects_text(started)} of {store.store} may be half removed: the action began and was not closed. "
                f"The next real run or {hint('apply {}', store.store)} finishes it."
            )
    return found
