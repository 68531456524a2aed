"""How far one pass is: counted as its results come, told to the ledger for other processes, and to whoever looks."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from fedi_safety.app.ledger import SystemClock
from fedi_safety.core.enums import PlanState
from fedi_safety.core.errors import FediSafetyError
from fedi_safety.core.ledger.ports import Ledger
from fedi_safety.core.ledger.progress import Progress
from fedi_safety.core.pipeline import Result
from fedi_safety.core.ports import Clock, Countable, Store
from fedi_safety.core.runs import RunReport, ScanRequest, Tally, add_tally
from fedi_safety.core.types import Outcome

_TICK_S = 1.0  # how often it is told, and how long a pass lasts before it is worth telling
_WINDOW_S = 60.0  # over which the rate is taken: no longer than a person remembers
_STOP_S = 1.0  # how long a count is waited for that nobody needs any more


class Pace:
    """Objects a second over the last minute, from counts that only grow. One thread notes, any reads."""

    def __init__(self, now: float) -> None:
        """Begin with nothing done at `now`, in seconds that never go back."""
        self._marks: deque[tuple[float, int]] = deque([(now, 0)])

    def note(self, now: float, done: int) -> None:
        """Note how many are done by now."""
        if now - self._marks[-1][0] >= _TICK_S:
            self._marks.append((now, done))
        while len(self._marks) > 2 and now - self._marks[1][0] >= _WINDOW_S:
            self._marks.popleft()

    def rate(self, now: float, done: int) -> float:
        """Return the rate up to now; what rests makes it fall."""
        then, before = self._marks[0]
        return max(0, done - before) / (now - then) if now > then else 0.0


class RemovalProgress:
    """How far the removals of one store are. One thread notes, any reads."""

    def __init__(self, store: str, planned: int, clock: Clock | None = None) -> None:
        """Begin with nothing done of what is planned for a store, whose URL it is."""
        self._store, self._planned = store, planned
        self._clock = clock or SystemClock()
        self._started_at = self._clock.now()
        self._pace = Pace(self._clock.monotonic())
        self._place = ""
        self._done = self._removed = 0

    def note(self, outcome: Outcome) -> None:
        """Note how one ended."""
        self._done += 1
        self._removed += outcome.state is PlanState.DONE
        self._place = _directory(outcome.plan.object.key)
        self._pace.note(self._clock.monotonic(), self._done)

    def now(self) -> Progress:
        """Return how far it is."""
        rate = self._pace.rate(self._clock.monotonic(), self._done)
        total = max(self._planned, self._done)
        at, counts = self._clock.now(), {"acted": self._removed}
        return Progress(0, self._store, False, self._started_at, at, self._done, total, True, rate, self._place, counts)


def _directory(key: str) -> str:
    directory, slash, _ = key.rpartition("/")
    return directory + slash


class PassProgress:
    """The progress of one pass. `note` is called by the pass alone; `now` by anyone at any time."""

    def __init__(
        self, ledger: Ledger, store: Store, request: ScanRequest, report: RunReport, clock: Clock | None = None
    ) -> None:
        """Take what the pass is made of. The total, where it can be known, is looked for once the pass is under way."""
        self.tally: Tally = report.tally
        self._ledger, self._store, self._request, self._report = ledger, store, request, report
        self._clock = clock or SystemClock()
        self._started_at = self._clock.now()
        self._pace = Pace(self._clock.monotonic())
        self._place = ""
        self._total: int | None = None
        self._counted = False
        self._over = threading.Event()
        self.beyond: Callable[[], Tally] = Tally  # what is judged elsewhere and not in the tally yet

    def note(self, batch: Sequence[Result]) -> None:
        """Note the results that were just counted."""
        self.noted(batch[-1].object.key if batch else None)

    def noted(self, key: str | None = None) -> None:
        """Note how far it is by now, and one of the last objects."""
        if key is not None:
            self._place = _directory(key)
        self._pace.note(self._clock.monotonic(), self.tally.listed + self.beyond().listed)

    def now(self) -> Progress:
        """Return how far the pass is."""
        tally = Tally()
        for each in (self.tally, self.beyond()):
            add_tally(tally, each)
        done = tally.listed
        total = None if self._total is None else max(self._total, done)
        return Progress(
            run=self._report.run_id,
            store=self._report.store,
            dry_run=self._report.dry_run,
            started_at=self._started_at,
            at=self._clock.now(),
            done=done,
            total=total,
            counted=self._counted,
            rate=self._pace.rate(self._clock.monotonic(), done),
            place=self._place,
            counts={
                "judged": tally.judged,
                "already_judged": tally.already_judged,
                "block": tally.block,
                "acted": tally.acted,
                "unscanned": tally.unscanned_total,
                "skipped": tally.skipped_total,
            },
        )

    @contextmanager
    def told(self) -> Iterator[None]:
        """Tell the ledger how far the pass is, every second while the block runs, from its first second on."""
        with self._ledger.pass_under_way() as tell:
            threads = [
                threading.Thread(target=self._tell, args=(tell,), name="progress", daemon=True),
                threading.Thread(target=self._find_total, name="count", daemon=True),
            ]
            for thread in threads:
                thread.start()
            try:
                yield
            finally:
                self._over.set()
                for thread in threads:
                    thread.join(_STOP_S)

    def _tell(self, tell: Callable[[Progress], None]) -> None:
        while not self._over.wait(_TICK_S):
            tell(self.now())

    def _find_total(self) -> None:
        """Find out how many objects there are to look at, where somebody knows."""
        request = self._request
        if request.keys:
            self._total, self._counted = len(request.keys), True
            return
        if request.since is not None or self._over.wait(_TICK_S):
            return
        try:
            total = self._ledger.listed_before(self._report.store) if request.whole else None
            if total is None and isinstance(self._store, Countable):
                total = self._store.count(request.prefixes, lambda: not self._over.is_set())
                self._counted = total is not None
        except FediSafetyError:
            return  # which the pass itself meets, and tells
        if total is not None:
            self._total = total if request.limit is None else min(total, request.limit)
