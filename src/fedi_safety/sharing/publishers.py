"""The publishers that an instance subscribes to: what is known of each, and its entries as they came.

What was read and how far that was are one transaction. What an entry leads to here is not decided by this file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from fedi_safety.core import sqlite_files
from fedi_safety.core.errors import SharingError, SharingUsageError
from fedi_safety.core.wording.hints import hint
from fedi_safety.sharing import files
from fedi_safety.sharing.change import LIFE_S, Change, Entry, KeyChange, Retraction
from fedi_safety.sharing.reading import Known

_APPLICATION = 0x46535350  # "FSSP"
_DAY_S = 86_400.0
_SCHEMA = """
CREATE TABLE publishers (
    name TEXT PRIMARY KEY, url TEXT NOT NULL, token TEXT NOT NULL, circle TEXT NOT NULL, key TEXT NOT NULL,
    seq INTEGER NOT NULL, link TEXT NOT NULL, since_s REAL NOT NULL, expires INTEGER NOT NULL, fetched_s REAL,
    tried_s REAL, failure TEXT NOT NULL, mark INTEGER
);
CREATE TABLE entries (
    number INTEGER PRIMARY KEY, publisher TEXT NOT NULL, kind TEXT NOT NULL, hash TEXT NOT NULL, clip TEXT NOT NULL,
    id TEXT NOT NULL, type TEXT NOT NULL, verdict TEXT NOT NULL, category TEXT NOT NULL, quality INTEGER NOT NULL,
    seen INTEGER NOT NULL, expires INTEGER NOT NULL, arrived_s REAL NOT NULL, looked INTEGER NOT NULL,
    held TEXT NOT NULL, UNIQUE (publisher, kind, hash, clip), UNIQUE (publisher, id)
)"""
_PUBLISHER = "name, url, token, circle, key, seq, link, since_s, expires, fetched_s, tried_s, failure, mark"
_RECEIVED = "id, kind, hash, clip, type, verdict, category, quality, seen, expires, arrived_s, looked, held"


@dataclass(frozen=True, slots=True)
class Publisher:
    """One that is subscribed to. Times are seconds since 1970 in UTC, None for never.

    `expires` is its head's; `failure` says why it was refused or could not be asked the last time, empty if it was
    not. Entries that came after the `mark` of the lists were not compared with what was judged before, None for none.
    """

    name: str
    url: str
    token: str
    group: str
    key: str
    seq: int
    link: str
    since_s: float
    expires: int
    fetched_s: float | None = None
    tried_s: float | None = None
    failure: str = ""
    mark: int | None = None

    @property
    def known(self) -> Known:
        """What is known of its log."""
        return Known(self.name, self.key, self.seq, self.link)


@dataclass(frozen=True, slots=True)
class Received:
    """An entry as it is in force at its publisher. `arrived_s` is by this machine's clock.

    `looked` counts how often it was held against what is known to be harmless: as it came, and as its time to wait was
    over. `held` says why it does nothing; empty where it does, `released` where a person let it go.
    """

    id: str
    kind: str
    hash: str
    clip: str
    type: str
    verdict: str
    category: str
    quality: int
    seen: int
    expires: int
    arrived_s: float
    looked: int
    held: str


RELEASED = "released"
"""In the place of why an entry is held: a person looked, and it counts."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """The most entries of one publisher in force, and the most that it may add within a day after the first fetch."""

    entries: int
    per_day: int


@dataclass(frozen=True, slots=True)
class Read:
    """What reading on came to."""

    added: int = 0
    renewed: int = 0
    retracted: int = 0


class Publishers:
    """The publishers in a folder. `now` gives seconds since 1970. Raises `SharingError`."""

    def __init__(self, folder: Path, *, now: Callable[[], float]) -> None:
        """Open nothing yet."""
        self._path = folder / "publishers.sqlite"
        self._now = now

    def all(self) -> list[Publisher]:
        """Return them, by name."""
        with files.explained(self._path):
            if not self._path.exists():
                return []
        with self._open() as connection:
            rows = connection.execute(f"SELECT {_PUBLISHER} FROM publishers ORDER BY name").fetchall()
        return [Publisher(*row) for row in rows]

    def get(self, name: str) -> Publisher:
        """Return one. Raises `SharingUsageError` where there is none."""
        for each in self.all():
            if each.name == name:
                return each
        raise SharingUsageError(
            name, "is no publisher that is subscribed to", f"{hint('hashes publishers')} names them"
        )

    def begin(
        self, publisher: Callable[[], Publisher], changes: Iterable[Change], bounds: Bounds
    ) -> tuple[Publisher, Read]:
        """Keep a new publisher with what its log has, in one step. `publisher` is asked when all was read."""
        with self._open() as connection, sqlite_files.writing(connection):
            done = self._take(connection, "", changes, bounds, first=True)
            made = publisher()
            if connection.execute("SELECT 1 FROM publishers WHERE name = ?", (made.name,)).fetchone():
                remedy = f"{hint('hashes leave {}', made.name)} ends that first"
                raise SharingUsageError(made.name, "is subscribed to already", remedy)
            connection.execute("UPDATE entries SET publisher = ? WHERE publisher = ''", (made.name,))
            values = (
                made.name, made.url, made.token, made.group, made.key, made.seq, made.link, made.since_s, made.expires,
                made.fetched_s, made.tried_s, made.failure, made.mark,
            )  # fmt: skip
            places = ", ".join("?" * len(values))
            connection.execute(f"INSERT INTO publishers ({_PUBLISHER}) VALUES ({places})", values)
        return made, done

    def read_on(
        self, before: Publisher, changes: Iterable[Change], reached: Callable[[], Known], expires: int, bounds: Bounds
    ) -> Read:
        """Keep what is new of a publisher and how far that was, in one step: all of it, or nothing."""
        with self._open() as connection, sqlite_files.writing(connection):
            row = connection.execute("SELECT seq FROM publishers WHERE name = ?", (before.name,)).fetchone()
            if row is None or row[0] != before.seq:
                raise SharingError(before.name, "another process read it meanwhile", "nothing is lost; fetch it again")
            done = self._take(connection, before.name, changes, bounds, first=False)
            known, now = reached(), self._now()
            connection.execute(
                "UPDATE publishers SET key = ?, seq = ?, link = ?, expires = ?, fetched_s = ?, tried_s = ?, "
                "failure = '' WHERE name = ?",
                (known.key, known.seq, known.link, expires, now, now, before.name),
            )
        return done

    def failed(self, name: str, why: str) -> None:
        """Note that a publisher could not be asked, or was refused."""
        with self._open() as connection, sqlite_files.writing(connection):
            query = "UPDATE publishers SET tried_s = ?, failure = ? WHERE name = ?"
            connection.execute(query, (self._now(), why, name))

    def set_mark(self, name: str, mark: int | None) -> None:
        """Note from where on its entries on the lists were not compared with what was judged before."""
        with self._open() as connection, sqlite_files.writing(connection):
            connection.execute("UPDATE publishers SET mark = ? WHERE name = ?", (mark, name))

    def set_group(self, name: str, group: str) -> None:
        """Put a publisher into another group."""
        self.get(name)
        with self._open() as connection, sqlite_files.writing(connection):
            connection.execute("UPDATE publishers SET circle = ? WHERE name = ?", (group, name))

    def leave(self, name: str) -> int:
        """Forget a publisher and its entries; return how many these were."""
        self.get(name)
        with self._open() as connection, sqlite_files.writing(connection):
            connection.execute("DELETE FROM publishers WHERE name = ?", (name,))
            return connection.execute("DELETE FROM entries WHERE publisher = ?", (name,)).rowcount

    def received(self, name: str) -> Iterator[Received]:
        """Give a publisher's entries that have not ended, in the order in which they came."""
        with self._open() as connection:
            query = f"SELECT {_RECEIVED} FROM entries WHERE publisher = ? AND expires > ? ORDER BY number"
            for row in connection.execute(query, (name, self._now())):
                yield Received(*row)

    def looked(self, name: str, ids: Iterable[str], held: dict[str, str]) -> None:
        """Note of entries, by their id, that they were looked at once more, and why some are held."""
        with self._open() as connection, sqlite_files.writing(connection):
            query = "UPDATE entries SET looked = looked + 1 WHERE publisher = ? AND id = ?"
            connection.executemany(query, ((name, each) for each in ids))
            query = "UPDATE entries SET held = ? WHERE publisher = ? AND id = ? AND held <> ?"
            connection.executemany(query, ((why, name, each, RELEASED) for each, why in held.items()))

    def release(self, name: str, entry: str) -> None:
        """Let an entry count that was held, by a person's word. Raises `SharingUsageError` where none is held."""
        with self._open() as connection, sqlite_files.writing(connection):
            query = "UPDATE entries SET held = ? WHERE publisher = ? AND id = ? AND held NOT IN ('', ?)"
            if not connection.execute(query, (RELEASED, name, entry, RELEASED)).rowcount:
                raise SharingUsageError(
                    entry, f"is no entry of {name} that is held", f"see {hint('hashes publishers')}"
                )

    def _open(self) -> AbstractContextManager[sqlite3.Connection]:
        return files.opened(self._path, _SCHEMA, _APPLICATION)

    def _take(
        self, connection: sqlite3.Connection, name: str, changes: Iterable[Change], bounds: Bounds, *, first: bool
    ) -> Read:
        """Apply changes to a publisher's entries; a new one that is there keeps its name and when it came."""
        now = self._now()
        since = (name, now - _DAY_S)
        connection.execute("DELETE FROM entries WHERE publisher = ? AND expires <= ?", (name, now))
        (have,) = connection.execute("SELECT count(*) FROM entries WHERE publisher = ?", (name,)).fetchone()
        query = "SELECT count(*) FROM entries WHERE publisher = ? AND arrived_s > ?"
        (lately,) = connection.execute(query, since).fetchone()
        added = renewed = retracted = 0
        for change in changes:
            if isinstance(change, Entry):
                if change.expires <= now:
                    continue
                fresh = _put(connection, name, change, now)
                added, renewed = added + fresh, renewed + 1 - fresh
            elif isinstance(change, Retraction):
                query = "DELETE FROM entries WHERE publisher = ? AND kind = ? AND hash = ? AND clip = ?"
                retracted += connection.execute(query, (name, *change.named)).rowcount
            else:
                assert isinstance(change, KeyChange)
            _check_flood(name, bounds, have + added - retracted, 0 if first else lately + added)
        return Read(added, renewed, retracted)


