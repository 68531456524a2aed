"""Carrying out what earlier runs planned. Judges nothing and opens no model."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from fedi_safety.app.actions import act_through_app, opened_actions, pressed_by_hand
from fedi_safety.app.acts import act_for, opened_acts
from fedi_safety.app.consent import chosen_act
from fedi_safety.app.ledger import SystemClock
from fedi_safety.app.notices.conditions import say_ending
from fedi_safety.app.passes import breaker_limits, noting, recorded_run
from fedi_safety.app.sealing import destroy_ended
from fedi_safety.app.stores import spoken_name
from fedi_safety.app.tracing import opened_tracing
from fedi_safety.config.schema import Settings
from fedi_safety.core.decide import DAY_S, breaker_opinion
from fedi_safety.core.enforcement import Acting
from fedi_safety.core.enums import ActKind, Verdict
from fedi_safety.core.errors import UsageError
from fedi_safety.core.ledger.ports import Ledger
from fedi_safety.core.ledger.records import StoreCounts
from fedi_safety.core.ports import Act, Store
from fedi_safety.core.presence import Presence
from fedi_safety.core.runs import RunReport, Tally
from fedi_safety.core.tracing import Tracing
from fedi_safety.core.types import Outcome, Plan

_PAGE = 500


@dataclass(frozen=True, slots=True)
class Removable:
    """A plan that `apply` would carry out, and the rules that condemn its content."""

    plan: Plan
    rules: tuple[str, ...]


def removables(ledger: Ledger, store: str) -> Iterator[Removable]:
    """Yield what `apply` would take out of a store as the ledger stands now, page by page.

    Left out is what is undecided or not condemned any more: no act on it is started either.
    """
    plans = ledger.open_plans(store)
    while page := list(islice(plans, _PAGE)):
        judged = ledger.contents([plan.sha256 for plan in page])
        for plan in page:
            _, judgement, decided = judged.get(plan.sha256, (None, None, False))
            if decided and judgement is not None and judgement.verdict is Verdict.BLOCK:
                yield Removable(plan, tuple(hit.rule for hit in judgement.reasons if hit.verdict is Verdict.BLOCK))


def carry_out(
    settings: Settings,
    plans: Sequence[Plan],
    *,
    ledger: Ledger,
    store: Store,
    run: int,
    keep_going: Callable[[], bool],
) -> RunReport:
    """Carry out these plans as a part of a run that the caller began, and whose lock it holds."""
    report = RunReport(run, store.url)
    with (
        opened_tracing(settings, store, ledger, SystemClock()) as tracing,
        opened_acts(settings, store, ledger) as acts,
    ):
        acting = _acting(settings, acts, ledger, store, report, noting(report), tracing)
        _carry_out(acting, plans, keep_going, report)
    report.held = tracing.held
    return report


def _acting(
    settings: Settings,
    acts: Mapping[ActKind, Act],
    ledger: Ledger,
    store: Store,
    report: RunReport,
    on_outcome: Callable[[Outcome], None],
    tracing: Tracing,
    *,
    resume_acts: bool = False,
) -> Acting:
    return Acting(
        ledger,
        acts,
        report.run_id,
        report.tally,
        on_outcome,
        Presence(store, ledger),
        None if resume_acts else breaker_limits(settings),
        tracing=tracing,
    )


def _carry_out(
    acting: Acting, plans: Iterable[Plan], keep_going: Callable[[], bool], report: RunReport, *, resumed: bool = False
) -> bool:
    """Act, and say in the report what ended it early; return whether nothing did."""
    done = acting.carry_out(plans, keep_going, resumed=resumed)
    report.breaker = acting.tripped
    report.interrupted = not done and acting.tripped is None
    return done


def apply(
    settings: Settings,
    *,
    ledger: Ledger,
    store: Store,
    resume_acts: bool = False,
    resume_actions: bool = False,
    keep_going: Callable[[], bool] = lambda: True,
    on_outcome: Callable[[Outcome], None] | None = None,
) -> RunReport:
    """Carry out what earlier runs planned for a store and nobody dismissed. Judges nothing and opens no model.

    `resume_actions` is a person's word against the breaker of actions through the app, for this run.
    """
    act = act_for(settings, store)
    if act is None:
        raise UsageError(
            "apply", f"`act = {settings.act}` is configured, and apply removes", "configure another action"
        )
    report = RunReport(0, store.url, named=spoken_name(store), ledger=ledger.name)
    recorded = {
        "resume_acts": resume_acts,
        "resume_actions": resume_actions,
        "act": act.value,
        "chosen_act": chosen_act(settings),
    }
    with (
        opened_tracing(settings, store, ledger, SystemClock()) as tracing,
        opened_actions(settings, store.url, ledger, SystemClock()) as actions,
        opened_acts(settings, store, ledger) as acts,
        ledger.run_lock(store.url),
        recorded_run(ledger, "apply", report, recorded),
    ):
        counts = ledger.store_counts(store.url)
        report.tally.planned = counts.open_removals
        report.breaker = _apply_breaker(settings, ledger, report, counts, resume_acts)
        lost = ledger.take_back(report.run_id, store.url)
        if report.breaker is None:
            _plan_as(act, ledger, report.run_id, store.url)
            noted = _noting(report, on_outcome)
            acting = _acting(settings, acts, ledger, store, report, noted, tracing, resume_acts=resume_acts)
            if acting.refuses(ledger.open_plans(store.url)):
                report.breaker = acting.tripped
            elif _carry_out(acting, lost, keep_going, report, resumed=True):
                tried = {plan.id for plan in lost}
                rest = (plan for plan in ledger.open_plans(store.url) if plan.id not in tried)
                _carry_out(acting, rest, keep_going, report)
            if not report.interrupted and report.breaker is None:
                tracing.again(report.run_id, keep_going)
            report.held = tracing.held
        destroy_ended(settings, ledger, report.run_id, keep_going)
        say_ending(settings, ledger)
        report.by_hand = pressed_by_hand(settings, tracing.seen)
        act_through_app(actions, report, keep_going, resume=resume_actions)
    return report


def remove_contents(
    settings: Settings,
    contents: Collection[bytes],
    *,
    ledger: Ledger,
    store: Store,
    by: str,
    keep_going: Callable[[], bool] = lambda: True,
    on_outcome: Callable[[Outcome], None] | None = None,
) -> RunReport:
    """Carry out what is planned for these contents in a store, on the word of the person that `by` names.

    As `apply`, but for the rest of the store, whose plans wait on; and the breaker looks at what was removed within a
    day as well, so that a store is not emptied piece by piece.
    """
    act = act_for(settings, store)
    if act is None:
        raise UsageError(store.url, f"`act = {settings.act}` is configured", "configure another action")
    report = RunReport(0, store.url, named=spoken_name(store), ledger=ledger.name)
    recorded = {"act": act.value, "chosen_act": chosen_act(settings), "by": by, "contents": len(contents)}
    with (
        opened_tracing(settings, store, ledger, SystemClock()) as tracing,
        opened_acts(settings, store, ledger) as acts,
        ledger.run_lock(store.url),
        recorded_run(ledger, "apply", report, recorded),
    ):
        ledger.take_back(report.run_id, store.url)
        wanted = [plan for plan in ledger.open_plans(store.url) if plan.sha256 in contents]
        planned = ledger.plan(report.run_id, store.url, [(plan.object, plan.sha256) for plan in wanted], act)
        report.tally.planned = len(planned)
        counts = ledger.store_counts(store.url)
        lately = ledger.removed_since(store.url, SystemClock().now() - DAY_S)
        asked = replace(counts, open_removals=lately + len(planned))
        report.breaker = _apply_breaker(settings, ledger, report, asked, resume_acts=False)
        if report.breaker is None:
            noted = _noting(report, on_outcome)
            acting = _acting(settings, acts, ledger, store, report, noted, tracing)
            if acting.refuses(planned):
                report.breaker = acting.tripped
            else:
                _carry_out(acting, planned, keep_going, report)
            report.held = tracing.held
    return report


def _noting(report: RunReport, on_outcome: Callable[[Outcome], None] | None) -> Callable[[Outcome], None]:
    """Return what counts an outcome in the report, and tells `on_outcome` of it."""
    note = noting(report)

    def noted(outcome: Outcome) -> None:
        note(outcome)
        if on_outcome is not None:
            on_outcome(outcome)

    return noted


def _plan_as(act: ActKind, ledger: Ledger, run: int, store: str) -> None:
    """See that every open plan of a store is for this act: a dry run plans the default where nobody has chosen yet."""
    plans = ledger.open_plans(store)
    while page := list(islice(plans, _PAGE)):
        ledger.plan(run, store, [(plan.object, plan.sha256) for plan in page if plan.act is not act], act)


def _apply_breaker(
    settings: Settings, ledger: Ledger, report: RunReport, counts: StoreCounts, resume_acts: bool
) -> str | None:
    """Hold the plans against the store's judged objects, as the run that made them would have."""
    held = ledger.breaker(report.store)
    if resume_acts:
        if held is not None:
            ledger.set_breaker(report.run_id, report.store, None)
        return None
    if held is not None:
        return held
    seen = Tally(
        listed=counts.judged + counts.unscanned,
        judged=counts.judged,
        unscanned={"all": counts.unscanned},
        block=counts.open_removals,
    )
    why = breaker_opinion(breaker_limits(settings), seen)
    if why is not None:
        ledger.set_breaker(report.run_id, report.store, why)
    return why
