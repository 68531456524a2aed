"""Ledgers on each kind of database that one can lie in; what a test asks of a ledger is asked of every kind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from fedi_safety.core.ports import Clock
from fedi_safety.ledger.embeddings import Keep
from fedi_safety.ledger.ledger import SqlLedger, open_ledger
from support.fakes import FakeClock

KINDS = ("sqlite",)
"""The schemes of `ledger.database.KINDS`; a test holds the two together."""


class Opener(Protocol):
    """Opens the one ledger of a test, again if wanted: what was not committed is then not there."""

    def __call__(self, *, clock: Clock | None = None, keep: Keep = Keep.NO) -> SqlLedger:
        """Open it; left out, its clock stands still."""
        ...


@contextmanager
def ledger_opener(kind: str, folder: Path) -> Iterator[Opener]:
    """Give an opener for a new ledger on a database of this kind, and close what it opened."""
    place = {"sqlite": folder / "ledger.db"}[kind]
    opened: list[SqlLedger] = []

    def opener(*, clock: Clock | None = None, keep: Keep = Keep.NO) -> SqlLedger:
        opened.append(open_ledger(place, clock=clock or FakeClock(), keep=keep))
        return opened[-1]

    yield opener
    for ledger in opened:
        ledger.dispose()
