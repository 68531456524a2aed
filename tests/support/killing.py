"""Runs a function in a forked child and kills it (SIGKILL) at its n-th step, to see what it leaves behind.

Steps are the places between which the outside world changes: every commit of the ledger, every unlink, every fsync and
every read back, each before and after.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine

FINISHED = 0


class Steps:
    """Counts steps and kills this process at the chosen one. Lives only in the child."""

    def __init__(self, fatal: int) -> None:
        self.fatal = fatal
        self.count = 0
        self._lock = threading.Lock()

    def step(self) -> None:
        with self._lock:
            self.count += 1
            fatal = self.count == self.fatal
        if fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            self.step()
            result = function(*args, **kwargs)
            self.step()
            return result

        return wrapped

    def install(self) -> None:
        """Count around everything that makes a change last."""
        for name in ("unlink", "fsync"):
            setattr(os, name, self.around(getattr(os, name)))
        event.listen(Engine, "commit", lambda _connection: self.step())
        from fedi_safety.ledger.database.sqlite import SqliteDatabase

        write = SqliteDatabase.write

        def counted(database: SqliteDatabase) -> Any:
            from contextlib import contextmanager

            @contextmanager
            def around() -> Any:
                with write(database) as connection:
                    yield connection
                self.step()  # the commit has returned

            return around()

        SqliteDatabase.write = counted  # type: ignore[method-assign,assignment]


def killed_at(fatal: int, work: Callable[[], object], install: Callable[[Steps], None] = Steps.install) -> bool:
    """Run `work` in a child and kill it at step `fatal`; return whether it was killed before it finished."""
    child = os.fork()
    if child == 0:
        code = 70
        try:
            install(Steps(fatal))
            work()
            code = FINISHED
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL, f"the child died of signal {os.WTERMSIG(status)}"
        return True
    assert os.WEXITSTATUS(status) == FINISHED, "the child failed by itself"
    return False
