"""Brings a ledger's tables to the newest revision: a new one at once, an older one by Alembic, loaded for that."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from sqlalchemy import URL, Column, Connection, Dialect, Index, MetaData, String, Table, insert, inspect, select
from sqlalchemy.schema import CreateIndex, CreateTable

import fedi_safety.ledger.compact.tables
import fedi_safety.ledger.counts.tables
import fedi_safety.ledger.notices.tables  # noqa: F401  # they are of the same metadata
from fedi_safety.core.errors import LedgerError, LedgerUsageError, SupersededError
from fedi_safety.core.wording.hints import hint
from fedi_safety.ledger.compact import conversion
from fedi_safety.ledger.counts import sources, upkeep
from fedi_safety.ledger.database.base import Database
from fedi_safety.ledger.schema import PARTIAL_INDEXES, REVISION, chain, metadata

if TYPE_CHECKING:
    from alembic.config import Config

log = logging.getLogger(__name__)

MIGRATIONS = "fedi_safety.ledger:migrations"
_UPGRADE_WAIT_S = 3.0
_UPGRADE_STEP_S = 0.1
_ROOM = 0.25  # of the ledger's own size: what an upgrade may take on the disk beside it
_TELLS_EVERY_S = 5.0

_version = Table(
    "alembic_version",
    MetaData(naming_convention={"pk": "%(table_name)s_pkc"}),
    Column("version_num", String(32), primary_key=True),
)


@dataclass(frozen=True, slots=True)
class Conversion:
    """Work on every row that lies between two revisions, by the page: each page is a transaction of its own.

    How far it is follows from the rows, so that one that was cut off goes on where it was.
    """

    revision: str  # with whose tables it works
    then: str  # to which the ledger is brought with the end of it
    begin: Callable[[Connection], int]  # returns the place behind which it goes on
    step: Callable[[Connection, int], int | None]  # does the page behind that place; returns the last, None at the end
    finish: Callable[[Connection], None]


CONVERSIONS = (
    Conversion("0025", "0026", upkeep.begin, upkeep.step, upkeep.finish),
    Conversion("0027", "0028", conversion.begin, conversion.step, conversion.finish),
    Conversion("0028", "0029", lambda _: 0, lambda *_: None, sources.recount),
)


def bring_up_to_date(database: Database) -> None:
    """Create the tables, or upgrade them. Refuses newer ledgers and other programs' files.

    What is work on every row is done page by page, and goes on where it was if it is cut off; all else is one
    transaction. Nothing is upgraded below a run: that would go on to write what it knows into tables that it does not
    know. Who uses the ledger without the right to runs, as a gate does, is refused its next write.
    """
    with database.read() as connection:
        revision = revision_of(connection, database.name)
    if revision != REVISION and database.readonly:
        _refuse_newer(revision, database.name)
        remedy = "run any command that writes, such as a scan"
        raise LedgerUsageError(database.name, "was written by an older version and not upgraded yet", remedy)
    if revision is None:
        database.prepare()
        _make_or_upgrade(database)
    elif revision != REVISION:
        _refuse_newer(revision, database.name)
        with ExitStack() as held:
            if _alone(held, database):
                _make_or_upgrade(database)
    elif not database.readonly:
        with database.write():  # fails here and now if the file may not be written to
            pass
    if not database.readonly:
        database.guard(_refuse_upgraded(database.name))


def _make_or_upgrade(database: Database) -> None:
    with database.write() as connection:
        # Another process may have been faster.
        revision = revision_of(connection, database.name)
        if revision == REVISION:
            return
        _refuse_newer(revision, database.name)
        if revision is None:
            create_tables(connection)
            return
    _refuse_full(database)
    for work in CONVERSIONS:
        with database.write() as connection:
            revision = revision_of(connection, database.name) or ""
            if revision < work.revision:
                upgrade_tables(connection, work.revision)
        if revision <= work.revision:
            _convert(database, work)
    with database.write() as connection:
        upgrade_tables(connection)


def _convert(database: Database, work: Conversion) -> None:
    with database.read() as connection:
        place: int | None = work.begin(connection)
    told = time.monotonic()
    while place is not None:
        with database.write() as connection:
            done, place = place, work.step(connection, place)
            if place is None:
                upgrade_tables(connection, work.then)
                work.finish(connection)
        if place is not None and time.monotonic() - told > _TELLS_EVERY_S:
            told = time.monotonic()
            log.warning(
                "%s: being upgraded; %s rows are done; it goes on there if it is stopped", database.name, f"{done:,}"
            )


def _refuse_full(database: Database) -> None:
    """Refuse to begin what would end on a full disk. Raises `LedgerError`; nothing is changed."""
    size, free = database.room()
    if free < size * _ROOM:
        cause = (
            f"was written by an older version and must be upgraded, for which {size * _ROOM / 1e6:,.0f} MB must be free"
            f" beside it, and {free / 1e6:,.0f} MB are; nothing was changed"
        )
        raise LedgerError(database.name, cause, "free some space, and run this again")


def _alone(held: ExitStack, database: Database) -> bool:
    """Take the right to runs; False where another process has upgraded the ledger meanwhile.

    Raises `LedgerError` where a run is under way. Services that start together after an upgrade wait for each other.
    """
    deadline = time.monotonic() + _UPGRADE_WAIT_S
    while True:
        try:
            held.enter_context(database.run_lock())
            return True
        except LedgerUsageError:
            raise
        except LedgerError as error:
            with database.read() as connection:
                if revision_of(connection, database.name) == REVISION:
                    return False
            if time.monotonic() >= deadline:
                cause = f"was written by an older version and must be upgraded, but {error.cause}"
                remedy = "stop that (services too, such as `systemctl stop fedi-safety`), and run this again"
                raise LedgerError(database.name, cause, remedy) from error
        time.sleep(_UPGRADE_STEP_S)


def _refuse_upgraded(name: str) -> Callable[[Connection], None]:
    """Return what is called at every write: a newer version may have upgraded the tables since they were opened."""
    query = select(_version.c.version_num)

    def check(connection: Connection) -> None:
        if connection.execute(query).scalar_one_or_none() != REVISION:
            cause = "was upgraded by a newer version of fedi-safety while it was in use; nothing more is done"
            raise SupersededError(name, cause, "start this again, with the newer version")

    return check


def revision_of(connection: Connection, name: str) -> str | None:
    """Return the stored revision, None for a file without tables. Raises `LedgerUsageError` for another program's."""
    tables = inspect(connection).get_table_names()
    if not tables:
        return None
    if _version.name not in tables:
        remedy = f"name another file; {hint('import-ledger')} takes over a predecessor's"
        raise LedgerUsageError(name, "is another program's database", remedy)
    return connection.execute(select(_version.c.version_num)).scalar_one_or_none()


