"""Figures of the lists of known images among the gate's: read beside the serving, for a large list takes seconds."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from fedi_safety.app.known.figures import ListFigures
from fedi_safety.core.errors import FediSafetyError
from fedi_safety.judging.metrics import Metrics

log = logging.getLogger(__name__)

_EVERY_S = 900.0
_LABELS = ("list", "effect")


class ListGauges:
    """Gauges by list, brought up to date every quarter of an hour."""

    def __init__(self, m: Metrics, read: Callable[[], Sequence[ListFigures]]) -> None:
        """Register them; nothing is read yet."""
        self._read = read
        self._gauges = (
            m.labelled("known_entries", "Entries on a list of known images.", _LABELS),
            m.labelled("known_age_seconds", "Since a list of known images last changed.", _LABELS),
            m.labelled("known_hits", "Contents in the ledger that met a list of known images.", _LABELS),
            m.labelled("known_confirmed", "Of these, confirmed by a person.", _LABELS),
            m.labelled("known_dismissed", "Of these, dismissed by a person.", _LABELS),
        )

    async def run(self) -> None:
        """Read now, and again and again, until cancelled."""
        while True:
            try:
                self.show(await asyncio.to_thread(self._read))
            except FediSafetyError as error:
                log.warning("figures of lists: %s", error.line())
            await asyncio.sleep(_EVERY_S)

    def show(self, figures: Sequence[ListFigures]) -> None:
        """Show these figures and no others."""
        now = time.time()
        for gauge in self._gauges:
            gauge.clear()
        for each in figures:
            values = (each.entries, max(0.0, now - each.changed_s), each.hits.contents)
            said = (each.hits.confirmed, each.hits.dismissed)
            for gauge, value in zip(self._gauges, (*values, *said), strict=True):
                gauge.labels(each.name, each.effect.value).set(value)
