"""Who comes next: callers by turns, and each caller's uploads in the order in which they came, or are due.

Pure but for waiting, which belongs to one event loop. It knows neither media nor judges.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left, bisect_right, insort
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


def share(places: int) -> int:
    """Return how many of so many places one caller may take; the rest is left to others."""
    return places - places // 4


class Turns(Generic[T]):
    """What waits. A caller with much waiting does not keep others from their turn.

    Not thread-safe by itself, but for `len` and `of`, which any thread may ask while another one changes it.
    """

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._lines: OrderedDict[str, deque[T]] = OrderedDict()
        self._length = 0

    def __len__(self) -> int:
        """Return how many wait."""
        return self._length

    def items(self) -> Iterator[tuple[str, T]]:
        """Yield callers and what waits, in the order in which it would be taken. It may change meanwhile."""
        lines = [(caller, list(line)) for caller, line in self._lines.items()]
        for rank in range(max((len(line) for _, line in lines), default=0)):
            for caller, line in lines:
                if rank < len(line):
                    yield caller, line[rank]

    def first(self, fits: Callable[[T], bool]) -> tuple[str, T] | None:
        """Return the next one that fits, and whose it is: of the caller whose turn it is, if one of its own does."""
        return next(((caller, item) for caller, line in self._lines.items() for item in line if fits(item)), None)

    def of(self, caller: str) -> int:
        """Return how many of this caller wait."""
        return len(self._lines.get(caller, ()))

    def put(self, caller: str, item: T, *, first: bool = False) -> None:
        """Add one, behind the caller's others; `first`: before everything."""
        line = self._lines.setdefault(caller, deque())
        self._length += 1
        if first:
            line.appendleft(item)
            self._lines.move_to_end(caller, last=False)
        else:
            line.append(item)

    def take(self, caller: str, item: T) -> None:
        """Take this one out; it was the caller's turn, and others come next."""
        if self.drop(caller, item) and caller in self._lines:
            self._lines.move_to_end(caller)

    def drop(self, caller: str, item: T) -> bool:
        """Take this one out as if it had not been there; return whether it was."""
        line = self._lines.get(caller)
        if line is None or item not in line:
            return False
        line.remove(item)
        self._length -= 1
        if not line:
            del self._lines[caller]
        return True

    def clear(self) -> None:
        """Let go of everything."""
        self._lines.clear()
        self._length = 0


class _Waiter(NamedTuple):
    """One that waits for a place. Compared by when it is due; the number, given once, tells two apart."""

    due: float
    number: int
    enter: Callable[[], bool]
    entered: asyncio.Future[None]


_due = attrgetter("due")


class Places:
    """Uploads that wait before a queue until there is a place in it: of each caller whichever is due first.

    One that would come too late for its own deadline is passed over, as long as that is so: it takes the place of none
    that would come in time.
    """

    def __init__(
        self, full: Callable[[str], bool] = lambda _caller: False, soonest: Callable[[], float] = lambda: float("-inf")
    ) -> None:
        """Hold nobody yet.

        `full` tells of a caller that nothing of it could enter now: then nothing of it is tried. `soonest` tells by
        when (`time.monotonic()`) what enters now is through: what is due before that is not tried.
        """
        self._full = full
        self._soonest = soonest
        self._lines: OrderedDict[str, list[_Waiter]] = OrderedDict()
        self._length = 0
        self._numbers = 0

    def __len__(self) -> int:
        """Return how many wait."""
        return self._length

    def ahead(self, caller: str) -> int:
        """Return how many of those that wait have their turn before one more of this caller, were it due last."""
        own = len(self._lines.get(caller, ()))
        return sum(min(len(line), own + 1) for name, line in self._lines.items() if name != caller) + own

    async def wait(self, caller: str, enter: Callable[[], bool], until: float, due: float = float("inf")) -> bool:
        """Return true once `enter` has done so, false where it has not by `until`. Times are `time.monotonic()`."""
        if enter():
            return True
        self._numbers += 1
        waiter = _Waiter(due, self._numbers, enter, asyncio.get_running_loop().create_future())
        insort(self._lines.setdefault(caller, []), waiter)
        self._length += 1
        try:
            async with asyncio.timeout(max(0.0, until - time.monotonic())):
                await waiter.entered
            return True
        except TimeoutError:
            return waiter.entered.done() and not waiter.entered.cancelled()
        finally:
            self._drop(caller, waiter)

    def _drop(self, caller: str, waiter: _Waiter) -> None:
        line = self._lines.get(caller, [])
        place = bisect_left(line, waiter)
        if place < len(line) and line[place] is waiter:
            del line[place]
            self._length -= 1
            if not line:
                del self._lines[caller]

    def changed(self, *, every: bool = False) -> None:
        """Let those in for whom there is a place now. To be called whenever one may have become free.

        `every` one is tried, whatever `full` and `soonest` say: where there may be another end to the waiting.
        """
        callers = deque(self._lines)
        while callers:
            caller = callers.popleft()
            if (every or not self._full(caller)) and self._let_in(caller, every):
                callers.append(caller)

    def _let_in(self, caller: str, every: bool) -> bool:
        """Let in the first of this caller's that can enter; return whether there is one. The others come next then."""
        line = self._lines.get(caller, [])
        passed_over = 0 if every else bisect_right(line, self._soonest(), key=_due)
        for waiter in line[passed_over:]:
            if not waiter.entered.done() and waiter.enter():
                waiter.entered.set_result(None)
                self._drop(caller, waiter)
                if caller in self._lines:
                    self._lines.move_to_end(caller)
                return True
        return False