def _refuse_newer(revision: str | None, name: str) -> None:
    if revision is None:
        return
    from alembic.script import ScriptDirectory

    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if revision not in known:
        cause = f"was written by a newer version of fedi-safety (revision {revision})"
        raise LedgerUsageError(name, cause, "upgrade fedi-safety, or name another file")


def create_tables(connection: Connection) -> None:
    """Make the newest tables in an empty database, as all migrations one after another would."""
    for statement in (*_statements(connection.engine.url.drivername), *PARTIAL_INDEXES):
        connection.exec_driver_sql(statement)
    connection.execute(insert(chain).values(id=1, length=0, head=bytes(32)))
    _version.create(connection)
    connection.execute(insert(_version).values(version_num=REVISION))


@cache
def _statements(driver: str) -> tuple[str, ...]:
    """Return what makes the tables and their indexes, written once a process, for that takes longer than to do it."""
    words = URL.create(driver).get_dialect()()
    tables = metadata.sorted_tables
    indexes = sorted((index for table in tables for index in table.indexes), key=lambda index: str(index.name))
    return (
        *(str(CreateTable(table).compile(dialect=words)) for table in tables),
        *(_index(index, words) for index in indexes),
    )


def _index(index: Index, words: Dialect) -> str:
    """Return what makes an index; of a part of its table on every database, by the words that SQLite's has."""
    made = str(CreateIndex(index).compile(dialect=words))
    part = index.dialect_kwargs.get("sqlite_where")
    if part is None or words.name == "sqlite":
        return made
    doubled = words.paramstyle in ("format", "pyformat")
    return f"{made} WHERE {part.text.replace('%', '%%') if doubled else part.text}"


def upgrade_tables(connection: Connection, revision: str = "head") -> None:
    """Run the migrations that are lacking up to a revision; all of them in an empty database."""
    from alembic import command

    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", MIGRATIONS)
    config.set_main_option("path_separator", "os")
    return config
