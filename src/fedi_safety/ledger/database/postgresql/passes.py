"""How far passes are, in the rows of their runs, which say it until they end: any machine on the ledger reads it there.

A row whose process died says it a little longer; nothing rests on it.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, fields
from typing import TYPE_CHECKING

from sqlalchemy import text

from fedi_safety.core.errors import LedgerError
from fedi_safety.core.ledger.progress import Progress

if TYPE_CHECKING:
    from fedi_safety.ledger.database.postgresql.database import PostgresqlDatabase

_EVERY_S = 2.0
_ALIVE_S = 30.0
_NOW = "extract(epoch FROM clock_timestamp())"
_TELL = text(f"UPDATE runs SET summary = :told || CAST({_NOW} AS text) || '}}' WHERE id = :run AND ended_at IS NULL")
_ENDED = text("UPDATE runs SET summary = NULL WHERE id = :run AND ended_at IS NULL")
_READ = text(
    f"SELECT summary, CAST({_NOW} AS double precision) AS now FROM runs"
    " WHERE ended_at IS NULL AND summary IS NOT NULL ORDER BY id DESC LIMIT 64"
)
_NAMES = frozenset(each.name for each in fields(Progress))


class Passes:
    """The passes of one ledger. The runs of one process may tell from several threads."""

    def __init__(self, database: PostgresqlDatabase) -> None:
        """Take the ledger's database; nothing is asked of it yet."""
        self._database = database

    @contextmanager
    def told(self) -> Iterator[Callable[[Progress], None]]:
        """Give what tells how far a pass is. What is told is written by a thread of its own: nobody waits for it."""
        latest: list[Progress] = []
        over, new = threading.Event(), threading.Event()

        def tell(progress: Progress) -> None:
            latest[:] = [progress]
            new.set()

        def write() -> None:
            while not over.is_set():
                new.wait()
                new.clear()
                if latest and not over.is_set():
                    self._write(latest[0])
                over.wait(_EVERY_S)

        thread = threading.Thread(target=write, name="pass under way", daemon=True)
        thread.start()
        try:
            yield tell
        finally:
            over.set()
            new.set()
            thread.join()
            if latest:
                with suppress(LedgerError), self._database.engine.begin() as connection:
                    connection.execute(_ENDED, {"run": latest[0].run})

    def _write(self, progress: Progress) -> None:
        told = f'{{"progress": {json.dumps(asdict(progress), ensure_ascii=True)}, "told_at": '
        with suppress(LedgerError), self._database.engine.begin() as connection:
            connection.execute(_TELL, {"told": told, "run": progress.run})

    def read(self) -> list[Progress]:
        """Return how far the passes are whose processes told it lately."""
        with self._database.read() as connection:
            rows = connection.execute(_READ).all()
        found = [made for summary, now in rows if (made := _progress(summary, now)) is not None]
        return sorted(found, key=lambda progress: progress.run)


def _progress(summary: str, now: float) -> Progress | None:
    with suppress(ValueError, TypeError, KeyError, AttributeError):
        said = json.loads(summary)
        if now - float(said["told_at"]) <= _ALIVE_S:
            return Progress(**{name: value for name, value in said["progress"].items() if name in _NAMES})
    return None
