"""Figures of the lists of known images among the gate's: read beside the serving, for a large list takes seconds.

And of the sources and publishers that lists are from, which somebody else reads. At the same times what rests on
entries that ended is decided anew, for a gate may be all that runs.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from fedi_safety.app.known.figures import ListFigures, SourceFigures
from fedi_safety.app.sharing.figures import PublisherFigures
from fedi_safety.core.errors import FediSafetyError
from fedi_safety.judging.metrics import Metrics

log = logging.getLogger(__name__)

_EVERY_S = 900.0
_LABELS = ("list", "effect")
_SOURCE = ("source", "kind")
_PUBLISHER = ("publisher",)


class ListGauges:
    """Gauges by list and by source, brought up to date every quarter of an hour.

    `late` is whether a source was not read for too long.
    """

    def __init__(
        self,
        m: Metrics,
        read: Callable[[], Sequence[ListFigures]],
        sources: Callable[[], Sequence[SourceFigures]] = tuple,
        publishers: Callable[[], Sequence[PublisherFigures]] = tuple,
        *,
        ended: Callable[[], object] = lambda: None,
    ) -> None:
        """Register them; nothing is read yet."""
        self._read = read
        self._read_publishers = publishers
        self._ended = ended
        self._read_sources = sources
        self.late = False
        self._gauges = (
            m.labelled("known_entries", "Entries on a list of known images.", _LABELS),
            m.labelled("known_age_seconds", "Since a list of known images last changed.", _LABELS),
            m.labelled("known_hits", "Contents in the ledger that met a list of known images.", _LABELS),
            m.labelled("known_confirmed", "Of these, confirmed by a person.", _LABELS),
            m.labelled("known_dismissed", "Of these, dismissed by a person.", _LABELS),
        )
        self._source_gauges = (
            m.labelled("known_source_age_seconds", "Since a source of a list was last read to its end.", _SOURCE),
            m.labelled("known_source_failures", "Fetches of it that failed since.", _SOURCE),
            m.labelled("known_source_calls", "Requests that told it hashes of stored pictures.", _SOURCE),
            m.labelled("known_source_sent_hashes", "Hashes that it was told.", _SOURCE),
        )
        self._publisher_gauges = (
            m.labelled("known_publisher_age_seconds", "Since a publisher's list was last read.", _PUBLISHER),
            m.labelled(
                "known_publisher_failing", "1 if it could not be read, or was refused, the last time.", _PUBLISHER
            ),
            m.labelled("known_publisher_entries", "Its entries in force, those that wait too.", _PUBLISHER),
            m.labelled("known_publisher_waiting", "Of these, those that wait.", _PUBLISHER),
            m.labelled(
                "known_publisher_held", "Its entries that are held, for they meet what is harmless.", _PUBLISHER
            ),
        )

    async def run(self) -> None:
        """Read now, and again and again, until cancelled."""
        while True:
            try:
                await asyncio.to_thread(self._ended)
            except FediSafetyError as error:
                log.warning("lists of known images: %s", error.line())
            try:
                self.show(await asyncio.to_thread(self._read))
                self.show_sources(await asyncio.to_thread(self._read_sources))
                self.show_publishers(await asyncio.to_thread(self._read_publishers))
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

    def show_sources(self, figures: Sequence[SourceFigures]) -> None:
        """Show these sources and no others. One that was never read has no age; one that sends nothing, no calls."""
        now = time.time()
        self.late = any(each.late for each in figures)
        for gauge in self._source_gauges:
            gauge.clear()
        age, failures, calls, sent = self._source_gauges
        for each in figures:
            if each.fetched_s is not None:
                age.labels(each.name, each.kind).set(max(0.0, now - each.fetched_s))
            failures.labels(each.name, each.kind).set(each.failures)
            if each.sends:
                calls.labels(each.name, each.kind).set(each.calls)
                sent.labels(each.name, each.kind).set(each.sent)

    def show_publishers(self, figures: Sequence[PublisherFigures]) -> None:
        """Show these publishers and no others. One that was never read has no age."""
        now = time.time()
        for gauge in self._publisher_gauges:
            gauge.clear()
        age, *others = self._publisher_gauges
        for each in figures:
            if each.fetched_s is not None:
                age.labels(each.name).set(max(0.0, now - each.fetched_s))
            values = (float(bool(each.failure)), each.entries, each.waiting, each.held)
            for gauge, value in zip(others, values, strict=True):
                gauge.labels(each.name).set(value)
