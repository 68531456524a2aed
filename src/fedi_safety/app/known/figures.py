"""What came of each list: how much is on it, how old it is, how many contents met it, and what people said of these.

And of each source of lists: when it was read, and why it could not be.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from fedi_safety.config.locations import known_folder, there
from fedi_safety.config.schema import Settings
from fedi_safety.core.errors import ConfigError, KnownError
from fedi_safety.core.known.types import Effect
from fedi_safety.core.ledger.matches import ListHits, MatchReader
from fedi_safety.known.tables import FILE

if TYPE_CHECKING:
    from fedi_safety.known.progress import SourceState
    from fedi_safety.known.records import ListStatistics
    from fedi_safety.known.sources import ListSource

log = logging.getLogger(__name__)

_LATE = 3.0
_MANY = 5


@dataclass(frozen=True, slots=True)
class ListFigures:
    """One list. `changed_s` is when its entries or its terms last changed, in seconds since 1970 in UTC.

    `kinds` counts its entries by kind of hash. `doubtful`: so many of its hits were dismissed that a list that blocks
    turns to review by itself.
    """

    name: str
    effect: Effect
    entries: int
    changed_s: float
    hits: ListHits
    kinds: Mapping[str, int] = field(default_factory=dict)
    origin: str = ""
    licence: str = ""
    expires_s: float | None = None
    doubtful: bool = False


@dataclass(frozen=True, slots=True)
class SourceFigures:
    """A configured source of a list. Times are seconds since 1970 in UTC, None for never.

    `late` is whether it was last read to its end longer ago than three times as often as it should be, or failed five
    times and never was. `sends` is whether its kind is told hashes of stored pictures: `sent` of them in `calls`.
    """

    name: str
    kind: str
    fetched_s: float | None = None
    failures: int = 0
    failure: str = ""
    late: bool = False
    sends: bool = False
    calls: int = 0
    sent: int = 0

    def line(self) -> str:
        """Return how it is, in words."""
        read = "never read to its end" if self.fetched_s is None else f"read {_minute(self.fetched_s)}"
        told = f"; told hashes of stored pictures: {self.sent:,} in {self.calls:,} calls" if self.sends else ""
        failed = f"; failed {self.failures} times since: {self.failure}" if self.failures > 1 else ""
        failed = f"; failed since: {self.failure}" if self.failures == 1 else failed
        return f"{self.kind}, {read}{told}{failed}"


def _minute(at_s: float) -> str:
    return f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%d %H:%M} UTC"


def source_figures(settings: Settings) -> list[SourceFigures]:
    """Return how each configured source is, in their order; none, with a warning, where that cannot be told."""
    if not settings.known.sources:
        return []
    from fedi_safety.app.known.lists import open_catalog
    from fedi_safety.app.known.sources import sources_of

    try:
        configured = sources_of(settings)
        with open_catalog(settings) as catalog:
            states = {state.name: state for state in catalog.sources()}
    except (KnownError, ConfigError) as error:
        log.warning("%s", error.line())
        return []
    return [_source(each, states.get(each.name), time.time()) for each in configured]


def _source(source: ListSource, state: SourceState | None, now_s: float) -> SourceFigures:
    from fedi_safety.known.sources import KINDS

    sends = KINDS[source.kind].sends
    if state is None:
        return SourceFigures(source.name, source.kind, sends=sends)
    never = state.fetched_s is None
    late = state.failures >= _MANY if never else now_s - (state.fetched_s or 0.0) > _LATE * source.every_s
    return SourceFigures(
        source.name,
        source.kind,
        state.fetched_s,
        state.failures,
        state.failure,
        late,
        sends,
        state.calls,
        state.sent,
    )


def list_figures(settings: Settings, ledger: MatchReader) -> list[ListFigures]:
    """Return the figures of every list, by name; none, with a warning, where the lists cannot be read."""
    if not there(known_folder(settings) / FILE):
        return []  # and nothing is loaded that reads lists
    from fedi_safety.app.known.lists import open_catalog

    try:
        with open_catalog(settings) as catalog:
            found = catalog.statistics()
    except KnownError as error:
        log.warning("%s", error.line())
        return []
    hits = ledger.hits_by_list() if found else {}
    return [_figures(settings, each, hits.get(each.list.name, ListHits())) for each in found]


def _figures(settings: Settings, found: ListStatistics, hits: ListHits) -> ListFigures:
    from fedi_safety.app.known.lists import is_doubtful

    known = found.list
    kinds = {kind.value: number for kind, number in sorted(found.entries.items())}
    return ListFigures(
        known.name, known.effect, sum(kinds.values()), found.changed_s, hits, kinds, known.origin, known.licence,
        known.expires_s, is_doubtful(settings, hits),
    )  # fmt: skip
