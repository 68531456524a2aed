"""What is particular to SQLite in SQLAlchemy's hands: transactions, locks, copies. `sqlite_file` has its file.

Nothing outside these two files names SQLite's own statements. They know no table by name.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    ExceptionContext,
    Table,
    cast,
    create_engine,
    event,
    func,
    text,
)

from fedi_safety.core.errors import LedgerError, LedgerUsageError
from fedi_safety.core.ledger.progress import Progress
from fedi_safety.core.wording.hints import hint
from fedi_safety.ledger.database.base import BUSY_TIMEOUT_S, LISTENER, Result, naming
from fedi_safety.ledger.database.progress_files import ProgressFiles
from fedi_safety.ledger.database.sqlite_file import RESTORE, explain, identity, open_own, opener, prepare_file, set_up

_COPY_PAGES = 4096  # 16 MB
_BEGIN = "ledger_begin"
_ROOM = "make room, or name a file on another disk; nothing was left there"


class SqliteDatabase:
    """One SQLite file as a `Database`. Writers of this process queue up on one lock."""

    runs_by_store = False

    def __init__(
        self, path: Path, *, readonly: bool, busy_timeout_s: float = BUSY_TIMEOUT_S, copy_of: Path | None = None
    ) -> None:
        """Prepare the file and the pool; the first statement opens it.

        A copy that nobody writes is named after what it was made of: what is wrong with it is wrong there.
        """
        self.path = path
        self.opened_by = None if copy_of else str(path.absolute())
        self.name = str(copy_of or path)
        self.readonly = readonly
        self._writing = threading.Lock()
        prepare_file(path, readonly)
        self._identity = identity(path)
        self._progress = ProgressFiles(path)
        self._checks: tuple[Callable[[Connection], None], ...] = ()
        self._told: Callable[[Connection, float, Sequence[Any]], None] | None = None
        self.engine = _engine(path, readonly, busy_timeout_s, copy_of)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a connection inside one read transaction: every statement sees the same state."""
        with naming(self.name), self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Give a connection inside the one write transaction; committed on leaving, rolled back on any error.

        Raises `LedgerError` where another file, or none, has taken this one's place: what is written to a file without
        a name is lost, and with it the record of what is done next.
        """
        with naming(self.name), self._writing, self.engine.connect() as plain:
            connection = plain.execution_options(**{_BEGIN: "BEGIN IMMEDIATE", LISTENER: self._told})
            with connection.begin():
                if identity(self.path) != self._identity:
                    raise LedgerError(
                        str(self.path),
                        "was deleted, renamed or replaced while it was in use; nothing more is done",
                        "stop fedi-safety, put the right file there, and start it again",
                    )
                for check in self._checks:
                    check(connection)
                yield connection

    def guard(self, check: Callable[[Connection], None]) -> None:
        """Have `check` called at the beginning of every write from now on, inside its transaction."""
        self._checks = (*self._checks, check)

    def listen(self, told: Callable[[Connection, float, Sequence[Any]], None]) -> None:
        """Have `told` called with all events that a write appends from now on, in its transaction."""
        self._told = told

    def copy_to(self, file: Path, called: str) -> SqliteDatabase:
        """Write all that this holds at one moment to a new file, by SQLite's own way; return it, for reading only."""
        with self.read() as connection:
            sized = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
            size = connection.exec_driver_sql(sized).scalar_one()  # reads: from here on it is one moment
            room = os.statvfs(file.parent)
            free = room.f_bavail * room.f_frsize
            if room.f_blocks and free < size:  # to fill a disk on which the ledger lies too would stop that
                cause = f"the ledger has {size / 1e6:,.1f} MB, and {free / 1e6:,.1f} MB are free there"
                raise LedgerError(called, cause, _ROOM)
            os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
            with closing(sqlite3.connect(file, isolation_level=None)) as target:
                # It is whole when it has its name, or thrown away: no journal, one sync at the end.
                target.execute("PRAGMA journal_mode=OFF")
                target.execute("PRAGMA synchronous=OFF")
                self._copy(connection, target, called)
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        copy = SqliteDatabase(file, readonly=True, copy_of=self.path)
        try:
            with copy.read() as connection:
                found = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar_one()
            if found != "ok":
                raise LedgerError(self.name, f"is damaged: {found.splitlines()[-1]}", RESTORE)
        except BaseException:
            copy.dispose()
            raise
        return copy

    def _copy(self, connection: Connection, target: sqlite3.Connection, called: str) -> None:
        source = connection.connection.driver_connection
        assert isinstance(source, sqlite3.Connection), "its own driver"
        try:
            # The open transaction keeps all steps at one moment, whoever writes between two of them.
            source.backup(target, pages=_COPY_PAGES, progress=_between)
        except sqlite3.Error as error:
            of_source = getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
            explained = explain(self.path if of_source else Path(called), error)
            raise (explained or error) from error

    def prepare(self) -> None:
        """Switch the file to write-ahead logging, which it keeps: readers then never wait for the writer."""
        with self.engine.connect() as plain:
            # Not possible inside a transaction.
            plain.execution_options(**{_BEGIN: ""}).exec_driver_sql("PRAGMA journal_mode=WAL")

    def room(self) -> tuple[int, int]:
        """Return the file's size, and what is free where it lies."""
        real = self.path.resolve()
        found = os.statvfs(real.parent)
        return real.stat().st_size, found.f_bavail * found.f_frsize if found.f_blocks else sys.maxsize

    def whole(self, work: Callable[[], Result]) -> Result:
        """Do it: a transaction waits for its turn, and then it is alone."""
        return work()

    @contextmanager
    def run_lock(self, store: str | None = None) -> Iterator[None]:  # noqa: ARG002  # one for all stores
        """Hold `<ledger>.lock` by flock, which the kernel lets go when the process dies, however it dies.

        It is one for all stores.
        """
        real = self.path.resolve()  # whatever links lead to it, there is one lock
        path = real.with_name(real.name + ".lock")
        try:
            descriptor = open_own(path)
        except OSError as error:
            remedy = "make it and the ledger's directory writable for this user"
            raise LedgerUsageError(str(path), error.strerror or str(error), remedy) from error
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                pid = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
                cause = f"another fedi-safety run (pid {pid}) is using this ledger"
                remedy = f"wait for it or stop it; {hint('report')} tells how far it is"
                raise LedgerError(str(self.path), cause, remedy) from error
            with suppress(OSError):  # the number only helps people; on a full disk there is no room for it
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            yield
            os.ftruncate(descriptor, 0)
        finally:
            os.close(descriptor)

    def pass_under_way(self) -> AbstractContextManager[Callable[[Progress], None]]:
        """Give what tells others how far a pass is, in a file beside the ledger."""
        return self._progress.told(open_own)

    def under_way(self) -> list[Progress]:
        """Return how far the passes are that are under way."""
        return self._progress.read()

    keeps_nul = True

    def fill(self, connection: Connection, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
        """See `Database.fill`: the driver takes the rows as they are."""
        names = ", ".join(f'"{column.name}"' for column in table.columns)
        places = ", ".join("?" * len(table.columns))
        connection.exec_driver_sql(f'INSERT INTO "{table.name}" ({names}) VALUES ({places})', list(rows))

    def after_filling(self, connection: Connection, tables: Sequence[Table]) -> None:
        """Do nothing: SQLite numbers a row behind the last one that is there."""

    def joined(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        """See `Database.joined`. Bytes are text of no encoding for a moment, and none of them is looked at."""
        return cast(func.group_concat(column, text("''")), column.type)

    def listed(self, column: ColumnElement[Any]) -> ColumnElement[str]:
        """See `Database.listed`."""
        return func.group_concat(column)

    def dispose(self) -> None:
        """Close every connection."""
        self.engine.dispose()


def _between(*_: int) -> None:
    """Let a signal be heard between two steps of a copy."""


def open_foreign(path: Path) -> sqlite3.Connection:
    """Open another program's SQLite file, strictly for reading. Text comes as bytes: it need not be UTF-8."""
    if not path.is_file():
        raise LedgerUsageError(str(path), "is not a file" if path.exists() else "does not exist")
    connection = sqlite3.connect(f"file:{quote(os.fsencode(path.absolute()))}?mode=ro", uri=True)
    connection.text_factory = bytes
    return connection


def _engine(path: Path, readonly: bool, busy_timeout_s: float, copy_of: Path | None) -> Engine:
    engine = create_engine(
        "sqlite+pysqlite:///ledger",  # only names the dialect; `creator` opens the file
        creator=opener(path, readonly=readonly, busy_timeout_s=busy_timeout_s, copy_of=copy_of),
        pool_size=8,
        max_overflow=56,
        pool_use_lifo=True,
    )

    @event.listens_for(engine, "connect")
    def connected(connection: sqlite3.Connection, _record: object) -> None:
        set_up(connection)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # The driver's own way begins a transaction only at the first write, too late to be sure of the lock.
        statement = connection.get_execution_options().get(_BEGIN, "BEGIN")
        if statement:
            connection.exec_driver_sql(statement)

    @event.listens_for(engine, "handle_error")
    def translate(context: ExceptionContext) -> None:
        original = context.original_exception
        if isinstance(original, sqlite3.Error):
            explained = explain(copy_of or path, original)
            if explained is not None:
                raise explained from original

    return engine
