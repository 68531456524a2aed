"""The PostgreSQL of another program, read only: the one way to open it, and what its errors mean in words.

Nothing is ever written, no wait outlasts the time that the caller has, and no message repeats a connection string.
"""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from fedi_safety.core.errors import FediSafetyError
from fedi_safety.core.notices.access import ACCESS

if TYPE_CHECKING:
    import psycopg

_CONNECT_S = 10.0
_GRACE_S = 0.5  # within which the server itself gives a statement up, before its connection is cut


class Trouble(Enum):
    """Why it cannot be asked, as far as that decides what is to be done."""

    SETUP = auto()  # the connection string is none, or names a database that there is not
    CREDENTIALS = auto()
    UNREACHABLE = auto()  # nobody is there, it is full, starting or gone in between
    PRIVILEGE = auto()  # the role may not read something
    SCHEMA = auto()  # a table or column is missing, or of another type
    TIME = auto()  # an answer takes longer than it may
    OTHER = auto()


Fault = Callable[[Trouble, str], Exception]
"""Makes the exception that is raised: of the trouble, and the cause in words, which has no credential in it."""


class ReadOnlyPostgresql:
    """A database that somebody else writes. A connection for each session: the server may be restarted in between."""

    def __init__(self, dsn: str, name: str, fault: Fault) -> None:
        """Take the connection string, and what messages call it; nothing is opened yet.

        Raises what `fault` makes for a connection string that is none.
        """
        try:
            import psycopg
            from psycopg.conninfo import conninfo_to_dict
        except ImportError:  # libpq is not there, say
            raise fault(Trouble.SETUP, "psycopg cannot be loaded") from None
        self._dsn = dsn
        self._name = name
        self._fault = fault
        try:
            conninfo_to_dict(dsn)
        except (psycopg.Error, ValueError):  # whose text repeats it
            raise fault(Trouble.SETUP, "the connection string is not understood") from None

    @contextmanager
    def session(self, within_s: float) -> Iterator[Session]:
        """Connect, and give what may be asked for `within_s` seconds from now. Raises what `fault` makes."""
        until = time.monotonic() + within_s
        connection = self._connect(within_s)
        try:
            with cut_off(connection, until + _GRACE_S):
                yield Session(connection, until, self._fault)
        finally:
            connection.close()

    def _connect(self, within_s: float) -> psycopg.Connection:
        import psycopg

        try:
            connection = psycopg.connect(
                self._dsn,
                connect_timeout=max(
                    1, int(min(within_s, _CONNECT_S))
                ),  # whole seconds, and two at least: libpq's own rule
                prepare_threshold=None,  # a pooler in between may give each transaction another connection
                client_encoding="utf8",
                fallback_application_name="fedi-safety",
            )
        except (psycopg.Error, UnicodeError) as error:
            trouble, cause = refusal(error)
            made = self._fault(trouble, cause)
            if trouble is Trouble.CREDENTIALS and isinstance(made, FediSafetyError):
                made = ACCESS.refused(self._name, cause, made)
            raise made from None
        ACCESS.accepted(self._name)
        # Of each transaction, not of the session: that holds behind a pooler as well.
        connection.read_only = True
        return connection


