"""The gate's hand in the ledger: one thread writes for everybody, all that waits in one transaction.

What must be durable before an answer is waited for; what is only remembered (verdicts that let an upload pass) is
written a little later. It decides nothing. Where the ledger cannot be written it says so, keeps what is owed in memory
and tries again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from fedi_safety.core.errors import FediSafetyError, LedgerError
from fedi_safety.core.ledger.ports import UploadLedger
from fedi_safety.core.ledger.uploads import Move, UploadNote
from fedi_safety.core.types import Content, Judged, Judgement, Object
from fedi_safety.judging.logs import named
from fedi_safety.judging.metrics import Metrics

log = logging.getLogger(__name__)

_LINGER_S = 0.5  # how long what nobody waits for may gather
# From one transaction to the next: what somebody waits for in between gathers as well, and longer where it has time.
_MOMENT_S, _PATIENT_S = 0.1, 0.5
_MOST = 512  # entries of one transaction
_MOST_KEPT = 20_000  # entries that memory holds while the ledger cannot be written
_RETRY_S = (0.5, 1.0, 2.0, 5.0, 10.0)
_SAY_S = 60.0  # how often an outage is said again


@dataclass(slots=True)
class _Write:
    judged: tuple[Content, Judgement, bool] | None = None
    note: UploadNote | None = None
    move: Move | None = None
    done: Future[None] | None = None  # somebody waits for it
    patient: bool = False  # for a moment
    kept: bool = False  # owed: never given up


@dataclass(slots=True)
class _Counts:
    """What one run of the gate has written, for its closing record."""

    judged: int = 0
    refused: int = 0
    owed: int = 0


@dataclass(slots=True)
class _Waiting:
    entries: deque[_Write] = field(default_factory=deque)
    since: float = 0.0
    awaited: bool = False
    urgent: bool = False  # awaited, and not patiently


class LedgerWriter:
    """Writes to the ledger in its own thread. Its methods may be called from any thread."""

    def __init__(self, ledger: UploadLedger, run: int, metrics: Metrics) -> None:
        """Write into `ledger` as part of `run`."""
        self._ledger = ledger
        self._run = run
        self._metrics = metrics
        self._changed = threading.Condition()
        self._waiting = _Waiting()
        self._in_hand = False  # something is being written
        self._closing = False
        self._written_at = 0.0
        self._failing: str | None = None
        self._failed_at = 0.0
        self._said_at = 0.0
        self._tries = 0
        self._given_up = False
        self.counts = _Counts()
        self._thread = threading.Thread(target=self._work, name="ledger-writer", daemon=True)

    def start(self) -> None:
        """Start writing."""
        self._thread.start()

    @property
    def failing(self) -> str | None:
        """Return why the ledger cannot be written now, or None."""
        return self._failing

    @property
    def unwritten(self) -> int:
        """Return how many waiting uploads are held in memory alone."""
        with self._changed:
            return sum(entry.kept for entry in self._waiting.entries)

    # --- what others ask for

    def enqueue_verdict(self, content: Content, judgement: Judgement, fresh: bool) -> None:
        """Remember a verdict, a little later. Without it the content would only be judged again."""
        self._put(_Write(judged=(content, judgement, fresh)))

    def enqueue_note(self, note: UploadNote, *, patient: bool = False) -> Future[None]:
        """Write a note, and all that was asked for before it, now; the future is done when that is durable.

        A `patient` one waits for up to half a second while much is written. It fails with `LedgerError`, and then
        nothing was written. Cancelling it takes the note back if it can.
        """
        done: Future[None] = Future()
        if self._failing is not None:
            done.set_exception(LedgerError("ledger", self._failing))
        else:
            self._put(_Write(note=note, done=done, patient=patient))
        return done

    def enqueue_kept_note(self, note: UploadNote) -> bool:
        """Hold on to a note that could not be written, until it can be; return false if memory holds too many."""
        with self._changed:
            if sum(entry.kept for entry in self._waiting.entries) >= _MOST_KEPT:
                return False
        log.error("upload %s is let in without a verdict and not in the ledger; it is in memory only", note.upload)
        self._put(_Write(note=note, kept=True))
        return True

    def enqueue_moves(self, moves: Sequence[Move]) -> None:
        """Note what became of waiting uploads, a little later."""
        for item in moves:
            self._put(_Write(move=item))

    def flush(self, timeout_s: float = 10.0) -> bool:
        """Wait until everything that was asked for so far is written; return whether it is."""
        until = time.monotonic() + timeout_s
        with self._changed:
            self._waiting.urgent = self._waiting.awaited = True
            self._changed.notify_all()
            while (self._waiting.entries or self._in_hand) and time.monotonic() < until:
                self._changed.wait(0.1)
            return not self._waiting.entries and not self._in_hand

    def close(self, timeout_s: float = 10.0) -> None:
        """Write what is waiting and end. What cannot be written is said."""
        if not self._thread.is_alive():
            return
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout_s)
        if left := self.unwritten:
            log.error("%d waiting uploads could not be written to the ledger and are lost: %s", left, self._failing)

    # --- the thread

    def _put(self, entry: _Write) -> None:
        with self._changed:
            waiting = self._waiting
            if not waiting.entries:
                waiting.since = time.monotonic()
            waiting.entries.append(entry)
            if len(waiting.entries) > 2 * _MOST_KEPT:  # an outage: verdicts can be found again, waiting uploads cannot
                waiting.entries = deque(e for e in waiting.entries if e.kept or e.done is not None)
            before = waiting.awaited, waiting.urgent
            self._count([entry])
            if (waiting.awaited, waiting.urgent) != before or len(waiting.entries) == 1:
                self._changed.notify_all()  # else the thread knows how long it may wait

    def _count(self, entries: Iterable[_Write]) -> None:
        for entry in entries:
            awaited = entry.done is not None or entry.kept
            self._waiting.awaited |= awaited
            self._waiting.urgent |= awaited and not entry.patient

    def _work(self) -> None:
        while (batch := self._next()) is not None:
            if not batch and self._failing is None:
                continue
            try:
                self._write(batch)
            except FediSafetyError as error:
                self._failed(batch, error)
            except Exception as error:  # noqa: BLE001 - a bug, or one bad entry: the thread must live, and the others be written
                self._one_by_one(batch, error)
            else:
                self._succeeded(batch)
            self._written_at = time.monotonic()

    def _next(self) -> list[_Write] | None:
        """Wait for something to write. None means the end; an empty list that there was nothing after all."""
        with self._changed:
            self._in_hand = False
            self._changed.notify_all()
            while True:
                waiting, now = self._waiting, time.monotonic()
                if self._closing and (not waiting.entries or self._given_up):
                    return None
                pause = self._pause(now)
                if pause <= 0 and (waiting.entries or self._failing is not None):
                    break  # after a failure also with nothing to write: else nobody would learn that it is over
                self._changed.wait(pause if pause > 0 else 1.0)
            batch = [waiting.entries.popleft() for _ in range(min(_MOST, len(waiting.entries)))]
            waiting.awaited = waiting.urgent = False
            self._count(waiting.entries)
            waiting.since = now
            self._in_hand = bool(batch)
        return [entry for entry in batch if entry.done is None or entry.done.set_running_or_notify_cancel()]

    def _pause(self, now: float) -> float:
        """Return how long to wait before the next transaction."""
        if self._closing:
            return 0.0
        if self._failing is not None:
            return self._failed_at + _RETRY_S[min(self._tries, len(_RETRY_S)) - 1] - now
        if self._waiting.awaited:
            return self._written_at + (_MOMENT_S if self._waiting.urgent else _PATIENT_S) - now
        return self._waiting.since + _LINGER_S - now

    def _write(self, batch: Sequence[_Write]) -> None:
        judged = [Judged(_as_object(e.judged[0]), *e.judged) for e in batch if e.judged is not None]
        notes = [e.note for e in batch if e.note is not None]
        self._ledger.record_uploads(self._run, judged, notes, [e.move for e in batch if e.move is not None])

    def _succeeded(self, batch: Sequence[_Write]) -> None:
        if self._failing is not None:
            log.warning("the ledger can be written again")
            self._failing, self._tries = None, 0
        for entry in batch:
            self.counts.judged += entry.judged is not None
            if entry.note is not None:
                self.counts.owed += entry.note.state.open
                self.counts.refused += not entry.note.state.open
            if entry.done is not None:
                entry.done.set_result(None)

    def _one_by_one(self, batch: Sequence[_Write], error: Exception) -> None:
        """Find the entry that cannot be written by itself, and do without it."""
        if len(batch) > 1:
            for entry in batch:
                try:
                    self._write([entry])
                except FediSafetyError as outage:
                    self._failed([entry], outage)
                except Exception as bug:  # noqa: BLE001 - as above
                    self._one_by_one([entry], bug)
                else:
                    self._succeeded([entry])
            return
        (entry,) = batch
        why = named(error)
        log.error("an entry cannot be written to the ledger and is given up: %s", why)
        self._metrics.ledger_failures.inc()
        if entry.done is not None:
            entry.done.set_exception(LedgerError("ledger", why))

    def _failed(self, batch: Sequence[_Write], error: FediSafetyError) -> None:
        why = error.line()
        now = time.monotonic()
        if self._failing is None or now - self._said_at >= _SAY_S:
            self._said_at = now
            log.error("the ledger cannot be written: %s", why)
        self._failing, self._failed_at, self._tries = why, now, self._tries + 1
        self._given_up = self._closing
        self._metrics.ledger_failures.inc()
        told = error if isinstance(error, LedgerError) else LedgerError("ledger", why)
        with self._changed:
            again = [e for e in batch if e.done is None]
            self._waiting.entries.extendleft(reversed(again))
            # Nobody shall wait for a ledger that is known to fail.
            waiting = [e for e in self._waiting.entries if e.done is not None]
            for entry in waiting:
                self._waiting.entries.remove(entry)
        for entry in batch:
            if entry.done is not None:
                entry.done.set_exception(told)
        for entry in waiting:
            if entry.done is not None and entry.done.set_running_or_notify_cancel():
                entry.done.set_exception(told)


def _as_object(content: Content) -> Object:
    """Contents of uploads have no object yet; the ledger takes the content alone from this."""
    return Object("", content.size, 0)
