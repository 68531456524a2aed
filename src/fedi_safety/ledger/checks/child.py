"""Judgements checked in a process of its own: `python -m` this module, which `apart` starts and speaks with by lines.

It is told which ledger over standard input, says which state of it it sees, and checks that one, or looks again. It
changes nothing, and ends with who started it.
"""

from __future__ import annotations

import gc
import json
import sys
from typing import Any

from sqlalchemy import Connection, func, select

from fedi_safety.ledger.checks.chain import Broken
from fedi_safety.ledger.checks.judged import check_judgements
from fedi_safety.ledger.database import open_database
from fedi_safety.ledger.database.base import Database
from fedi_safety.ledger.events import Kind
from fedi_safety.ledger.schema import chain, events

CHECK, AGAIN = "check", "again"
"""What it is told when it has said what it sees."""


def state_of(connection: Connection) -> list[Any]:
    """Return what tells a state of a ledger from all others, as far as events tell of it."""
    length, head = connection.execute(select(chain.c.length, chain.c.head)).one()
    return [length, head.hex()]


def _say(said: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()


def _look(database: Database) -> bool:
    """See the ledger as it is now, and check that where it is wanted; return whether to look again."""
    with database.read() as connection:
        _say({"state": state_of(connection)})
        wanted = sys.stdin.readline().strip()
        if wanted != CHECK:
            return wanted == AGAIN
        told = select(func.count()).select_from(events).where(events.c.kind == Kind.JUDGED.value)
        try:
            _say({"sound": check_judgements(connection, int(connection.execute(told).scalar_one()))})
        except Broken as broken:
            _say({"broken": str(broken)})
    return False


def main() -> int:
    """Check the ledger that standard input names."""
    gc.freeze()  # what is loaded stays to the end
    database = open_database(json.loads(sys.stdin.readline()), readonly=True)
    try:
        while _look(database):
            pass
    finally:
        database.dispose()
    return 0


if __name__ == "__main__":
    sys.exit(main())
