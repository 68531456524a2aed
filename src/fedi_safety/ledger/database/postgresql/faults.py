"""What PostgreSQL's errors mean to a person, and which of them end by themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fedi_safety.clients.postgresql import Trouble, refusal
from fedi_safety.core.errors import LedgerError, LedgerUsageError

if TYPE_CHECKING:
    import psycopg

OLDEST = 130_000
"""The oldest server that will do, as `server_version` has it: 13 names a transaction, whose fate can be asked for."""

_GRANTS = "let the role make tables there (it may own the database), or name another ledger with --ledger"
_CHECK = "check that the server runs and can be reached from here; the ledger is as it was"


class Interrupted(LedgerError):
    """A transaction came to nothing, and may be done again as a whole."""


class Conflict(Interrupted):
    """Two transactions were in each other's way, and this one gave way."""


class Cut(Interrupted):
    """The server is not there, or not there any more; it may come back."""


_CONFLICTS = frozenset({"40001", "40P01"})  # serialization failure, deadlock
_GONE = frozenset({"57P01", "57P02", "57P03", "57P05", "25P03", "53300"})
"""Shut down, crashed, starting up; idle for too long; too many connections."""

_MEANINGS: Mapping[str, tuple[type[LedgerError], str, str]] = {
    "53100": (LedgerError, "the disk of its server is full", "free some space there; nothing of this step was kept"),
    "53200": (LedgerError, "its server has no memory left", "give it more; nothing of this step was kept"),
    "25006": (
        LedgerUsageError,
        "is a read-only replica, or is set to be read only",
        "name the primary server (target_session_attrs=read-write finds it among several hosts)",
    ),
    "42501": (LedgerUsageError, "its role may not do that there", _GRANTS),
    "3F000": (
        LedgerUsageError,
        "the role's search_path names no schema that exists",
        "make the schema, or set another",
    ),
    "3D000": (LedgerUsageError, "its server has no such database", "make it with createdb, or name another"),
    "55P03": (LedgerError, "is locked by another program", "wait for it or stop it"),
    "57014": (LedgerError, "a statement took longer than it may", "see what keeps its server busy, and run this again"),
    "XX001": (LedgerError, "is damaged", "see the server's log; restore a backup"),
    "XX002": (LedgerError, "is damaged: an index", "see the server's log; REINDEX makes it anew"),
    "58030": (LedgerError, "the disk of its server gave an input/output error", "check that disk and its free space"),
}

_REFUSED: Mapping[Trouble, tuple[type[LedgerError], str]] = {
    Trouble.CREDENTIALS: (
        LedgerUsageError,
        "check user and password (~/.pgpass, PGPASSFILE or PGPASSWORD), and pg_hba.conf",
    ),
    Trouble.SETUP: (LedgerUsageError, "make it with createdb, or check the URL"),
    Trouble.PRIVILEGE: (LedgerUsageError, "grant it CONNECT, or name another role"),
    Trouble.UNREACHABLE: (Cut, _CHECK),
}


def refused(name: str, error: Exception) -> LedgerError:
    """Return why no connection came about; libpq's own text is not repeated."""
    trouble, cause = refusal(error)
    kind, remedy = _REFUSED.get(trouble, (Cut, _CHECK))
    made = kind(name, cause, remedy)
    return made.as_refused() if trouble is Trouble.CREDENTIALS else made


def explain(name: str, error: psycopg.Error, *, lost: bool) -> LedgerError | None:
    """Return what an error of a statement means; None for one that only a programmer can mend.

    `lost` says that the connection is of no use any more.
    """
    state = error.sqlstate or ""
    if state in _CONFLICTS:
        return Conflict(name, "other programs kept it too busy", "run this again when less is going on")
    if state in _GONE or state[:2] == "08" or (lost and not state):
        return Cut(name, f"the connection was lost ({state or 'cut off'})", _CHECK)
    meaning = _MEANINGS.get(state)
    if meaning is None:
        return None
    kind, cause, remedy = meaning
    return kind(name, cause, remedy)


def too_old(name: str, version: int) -> LedgerUsageError:
    """Return what is said of a server that is too old; `version` is as libpq has it."""
    cause = f"its server is PostgreSQL {version // 10_000}, and {OLDEST // 10_000} is the oldest that will do"
    return LedgerUsageError(name, cause, "upgrade the server, or name another ledger")
