"""Connections whose answers cannot come any more, because what lies between lost the server and did not say so.

The kernel notices a line whose other end is gone (`address`), but not one that ends at a proxy or a pooler which goes
on holding it. So where an answer is late, the server is asked over a new line whether it is at work for this process
at all. If it is not, the line is shut, and whoever waits gets the error of a line that was cut.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from contextlib import ExitStack, closing, suppress
from typing import Any

import psycopg

from fedi_safety.clients.postgresql import cut_off

log = logging.getLogger(__name__)

_LATE_S = 30.0
"""After which the server is asked, and asked again: longer than nearly every statement."""
_ASK_S = 15.0
_UNREAD_S = 1.0
"""For how long an answer that has come may lie there unread, on a machine that is busy."""
_END_S = 1.0  # a server that is just asked, and away, keeps no program from its end
_AT_WORK = (
    b"SELECT count(*) FROM pg_stat_activity"
    b" WHERE application_name = current_setting('application_name') AND state = 'active' AND pid <> pg_backend_pid()"
)


class _Cursor(psycopg.Cursor[Any]):
    """Asks nothing before what was sent ahead has come to its end."""

    def execute(self, *arguments: Any, **named: Any) -> Any:
        """Execute a statement, as any cursor does."""
        self._conn.settle()  # type: ignore[attr-defined]  # it is of a `WatchedConnection`
        return super().execute(*arguments, **named)

    def executemany(self, *arguments: Any, **named: Any) -> None:
        """Execute a statement for many rows, as any cursor does."""
        self._conn.settle()  # type: ignore[attr-defined]
        super().executemany(*arguments, **named)

    def copy(self, *arguments: Any, **named: Any) -> Any:
        """Copy rows, as any cursor does."""
        self._conn.settle()  # type: ignore[attr-defined]
        return super().copy(*arguments, **named)

    def ahead(self, statement: Any, parameters: Any) -> None:
        """Send a statement and do not wait for it: what is wrong with it is raised later, at the latest by a commit."""
        self._conn.begin_ahead()  # type: ignore[attr-defined]
        super().execute(statement, parameters)


class WatchedConnection(psycopg.Connection[Any]):
    """One connection. It notes since when somebody waits for its server, and lets statements be sent ahead."""

    watch: Connections | None = None
    _ahead: ExitStack | None = None  # the pipeline in which statements are under way for which nobody waits

    def begin_ahead(self) -> None:
        """Let statements be sent from here on without waiting for them."""
        if self._ahead is None:
            ahead = ExitStack()
            ahead.enter_context(self.pipeline())
            self._ahead = ahead

    def settle(self) -> None:
        """Wait for what was sent ahead. Raises `psycopg.Error` where anything is wrong with it."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            ahead.close()

    def cursor(self, *arguments: Any, **named: Any) -> Any:
        """Return a cursor, as any connection does; one that the server keeps when all else has come to its end."""
        if arguments or named:
            self.settle()
        return super().cursor(*arguments, **named)

    def commit(self) -> None:
        """Commit, after what was sent ahead: where anything is wrong with that nothing is kept of the transaction."""
        try:
            self.settle()
        except psycopg.Error:
            with suppress(psycopg.Error):
                self.rollback()  # a commit that fails is the end of its transaction
            raise
        super().commit()

    def rollback(self) -> None:
        """Roll back, whatever came of what was sent ahead."""
        with suppress(psycopg.Error):
            self.settle()
        super().rollback()

    def wait(self, *arguments: Any, **named: Any) -> Any:
        """Wait for the server, as any connection does."""
        if self.watch is None:
            return super().wait(*arguments, **named)
        waiting = self.watch.waiting
        waiting[self] = time.monotonic()
        try:
            return super().wait(*arguments, **named)
        finally:
            waiting.pop(self, None)


class Connections:
    """The connections of this process to one server, and the thread that looks after them."""

    def __init__(self, name: str, conninfo: str) -> None:
        """Have none yet. `name` is what people are told."""
        self._name, self._conninfo = name, conninfo
        self.waiting: dict[WatchedConnection, float] = {}
        self._guard = threading.Lock()
        self._thread: threading.Thread | None = None
        self._over = threading.Event()

    def connect(self) -> WatchedConnection:
        """Return a new one. Raises what psycopg raises."""
        made = WatchedConnection.connect(self._conninfo, prepare_threshold=None)
        made.watch = self
        made.cursor_factory = _Cursor
        with self._guard:
            if self._thread is None:
                self._over = threading.Event()  # the thread before may still be at its last question
                self._thread = threading.Thread(
                    target=self._look, args=(self._over,), name="ledger-connections", daemon=True
                )
                self._thread.start()
        return made

    def close(self) -> None:
        """End the thread; another connection begins one anew."""
        with self._guard:
            self._over.set()
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(_END_S)

    def _look(self, over: threading.Event) -> None:
        asked = time.monotonic()
        while not over.wait(_LATE_S / 10):
            late = self._late()
            if not late or time.monotonic() < asked + _LATE_S:
                continue
            at_work = self._at_work()
            asked = time.monotonic()
            if at_work >= len(late):
                continue
            over.wait(_UNREAD_S)
            lost = [line for line, since in late.items() if self.waiting.get(line) == since]
            if lost:
                log.warning("%s: no answer for %.0f s, and nothing is done for it there; the line is cut",
                            self._name, asked - min(late.values()))  # fmt: skip
            for line in lost:
                _shut(line)

    def _late(self) -> dict[WatchedConnection, float]:
        """Return who waits for long, and since when."""
        before = time.monotonic() - _LATE_S
        return {line: since for line, since in list(self.waiting.items()) if since < before}

    def _at_work(self) -> float:
        """Return how many of this process' statements its server is at; none where it does not answer."""
        try:
            with (
                closing(psycopg.connect(self._conninfo, autocommit=True, prepare_threshold=None)) as asking,
                cut_off(asking, time.monotonic() + _ASK_S),
            ):
                found = asking.execute(_AT_WORK).fetchone()
                return float(found[0]) if found else 0.0
        except (psycopg.Error, UnicodeError) as error:
            # A server that refuses is there, and says nothing of the line.
            return float("inf") if "FATAL" in str(error) or getattr(error, "sqlstate", None) else 0.0


def _shut(line: WatchedConnection) -> None:
    """Have whoever waits for it see its end. It is closed by them."""
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(line.pgconn.socket)) as end:
        end.shutdown(socket.SHUT_RDWR)
