"""Who comes next: callers by turns, and each caller's uploads in the order in which they came.

Pure but for waiting, which belongs to one event loop. It knows neither media nor judges.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


def share(places: int) -> int:
    """Return how many of so many places one caller may take; the rest is left to others."""
    return places - places // 4


class Turns(Generic[T]):
    """What waits. A caller with much waiting does not keep others from their turn. Not thread-safe by itself."""

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._lines: OrderedDict[str, deque[T]] = OrderedDict()

    def __len__(self) -> int:
        """Return how many wait."""
        return sum(map(len, self._lines.values()))

    def items(self) -> Iterator[tuple[str, T]]:
        """Yield callers and what waits, in the order in which it would be taken. It may change meanwhile."""
        lines = [(caller, list(line)) for caller, line in self._lines.items()]
        for rank in range(max((len(line) for _, line in lines), default=0)):
            for caller, line in lines:
                if rank < len(line):
                    yield caller, line[rank]

    def callers(self) -> list[str]:
        """Return those of whom something waits."""
        return list(self._lines)

    def of(self, caller: str) -> int:
        """Return how many of this caller wait."""
        return len(self._lines.get(caller, ()))

    def put(self, caller: str, item: T, *, first: bool = False) -> None:
        """Add one, behind the caller's others; `first`: before everything."""
        line = self._lines.setdefault(caller, deque())
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
        if not line:
            del self._lines[caller]
        return True

    def clear(self) -> None:
        """Let go of everything."""
        self._lines.clear()


class Places:
    """Uploads that wait before a queue until there is a place in it."""

    def __init__(self, full: Callable[[str], bool] = lambda _caller: False) -> None:
        """Hold nobody yet. `full` tells of a caller that nothing of it could enter now: then nothing of it is tried."""
        self._full = full
        self._turns: Turns[tuple[Callable[[], bool], asyncio.Future[None]]] = Turns()

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._turns)

    async def wait(self, caller: str, enter: Callable[[], bool], until: float) -> bool:
        """Return true once `enter` has done so, false where it has not by `until` (`time.monotonic()`)."""
        if enter():
            return True
        waiting = enter, asyncio.get_running_loop().create_future()
        self._turns.put(caller, waiting)
        try:
            async with asyncio.timeout(max(0.0, until - time.monotonic())):
                await waiting[1]
            return True
        except TimeoutError:
            return waiting[1].done() and not waiting[1].cancelled()
        finally:
            self._turns.drop(caller, waiting)

    def changed(self) -> None:
        """Let those in for whom there is a place now. To be called whenever one may have become free."""
        full = {caller for caller in self._turns.callers() if self._full(caller)}
        for caller, waiting in self._turns.items():
            enter, entered = waiting
            if caller not in full and not entered.done() and enter():
                entered.set_result(None)
                self._turns.take(caller, waiting)
                full.update(other for other in self._turns.callers() if self._full(other))
