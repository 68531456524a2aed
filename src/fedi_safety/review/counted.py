"""Figures that are counted aside: a page shows the last ones, with their age, and waits for none that take long.

What takes long is counted seldom: a counting that took a second stands for twenty. So at most a twentieth of a
processor goes into figures, however often somebody loads a page.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from fedi_safety.core.errors import FediSafetyError
from fedi_safety.core.ports import Clock

log = logging.getLogger(__name__)

T = TypeVar("T")

_STANDS = 20.0  # how many times as long as it took a figure stands
_MOST_STANDS_S = 900.0
_FIRST_WAIT_S = 2.0  # that a page waits where there is no figure yet
_WAIT_S = 0.03  # where there is one that is too old
_MOST = 32


@dataclass(frozen=True, slots=True)
class Reading(Generic[T]):
    """What was counted, and when, in epoch seconds. `error` says why it could not be."""

    value: T | None
    at: float
    error: str = ""


class Figure(Generic[T]):
    """One figure, counted by one thread at a time."""

    def __init__(self, count: Callable[[], T], clock: Clock) -> None:
        """Count nothing yet."""
        self._count, self._clock = count, clock
        self._guard = threading.Lock()
        self._thread: threading.Thread | None = None
        self._last: Reading[T] | None = None
        self._until = float("-inf")

    def read(self) -> Reading[T] | None:
        """Return the last reading; None where the first one is not done yet."""
        with self._guard:
            if time.monotonic() < self._until:
                return self._last
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="review-count", daemon=True)
                self._thread.start()
            thread, first = self._thread, self._last is None
        thread.join(_FIRST_WAIT_S if first else _WAIT_S)
        return self._last

    def wait(self) -> None:
        """Wait until what is being counted is done."""
        thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        began = time.monotonic()
        try:
            found: Reading[T] = Reading(self._count(), self._clock.now())
        except FediSafetyError as error:
            found = Reading(None, self._clock.now(), error.line())
        except Exception:
            log.exception("a figure of the review pages could not be counted")
            found = Reading(None, self._clock.now(), "it could not be counted; the log says more")
        ended = time.monotonic()
        with self._guard:
            self._last = found
            self._until = ended + min(_STANDS * (ended - began), _MOST_STANDS_S)


class Counted:
    """The figures that pages asked for lately, by name."""

    def __init__(self, clock: Clock) -> None:
        """None was asked for yet."""
        self._clock = clock
        self._guard = threading.Lock()
        self._figures: OrderedDict[Hashable, Figure[Any]] = OrderedDict()

    def read(self, name: Hashable, count: Callable[[], T]) -> Reading[T] | None:
        """Return the last reading of a figure, which `count` gives; None where it is being counted for the first time.

        The same name always means the same figure. Of those that nobody asked for lately some are forgotten.
        """
        with self._guard:
            figure: Figure[T] = self._figures.pop(name) if name in self._figures else Figure(count, self._clock)
            self._figures[name] = figure
            while len(self._figures) > _MOST:
                self._figures.popitem(last=False)
        return figure.read()

    def close(self) -> None:
        """Wait for what is being counted: the ledger is closed next."""
        with self._guard:
            figures = list(self._figures.values())
        for figure in figures:
            figure.wait()
