"""Bounded queues between the stages, and batches made of whatever is waiting. Every wait ends (I8)."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

_WAKE_S = 1.0  # a wait looks up this often even if nobody notifies it


class Stopped(Exception):
    """The pipeline is being torn down; a stage that sees this returns."""


class Pipe(Generic[T]):
    """A bounded queue from some producers to some consumers that knows when all producers have finished.

    Items leave in the order in which they came. After `abort` every call raises `Stopped`.
    """

    def __init__(self, capacity: int, producers: int) -> None:
        """Hold at most `capacity` items; end after `producers` calls of `finish`."""
        self._items: deque[T] = deque()
        self._capacity = capacity
        self._producers = producers
        # One lock and two reasons to wait: nobody is woken in vain, however many threads a remote store has.
        self._lock = threading.Lock()
        self._filled = threading.Condition(self._lock)
        self._emptied = threading.Condition(self._lock)
        self._aborted = False

    def put(self, item: T) -> None:
        """Add one item; wait while the queue is full. Raises `Stopped`."""
        with self._lock:
            while len(self._items) >= self._capacity and not self._aborted:
                self._emptied.wait(_WAKE_S)
            if self._aborted:
                raise Stopped
            self._items.append(item)
            self._filled.notify()

    def finish(self) -> None:
        """Say that one producer will put nothing more."""
        with self._lock:
            self._producers -= 1
            self._filled.notify_all()

    def abort(self) -> None:
        """Wake everybody up and let them go."""
        with self._lock:
            self._aborted = True
            self._filled.notify_all()
            self._emptied.notify_all()

    def take(self, most: int, timeout_s: float | None = None) -> list[T] | None:
        """Return 1 to `most` items: the next one, and what else is already waiting. Never waits to fill up.

        None means that nothing waits and nothing can come; an empty list that `timeout_s` passed. Raises `Stopped`.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with self._lock:
            while not self._items:
                if self._aborted:
                    raise Stopped
                if self._producers <= 0:
                    return None
                left = _WAKE_S if deadline is None else min(_WAKE_S, deadline - time.monotonic())
                if left <= 0:
                    return []
                self._filled.wait(left)
            if self._aborted:
                raise Stopped
            taken = [self._items.popleft() for _ in range(min(most, len(self._items)))]
            self._emptied.notify(len(taken))
            return taken

    def batches(self, most: int) -> Iterator[list[T]]:
        """Yield what `take` returns until nothing more can come. Raises `Stopped`."""
        while (batch := self.take(most)) is not None:
            yield batch


class ByteBudget:
    """Bounds the bytes of all objects that are in memory at once, whatever their number.

    With `one_always` one object is let in even if it is larger than the whole budget. After `abort` waiting raises
    `Stopped`. Its methods may be called from any thread.
    """

    def __init__(self, limit_bytes: int, *, one_always: bool = True) -> None:
        """Let at most `limit_bytes` be taken."""
        self.limit_bytes = limit_bytes
        self._one_always = one_always
        self._taken_bytes = 0
        self._changed = threading.Condition()
        self._aborted = False

    @property
    def taken_bytes(self) -> int:
        """Return how many are taken now."""
        return self._taken_bytes

    def fits(self, size_bytes: int) -> bool:
        """Whether so many could be taken now."""
        nothing_yet = self._one_always and not self._taken_bytes
        return nothing_yet or self._taken_bytes + size_bytes <= self.limit_bytes

    def take(self, size_bytes: int) -> None:
        """Wait until `size_bytes` fit, and take them. Raises `Stopped`."""
        with self._changed:
            while not self.fits(size_bytes) and not self._aborted:
                self._changed.wait(_WAKE_S)
            if self._aborted:
                raise Stopped
            self._taken_bytes += size_bytes

    def try_take(self, size_bytes: int) -> bool:
        """Take so many at once; return false, and take nothing, where they do not fit."""
        with self._changed:
            if not self.fits(size_bytes):
                return False
            self._taken_bytes += size_bytes
            return True

    def give_back(self, size_bytes: int) -> None:
        """Let go of what was taken."""
        with self._changed:
            self._taken_bytes -= size_bytes
            self._changed.notify_all()

    def abort(self) -> None:
        """Wake everybody up and let them go."""
        with self._changed:
            self._aborted = True
            self._changed.notify_all()
