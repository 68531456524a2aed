"""What came of each list: how much is on it, how old it is, how many contents met it, and what people said of these."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fedi_safety.app.known.lists import open_catalog
from fedi_safety.config.schema import Settings
from fedi_safety.core.errors import KnownError
from fedi_safety.core.known.types import Effect
from fedi_safety.core.ledger.matches import ListHits, MatchReader

if TYPE_CHECKING:
    from fedi_safety.known.records import ListStatistics

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ListFigures:
    """One list. `changed_s` is when its entries or its terms last changed, in seconds since 1970 in UTC."""

    name: str
    effect: Effect
    entries: int
    changed_s: float
    hits: ListHits


def list_figures(settings: Settings, ledger: MatchReader) -> list[ListFigures]:
    """Return the figures of every list, by name; none, with a warning, where the lists cannot be read."""
    try:
        with open_catalog(settings) as catalog:
            found = catalog.statistics()
    except KnownError as error:
        log.warning("%s", error.line())
        return []
    hits = ledger.hits_by_list() if found else {}
    return [_figures(each, hits) for each in found]


def _figures(found: ListStatistics, hits: Mapping[str, ListHits]) -> ListFigures:
    known = found.list
    return ListFigures(
        known.name, known.effect, sum(found.entries.values()), found.changed_s, hits.get(known.name, ListHits())
    )
