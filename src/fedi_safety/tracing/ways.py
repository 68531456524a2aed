"""The ways to ask a server, the one that tells most first, and how a tracer degrades from one to the next.

It knows no server. What is closed is named; the path costs nothing and is read last, whatever the server does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from fedi_safety.core.errors import ApiError, TraceError
from fedi_safety.core.sightings import SightingWay, Subject, Traced

_WORDS = {SightingWay.DATABASE: "database", SightingWay.API: "API"}
_SHARE = 0.9  # of what time is left, so that the answer is there before nobody waits any more


@dataclass(frozen=True, slots=True)
class Way:
    """A way to ask the server itself: its database or its API.

    `ask` gets the subject and how many seconds it may take. It returns what it found: no sightings and no `unknown`
    say that the server knows of nothing, `unknown` that this way cannot tell of this subject, or beside sightings what
    it had to leave out. It raises `TraceError`, or `ApiError`, where the way is closed.
    """

    way: SightingWay
    ask: Callable[[Subject, float], Traced]
    close: Callable[[], None] = lambda: None


class WaysTracer:
    """A tracer made of ways, best first, and of what a path alone says. It implements the port `Tracer`."""

    def __init__(self, name: str, ways: Sequence[Way], by_path: Callable[[Subject], Traced]) -> None:
        """Take the server's name, its open ways in order, and `by_path`, which raises nothing and waits for nothing."""
        self.name = name
        self._ways = tuple(ways)
        self._by_path = by_path

    def trace(self, subject: Subject, *, within_s: float) -> Traced:
        """Return what the best open way finds, with a line for each better one that was closed; see the port.

        A way that knows of nothing ends the asking: the server was asked. The path is read all the same, as it may
        tell of a record that is gone.
        """
        until = time.monotonic() + within_s
        closed: list[str] = []
        notes: list[str] = []
        asked: Way | None = None
        for at, way in enumerate(self._ways):
            left = (until - time.monotonic()) * _SHARE
            try:
                found = way.ask(subject, max(left, 0.0) / (len(self._ways) - at))
            except (TraceError, ApiError) as error:
                closed.append(error.line())
                continue
            closed += found.closed
            if found.sightings:
                return replace(found, closed=tuple(closed))
            if not found.unknown:
                asked = way
                break
            notes.append(found.unknown)
        path = self._by_path(subject)
        if path.sightings:
            notes += [] if asked is None else [f"the {_WORDS[asked.way]} knows of no such record"]
        elif closed:
            raise TraceError("", "; ".join(closed))
        elif asked is None:
            notes = notes or [path.unknown]
        return Traced(path.sightings, "; ".join(dict.fromkeys(notes)), tuple(closed))

    def close(self) -> None:
        """Release what the ways hold. May be called twice."""
        for way in self._ways:
            way.close()
