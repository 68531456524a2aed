"""Judgements checked in a process of its own while the chain is followed here: both in one state of the ledger.

It saves time alone. Where there is no such process, or it ends before it has said all, judgements are checked here.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from sqlalchemy import Connection

from fedi_safety.ledger.checks.chain import Broken
from fedi_safety.ledger.checks.child import AGAIN, CHECK, state_of
from fedi_safety.ledger.checks.judged import check_judgements
from fedi_safety.ledger.database.base import Database

LEAST_EVENTS = 50_000
"""Of fewer events it would take longer to begin."""

_MODULE = "fedi_safety.ledger.checks.child"
_LOOKS = 5
"""How often both look for one state of a ledger that is written to meanwhile."""


class Judging:
    """A process that checks judgements, or none."""

    def __init__(self, child: subprocess.Popen[str] | None = None) -> None:
        """Take what was started."""
        self._child = child
        self._checks = False

    @contextmanager
    def beside(self, database: Database) -> Iterator[Connection]:
        """Give a connection that sees what the other process does, which checks that from now on; else as there is."""
        for look in range(_LOOKS):
            with database.read() as connection:
                theirs = self._heard().get("state")
                self._checks = theirs is not None and theirs == state_of(connection)
                if not self._checks and theirs is not None and look + 1 < _LOOKS:
                    self.say(AGAIN)
                    continue
                self.say(CHECK if self._checks else "")
                yield connection
                return

    def came_to(self, connection: Connection, told: int) -> bool:
        """Return what `check_judgements` does, by whom it was checked. Raises `Broken`."""
        said = self._heard() if self._checks else {}
        if "broken" in said:
            raise Broken(said["broken"])
        return bool(said["sound"]) if "sound" in said else check_judgements(connection, told)

    def _heard(self) -> dict[str, Any]:
        """Return its next word; nothing where there is none any more."""
        if self._child is None or self._child.stdout is None:
            return {}
        try:
            said: dict[str, Any] = json.loads(self._child.stdout.readline() or "{}")
        except ValueError:
            return {}
        return said

    def say(self, word: str) -> None:
        """Tell it a word, if it is there."""
        if self._child is not None and self._child.stdin is not None:
            with suppress(BrokenPipeError):
                self._child.stdin.write(word + "\n")
                self._child.stdin.flush()


@contextmanager
def judging(database: Database) -> Iterator[Judging]:
    """Start the process where it is worth that; it is gone when this is left."""
    name = database.opened_by
    if name is None or not _worth(database):
        yield Judging()
        return
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", _MODULE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # what ails it is met here as well
        text=True,
        process_group=0,  # Ctrl-C is for the parent, which ends it
    )
    assert child.stdin is not None and child.stdout is not None
    try:
        found = Judging(child)
        found.say(json.dumps(name))
        yield found
    finally:
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            with suppress(BrokenPipeError):
                pipe.close()


def _worth(database: Database) -> bool:
    with database.read() as connection:
        return int(state_of(connection)[0]) >= LEAST_EVENTS
