"""The port of commands that ask a little and end, such as `list` and `show`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from fedi_safety.core.ledger.rows import Filters, Row, Shown
from fedi_safety.core.sealing.copies import Seal, SealState


class ObjectReader(Protocol):
    """What is known of single objects; reads only. Errors: `LedgerError`, `LedgerUsageError`."""

    def list_objects(self, filters: Filters | None = None, limit: int | None = None) -> Iterator[Row]:
        """Yield the objects that `filters` lets through, oldest first, page by page, at most `limit`."""
        ...

    def show(self, target: str | bytes, store: str | None = None) -> Shown | None:
        """Return everything about an object's key (`str`) or a content's SHA-256 (`bytes`); None if neither is known.

        A key that several stores have gives all of their rows, and the history of the first one's content.
        """
        ...

    def store_urls(self) -> list[str]:
        """Return the URLs of all stores that the ledger knows, oldest first."""
        ...

    def seals(self, *, sha256: bytes | None = None, states: Sequence[SealState] = ()) -> list[Seal]:
        """See `SealReader.seals`."""
        ...

    def dispose(self) -> None:
        """Close it."""
        ...
