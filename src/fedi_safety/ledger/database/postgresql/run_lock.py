"""The right to runs as advisory locks: shared by those on one store each, whole for what concerns all stores.

Each is held by a transaction of its own, which does nothing else, so that a pooler leaves it its connection. It is in
nobody's way: at rest it sees no state of the tables, and writes nothing.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from fedi_safety.core.errors import LedgerError
from fedi_safety.core.wording.hints import hint
from fedi_safety.ledger.database.postgresql import faults

if TYPE_CHECKING:
    import psycopg

    from fedi_safety.ledger.database.postgresql.database import PostgresqlDatabase

log = logging.getLogger(__name__)

_LOOKS_EVERY_S = 5.0
_ASIDE = (
    "SELECT set_config('idle_in_transaction_session_timeout', '0', true), set_config('statement_timeout', '30s', true),"
    " set_config('tcp_keepalives_idle', '30', true), set_config('tcp_keepalives_interval', '10', true),"
    " set_config('tcp_keepalives_count', '3', true)"
)
_HOLDER = (
    "SELECT application_name FROM pg_stat_activity JOIN pg_locks USING (pid)"
    " WHERE locktype = 'advisory' AND granted AND pid <> pg_backend_pid() AND objsubid = 1"
    " AND ((classid::bigint << 32) | objid::bigint) = %s"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) LIMIT 1"
)


class RunLocks:
    """The rights to runs that this process holds on one ledger."""

    def __init__(self, database: PostgresqlDatabase) -> None:
        """Hold none yet."""
        self._database = database
        self._held: list[_Lock] = []
        self._using = threading.Lock()

    @contextmanager
    def held(self, store: str | None) -> Iterator[None]:
        """Hold the right to run on a store, or on all. Raises `LedgerError` if another process has it."""
        lock = _Lock(self._database, store)
        lock.take()
        with self._using:
            self._held.append(lock)
        try:
            yield
        finally:
            with self._using:
                self._held.remove(lock)
            lock.end()

    def doubt(self) -> None:
        """Note that the server was away: what it held for us may be gone."""
        for lock in list(self._held):
            lock.doubted = True

    def stand(self) -> None:
        """See to it that what is held is held, before anything is written. Raises `LedgerError` where it is not."""
        for lock in list(self._held):
            lock.stand()


class _Lock:
    def __init__(self, database: PostgresqlDatabase, store: str | None) -> None:
        self._database = database
        self._store = store
        self._connection: psycopg.Connection | None = None
        self._using = threading.RLock()
        self._over = threading.Event()
        self._lost: LedgerError | None = None
        self._watch: threading.Thread | None = None
        self.doubted = False

    def take(self) -> None:
        self._database.whole(self._take)
        self._watch = threading.Thread(target=self._look, name="run lock", daemon=True)
        self._watch.start()

    def end(self) -> None:
        self._over.set()
        with self._using:
            self._close()
        if self._watch is not None:
            self._watch.join()

    def stand(self) -> None:
        if self._lost is not None:
            raise self._lost
        if self.doubted:
            with self._using:
                self._again()

    def _look(self) -> None:
        """See from time to time whether the connection lives, for nothing else is asked of it."""
        while not self._over.wait(_LOOKS_EVERY_S):
            with suppress(LedgerError), self._using:
                self._again()

    def _again(self) -> None:
        """Take the right again if its connection is gone. Raises `LedgerError`."""
        if self._over.is_set() or self._lost is not None:
            return
        import psycopg

        try:
            if self._connection is not None:
                self._connection.execute("SELECT 1")
                self.doubted = False
                return
        except psycopg.Error:
            self._close()
        self.doubted = True
        try:
            self._take()
        except faults.Interrupted:
            raise
        except LedgerError as error:
            cause = f"the connection was lost, and meanwhile {error.cause}; nothing more is done"
            self._lost = LedgerError(error.thing, cause, "start this again when that has ended")
            raise self._lost from error
        self.doubted = False

    def _take(self) -> None:
        """Begin the transaction that holds it. Raises `LedgerError`, `Cut` where the server is not there."""
        import psycopg

        connection = self._database.connect()
        try:
            connection.execute(_ASIDE)
            for key, mine in self._keys():
                kind = "" if mine else "_shared"
                got = connection.execute(f"SELECT pg_try_advisory_xact_lock{kind}(%s)".encode(), (key,)).fetchone()
                if got is None or not got[0]:
                    raise self._taken(connection, key)
        except psycopg.Error as error:
            connection.close()
            explained = faults.explain(self._database.name, error, lost=True)
            raise explained or faults.Cut(self._database.name, "the connection was lost") from None
        except BaseException:
            connection.close()
            raise
        self._connection = connection

    def _keys(self) -> list[tuple[int, bool]]:
        """Return the locks that are needed in order, each with whether nobody else may have it at all."""
        with self._database.read() as connection:
            whole = self._database.keys(connection)[1]
        if self._store is None:
            return [(whole, True)]
        own = hashlib.sha256(f"{whole} {self._store}".encode("utf-8", "surrogateescape")).digest()
        return [(whole, False), (int.from_bytes(own[:8], "big", signed=True), True)]

    def _taken(self, connection: Any, key: int) -> LedgerError:
        found = connection.execute(_HOLDER, (key,)).fetchone()
        who = _who(found[0] if found else "")
        what = "this ledger" if self._store is None else "this store with this ledger"
        cause = f"another fedi-safety run ({who}) is using {what}"
        remedy = f"wait for it or stop it; {hint('report')} tells how far it is"
        return LedgerError(self._database.name, cause, remedy)

    def _close(self) -> None:
        if self._connection is not None:
            with suppress(Exception):
                self._connection.close()
            self._connection = None


def _who(application: str) -> str:
    """Return who holds a lock, from the name that its process gave itself (`address`)."""
    words = application.split(" ", 2)
    return f"pid {words[1]} on {words[2]}" if len(words) == 3 and words[0] == "fedi-safety" else "unknown"
