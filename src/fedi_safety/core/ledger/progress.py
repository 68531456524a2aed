"""How far a pass is that is under way, as others can read it while it runs; a part of the ledger's ports."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import field
from typing import Protocol

from fedi_safety.core.classes import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one pass is. It says nothing of what the pass will find. Times are seconds since the epoch."""

    run: int
    store: str
    dry_run: bool
    started_at: float
    at: float  # when it was so
    done: int  # objects that are accounted for
    total: int | None = None  # objects that there are to look at; None where nobody knows
    counted: bool = False  # the store has counted them; else as many as the last whole pass met
    rate: float = 0.0  # objects a second, of late
    place: str = ""  # the directory of the last one, with `/` at the end; empty at the top
    counts: Mapping[str, int] = field(default_factory=dict)  # by what became of them

    @property
    def share(self) -> float | None:
        """Return how much of it is done; None where that is not known, 1 at most."""
        return None if not self.total else min(1.0, self.done / self.total)

    @property
    def left_s(self) -> float | None:
        """Return how long the rest takes at this rate; None where that is not known."""
        if self.total is None or self.done >= self.total or self.rate <= 0:
            return None
        return (self.total - self.done) / self.rate


class ProgressLedger(Protocol):
    """What a pass asks of the ledger to be seen while it runs. See `Ledger`."""

    def pass_under_way(self) -> AbstractContextManager[Callable[[Progress], None]]:
        """Give what tells others how far a pass is. It ends with the block, and with the process however that ends.

        To be held within the run lock. It is told at best: where it cannot be, nothing is raised and nothing waits.
        """
        ...

    def listed_before(self, store: str) -> int | None:
        """Return how many objects the last pass met that met all that the store held; None where none did."""
        ...


class ProgressReader(Protocol):
    """What people ask about passes that are under way; reads only. See `LedgerReader`."""

    def under_way(self) -> list[Progress]:
        """Return how far the passes of any process on this ledger are, in order of their runs.

        A pass whose process is gone is not among them, whatever became of it.
        """
        ...