class Session:
    """A connection that may be asked until its time is over. Each question is a read-only transaction of its own."""

    def __init__(self, connection: psycopg.Connection, until: float, fault: Fault) -> None:
        """Ask over `connection` until `until`, by the monotonic clock."""
        self._connection = connection
        self._until = until
        self._fault = fault

    def rows(
        self, query: str, params: Mapping[str, Any] | None = None, *, within_s: float | None = None
    ) -> list[tuple[Any, ...]]:
        """Return all rows; the query limits how many. It may take what is left of the session, or less: `within_s`.

        After a question that took too long the next may be asked. Text that PostgreSQL cannot hold, such as a NUL,
        equals nothing. Raises what `fault` makes.
        """
        import psycopg

        left = self._until - time.monotonic()
        if within_s is not None:
            left = min(left, within_s)
        if left <= 0:
            raise self._fault(Trouble.TIME, "no time is left to ask in")
        try:
            with self._connection.transaction():
                timeout = (str(max(1, int(left * 1000))),)
                self._connection.execute("SELECT set_config('statement_timeout', %s, true)", timeout)
                held = None if params is None else {name: _held(value) for name, value in params.items()}
                return self._connection.execute(query.encode(), held).fetchall()
        except psycopg.errors.QueryCanceled:
            raise self._fault(Trouble.TIME, f"no answer within {left:.3g} s") from None
        except (psycopg.Error, UnicodeError) as error:
            if time.monotonic() > self._until:  # it was cut off
                raise self._fault(Trouble.TIME, f"no answer within {left:.3g} s") from None
            raise self._fault(*_failure(error)) from None


@contextmanager
def cut_off(connection: psycopg.Connection, at: float) -> Iterator[None]:
    """Shut a connection at a time by the monotonic clock: a server that was stopped, or a dead line, gives up nothing
    by itself, and whoever reads from it would wait for ever.
    """
    with socket.socket(fileno=os.dup(connection.pgconn.socket)) as line:

        def shut() -> None:
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(max(0.0, at - time.monotonic()), shut)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()


def _held(value: Any) -> Any:
    if isinstance(value, str):
        return value if _holdable(value) else None
    if isinstance(value, list | tuple):
        return [one for one in value if not isinstance(one, str) or _holdable(one)]
    return value


def _holdable(text: str) -> bool:
    return "\0" not in text and not any("\ud800" <= c <= "\udfff" for c in text)


_REFUSALS = (
    (r"authentication failed|no password supplied|role \".*\" does not exist|not permitted to log in",
     Trouble.CREDENTIALS, "it refuses the name or the password"),
    (r"no pg_hba\.conf entry", Trouble.CREDENTIALS, "its pg_hba.conf lets this role in from nowhere near here"),
    (r"database \".*\" does not exist", Trouble.SETUP, "it has no such database"),
    (r"permission denied for database", Trouble.PRIVILEGE, "the role may not connect to the database"),
    (r"invalid (integer value|port number|sslmode value|channel_binding value)|Servname not supported", Trouble.SETUP,
     "the connection string is not understood"),
    (r"too many|connection slots", Trouble.UNREACHABLE, "it takes no more connections"),
    (r"starting up|shutting down|recovery", Trouble.UNREACHABLE, "it is starting or stopping"),
    (r"SSL error|support SSL|certificate", Trouble.SETUP, "no encrypted connection comes about"),
)  # fmt: skip


def refusal(error: Exception) -> tuple[Trouble, str]:
    """Return why no connection came about. A refusal has no SQLSTATE here, only libpq's text, which is not repeated."""
    import psycopg

    if isinstance(error, psycopg.errors.ConnectionTimeout):
        return Trouble.UNREACHABLE, "nobody answers"
    for pattern, trouble, cause in _REFUSALS:
        if re.search(pattern, str(error)):
            return trouble, cause
    return Trouble.UNREACHABLE, "it cannot be reached"


def _failure(error: Exception) -> tuple[Trouble, str]:
    """Return why a question failed, with its SQLSTATE. Only what is said of names in our own queries is repeated."""
    import psycopg

    if not isinstance(error, psycopg.Error):
        return Trouble.OTHER, "its text is not UTF-8"
    state = error.sqlstate
    if state is None or state[:2] in ("08", "53", "57"):
        return Trouble.UNREACHABLE, f"the connection was lost ({state or type(error).__name__})"
    if state[:2] == "42" or state == "3F000":
        trouble = Trouble.PRIVILEGE if state == "42501" else Trouble.SCHEMA
        return trouble, f"{error.diag.message_primary} ({state})"
    return Trouble.OTHER, f"it cannot be read ({state})"
