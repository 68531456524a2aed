"""What happens with results: record, decide, plan, act, close, always in this order (I3). One thread, one writer.

It removes nothing itself and judges nothing: verdicts come from the pipeline, removals go through the `Act` port.
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Protocol

from fedi_safety.core.decide import (
    DAY_S,
    BreakerLimits,
    Mode,
    acts_due,
    breaker_opinion,
    gone_acts_opinion,
    lists_behind,
    lists_opinion,
    tells_of_gone,
    wants_act,
)
from fedi_safety.core.enums import ActKind, Listing, PlanState, Root, Verdict
from fedi_safety.core.errors import ModelError, StoreError, out_of_memory, printable
from fedi_safety.core.ledger.census import Census
from fedi_safety.core.ledger.ports import Ledger
from fedi_safety.core.pipeline import Pipeline, Remembered, Result
from fedi_safety.core.ports import Act, ActAhead, Clock
from fedi_safety.core.presence import Presence
from fedi_safety.core.runs import ACTED_LOGGER, Tally
from fedi_safety.core.tracing import Tracing
from fedi_safety.core.types import Judged, Object, Outcome, Plan, Unscanned

log = logging.getLogger(__name__)
acted = logging.getLogger(ACTED_LOGGER)

_RECORD_RESULTS = 512  # results that one transaction records
_HELD_RESULTS = 8 * _RECORD_RESULTS  # with those that are remembered, of which nothing is recorded
_RECORD_S = 1.0  # and the longest that a result waits for its record
_PAGE = 500  # plans that are looked up at once
_GROUP_S = 1.0  # how long a group of acts takes that are started together, as far as the last one tells
_GROUP_MOST = 32  # and how many they are at most
_MET_S = 10.0  # how long a store in which an act met its object counts as there


@dataclass(slots=True)
class Acting:
    """Carries out plans in small groups: start (durable), do, close. Doing a group twice is harmless.

    A group takes about a second: whatever a person says meanwhile is heard before the next one is started. That objects
    are gone is believed of a store that is itself only, and with `limits` up to a share of them.
    """

    ledger: Ledger
    acts: Mapping[ActKind, Act]
    run: int
    tally: Tally
    on_outcome: Callable[[Outcome], None] | None = None
    presence: Presence | None = None  # None: whoever calls this vouches for the store
    limits: BreakerLimits | None = None
    tripped: str | None = None  # why the breaker stopped this: too much is gone
    tracing: Tracing | None = None
    _by_list: Counter[str] | None = None  # what a day's acts removed for each list, and what these will
    _lost: int = 0
    _met_at: float = -math.inf

    def carry_out(
        self, plans: Iterable[Plan], keep_going: Callable[[], bool] = lambda: True, *, resumed: bool = False
    ) -> bool:
        """Act on every plan while `keep_going` says so; return whether all were tried.

        The act in hand is always finished and its record closed before this returns; what was started with it and has
        not begun waits again. `resumed`: an earlier run began these acts, so that what is gone may be its doing.
        Raises `StoreError` where objects are gone from a store that is not the one that is remembered.
        """
        waiting = iter(plans)
        if (first := next(waiting, None)) is None:
            return True
        waiting, size = chain((first,), waiting), self._at_first(first)
        while group := list(islice(waiting, size)):
            if not keep_going():
                return False
            if self.tracing is not None:
                group = self.tracing.ready(self.run, group, keep_going)
                if not keep_going():
                    return False
            if self.refuses(group):
                return False
            if self._by_list is not None:
                self._by_list.update(self._behind(group))
            began = time.monotonic()
            # What a person dismissed, or a newer judgement superseded, in the meantime is not started.
            started = self.ledger.start(self.run, group)
            tried = {plan.id for plan in group if resumed or plan.state is PlanState.FAILED}
            if not self._perform(started, keep_going, tried, resumed=resumed):
                return False
            took = max(time.monotonic() - began, 1e-3)
            size = max(1, min(_GROUP_MOST, 2 * size, int(size * _GROUP_S / took)))
        return True

    def foresee(self, kind: ActKind, found: Iterable[tuple[Object, bytes]]) -> None:
        """Tell an act of objects for which it will probably be asked, where it can get them ready."""
        act = self.acts.get(kind)
        if isinstance(act, ActAhead):
            for obj, sha256 in found:
                act.foresee(obj, sha256)

    def _at_first(self, plan: Plan) -> int:
        act = self.acts.get(plan.act)
        return act.at_first if isinstance(act, ActAhead) else 1

    def refuses(self, plans: Iterable[Plan]) -> bool:
        """Whether one list led to too much of this; the breaker is tripped then, and nothing of it is to be begun."""
        if self.limits is None or self.presence is None:
            return False
        waiting = iter(plans)
        asked: Counter[str] = Counter()
        while page := list(islice(waiting, _PAGE)):
            asked.update(self._behind(page))
        if not asked:
            return False
        if self._by_list is None:
            self._by_list = Counter(self.ledger.removed_by_list(self.presence.store.url, DAY_S))
        self.tripped = lists_opinion(self.limits, self._by_list + asked)
        if self.tripped is not None:
            self.ledger.set_breaker(self.run, self.presence.store.url, self.tripped)
        return self.tripped is not None

    def _behind(self, plans: Sequence[Plan]) -> Iterator[str]:
        """Yield for each plan the lists that it is for, where it is for nothing else."""
        judged = self.ledger.contents([plan.sha256 for plan in plans])
        for plan in plans:
            if plan.sha256 in judged and judged[plan.sha256][1].verdict is Verdict.BLOCK:
                yield from lists_behind(judged[plan.sha256][1])

    def _perform(
        self, started: Sequence[Plan], keep_going: Callable[[], bool], tried: Set[int], *, resumed: bool
    ) -> bool:
        """Do what was started, until it is done or `keep_going` says no; close what was done, give back the rest."""
        outcomes: list[Outcome] = []
        rules = self._rules(started)
        begun = 0
        believed = False
        doubt: StoreError | None = None
        try:
            with self._ahead(started):
                for plan in started:
                    if begun and not keep_going():
                        break
                    begun += 1
                    try:
                        outcome = self.acts[plan.act].perform(plan)
                    except MemoryError:
                        outcome = Outcome(plan, PlanState.FAILED, out_of_memory("removed").detail)
                    _name(outcome, rules.get(plan.sha256, ""))
                    outcomes.append(outcome)
            doubt = self._doubt(outcomes, tried)
            believed = doubt is None and self.tripped is None
        finally:
            # Also where something ends this at once. An act that broke off stays started: the next run does it again.
            waiting = [] if believed else [o.plan for o in outcomes if o.state is PlanState.GONE]
            outcomes = outcomes if believed else [o for o in outcomes if o.state is not PlanState.GONE]
            self.ledger.close(self.run, outcomes)
            self.ledger.give_back(self.run, [*waiting, *started[begun:]])
        self._count(outcomes, resumed)
        if doubt is not None:
            raise doubt
        return begun == len(started) and self.tripped is None

    @contextmanager
    def _ahead(self, started: Sequence[Plan]) -> Iterator[None]:
        """Tell the acts what comes, where they can get it ready; what is not performed is undone at the end."""
        with ExitStack() as told:
            for kind in dict.fromkeys(plan.act for plan in started):
                act = self.acts.get(kind)
                if isinstance(act, ActAhead):
                    told.enter_context(act.ahead([plan for plan in started if plan.act is kind]))
            yield

    def _doubt(self, outcomes: Sequence[Outcome], tried: Set[int]) -> StoreError | None:
        """Return why it is not believed that objects are gone; trip the breaker where too many are.

        Of plans that were `tried` before, by a run that was killed or an act that failed, it may be our own doing.
        """
        if self.presence is None:
            return None
        if any(outcome.state in (PlanState.DONE, PlanState.CHANGED) for outcome in outcomes):
            self._met_at = time.monotonic()
        gone = [outcome.plan for outcome in outcomes if outcome.state is PlanState.GONE]
        if tried and self.presence.root() is not Root.OTHER:
            gone = [plan for plan in gone if plan.id not in tried]
        # An act that met its object a moment ago has shown that the store is there, though it may be empty by now.
        if gone and time.monotonic() - self._met_at > _MET_S:
            doubt = self.presence.doubt({plan.object.key for plan in gone})
            if doubt is not None:
                return doubt
        # Thumbnails among the files of a pict-rs go with their originals: that is no loss.
        ours = self.presence.store.owner is None
        self._lost += sum(not (ours and self._by_purge(plan)) for plan in gone)
        if self.limits is not None and gone:
            acted = sum(outcome.state is PlanState.DONE for outcome in outcomes)
            self.tripped = gone_acts_opinion(self.limits, self.tally.acted + acted, self._lost)
        if self.tripped is not None:
            self.ledger.set_breaker(self.run, self.presence.store.url, self.tripped)
        return None

    def _by_purge(self, plan: Plan) -> bool:
        act = self.acts[plan.act]
        return getattr(act, "removes_by", act.kind) is ActKind.PURGE

    def _count(self, outcomes: Sequence[Outcome], resumed: bool) -> None:
        for outcome in outcomes:
            if outcome.state is PlanState.DONE or (resumed and outcome.state is PlanState.GONE):
                self.tally.acted += 1
            elif outcome.state is PlanState.GONE:
                self.tally.gone += 1
            elif outcome.state is PlanState.FAILED:
                self.tally.failed += 1
            if self.on_outcome is not None:
                self.on_outcome(outcome)

    def _rules(self, plans: Sequence[Plan]) -> dict[bytes, str]:
        """Return the names of the rules by which contents are condemned."""
        judged = self.ledger.contents([plan.sha256 for plan in plans]) if plans else {}
        return {
            sha256: ", ".join(hit.rule for hit in judgement.reasons if hit.verdict is Verdict.BLOCK)
            for sha256, (_, judgement, _) in judged.items()
        }


class Passing(Protocol):
    """A pass as far as its back half asks: one pipeline, or what others made of the parts of a store."""

    @property
    def halted(self) -> bool:
        """Whether it was told to stop."""
        ...

    @property
    def census(self) -> Census | None:
        """What of all of the store it met; None where it is not over all of it."""
        ...

    @property
    def listed_all(self) -> bool:
        """Whether the listing came to its end."""
        ...

    def halt(self) -> None:
        """Begin nothing more; what is in hand is finished and recorded. Safe in a signal handler."""
        ...


@dataclass(slots=True)
class Enforcement:
    """The back half of a scan. `tripped` tells why the breaker stopped the acts, if it did.

    `listing` is what kind of listing it was, where the pipeline has a census of all of the store.
    """

    ledger: Ledger
    acting: Acting
    clock: Clock
    store: str
    mode: Mode
    limits: BreakerLimits
    run: int
    tally: Tally
    resume_acts: bool = False
    retry_acts: bool = True
    tripped: str | None = None
    listing: Listing | None = None
    on_batch: Callable[[Sequence[Result]], None] | None = None
    on_planned: Callable[[Sequence[Plan]], None] | None = None
    _pending: deque[Plan] = field(default_factory=deque)
    _acted_at: int = 0

    def consume(self, pipeline: Pipeline) -> None:
        """Take every result of the pipeline; when this returns all of them are recorded and the due acts are done.

        After a halt the results in hand are still recorded, but no further act begins: their plans wait in the ledger.
        Raises `StoreError`, with everything recorded, where the store turns out not to be the one that is remembered.
        """
        self.begin(pipeline)
        buffer: list[Result] = []
        try:
            self._take(pipeline, buffer)
        except (StoreError, ModelError):
            # What was judged before the store or the engine failed is as true as ever; only the acts must wait.
            self._record(buffer, pipeline)
            raise
        self._record(buffer, pipeline)
        if not pipeline.halted:
            self._conclude(pipeline)
            self._act(pipeline, finished=True)

    def begin(self, passing: Passing) -> None:
        """Take over the breaker as it stands, and finish what an earlier run began."""
        self._latch()
        if self.mode.removes:
            self._recover(passing)

    def finish(self, passing: Passing, plans: Callable[[], Iterable[Plan]]) -> None:
        """End a pass whose results others recorded: conclude what is gone, ask the breaker, carry out the plans.

        `plans` gives them from the ledger, as often as it is called. After a halt nothing of this is done. Raises
        `StoreError` where the store turns out not to be the one that is remembered.
        """
        if passing.halted:
            return
        self._conclude(passing)
        if self.mode.removes and self._allowed():
            self._carry_out(plans, passing)

    def _conclude(self, pipeline: Passing) -> None:
        """Mark gone what a listing of all of the store did not name, or stop the acts where that is too much."""
        census, presence = pipeline.census, self.acting.presence
        if census is None or presence is None or not pipeline.listed_all:
            return
        self.listing, why, gone = presence.conclude(self.run, census, self.tally.listed, self.limits)
        self.tally.gone += gone
        if why is None:
            return
        if self.mode.removes:
            self.ledger.set_breaker(self.run, self.store, why)
        self.tripped = why

    def _take(self, pipeline: Pipeline, buffer: list[Result]) -> None:
        """Fill `buffer` from the pipeline and empty it into the ledger, acting at checkpoints."""
        since, fresh = self.clock.monotonic(), 0
        with closing(pipeline.results()) as results:
            for items in results:
                buffer.extend(items)
                fresh += sum(not isinstance(each, Remembered) for each in items)
                self._foresee(items, pipeline)
                due = self.clock.monotonic() - since >= _RECORD_S
                # A transaction takes milliseconds whatever it records: it is not made for a few among many known.
                if fresh >= _RECORD_RESULTS or len(buffer) >= _HELD_RESULTS or due:
                    self._record(buffer, pipeline)
                    buffer.clear()
                    since, fresh = self.clock.monotonic(), 0
                if not pipeline.halted:
                    self._act(pipeline, finished=False)

    def _foresee(self, items: Sequence[Result], passing: Passing) -> None:
        """Have what is judged just now got ready for its act, while the rest is judged, recorded and planned."""
        act = self.mode.act
        if act is not None and self.mode.removes and self.tripped is None and not passing.halted:
            self.acting.foresee(act, _condemned([each for each in items if isinstance(each, Judged)], act))

    def _latch(self) -> None:
        """Take over a breaker that an earlier run tripped, or reset it when the operator resumes."""
        held = self.ledger.breaker(self.store)
        if held is None:
            return
        presence = self.acting.presence
        if presence is not None and presence.accepted and tells_of_gone(held):
            self.ledger.set_breaker(self.run, self.store, None)
        elif not self.mode.removes:
            return
        elif self.resume_acts:
            self.ledger.set_breaker(self.run, self.store, None)
        else:
            self.tripped = held

    def _record(self, batch: Sequence[Result], pipeline: Pipeline) -> None:
        if not batch:
            return
        fresh = [r for r in batch if isinstance(r, Judged | Unscanned)]
        for at in range(0, len(fresh), _RECORD_RESULTS):
            self.ledger.record(self.run, self.store, fresh[at : at + _RECORD_RESULTS])
        for result in batch:
            self._count(result)
        self.tally.frames, self.tally.bytes = pipeline.frames, pipeline.bytes
        act = self.mode.act
        if act is not None and (wanted := list(_condemned(batch, act))):
            plans = self.ledger.plan(self.run, self.store, wanted, act)
            self.tally.planned += len(plans)
            if self.on_planned is not None:
                self.on_planned(plans)
            if self.mode.removes and self.tripped is None:
                # Bounded by the objects between two checkpoints.
                self._pending.extend(p for p in plans if self.retry_acts or p.state is not PlanState.FAILED)
        if self.on_batch is not None:
            self.on_batch(batch)

    def _count(self, result: Result) -> None:
        _log(result)
        tally = self.tally
        tally.listed += 1
        if isinstance(result, Judged):
            tally.judged += 1
            tally.partly += result.content.partly is not None
            self._count_verdict(result.judgement.verdict)
        elif isinstance(result, Unscanned):
            tally.count_without_verdict(result.reason)
        elif result.known.verdict is not None:
            tally.already_judged += 1
            tally.partly += result.known.partly
            self._count_verdict(result.known.verdict)
        elif result.known.reason is not None:
            tally.count_without_verdict(result.known.reason)

    def _count_verdict(self, verdict: Verdict) -> None:
        if verdict is Verdict.BLOCK:
            self.tally.block += 1
        elif verdict is Verdict.REVIEW:
            self.tally.review += 1
        else:
            self.tally.clear += 1

    def _act(self, pipeline: Pipeline, *, finished: bool) -> None:
        """At a checkpoint, or at the end, ask the breaker and carry out what is pending."""
        if not self.mode.removes or not acts_due(self.tally.listed, self._acted_at, finished=finished):
            return
        self._acted_at = self.tally.listed
        if not self._allowed():
            self._pending.clear()  # the plans stay in the ledger
            return
        plans, self._pending = self._pending, deque()
        self._carry_out(lambda: plans, pipeline)

    def _allowed(self) -> bool:
        """Whether the breaker lets acts begin."""
        if self.tripped is None and not self.resume_acts:
            self.tripped = breaker_opinion(self.limits, self.tally)
            if self.tripped is not None:
                self.ledger.set_breaker(self.run, self.store, self.tripped)
        return self.tripped is None

    def _carry_out(self, plans: Callable[[], Iterable[Plan]], passing: Passing) -> None:
        if not self.acting.refuses(plans()):
            self.acting.carry_out(plans(), lambda: not passing.halted)
        self.tripped = self.acting.tripped

    def _recover(self, pipeline: Passing) -> None:
        """Let acts that an earlier run began and did not close wait again, and carry out what may be of them now."""
        lost = self.ledger.take_back(self.run, self.store)
        if self.tripped is None:
            self.acting.carry_out(lost, lambda: not pipeline.halted, resumed=True)


def _name(outcome: Outcome, rules: str) -> None:
    """Say what became of an object that was to be removed, and by which rules."""
    key, detail = printable(outcome.plan.object.key), f": {outcome.detail}" if outcome.detail else ""
    if outcome.state is PlanState.DONE:
        acted.warning("removed %s (%s)%s", key, rules, detail)
    elif outcome.state is PlanState.FAILED:
        acted.warning("could not remove %s (%s)%s", key, rules, detail)
    else:
        log.info("%s: %s%s", key, outcome.state.value, detail)


def _log(result: Result) -> None:
    """Name what is worth a look: keys, hashes and rules, never content (I1)."""
    if isinstance(result, Judged) and result.judgement.verdict is not Verdict.CLEAR:
        rules = ", ".join(hit.rule for hit in result.judgement.reasons)
        named = printable(result.object.key), rules, result.content.sha256.hex()
        if result.judgement.verdict is Verdict.BLOCK:
            acted.warning("condemned %s (%s), sha256 %s", *named)
        else:
            log.info("to review %s (%s), sha256 %s", *named)
    elif isinstance(result, Unscanned):
        how = "skipped" if result.reason.skipped else "unscanned"
        log.debug("%s: %s, %s: %s", printable(result.object.key), how, result.reason.value, result.detail)


def _condemned(batch: Sequence[Result], act: ActKind) -> Iterator[tuple[Object, bytes]]:
    for result in batch:
        if isinstance(result, Judged):
            verdict, sha256 = result.judgement.verdict, result.content.sha256
        elif isinstance(result, Remembered) and result.known.verdict is not None and result.known.sha256 is not None:
            verdict, sha256 = result.known.verdict, result.known.sha256
        else:
            continue
        if wants_act(verdict, act):
            yield result.object, sha256
