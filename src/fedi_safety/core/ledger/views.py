"""Views of pictures: each is on record before it is shown, and nobody has more of them a day than they may."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from fedi_safety.core.classes import dataclass

VIEW_DAY_S = 86_400.0
"""Over which a person's views count together."""


@dataclass(frozen=True, slots=True)
class View:
    """A view that is about to be shown: of which content, to whom, at how many pixels, and which of its frames.

    `whole` is whether that frame, small and grey as it is shown, is all there is to see of the medium: a still.
    """

    sha256: bytes
    by: str
    pixels: int
    frame: int
    whole: bool


@dataclass(frozen=True, slots=True)
class ViewLimit:
    """How many views within a day somebody said that a person may have; at that time, in epoch seconds."""

    person: str
    most: int
    by: str
    at: float


class ViewLedger(Protocol):
    """What is remembered of views, all of it in the chain. See `WholeLedger`."""

    def note_view(self, view: View, most: int) -> bool:
        """Commit that a person is about to be shown this, durably when it returns; whether they may.

        They may not where they had as many within a day as their limit says; `most` where nobody set one for them.
        """
        ...

    def views_of_day(self) -> Mapping[str, int]:
        """Return how many views each person had within the last day."""
        ...

    def view_limits(self) -> Mapping[str, ViewLimit]:
        """Return the limits that were set, by person."""
        ...

    def set_view_limit(self, person: str, most: int, by: str) -> None:
        """Set a person's limit. Who may do that is not the ledger's to know."""
        ...
