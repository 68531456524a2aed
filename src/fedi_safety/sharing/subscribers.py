"""Who may ask for the list: a token for each, of which only the hash is kept. What is handed out is not known here."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fedi_safety.core import sqlite_files
from fedi_safety.core.errors import SharingUsageError
from fedi_safety.core.wording.hints import hint
from fedi_safety.sharing import files

_APPLICATION = 0x46535354  # "FSST"
_TOKEN_BYTES = 32  # of chance: its hash needs no salt, and nobody guesses it
_SCHEMA = """
CREATE TABLE subscribers (
    name TEXT PRIMARY KEY, digest BLOB NOT NULL UNIQUE, created_s REAL NOT NULL, revoked_s REAL, asked_s REAL,
    requests INTEGER NOT NULL
)"""
_NAME_CHARACTERS = 100


@dataclass(frozen=True, slots=True)
class Subscriber:
    """One to whom a token was given. Times are seconds since 1970 in UTC; `asked_s` is of the latest request."""

    name: str
    created_s: float
    revoked_s: float | None
    asked_s: float | None
    requests: int


class Subscribers:
    """The subscribers in a folder. `now` gives seconds since 1970. Raises `SharingError`."""

    def __init__(self, folder: Path, *, now: Callable[[], float]) -> None:
        """Open nothing yet."""
        self._path = folder / "subscribers.sqlite"
        self._now = now

    def all(self) -> list[Subscriber]:
        """Return all of them, revoked ones as well, by name."""
        with files.explained(self._path):
            if not self._path.exists():
                return []
        with files.opened(self._path, _SCHEMA, _APPLICATION) as connection:
            query = "SELECT name, created_s, revoked_s, asked_s, requests FROM subscribers ORDER BY name"
            return [Subscriber(*row) for row in connection.execute(query)]

    def add(self, name: str) -> str:
        """Return a new token for somebody: the only time that it can be seen. One that was revoked gets a new one."""
        if not name.strip() or not name.isprintable() or len(name) > _NAME_CHARACTERS:
            cause = f"a subscriber's name has 1 to {_NAME_CHARACTERS} printable characters"
            raise SharingUsageError(name or "subscriber", cause, "take the instance's domain")
        token = "fss_" + secrets.token_urlsafe(_TOKEN_BYTES)
        with files.opened(self._path, _SCHEMA, _APPLICATION) as connection, sqlite_files.writing(connection):
            query = "SELECT 1 FROM subscribers WHERE name = ? AND revoked_s IS NULL"
            if connection.execute(query, (name,)).fetchone():
                remedy = f"{hint('hashes subscribers --revoke {}', name)} first takes the old token back"
                raise SharingUsageError(name, "has a token already", remedy)
            values = (name, _digest(token), self._now(), None, None, 0)
            connection.execute("INSERT OR REPLACE INTO subscribers VALUES (?, ?, ?, ?, ?, ?)", values)
        return token

    def revoke(self, name: str) -> None:
        """Let nobody in by this subscriber's token any more."""
        with files.opened(self._path, _SCHEMA, _APPLICATION) as connection, sqlite_files.writing(connection):
            query = "UPDATE subscribers SET revoked_s = ? WHERE name = ? AND revoked_s IS NULL"
            if not connection.execute(query, (self._now(), name)).rowcount:
                remedy = f"{hint('hashes subscribers')} names those who have one"
                raise SharingUsageError(name, "has no token", remedy)

    def holder(self, token: str | None) -> str | None:
        """Return whose token this is, None where it is nobody's or was revoked. Looks at all of them always."""
        with files.explained(self._path):
            if not self._path.exists():
                return None
        digest = _digest(token or "")
        found = None
        with files.opened(self._path, _SCHEMA, _APPLICATION) as connection:
            for name, known in connection.execute("SELECT name, digest FROM subscribers WHERE revoked_s IS NULL"):
                if hmac.compare_digest(digest, known):
                    found = str(name)
            if found is not None:
                _asked(connection, found, self._now())
        return found


def _asked(connection: sqlite3.Connection, name: str, at_s: float) -> None:
    with sqlite_files.writing(connection):
        query = "UPDATE subscribers SET asked_s = ?, requests = requests + 1 WHERE name = ?"
        connection.execute(query, (at_s, name))


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
