"""Bounded queues between the stages, and batches made of whatever is waiting. Every wait ends (I8)."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

_POLL_S = 0.1


class Stopped(Exception):
    """The pipeline is stopping; a stage that sees this returns."""


class Pipe(Generic[T]):
    """A bounded queue from some producers to some consumers that knows when all producers have finished.

    `put` waits while the queue is full; `batches` waits while it is empty. Both give up when `stop` is set. Items leave
    in the order in which they came.
    """

    def __init__(self, capacity: int, producers: int, stop: threading.Event) -> None:
        """Hold at most `capacity` items; end after `producers` calls of `finish`."""
        self._queue: queue.Queue[T] = queue.Queue(capacity)
        self._open = producers
        self._lock = threading.Lock()
        self._stop = stop

    def put(self, item: T) -> None:
        """Add one item. Raises `Stopped` when the pipeline is being torn down."""
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=_POLL_S)
            except queue.Full:
                continue
            return
        raise Stopped

    def finish(self) -> None:
        """Say that one producer will put nothing more."""
        with self._lock:
            self._open -= 1

    def __len__(self) -> int:
        """Return about how many items wait."""
        return self._queue.qsize()

    def get(self, timeout_s: float) -> T | None:
        """Return the next item, or None if there was none within `timeout_s`."""
        try:
            return self._queue.get(timeout=timeout_s)
        except queue.Empty:
            return None

    @property
    def exhausted(self) -> bool:
        """Whether nothing waits and nothing can come."""
        with self._lock:
            return self._open <= 0 and self._queue.empty()

    def batches(self, most: int) -> Iterator[list[T]]:
        """Yield lists of 1 to `most` items: the next one, and what else is already waiting. Never waits to fill up."""
        while not self._stop.is_set():
            first = self.get(_POLL_S)
            if first is None:
                if self.exhausted:
                    return
                continue
            batch = [first]
            while len(batch) < most:
                try:
                    batch.append(self._queue.get_nowait())
                except queue.Empty:
                    break
            yield batch
        raise Stopped
