"""A small event loop for models: processes that wait, use what several share, and hand items on through bounded queues.

Time is that of the model, in seconds. It draws no chance: the same model gives the same times. Knows nothing of sweeps.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from heapq import heappop, heappush
from itertools import count
from typing import Any

Process = Generator[Callable[["Actor"], None], Any, None]
"""What an actor does: it yields what it waits for, each a callable that gets the actor which is to be gone on with."""

_LEAST = 1e-12  # work that is less is done


class Actor:
    """One process under way."""

    def __init__(self, loop: Loop, process: Process) -> None:
        """Begin nothing; the loop does."""
        self._loop = loop
        self._process = process

    def go_on(self, value: Any = None) -> None:
        """Go on with what was waited for, until the next wait or the end."""
        try:
            wait = self._process.send(value)
        except StopIteration:
            self._loop.under_way -= 1
            return
        wait(self)


class Loop:
    """Events in the order of their times. `run` ends when nothing is left to happen."""

    def __init__(self) -> None:
        """Begin at 0."""
        self.now = 0.0
        self.under_way = 0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()

    def at(self, time_s: float, happens: Callable[[], None]) -> None:
        """Let something happen then; what was asked for first comes first at the same time."""
        heappush(self._events, (time_s, next(self._numbers), happens))

    def begin(self, process: Process) -> None:
        """Begin a process now."""
        self.under_way += 1
        self.at(self.now, Actor(self, process).go_on)

    def wait(self, seconds: float) -> Callable[[Actor], None]:
        """Return the wait for some seconds."""
        return lambda actor: self.at(self.now + seconds, actor.go_on)

    def run(self) -> float:
        """Let everything happen; return the time of the last event. Raises `RuntimeError` where processes hang."""
        while self._events:
            self.now, _, happens = heappop(self._events)
            happens()
        if self.under_way:
            raise RuntimeError(f"{self.under_way} processes of the model wait for each other")
        return self.now


class Pool:
    """Servers that tasks share evenly: processors, a network, a GPU, a database.

    A task of lane 0 takes one server at most. The tasks of every other lane take one server together, as the threads
    of one Python interpreter do.
    """

    def __init__(self, loop: Loop, servers: float, lanes: int = 0) -> None:
        """Begin idle."""
        self._loop = loop
        self._servers = servers
        self._served = [0.0] * (lanes + 1)  # work that a task of the lane has got that was there all the time
        self._tasks: list[list[tuple[float, int, Actor]]] = [[] for _ in range(lanes + 1)]
        self._numbers = count()
        self._since = 0.0
        self._version = 0
        self.worked = [0.0] * (lanes + 1)

    def use(self, work: float, lane: int = 0) -> Callable[[Actor], None]:
        """Return the wait for so many server-seconds of work."""
        return lambda actor: self._add(work, lane, actor)

    def _add(self, work: float, lane: int, actor: Actor) -> None:
        if work <= _LEAST:
            self._loop.at(self._loop.now, actor.go_on)
            return
        self._catch_up()
        self.worked[lane] += work
        heappush(self._tasks[lane], (self._served[lane] + work, next(self._numbers), actor))
        self._plan()

    def _rates(self) -> list[float]:
        """Return how fast a task of each lane is served now."""
        wanted = len(self._tasks[0]) + sum(bool(tasks) for tasks in self._tasks[1:])
        each = min(1.0, self._servers / wanted) if wanted else 1.0
        return [each, *(each / max(1, len(tasks)) for tasks in self._tasks[1:])]

    def _catch_up(self) -> None:
        passed = self._loop.now - self._since
        if passed > 0:
            for lane, rate in enumerate(self._rates()):
                self._served[lane] += passed * rate
        self._since = self._loop.now

    def _plan(self) -> None:
        self._version += 1
        first: tuple[float, int] | None = None
        for lane, rate in enumerate(self._rates()):
            if self._tasks[lane]:
                due = max(0.0, self._tasks[lane][0][0] - self._served[lane]) / rate
                first = min(first or (due, lane), (due, lane))
        if first is not None:
            version, (due, lane) = self._version, first
            self._loop.at(self._loop.now + due, lambda: self._done(version, lane))

    def _done(self, version: int, lane: int) -> None:
        if version != self._version:
            return  # others came in between: it is planned anew
        self._catch_up()
        _, _, actor = heappop(self._tasks[lane])
        self._plan()
        actor.go_on()


class Queue:
    """A bounded queue between processes, which knows when nothing more can come."""

    def __init__(self, loop: Loop, capacity: int, producers: int) -> None:
        """Hold at most `capacity` items; end after `producers` calls of `finish`."""
        self._loop = loop
        self._capacity = capacity
        self._producers = producers
        self._items: deque[Any] = deque()
        self._putters: deque[tuple[Actor, Any]] = deque()
        self._takers: deque[tuple[Actor, int]] = deque()

    def put(self, item: Any) -> Callable[[Actor], None]:
        """Return the wait for room, which puts the item there."""
        return lambda actor: self._asked(self._putters, (actor, item))

    def take(self, most: int = 1) -> Callable[[Actor], None]:
        """Return the wait for 1 to `most` items, a list; it is empty when nothing more can come."""
        return lambda actor: self._asked(self._takers, (actor, most))

    def finish(self) -> None:
        """Say that one producer puts nothing more."""
        self._producers -= 1
        self._match()

    def _asked(self, waiting: deque[Any], who: Any) -> None:
        waiting.append(who)
        self._match()

    def _match(self) -> None:
        moved = True
        while moved:
            moved = False
            while self._putters and len(self._items) < self._capacity:
                actor, item = self._putters.popleft()
                self._items.append(item)
                self._go_on(actor, None)
                moved = True
            while self._takers and (self._items or (self._producers <= 0 and not self._putters)):
                actor, most = self._takers.popleft()
                taken = [self._items.popleft() for _ in range(min(most, len(self._items)))]
                self._go_on(actor, taken)
                moved = True

    def _go_on(self, actor: Actor, value: Any) -> None:
        self._loop.at(self._loop.now, lambda: actor.go_on(value))
