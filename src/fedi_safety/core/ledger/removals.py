"""What was removed here, and who says so, for lists that are shared; a part of the ledger's ports."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from fedi_safety.core.classes import dataclass


@dataclass(frozen=True, slots=True)
class Removal:
    """A content that is condemned and was removed, or refused by the gate; nobody dismissed it.

    Times are seconds since 1970 in UTC; `confirmed_at` is None where no person said that it is what it was condemned
    for.
    """

    sha256: bytes
    removed_at: float
    confirmed_at: float | None


@dataclass(frozen=True, slots=True)
class Cleared:
    """A content that meets a list, and that a person dismissed, at that time."""

    sha256: bytes
    dismissed_at: float


class RemovalReader(Protocol):
    """Asks what was removed; reads only. See `LedgerReader`."""

    def removals(self) -> Iterator[Removal]:
        """Yield what was removed or refused and stands condemned."""
        ...

    def cleared(self) -> Iterator[Cleared]:
        """Yield what a person dismissed although a list has it."""
        ...
