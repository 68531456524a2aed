"""What happened in a span of time, day by day, and which objects have a content; a part of the ledger's ports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import field, fields
from typing import Protocol

from fedi_safety.core.classes import dataclass


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


@dataclass(frozen=True, slots=True)
class Condemned:
    """An object whose content stands condemned, with the times of it in epoch seconds (UTC).

    `condemned_at` is when its verdict last became a block, `removed_at` when its removal was verified. `stands` is
    `removed`, `gone` (by other hands), the state of its open plan, or empty where it is there and nothing is planned.
    """

    store: str
    key: str
    sha256: bytes
    rules: tuple[str, ...]
    condemned_at: float | None
    removed_at: float | None
    stands: str


@dataclass(frozen=True, slots=True)
class LastPass:
    """The last pass that met all that a store holds: its run, and when it began and ended, in epoch seconds."""

    run: int
    began_at: float
    ended_at: float


class HistoryReader(Protocol):
    """What people ask about the past; reads only. See `LedgerReader`."""

    def history(self, since: float, store: str | None = None) -> History:
        """Return what happened since then, of all or of one store.

        Without a store what the gate refused counts among the condemned, too.
        """
        ...

    def condemned(self, since: float | None, store: str | None = None, *, limit: int) -> list[Condemned]:
        """Return what stands condemned, the newest contents first, at most `limit` objects; removed ones as well.

        With `since` only what was condemned or removed since then. It reads a bounded number of contents.
        """
        ...

    def last_passes(self) -> dict[str, LastPass]:
        """Return for each store, by its URL, the last pass that met all that it holds; none where there was none."""
        ...

    def objects_with(self, sha256s: Sequence[bytes]) -> dict[bytes, list[tuple[str, str]]]:
        """Return by content the objects that are present and have it: store and key, oldest first."""
        ...