def _put(connection: sqlite3.Connection, name: str, entry: Entry, now: float) -> bool:
    """Write an entry; return whether it is new. One that says something else now waits, and is looked at, anew."""
    expires = min(entry.expires, int(now) + LIFE_S)
    words = entry.category, entry.quality, entry.seen, expires
    query = (
        "UPDATE entries SET category = ?, quality = ?, seen = ?, expires = ? "
        "WHERE publisher = ? AND kind = ? AND hash = ? AND clip = ? AND type = ? AND verdict = ?"
    )
    if connection.execute(query, (*words, name, *entry.named, entry.type, entry.verdict)).rowcount:
        return False
    query = "DELETE FROM entries WHERE publisher = ? AND kind = ? AND hash = ? AND clip = ?"
    fresh = not connection.execute(query, (name, *entry.named)).rowcount
    values = (name, *entry.named, entry.id, entry.type, entry.verdict, *words, now, 0, "")
    try:
        connection.execute(
            "INSERT INTO entries (publisher, kind, hash, clip, id, type, verdict, category, quality, seen, expires, "
            f"arrived_s, looked, held) VALUES ({', '.join('?' * len(values))})",
            values,
        )
    except sqlite3.IntegrityError:  # by its id an entry is looked at, held and let go
        thing = name or "the publisher"
        raise SharingError(thing, "two of its entries have one id", "nothing new of it was taken; ask it") from None
    return fresh


def _check_flood(name: str, bounds: Bounds, entries: int, lately: int) -> None:
    thing = name or "the publisher"
    if entries > bounds.entries:
        cause = f"it lists more than sharing.max_entries ({bounds.entries:,})"
        raise SharingError(thing, cause, "nothing new of it was taken; raise that if you believe it")
    if lately > bounds.per_day:
        cause = f"it adds more within a day than sharing.max_entries_per_day ({bounds.per_day:,})"
        raise SharingError(thing, cause, "nothing new of it was taken; raise that if you believe it")
