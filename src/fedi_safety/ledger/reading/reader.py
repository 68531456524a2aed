"""A ledger in a file as `list` and `show` want it: opened, asked and closed without SQLAlchemy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from fedi_safety.core.errors import LedgerError, LedgerUsageError
from fedi_safety.ledger.database import file_named
from fedi_safety.ledger.reading.plain import PlainFile
from fedi_safety.ledger.reading.states import REVISION

if TYPE_CHECKING:
    from fedi_safety.core.ledger.rows import Filters, Row, Shown
    from fedi_safety.core.sealing.copies import Seal, SealState


class PlainReader:
    """See the port `ObjectReader`."""

    def __init__(self, file: PlainFile) -> None:
        """Take over an open file, whose tables are of the newest revision."""
        self._file = file

    def list_objects(self, filters: Filters | None = None, limit: int | None = None) -> Iterator[Row]:
        """Yield the objects that `filters` lets through, oldest first, page by page, at most `limit`."""
        from fedi_safety.ledger.reading.listing import list_objects

        return list_objects(self._file, filters, limit)

    def show(self, target: str | bytes, store: str | None = None) -> Shown | None:
        """Return everything about an object's key or a content's SHA-256; None if neither is known."""
        from fedi_safety.ledger.reading.showing import show

        return show(self._file, target, store)

    def store_urls(self) -> list[str]:
        """Return the URLs of all stores that the ledger knows, oldest first."""
        from fedi_safety.ledger.reading.showing import store_urls

        return store_urls(self._file)

    def seals(self, *, sha256: bytes | None = None, states: Sequence[SealState] = ()) -> list[Seal]:
        """Return sealed copies, oldest first."""
        from fedi_safety.ledger.reading.kept import seals_of

        with self._file.asked() as asking:
            return seals_of(asking, sha256, states)

    def dispose(self) -> None:
        """Close the file."""
        self._file.dispose()


def open_plain(url_or_path: str) -> PlainReader | None:
    """Open a ledger in a file; None where it lies elsewhere, has other tables, or cannot be opened.

    Whoever gets None opens it in full, which says what is wrong with it.
    """
    try:
        path = file_named(url_or_path)
        if path is None:
            return None
        file = PlainFile(path)
    except (LedgerError, LedgerUsageError):
        return None
    if _is_newest(file):
        return PlainReader(file)
    file.dispose()
    return None


def _is_newest(file: PlainFile) -> bool:
    try:
        with file.asked() as asking:
            named = "SELECT name FROM sqlite_master WHERE type = 'table' AND name = 'alembic_version'"
            if not asking.ask(named):
                return False
            found = asking.ask("SELECT version_num FROM alembic_version")
            return [row["version_num"] for row in found] == [REVISION]
    except (LedgerError, LedgerUsageError):
        return False
