"""Brings a ledger's tables to the newest revision. Loads Alembic only when there is something to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Column, Connection, MetaData, Table, Text, inspect, select

from fedi_safety.core.errors import LedgerUsageError
from fedi_safety.ledger.database.base import Database
from fedi_safety.ledger.schema import REVISION

if TYPE_CHECKING:
    from alembic.config import Config

MIGRATIONS = "fedi_safety.ledger:migrations"

_version = Table("alembic_version", MetaData(), Column("version_num", Text))


def bring_up_to_date(database: Database) -> None:
    """Create the tables, or upgrade them, in one transaction. Refuses newer ledgers and other programs' files."""
    with database.read() as connection:
        revision = _revision(connection, database.name)
    if revision == REVISION:
        if not database.readonly:
            with database.write():  # fails here and now if the file may not be written to
                pass
        return
    if database.readonly:
        _refuse_newer(revision, database.name)
        remedy = "run any command that writes, such as a scan"
        raise LedgerUsageError(database.name, "was written by an older version and not upgraded yet", remedy)
    database.prepare()
    with database.write() as connection:
        # Another process may have been faster.
        revision = _revision(connection, database.name)
        if revision != REVISION:
            _refuse_newer(revision, database.name)
            _upgrade(connection)


def _revision(connection: Connection, name: str) -> str | None:
    """Return the stored revision, None for a file without tables."""
    tables = inspect(connection).get_table_names()
    if not tables:
        return None
    if _version.name not in tables:
        remedy = "name another file; `fedi-safety import-ledger` takes over a predecessor's"
        raise LedgerUsageError(name, "is another program's database", remedy)
    return connection.execute(select(_version.c.version_num)).scalar_one_or_none()


def _refuse_newer(revision: str | None, name: str) -> None:
    from alembic.script import ScriptDirectory

    if revision is None:
        return
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if revision not in known:
        cause = f"was written by a newer version of fedi-safety (revision {revision})"
        raise LedgerUsageError(name, cause, "upgrade fedi-safety, or name another file")


def _upgrade(connection: Connection) -> None:
    from alembic import command

    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", MIGRATIONS)
    config.set_main_option("path_separator", "os")
    return config
