"""Which of the objects that the ledger holds as present one pass over their store has met. Pure; reads no ledger.

It keeps one bit for each row that the ledger has, so that ten million objects take little more than a megabyte, in
whatever order a store lists them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field

from fedi_safety.core.classes import dataclass
from fedi_safety.core.enums import Reason
from fedi_safety.core.types import Unscanned

_CLOSED_MOST = 10_000


@dataclass(slots=True)
class Census:
    """One pass over all of a store, held against what the ledger held as present in it when the pass began.

    Rows behind `last` were written since and are not asked for. `known` are those of which this ledger has a word of
    its own; what it took over from a predecessor may never have been met. Mutable, one writer.
    """

    store: str
    last: int
    known: int
    adopted: int
    met: int = 0
    adopted_met: int = 0
    closed: list[str] = field(default_factory=list)
    """Directories that could not be listed, with `/` at the end: what is known beneath them is neither met nor gone."""
    crowded: bool = False
    """There are more of them than are remembered, so that nothing can be said of what was not met."""
    _bits: bytearray = field(init=False)

    def __post_init__(self) -> None:
        """Begin with nothing met."""
        self._bits = bytearray(self.last // 8 + 1)

    @property
    def all_met(self) -> bool:
        """Whether nothing of what was held as present is missing."""
        return (self.met, self.adopted_met) == (self.known, self.adopted)

    def meet(self, known: Iterable[int], adopted: Iterable[int] = (), others: Iterable[int] = ()) -> None:
        """Note that the objects of these rows are there: held as present by whose word, or not held so at all.

        One row may be met more than once. This is in the inner loop of every later scan.
        """
        self.met += self._set(known)
        self.adopted_met += self._set(adopted)
        self._set(others)

    def _set(self, rows: Iterable[int]) -> int:
        bits, last, new = self._bits, self.last, 0
        for row in rows:
            bit = 1 << (row & 7)
            if row <= last and not bits[row >> 3] & bit:
                bits[row >> 3] |= bit
                new += 1
        return new

    def has_met(self, row: int) -> bool:
        """Whether the object of this row was met."""
        return bool(self._bits[row >> 3] >> (row & 7) & 1)

    def note(self, gap: Unscanned) -> None:
        """Note what a listing could not tell: a directory that failed hides what is beneath it."""
        if gap.object.key.endswith("/") and gap.reason in (Reason.UNREADABLE, Reason.SYMLINK):
            if len(self.closed) < _CLOSED_MOST:
                self.closed.append(gap.object.key)
            else:
                self.crowded = True
