"""Between plan and act: find out who put a condemned object there, as long as somebody knows, and write it down.

It removes nothing and judges nothing, and whatever goes wrong here is a record, never an end of the pass.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

from fedi_safety.core.classes import dataclass
from fedi_safety.core.enums import ActKind
from fedi_safety.core.errors import FediSafetyError, TraceError, printable
from fedi_safety.core.ledger.ports import TraceLedger, Verdicts
from fedi_safety.core.moderation import Wanted
from fedi_safety.core.ports import Clock, FileOwner, Tracer
from fedi_safety.core.sightings import Sighting, Subject, Traced, TraceRecord, TraceState
from fedi_safety.core.types import Object, Plan

log = logging.getLogger(__name__)

T = TypeVar("T")

_NOTHING = Traced()
_NO_ACTIONS = Wanted()
_RETRY_FIRST_S = 60.0
_RETRY_MOST_S = 3600.0
_MOST_TRIES = 24
_SEEN = 20
_RETRIES = 64  # failed traces that one pass makes again


class Asked(TraceLedger, Verdicts, Protocol):
    """What tracing asks of the ledger."""


@dataclass(frozen=True, slots=True)
class TraceLimits:
    """`limit_s` is the longest that one object may take; `wait_s` is how long acts wait that make it untraceable."""

    limit_s: float = 10.0
    wait_s: float = 3600.0


_LIMITS = TraceLimits()


class Bounded:
    """Waits for an answer no longer than it may, whatever the one who is asked does.

    A question that hangs keeps its thread, which is one at most: until it ends nothing else is asked.
    """

    def __init__(self) -> None:
        """Ask nothing yet."""
        self._thread: threading.Thread | None = None

    def ask(self, question: Callable[[], T], within_s: float) -> T:
        """Return the answer. Raises what the question raises, or `TraceError` where it takes longer."""
        if self._thread is not None and self._thread.is_alive():
            raise TraceError("", "an earlier question still hangs", "check that the server answers")
        answers: list[T] = []
        errors: list[BaseException] = []

        def run() -> None:
            try:
                answers.append(question())
            except BaseException as error:  # noqa: BLE001 - raised where somebody waits
                errors.append(error)

        self._thread = threading.Thread(target=run, name="trace", daemon=True)
        self._thread.start()
        self._thread.join(max(within_s, 0.0))
        if errors:
            raise errors[0]
        if not answers:
            raise TraceError("", f"no answer within {within_s:.3g} s", "check that the server answers")
        return answers[0]


class Tracing:
    """Traces what is planned in one store, each content and object once, and says which acts may go on.

    Without a tracer it keeps what the owner of the files knows, before that is gone. One thread at a time.
    """

    def __init__(
        self,
        ledger: Asked,
        clock: Clock,
        store: str,
        *,
        tracer: Tracer | None,
        owner: FileOwner | None = None,
        limits: TraceLimits = _LIMITS,
        bounded: Bounded | None = None,
        actions: Wanted = _NO_ACTIONS,
        uploads: bool = False,
    ) -> None:
        """Trace objects of `store`; `owner` is asked first for the names that a file has.

        What of `actions` a trace asks for is planned with its record. `uploads`: it is the store that uploads end in,
        so that its server is the one that those of the gate go to. Passes that follow each other share `bounded`, so
        that what hung in one hangs in the next.
        """
        self.held = 0  # plans whose act waits; a pass counts each once
        self.seen: list[Sighting] = []  # the first that were found
        self._ledger = ledger
        self._clock = clock
        self._store = store
        self._tracer = tracer
        self._owner = owner
        self._limits = limits
        self._bounded = bounded or Bounded()
        self._actions = actions
        self._uploads = uploads

    def ready(self, run: int, plans: Sequence[Plan], keep_going: Callable[[], bool]) -> list[Plan]:
        """Trace these plans' objects; return the plans whose act may begin, in order.

        `delete` never waits. `purge` takes with it what a tracer would find by: it waits, as long as `wait_s` says,
        while the server cannot be asked. What a person dismissed is not traced; the ledger will not start it.
        """
        if self._tracer is None and self._owner is None:
            return list(plans)
        sha256s = [plan.sha256 for plan in plans]
        before, dismissed = self._ledger.traces_of(sha256s), self._ledger.dismissed(sha256s)
        ready: list[Plan] = []
        for plan in plans:
            if not keep_going():
                break
            if plan.sha256 in dismissed or self._may_go(run, plan, self._earlier(plan, before)):
                ready.append(plan)
        return ready

    def again(self, run: int, keep_going: Callable[[], bool]) -> None:
        """Make traces of this store again that failed and are due, and trace what the gate refused, until one fails."""
        if self._tracer is None:
            return
        for record in self._ledger.due_traces(self._store, _RETRIES):
            if not keep_going():
                return
            sha256, own = record.subject.sha256, (record.subject.store, record.subject.key)
            past = [] if sha256 is None else self._ledger.traces_of([sha256]).get(sha256, [])
            same = [r for r in past if (r.subject.store, r.subject.key) == own and r.plan == record.plan]
            made = replace(self.trace(record.subject, None, same), plan=record.plan)
            self._note(run, made)
            if made.state is TraceState.FAILED:
                return
        for subject in self._ledger.untraced_uploads(_RETRIES) if self._uploads else ():
            if not keep_going():
                return
            made = self.trace(replace(subject, store=self._store), None)
            self._note(run, made)
            if made.state is TraceState.FAILED:
                return

    def trace(self, subject: Subject, obj: Object | None, earlier: Sequence[TraceRecord] = ()) -> TraceRecord:
        """Ask the owner for names and the server for sightings; return the attempt, which is not recorded yet."""
        until = self._clock.monotonic() + self._limits.limit_s
        subject = _with_names(subject, earlier)
        troubles: list[str] = []
        if self._owner is not None and obj is not None and subject.sha256 is not None:
            owner, sha256 = self._owner, subject.sha256
            try:
                names = self._bounded.ask(lambda: owner.names(obj, sha256), self._limits.limit_s)
                subject = replace(
                    subject,
                    aliases=tuple(dict.fromkeys((*subject.aliases, *names.aliases))),
                    origins=tuple(dict.fromkeys((*subject.origins, *names.origins))),
                )
            except Exception as error:  # noqa: BLE001 - a bug there must not keep anything from being removed
                troubles.append(_said(error))
        if self._tracer is None:
            return self._ended(
                subject, TraceState.FAILED if troubles else TraceState.NAMES, "; ".join(troubles), earlier
            )
        tracer, left = self._tracer, until - self._clock.monotonic()
        try:
            if left <= 0:
                raise TraceError("", f"no answer within {self._limits.limit_s:.3g} s")
            found = self._bounded.ask(lambda: tracer.trace(subject, within_s=left), left)
        except Exception as error:  # noqa: BLE001
            found = self._with_told(subject, _NOTHING)
            failed = TraceState.POORLY if found.sightings else TraceState.FAILED
            return self._ended(subject, failed, "; ".join([*troubles, _said(error)]), earlier, found)
        found = self._with_told(subject, found)
        state = _state(found, poorly=bool(found.closed or troubles))
        detail = "; ".join([*([found.unknown] if found.unknown else []), *troubles, *found.closed])
        return self._ended(subject, state, detail, earlier, found)

    def _with_told(self, subject: Subject, found: Traced) -> Traced:
        """Return what was found, and what a server's hook said of the same before; its own record comes first."""
        records = [sighting.record for sighting in found.sightings if sighting.record is not None]
        known = {(sighting.kind, sighting.post_id) for sighting in found.sightings}
        told = [s for s in self._ledger.told_of(subject.sha256, records) if (s.kind, s.post_id) not in known]
        return replace(found, sightings=(*found.sightings, *told))

    def _may_go(self, run: int, plan: Plan, earlier: Sequence[TraceRecord]) -> bool:
        last = earlier[-1] if earlier else None
        if last is not None and not last.state.open:
            return True
        now = self._clock.now()
        waits = plan.act in (ActKind.PURGE, ActKind.SEAL) and self._tracer is not None
        since = earlier[0].at if earlier else now
        over = not 0 <= now - since < self._limits.wait_s  # a clock that was set back makes nobody wait for years
        due = last is None or (last.retry_at is not None and last.retry_at <= now)
        if due or (waits and over and last is not None and last.state is not TraceState.NOT_TRACED):
            subject = Subject(self._store, plan.object.key, plan.sha256)
            last = replace(self.trace(subject, plan.object, earlier), plan=plan.id)
            if waits and over and last.state.open:
                last = replace(last, state=TraceState.NOT_TRACED)
            self._note(run, last)
        if last is None or not waits or over or not last.state.open:
            return True
        self.held += 1
        left = since + self._limits.wait_s - now
        log.info("%s: waits to be traced, for %.0f s at most: %s", printable(plan.object.key), left, last.detail)
        return False

    def _earlier(self, plan: Plan, before: Mapping[bytes, Sequence[TraceRecord]]) -> list[TraceRecord]:
        """Return the attempts that were made for this plan by this server.

        Not for an earlier one: who put it there again, after it was removed, may be somebody else.
        """
        return [r for r in before.get(plan.sha256, ()) if r.plan == plan.id and r.server == self._server]

    @property
    def _server(self) -> str:
        if self._tracer is not None:
            return self._tracer.name
        return "" if self._owner is None else self._owner.name

    def _ended(
        self,
        subject: Subject,
        state: TraceState,
        detail: str,
        earlier: Sequence[TraceRecord],
        found: Traced = _NOTHING,
    ) -> TraceRecord:
        now = self._clock.now()
        # What the gate refused has no object yet: a record of it may come later.
        may_come = state is TraceState.NOTHING and subject.store is not None and subject.key is None
        tries = len(earlier) if may_come else sum(record.state.open for record in earlier)
        # Without a server it is the owner that failed, and nothing goes out by it before it is asked again.
        wait = 0.0 if self._tracer is None else min(_RETRY_MOST_S, _RETRY_FIRST_S * 2.0 ** min(tries, 10))
        again = now + wait if (state.open or may_come) and tries < _MOST_TRIES else None
        return TraceRecord(subject, self._server, now, state, detail, found.sightings, again)

    def _note(self, run: int, record: TraceRecord) -> None:
        self._ledger.record_traces(run, [record], [self._actions.by(record)])
        self.seen += record.sightings[: max(0, _SEEN - len(self.seen))]
        if record.state.open:
            name = printable(record.subject.key or record.subject.url or "")
            log.warning("%s: not traced by %s: %s", name, record.server, record.detail)


def _state(found: Traced, *, poorly: bool) -> TraceState:
    if poorly:
        return TraceState.POORLY
    if found.sightings:
        return TraceState.FOUND
    return TraceState.UNKNOWN if found.unknown else TraceState.NOTHING


def _with_names(subject: Subject, earlier: Sequence[TraceRecord]) -> Subject:
    """Return the subject with the names that earlier attempts learnt: by now their owner may have forgotten them."""
    known = [*(record.subject for record in earlier), subject]
    aliases = dict.fromkeys(alias for one in known for alias in one.aliases)
    origins = dict.fromkeys(origin for one in known for origin in one.origins)
    return replace(subject, aliases=tuple(aliases), origins=tuple(origins))


def _said(error: Exception) -> str:
    if isinstance(error, FediSafetyError):
        return error.line()
    log.debug("internal error", exc_info=error)
    return f"internal error: {type(error).__name__}: {error}"
