"""What strangers can cause, in the log: one line for the first of each kind, and a sum of all others a minute.

Else a stranger would write the log, or hide in it what matters. It decides nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from dataclasses import dataclass, field

from fedi_safety.judging import logs

_WINDOW_S = 60.0
_KINDS = 64
_PLACES = 1000
_NAMED = 3


@dataclass(slots=True)
class _Sum:
    """All of one kind since its first."""

    more: int = 0
    places: Counter[str] = field(default_factory=Counter)


class Tally:
    """Notes requests that were turned away. It belongs to one event loop."""

    def __init__(self) -> None:
        """Have noted nothing yet."""
        self._sums: dict[tuple[str, str], _Sum] = {}

    def note(self, code: str, place: str, detail: str, *, kind: str = "", upload: str | None = None) -> None:
        """Note one request from an address or a network: in a line of its own if it is the first of its kind."""
        key = code, kind
        found = self._sums.get(key)
        if found is None:
            if len(self._sums) >= _KINDS:
                return
            self._sums[key] = _Sum()
            logs.note("error", level=logging.WARNING, id=upload, peer=place, code=code, detail=detail)
            asyncio.get_running_loop().call_later(_WINDOW_S, self._tell, key)
            return
        found.more += 1
        if place in found.places or len(found.places) < _PLACES:
            found.places[place] += 1

    def close(self) -> None:
        """Tell what has not been told yet."""
        for key in list(self._sums):
            self._tell(key)

    def _tell(self, key: tuple[str, str]) -> None:
        found = self._sums.pop(key, None)
        if found is None or not found.more:
            return
        code, kind = key
        most = ", ".join(f"{place} {count}" for place, count in found.places.most_common(_NAMED))
        logs.note(
            "errors",
            level=logging.WARNING,
            code=code,
            more=found.more,
            addresses=len(found.places),
            most=most,
            detail=kind or None,
            seconds=int(_WINDOW_S),
        )
