"""What happened in a span of time, day by day, and which objects have a content; a part of the ledger's ports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Protocol


@dataclass(slots=True)
class Happened:
    """What happened in some span of time. Contents are counted once, objects each."""

    runs: int = 0  # that began
    judged: int = 0  # objects, by their latest verdict
    condemned: int = 0  # contents that were not condemned before
    removed: int = 0  # objects
    failed: int = 0  # attempts to remove
    gone: int = 0  # objects that were not there any more, by other hands
    dismissed: int = 0  # contents that a person cleared
    restored: int = 0  # dismissals that were taken back

    def add(self, other: Happened) -> None:
        """Add the counts of another span."""
        for name in (each.name for each in fields(self)):
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass(slots=True)
class History:
    """What happened since a time (epoch seconds), by day (`YYYY-MM-DD`, UTC), oldest first; days of nothing left out.

    `rules` counts by rule the contents that became condemned; several rules can condemn one.
    """

    since: float
    days: dict[str, Happened] = field(default_factory=dict)
    rules: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> Happened:
        """Return the sum over the days."""
        total = Happened()
        for day in self.days.values():
            total.add(day)
        return total


class HistoryReader(Protocol):
    """What people ask about the past; reads only. See `LedgerReader`."""

    def history(self, since: float, store: str | None = None) -> History:
        """Return what happened since then, of all or of one store.

        Without a store what the gate refused counts among the condemned, too.
        """
        ...

    def objects_with(self, sha256s: Sequence[bytes]) -> dict[bytes, list[tuple[str, str]]]:
        """Return by content the objects that are present and have it: store and key, oldest first."""
        ...
