"""What earlier runs on a store say about the next one. Only reads."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from sqlalchemy import ColumnElement, Connection, select

from fedi_safety.core.enums import ActKind
from fedi_safety.core.errors import SupersededError
from fedi_safety.core.ledger.progress import Progress
from fedi_safety.ledger import codec
from fedi_safety.ledger.database.base import Database
from fedi_safety.ledger.schema import runs


def was_dry(connection: Connection, store: str) -> bool:
    """See `Ledger.was_dry_run`."""
    r = runs.c
    # The first versions made dry runs of whole stores alone, and did not say so.
    return _any(connection, store, r.dry_run.is_(True), r.whole.is_not(False), r.kind == "scan", r.status == "done")


def was_real(connection: Connection, store: str) -> bool:
    """See `Ledger.was_real_run`."""
    return _any(connection, store, runs.c.dry_run.is_(False), runs.c.whole.is_(True), runs.c.act.is_not(None))


def chosen_act(connection: Connection, store: str) -> ActKind | None:
    """See `Ledger.chosen_act`."""
    r = runs.c
    chosen = select(r.act).where(r.store == store, r.act.is_not(None)).order_by(r.id.desc()).limit(1)
    word = connection.execute(chosen).scalar_one_or_none()
    return None if word is None else ActKind(word)


def listed_before(connection: Connection, store: str) -> int | None:
    """See `ProgressLedger.listed_before`."""
    r = runs.c
    last = select(r.summary).where(r.store == store, r.complete.is_(True)).order_by(r.id.desc()).limit(1)
    summary = connection.execute(last).scalar_one_or_none()
    listed = None if summary is None else codec.said_from(summary).get("listed")
    return listed if isinstance(listed, int) else None


class ProgressSide:
    """A ledger's side of passes: who may run, and how far they are: `ProgressLedger`, `ProgressReader`."""

    database: Database

    @property
    def runs_by_store(self) -> bool:
        """Whether there is a right to run on each store; else one for all."""
        return self.database.runs_by_store

    def run_lock(self, store: str | None = None) -> AbstractContextManager[None]:
        """Hold the only right to run acts and scans on a store, or on all of this ledger."""
        return self.database.run_lock(store)

    def pass_under_way(self) -> AbstractContextManager[Callable[[Progress], None]]:
        """Give what tells others how far a pass is, until it ends or this process does."""
        return self.database.pass_under_way()

    def under_way(self) -> list[Progress]:
        """Return how far the passes are that are under way."""
        return self.database.under_way()

    def hold_to(self, run: int) -> None:
        """Let nothing be written from now on but while this run is under way; see `Ledger`."""
        name = self.database.name

        def check(connection: Connection) -> None:
            r = runs.c
            found = connection.execute(select(r.store, r.ended_at).where(r.id == run)).one_or_none()
            if found is not None and found.ended_at is None:
                later = select(r.id).where(r.id > run, r.store == found.store, r.kind == "scan").limit(1)
                if connection.execute(later).first() is None:
                    return
            cause = f"run {run}, for which this works, is over or was taken over by a later one"
            raise SupersededError(name, cause, "nothing is lost: what it judged is on record")

        self.database.guard(check)

    def listed_before(self, store: str) -> int | None:
        """Return how many objects the last pass met that met all that the store held."""
        with self.database.read() as connection:
            return listed_before(connection, store)


def _any(connection: Connection, store: str, *conditions: ColumnElement[bool]) -> bool:
    found = select(runs.c.id).where(runs.c.store == store, *conditions).limit(1)
    return connection.execute(found).first() is not None
