"""What waits for the engine of a gate: uploads that somebody waits for first, then what was answered already.

And the verdicts of a moment ago. It judges nothing.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from fedi_safety.core.enums import MediaType
from fedi_safety.core.queues import ByteBudget
from fedi_safety.judging.pace import Pace
from fedi_safety.judging.turns import Turns, share
from fedi_safety.judging.types import Answer

_REMEMBERED = 10_000
_RECENT_S = 1.5  # longer than a verdict waits to be written (`gate.backlog.writer`)


@dataclass(eq=False, slots=True)
class Work:
    """A content that is to be judged, and those who wait for it. `data` goes when there is no more to decode.

    Times are `time.monotonic()`: `due` is the last deadline of those who wait; `begun` is 0 until it is taken.
    """

    sha256: bytes
    data: bytes
    media_type: MediaType
    size: int
    future: asyncio.Future[Answer]
    sender: str = ""
    waiters: int = 0
    due: float = 0.0
    begun: float = 0.0


class Waiting:
    """What waits for a decoder: uploads that somebody waits for first, then what is judged when there is time."""

    def __init__(
        self, urgent: int, spare_bytes: int, pace: Pace, *, crowded: Callable[[], bool] = lambda: False
    ) -> None:
        """Hold at most so many urgent ones, of one caller its share, and so many bytes of the others.

        `crowded` tells, from any thread, that more wait to become urgent ones.
        """
        self._most = urgent
        self._pace = pace
        self._crowded = crowded
        self._in_hand = 0  # taken, and not done yet
        self.busy = 1
        """With so many in hand, or more, there is no time for what nobody waits for."""
        self._budget = ByteBudget(spare_bytes, one_always=False)  # of those that nobody waits for
        self._urgent: Turns[Work] = Turns()
        self._spare: deque[Work] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def lengths(self) -> tuple[int, int]:
        """Return how many wait, urgent ones and others."""
        return len(self._urgent), len(self._spare)

    def full(self, sender: str) -> bool:
        """Whether there is no place for an urgent one of this caller."""
        return len(self._urgent) >= self._most or self._urgent.of(sender) >= share(self._most)

    def put(self, work: Work) -> bool:
        """Add an urgent one; return false if too many wait, or too many of its caller's."""
        with self._changed:
            if self._closed or self.full(work.sender):
                return False
            self._urgent.put(work.sender, work)
            self._changed.notify()
            return True

    def put_spare(self, work: Work) -> bool:
        """Add one that nobody waits for; return false if there is no room."""
        with self._changed:
            if self._closed or not self._budget.try_take(work.size):
                return False
            self._spare.append(work)
            self._changed.notify()
            return True

    def drop(self, work: Work) -> bool:
        """Take one out that has not begun; return whether it was there."""
        with self._changed:
            if self._urgent.drop(work.sender, work):
                return True
            if work not in self._spare:
                return False
            self._spare.remove(work)
            self._budget.give_back(work.size)
            return True

    def drop_urgent(self, work: Work) -> bool:
        """Take one out that has not begun, if somebody was to wait for it; return whether it was there."""
        with self._changed:
            return self._urgent.drop(work.sender, work)

    def take(self) -> Work | None:
        """Wait for the next one. None means the end."""
        with self._changed:
            while (work := self._next()) is None:
                if self._closed:
                    return None
                self._changed.wait(1.0)
            return work

    def try_take(self) -> Work | None:
        """Return the next one, None where there is nothing to do now."""
        with self._changed:
            return self._next()

    def done(self, work: Work) -> None:
        """Note that one that was taken is done. May be called twice."""
        with self._changed:
            if work.begun:
                work.begun = 0.0
                self._in_hand -= 1
                self._changed.notify()

    def _next(self) -> Work | None:
        """Take out the first one that can still be judged in time, where there is one, else the first.

        Where others took long, one that is passed over would not have been in time, or has its turn at once after that.
        """
        now = time.monotonic()
        soonest = now + self._pace.took_s
        chosen = self._urgent.first(lambda work: work.due > soonest) or self._urgent.first(lambda _: True)
        if chosen is not None:
            sender, work = chosen
            self._urgent.take(sender, work)
        elif self._spare and self._in_hand < self.busy and not self._crowded():
            work = self._spare.popleft()
            self._budget.give_back(work.size)
        else:
            return None
        work.begun = now
        self._in_hand += 1
        return work

    def close(self) -> None:
        """Let go of everything and end those who wait."""
        with self._changed:
            self._closed = True
            self._urgent.clear()
            self._spare.clear()
            self._changed.notify_all()


class Recent:
    """The last verdicts: what comes again at once needs no look into the ledger, where it may not be written yet.

    No longer than it takes until it is written there: what people and other gates say must be heard within two seconds.
    """

    def __init__(self) -> None:
        """Remember nothing yet."""
        self._answers: OrderedDict[bytes, tuple[float, Answer]] = OrderedDict()

    def get(self, sha256: bytes) -> Answer | None:
        """Return the verdict on a content that was judged a moment ago."""
        at, answer = self._answers.get(sha256, (0.0, None))
        if answer is None or time.monotonic() - at >= _RECENT_S:
            return None
        return replace(answer, by="memory")

    def put(self, answer: Answer) -> None:
        """Remember a verdict."""
        self._answers[answer.sha256] = time.monotonic(), answer
        self._answers.move_to_end(answer.sha256)
        while len(self._answers) > _REMEMBERED:
            self._answers.popitem(last=False)

    def clear(self) -> None:
        """Forget everything: another policy decides now."""
        self._answers.clear()
