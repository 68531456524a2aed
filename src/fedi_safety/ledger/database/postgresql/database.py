"""One PostgreSQL as a `Database`: its connections, its transactions, and who may write when.

One transaction writes at a time, whoever begins it: what reads and then writes is as right as in a file. A pooler that
gives each transaction another connection may lie between: nothing here lasts longer than its transaction.
"""

from __future__ import annotations

import hashlib
import logging
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    ExceptionContext,
    LargeBinary,
    Table,
    Text,
    cast,
    create_engine,
    event,
    func,
    select,
    text,
)
from sqlalchemy.exc import TimeoutError

from fedi_safety.core.errors import LedgerError, LedgerUsageError
from fedi_safety.core.ledger.progress import Progress
from fedi_safety.ledger.database.base import BUSY_TIMEOUT_S, LISTENER, Database, Result, naming
from fedi_safety.ledger.database.bulk import AHEAD, BULK
from fedi_safety.ledger.database.postgresql import faults
from fedi_safety.ledger.database.postgresql.address import Address
from fedi_safety.ledger.database.postgresql.arrays import Packed, PackedDumper, Rows, shorter
from fedi_safety.ledger.database.postgresql.faults import Conflict, Cut, Interrupted
from fedi_safety.ledger.database.postgresql.passes import Passes
from fedi_safety.ledger.database.postgresql.run_lock import RunLocks

if TYPE_CHECKING:
    import psycopg

log = logging.getLogger(__name__)

_PAUSES = 4.0
"""For how many times the wait for another program's write a server may be away."""
_CONFLICTS = 10
_LONGEST_S = 3600.0
_IDLE_S = 300.0
"""How long a transaction that writes may do nothing, before the server ends it: others wait for it."""

_BEGIN = text(
    "SELECT set_config('statement_timeout', :longest, true), set_config('lock_timeout', :wait, true),"
    " set_config('idle_in_transaction_session_timeout', :idle, true), set_config('tcp_keepalives_idle', '30', true),"
    " set_config('tcp_keepalives_interval', '10', true), set_config('tcp_keepalives_count', '3', true),"
    " pg_advisory_xact_lock(:key),"
    " CASE WHEN current_setting('transaction_read_only') = 'off' THEN CAST(pg_current_xact_id() AS text) END"
)
"""In this order: the lock is waited for only so long."""
_READ = text("SELECT set_config('statement_timeout', :longest, true), set_config('transaction_read_only', 'on', true)")
_FATE = text("SELECT pg_xact_status(CAST(:xid AS xid8))")
_WHERE = text("SELECT current_database(), current_schema()")


