"""How the publishers that this instance subscribes to stand, for figures and pages."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from fedi_safety.app.sharing.subscribing import standings
from fedi_safety.config.schema import Settings
from fedi_safety.core.errors import KnownError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PublisherFigures:
    """A publisher: its `entries` in force, how many of these are `waiting`, and how many are `held`.

    `fetched_s` is when its list was last read, in seconds since 1970 in UTC, None for never; `failure` says why it was
    refused or could not be asked the last time, empty if it was not.
    """

    name: str
    fetched_s: float | None
    failure: str
    entries: int
    waiting: int
    held: int


def publisher_figures(settings: Settings) -> list[PublisherFigures]:
    """Return how each publisher stands, by name; none, with a warning, where that cannot be told."""
    try:
        return [
            PublisherFigures(
                each.publisher.name,
                each.publisher.fetched_s,
                each.publisher.failure,
                each.in_force,
                each.waits,
                len(each.held),
            )
            for each in standings(settings)
        ]
    except KnownError as error:
        log.warning("%s", error.line())
        return []
