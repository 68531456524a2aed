"""Something costly that is made when it is used, and let go again when nobody has used it for a while."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")


class Resting(Generic[T]):
    """Makes the thing at its first use and keeps it until it has been idle for `rest_after_s` (0: for ever).

    Several threads may use it at once; it is never let go under one of them.
    """

    def __init__(self, make: Callable[[], T], rest_after_s: float, gone: Callable[[], None]) -> None:
        """Make nothing yet. `gone` is called each time after the thing was let go."""
        self._make = make
        self._gone = gone
        self._rest_after_s = rest_after_s
        self._changed = threading.Condition()
        self._thing: T | None = None
        self._users = 0
        self._idle_since = 0.0

    @property
    def awake(self) -> bool:
        """Whether it is there at the moment."""
        return self._thing is not None

    @contextmanager
    def use(self) -> Iterator[T]:
        """Lend the thing, made now if it has to be. Raises what making it raises; the next use tries again."""
        with self._changed:
            if self._thing is None:
                self._thing = self._make()
                if self._rest_after_s:
                    threading.Thread(target=self._watch, name="rest", daemon=True).start()
            thing = self._thing
            self._users += 1
        try:
            yield thing
        finally:
            with self._changed:
                self._users -= 1
                self._idle_since = time.monotonic()
                self._changed.notify_all()

    def close(self) -> None:
        """Let it go as soon as nobody uses it. A later use makes it anew."""
        with self._changed:
            while self._users:
                self._changed.wait(1.0)
            self._thing = None
            self._changed.notify_all()
        self._gone()

    def _watch(self) -> None:
        """Let the thing go once it has been idle for long enough; ends with it."""
        with self._changed:
            while self._thing is not None:
                left = self._rest_after_s
                if not self._users:
                    left -= time.monotonic() - self._idle_since
                    if left <= 0:
                        self._thing = None
                        break
                self._changed.wait(left)
        self._gone()
