"""How fast uploads are judged, and what follows for those that wait: by when one is through, and who waits in vain.

Told by the last ones. Pure, of one event loop; times are `time.monotonic()`.
"""

from __future__ import annotations

import time
from collections import deque

from fedi_safety.judging.types import Upload

AT_ONCE = float("-inf")
"""A moment before every other: where nothing is in the way."""

MOST_BEFORE = 256
"""Uploads that wait for a place in a queue, whatever becomes of them; from then on none that would do so in vain."""

_PACE, _FEWEST = 32, 16  # the last uploads by which the pace is told: several batches of 8
_SURE = 0.75  # of the time that is left: the pace is a mean


class Pace:
    """How fast judges get through what is in hand."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._gaps: deque[float] = deque(maxlen=_PACE)  # between those done one after the other
        self._mean_s = 0.0  # of them
        self._took: deque[float] = deque(maxlen=_PACE)
        self._last: float | None = None  # when the last one was done; None while nothing is in hand
        self.took_s = 0.0
        """How long the last ones took on the mean from when a judge took them; 0 until some were seen."""

    def begin(self, now: float) -> None:
        """Note that something is in hand."""
        if self._last is None:
            self._last = now

    def idle(self) -> None:
        """Note that nothing is in hand any more: the time until something is says nothing."""
        self._last = None

    def done(self, now: float, *, more: bool, begun: float = 0.0) -> None:
        """Note that one is done, which a judge took at `begun` (0: none did).

        The time until the next one counts only if there are `more` in hand.
        """
        if self._last is not None:
            self._gaps.append(now - self._last)
        self._last = now if more else None
        if begun:
            self._took.append(now - begun)
        if len(self._gaps) >= _FEWEST:
            self._mean_s = sum(self._gaps) / len(self._gaps)
        if len(self._took) >= _FEWEST:
            self.took_s = sum(self._took) / len(self._took)

    def wait_s(self, ahead: int) -> float:
        """Return how long so many will take. Nothing is refused by one slow upload alone: 0 until some were seen."""
        return ahead * self._mean_s

    def through_s(self, ahead: int, together: int = 1) -> float:
        """Return in how many seconds one more is surely judged; 0 where nothing is `ahead`, or nothing is known.

        `together` are judged at once, and so answered at once.
        """
        return self.wait_s(ahead + min(together, ahead + 1)) / _SURE if ahead > 0 else 0.0

    def soonest(self, ahead: int, together: int = 1) -> float:
        """Return by when what comes behind so many is judged: what is due earlier would cost others their turn."""
        seconds = self.through_s(ahead, together)
        return time.monotonic() + seconds if seconds else AT_ONCE

    def in_vain(self, upload: Upload, before: int, ahead: int, together: int = 1) -> bool:
        """Whether an upload would wait for a place until it is too late: so many `before` it wait for theirs.

        And so many are `ahead` of all of them in the queue.
        """
        now = time.monotonic()
        enters = now + self.wait_s(before) / _SURE
        return enters >= upload.patience or now + self.through_s(before + ahead, together) >= upload.deadline