class PostgresqlDatabase:
    """One database of a server. Writers of this process queue up on one lock, and with those of others on another."""

    runs_by_store = True
    opened_by = None  # its address may have a password

    def __init__(self, url: str, *, readonly: bool, busy_timeout_s: float = BUSY_TIMEOUT_S) -> None:
        """Take the URL; the first statement connects."""
        self.address = Address(url)
        from fedi_safety.ledger.database.postgresql.connections import Connections  # with psycopg, which no file needs

        self.name = self.address.name
        self._connections = Connections(self.name, self.address.conninfo)
        self.readonly = readonly
        self._busy_s = busy_timeout_s
        self._pause_s = busy_timeout_s * _PAUSES
        self._longest_s = _LONGEST_S if busy_timeout_s >= BUSY_TIMEOUT_S else busy_timeout_s * 10
        self._writing = threading.Lock()
        self._checks: tuple[Callable[[Connection], None], ...] = ()
        self._told: Callable[[Connection, float, Sequence[Any]], None] | None = None
        self._keys: tuple[int, int] | None = None
        self._rows = Rows()
        self.engine = self._engine()
        self._locks = RunLocks(self)
        self._passes = Passes(self)

    # --- transactions

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a connection inside one read transaction: every statement sees the same state."""
        with naming(self.name), self.connected() as plain:
            connection = plain.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                connection.execute(_READ, {"longest": _ms(self._longest_s)})
                yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Give a connection inside the one write transaction; committed on leaving, rolled back on any error.

        Raises `Interrupted` where nothing of it was kept and it may be done again.
        """
        if self.readonly:
            raise LedgerUsageError(self.name, "was opened for reading only")
        with naming(self.name), self._writing:
            self._locks.stand()
            with self.connected() as plain:
                connection = plain.execution_options(**{LISTENER: self._told, BULK: self._rows})
                transaction = connection.begin()
                try:
                    xid = self._alone(connection)
                    for check in self._checks:
                        check(connection)
                    yield connection
                except BaseException:
                    with suppress(LedgerError):  # of a connection that is gone
                        transaction.rollback()
                    raise
                try:
                    transaction.commit()
                except Cut:
                    if not self._committed(xid):
                        raise

    def connected(self) -> Connection:
        """Return a connection of this process's few. Raises `LedgerError` where all are in use for too long."""
        try:
            return self.engine.connect()
        except TimeoutError as error:
            cause = "all connections of this process are in use"
            raise LedgerError(self.name, cause, "ask less at once, or see what keeps its server busy") from error

    def _alone(self, connection: Connection) -> str:
        """Wait until nobody else writes to this ledger; return what tells this transaction from all others."""
        times = {"longest": _ms(self._longest_s), "wait": _ms(self._busy_s), "idle": _ms(_IDLE_S)}
        xid = connection.execute(_BEGIN, times | {"key": self.keys(connection)[0]}).one()[-1]
        if xid is None:
            raise faults.read_only(self.name)
        return str(xid)

    def _committed(self, xid: str) -> bool:
        """Whether a transaction came to be whose server was lost amid its end. Raises `LedgerError` if nobody tells."""

        def fate() -> str | None:
            with self.read() as connection:
                found = connection.execute(_FATE, {"xid": xid}).scalar_one()
            if found == "in progress":  # its server has not noticed yet
                raise Cut(self.name, "is still at what was cut off", "run this again in a while")
            return None if found is None else str(found)

        return self.whole(fate) == "committed"

    def whole(self, work: Callable[[], Result]) -> Result:
        """Do what is one whole transaction, again while the server is away or others are in its way.

        Raises `LedgerError` where that does not end.
        """
        until: float | None = None
        conflicts = 0
        while True:
            try:
                done = work()
            except Interrupted as error:
                now = time.monotonic()
                if isinstance(error, Conflict):
                    conflicts += 1
                    if conflicts > _CONFLICTS:
                        raise LedgerError(error.thing, error.cause, error.remedy) from error
                    time.sleep(random.uniform(0, 0.01 * 2**conflicts))
                    continue
                if until is None:
                    until = now + self._pause_s
                    log.warning("%s: %s; waiting for it, at most %d s", error.thing, error.cause, self._pause_s)
                if now >= until:
                    raise LedgerError(error.thing, error.cause, error.remedy) from error
                time.sleep(min(random.uniform(0.2, 1.0), max(0.01, until - now)))
            else:
                if until is not None:
                    log.warning("%s: is there again", self.name)
                return done

    def keys(self, connection: Connection) -> tuple[int, int]:
        """Return the numbers of this ledger's two advisory locks in its database: for writing, and for runs."""
        if self._keys is None:
            named = ".".join(map(str, connection.execute(_WHERE).one()))
            first, second = (
                int.from_bytes(hashlib.sha256(f"fedi-safety {what} {named}".encode()).digest()[:8], "big", signed=True)
                for what in ("write", "run")
            )
            self._keys = first, second
        return self._keys

    def guard(self, check: Callable[[Connection], None]) -> None:
        """Have `check` called at the beginning of every write from now on, inside its transaction."""
        self._checks = (*self._checks, check)

    def listen(self, told: Callable[[Connection, float, Sequence[Any]], None]) -> None:
        """Have `told` called with all events that a write appends from now on, in its transaction."""
        self._told = told

    # --- what a file does otherwise

    def prepare(self) -> None:
        """Nothing is set outside a transaction."""

    def room(self) -> tuple[int, int]:
        """Return the size of the database; what is free on its server's disk nobody can tell."""
        with self.read() as connection:
            return int(
                connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one()
            ), sys.maxsize

    def run_lock(self, store: str | None = None) -> AbstractContextManager[None]:
        """Hold the only right to run on a store; without one, on all stores. It ends with the process."""
        return self._locks.held(store)

    def pass_under_way(self) -> AbstractContextManager[Callable[[Progress], None]]:
        """Give what tells others how far a pass is, in the row of its run."""
        return self._passes.told()

    def under_way(self) -> list[Progress]:
        """Return how far the passes are that are under way, on whatever machine."""
        return self._passes.read()

    def copy_to(self, file: Path, called: str) -> Database:  # noqa: ARG002
        """Refuse: a file is SQLite's."""
        remedy = "make it with PostgreSQL's own pg_dump, which needs no run to stop"
        raise LedgerUsageError(self.name, "is no file, and no backup of it is made here", remedy)

    keeps_nul = False

    def fill(self, connection: Connection, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
        """See `Database.fill`: by COPY."""
        import psycopg
        from psycopg import sql

        driver = connection.connection.driver_connection
        assert isinstance(driver, psycopg.Connection), "its own driver"
        names = sql.SQL(", ").join(sql.Identifier(column.name) for column in table.columns)
        statement = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table.name), names)
        try:
            with driver.cursor() as cursor, cursor.copy(statement) as copy:
                for row in rows:
                    copy.write_row(row)
        except psycopg.Error as error:
            explained = faults.explain(self.name, error, lost=driver.closed)
            cause = f"{table.name}: {type(error).__name__} ({error.sqlstate or 'no state'})"
            raise explained or LedgerError(self.name, cause, "nothing was kept; please report it") from None

    def after_filling(self, connection: Connection, tables: Sequence[Table]) -> None:
        """See `Database.after_filling`: each sequence goes on behind its table's last row."""
        for table in tables:
            column = table.autoincrement_column
            if column is not None:
                last = select(func.coalesce(func.max(column), 0) + 1).scalar_subquery()
                named = func.pg_get_serial_sequence(table.name, column.name)
                connection.execute(select(func.setval(named, last, False)))

    def joined(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        """See `Database.joined`."""
        between = b"" if isinstance(column.type, LargeBinary) else ""
        return func.string_agg(column, cast(between, column.type))

    def listed(self, column: ColumnElement[Any]) -> ColumnElement[str]:
        """See `Database.listed`."""
        return func.string_agg(cast(column, Text), ",")

    def dispose(self) -> None:
        """Close every connection."""
        self.engine.dispose()
        self._connections.close()

    # --- connections

    def connect(self) -> psycopg.Connection:
        """Return a new connection. Raises `LedgerError`."""
        import psycopg

        try:
            connection = self._connections.connect()
        except (psycopg.Error, UnicodeError) as error:
            raise faults.refused(self.name, error) from None
        if connection.info.server_version < faults.OLDEST:
            version = connection.info.server_version
            connection.close()
            raise faults.too_old(self.name, version)
        connection.adapters.register_dumper(Packed, PackedDumper)
        return connection

    def _engine(self) -> Engine:
        engine = create_engine(
            "postgresql+psycopg://",  # only names the dialect; `creator` connects
            creator=self.connect,
            use_native_hstore=False,  # which would be asked for at every start
            pool_size=4,
            max_overflow=28,
            pool_use_lifo=True,
            pool_timeout=self._busy_s,
        )

        @event.listens_for(engine, "do_executemany")
        def at_once(cursor: Any, statement: str, rows: Any, context: Any) -> bool | None:
            made = self._rows.in_one(statement, rows, context)
            if made is None:
                return None
            cursor.ahead(*made)
            return True

        @event.listens_for(engine, "do_execute")
        def ahead(cursor: Any, statement: str, parameters: Any, context: Any) -> bool | None:
            if not AHEAD.items() <= context.execution_options.items():
                return None
            cursor.ahead(statement, parameters)
            return True

        @event.listens_for(engine, "before_cursor_execute", retval=True)
        def briefly(_: Any, __: Any, statement: str, parameters: Any, ___: Any, several: bool) -> tuple[str, Any]:
            return (
                (statement, parameters)
                if several or not isinstance(parameters, dict)
                else shorter(statement, parameters)
            )

        @event.listens_for(engine, "handle_error")
        def translate(context: ExceptionContext) -> None:
            import psycopg

            original = context.original_exception
            if not isinstance(original, psycopg.Error):
                return
            if context.is_disconnect:
                self._locks.doubt()
            explained = faults.explain(self.name, original, lost=context.is_disconnect)
            if explained is not None:
                raise explained from None

        return engine


def _ms(seconds: float) -> str:
    return str(int(seconds * 1000))
