"""Carries out decisions once nobody can undo them any more, with the functions of the command line.

One thread, which sleeps until the next one is due. What is in hand when it is closed is finished; the rest waits in the
ledger, and whoever serves the pages next carries it out, unless so much time went by that nobody can mean it any more.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Sequence
from itertools import groupby

from fedi_safety.app.apply import remove_contents
from fedi_safety.app.confirming import plan_condemned
from fedi_safety.app.consent import lacking, remembered
from fedi_safety.app.known.lists import remember_dismissal
from fedi_safety.app.stores import known_target
from fedi_safety.config.schema import Settings
from fedi_safety.core.enums import PlanState
from fedi_safety.core.errors import FediSafetyError, KnownError, UsageError
from fedi_safety.core.ledger.ports import WholeLedger
from fedi_safety.core.ledger.review import Decision, DecisionKind, DecisionState
from fedi_safety.core.ports import Clock
from fedi_safety.core.types import Outcome
from fedi_safety.core.wording.hints import hint

log = logging.getLogger(__name__)

LAPSE_S = 3600.0
"""How long after its time a decision is still carried out."""
_AT_ONCE = 1_000
_SLEEP_S = 60.0


class Carrier:
    """Carries out what is due. `start` begins its thread; `carry_due` does the same once, for tests and at the end."""

    def __init__(self, settings: Settings, ledger: WholeLedger, clock: Clock) -> None:
        """Nothing is carried out yet."""
        self._settings, self._ledger, self._clock = settings, ledger, clock
        self._news = threading.Event()
        self._stopping = False
        self._one = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin."""
        self._thread = threading.Thread(target=self._run, name="review-decisions", daemon=True)
        self._thread.start()

    def tell(self) -> None:
        """Say that a decision was written down."""
        self._news.set()

    def close(self) -> None:
        """Finish the removal in hand, and end."""
        self._stopping = True
        self._news.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping:
            self._news.clear()
            wait_s = _SLEEP_S
            try:
                self.carry_due()
                due = self._ledger.next_due()
                wait_s = _SLEEP_S if due is None else min(max(due - self._clock.now(), 0.0) + 0.05, _SLEEP_S)
            except FediSafetyError as error:
                log.warning("decisions wait: %s", error.line())
            except Exception:
                log.exception("decisions wait")
            self._news.wait(wait_s)

    def carry_due(self) -> int:
        """Carry out what is due now; return how many decisions that were."""
        with self._one:
            taken = self._ledger.take_decisions(_AT_ONCE, LAPSE_S)
            for (kind, _, _), group in groupby(taken, key=lambda one: (one.kind, one.batch, one.by)):
                self._carry(kind, list(group))
            return len(taken)

    def _carry(self, kind: DecisionKind, group: Sequence[Decision]) -> None:
        if kind is DecisionKind.REMOVE:
            self._remove(group)
            return
        did = {
            DecisionKind.DISMISS: self._dismiss,
            DecisionKind.CONFIRM: self._confirm,
            DecisionKind.TAKE_BACK: self._take_back,
        }[kind]
        for decision in group:
            self._closing(decision, did)
        try:
            if kind is DecisionKind.DISMISS:
                remember_dismissal(self._settings, self._ledger)
        except KnownError as error:  # the word of the person stands all the same
            log.warning("lists do not know of a dismissal yet: %s", error.line())

    def _closing(self, decision: Decision, did: Callable[[Decision], str]) -> None:
        state, detail = DecisionState.FAILED, "it was cut off"
        try:
            state, detail = DecisionState.DONE, did(decision)
        except FediSafetyError as error:
            state, detail = DecisionState.FAILED, error.line()
        finally:
            self._ledger.close_decision(decision, state, detail)

    def _dismiss(self, decision: Decision) -> str:
        dropped = self._ledger.dismiss(decision.sha256, decision.reason, by=decision.by)
        return f"cleared everywhere, for good; waiting plans dropped: {dropped}"

    def _confirm(self, decision: Decision) -> str:
        allowed = self._ledger.confirm(decision.sha256, decision.reason, decision.by)
        planned = plan_condemned(self._settings, self._ledger, decision.sha256, decision.by)
        told = [f"confirmed; to be done by the next run: {len(allowed)}", *(one.text for one in planned)]
        return "; ".join(told)

    def _take_back(self, decision: Decision) -> str:
        taken = self._ledger.unconfirm(decision.sha256, decision.reason, decision.by)
        return "the word is taken back" if taken else "nobody confirmed it any more"

    # --- removing

    def _remove(self, group: Sequence[Decision]) -> None:
        ended: dict[bytes, list[str]] = {decision.sha256: [] for decision in group}
        failed: dict[bytes, str] = {}

        def note(outcome: Outcome) -> None:
            sha256, key = outcome.plan.sha256, outcome.plan.object.key
            if outcome.state is PlanState.FAILED:
                failed[sha256] = f"{key}: {outcome.detail}"
            ended[sha256].append(f"{key}: {outcome.state.value}")

        why = ""
        try:
            why = self._remove_from_stores(ended.keys(), group[0].by, note)
        except FediSafetyError as error:
            why = error.line()
        finally:
            for decision in group:
                said = failed.get(decision.sha256) or "; ".join(ended[decision.sha256]) or why
                done = bool(ended[decision.sha256]) and decision.sha256 not in failed
                state = DecisionState.DONE if done else DecisionState.FAILED
                self._ledger.close_decision(decision, state, said or "nothing was planned for it any more")

    def _remove_from_stores(self, wanted: Collection[bytes], by: str, note: Callable[[Outcome], None]) -> str:
        """Remove these contents wherever they are planned; return why something was held back, if it was."""
        why = ""
        for url in self._ledger.store_urls():
            if not any(plan.sha256 in wanted for plan in self._ledger.open_plans(url)):
                continue
            target = remembered(known_target(self._settings, url), self._ledger, url)
            if lacking(target.settings, self._ledger, url).act:
                cause = "nobody has chosen what is done about condemned objects"
                raise UsageError(url, cause, f"set `act`, or choose with {hint('apply {} --act ACT', url)}")
            store = target.open()
            try:
                report = remove_contents(
                    target.settings, wanted, ledger=self._ledger, store=store, by=by,
                    keep_going=lambda: not self._stopping, on_outcome=note,
                )  # fmt: skip
            finally:
                store.close()
            if report.breaker is not None:
                why = f"the breaker holds it back: {report.breaker}"
            elif report.interrupted:
                why = "it was stopped before this one; its plan waits"
        return why
