"""The publisher's side: an append-only log of changes, its key, and the signed files that are handed out.

Each publication is one transaction: whoever reads sees the log before it or after it, and a process that is killed, or
a disk that is full, leaves it as it was. What ought to be published is not decided here.
"""

from __future__ import annotations

import gzip
import os
import secrets
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO

from fedi_safety.core import sqlite_files
from fedi_safety.core.errors import SharingError, SharingUsageError
from fedi_safety.core.wording.hints import hint
from fedi_safety.sharing import files
from fedi_safety.sharing.change import (
    LIFE_S,
    Change,
    Entry,
    KeyChange,
    Kind,
    Retraction,
    Word,
    genesis,
    line_of,
    link_of,
    uuid7,
)
from fedi_safety.sharing.minisign import SecretKey, digest
from fedi_safety.sharing.signed import NAME, Statement, What, signed_head

PAGE = 10_000
"""Changes that are handed out at once."""

HEAD_S = 14 * 86_400
"""How long a head says that it is the latest: who publishes signs a new one well before."""

_APPLICATION = 0x4653534C  # "FSSL"
_BATCH = 10_000
_SCHEMA = """
CREATE TABLE state (
    name TEXT NOT NULL, key TEXT NOT NULL, seq INTEGER NOT NULL, link TEXT NOT NULL,
    expires INTEGER NOT NULL, head BLOB NOT NULL, snapshot TEXT NOT NULL
);
CREATE TABLE changes (seq INTEGER PRIMARY KEY, line BLOB NOT NULL);
CREATE TABLE entries (
    kind TEXT NOT NULL, hash TEXT NOT NULL, clip TEXT NOT NULL, seq INTEGER NOT NULL, content BLOB NOT NULL,
    type TEXT NOT NULL, verdict TEXT NOT NULL, time INTEGER NOT NULL, expires INTEGER NOT NULL,
    PRIMARY KEY (kind, hash, clip)
) WITHOUT ROWID;
CREATE INDEX entries_content ON entries (content)"""
_WANTED = """
CREATE TEMP TABLE wanted (
    kind TEXT, hash TEXT, clip TEXT, content BLOB, type TEXT, verdict TEXT, category TEXT, quality INTEGER,
    seen INTEGER, since INTEGER, PRIMARY KEY (kind, hash, clip)
) WITHOUT ROWID"""
_SAME = "w.kind = e.kind AND w.hash = e.hash AND w.clip = e.clip"


@dataclass(frozen=True, slots=True)
class Wanted:
    """An entry that ought to be in force, of a content by its SHA-256. `since` is when it was last vouched for."""

    kind: str
    hash: str
    clip: str
    content: bytes
    type: Kind
    verdict: Word
    category: str
    quality: int
    seen: int
    since: int

    @property
    def expires(self) -> int:
        """Return when it ends unless it is vouched for again."""
        return self.since + LIFE_S


@dataclass(frozen=True, slots=True)
class Published:
    """What a publication came to: `seq` changes there are now, and so many `entries` in force."""

    added: int
    renewed: int
    retracted: int
    entries: int
    seq: int


@dataclass(frozen=True, slots=True)
class LogState:
    """How the log stands, as it was last signed. Times are seconds since 1970 in UTC."""

    name: str
    key: str
    seq: int
    link: str
    expires: int
    head: bytes
    snapshot: str


class Log:
    """The log in a folder. `now` gives seconds since 1970, `random` bytes for ids and keys. Raises `SharingError`."""

    def __init__(self, folder: Path, *, now: Callable[[], float], random: Callable[[int], bytes] = secrets.token_bytes):
        """Open nothing yet."""
        self._folder = folder
        self._path = folder / "log.sqlite"
        self._key_path = folder / "key"
        self._next_key_path = folder / "key.new"
        self._now = now
        self._random = random

    # --- for whoever hands it out: no key is opened

    def state(self) -> LogState | None:
        """Return how the log stands; None where there is none."""
        with files.explained(self._path):
            if not self._path.exists():
                return None
        with files.opened(self._path, _SCHEMA, _APPLICATION) as connection:
            return _state(connection)

    def page(self, after: int, upto: int) -> bytes:
        """Return the lines of at most `PAGE` changes that come after number `after`, up to number `upto`."""
        with files.opened(self._path, _SCHEMA, _APPLICATION) as connection:
            query = "SELECT line FROM changes WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?"
            return b"".join(line + b"\n" for (line,) in connection.execute(query, (after, upto, PAGE)))

    def snapshot(self, state: LogState) -> IO[bytes]:
        """Open the snapshot that goes with a state, packed with gzip."""
        path = self._folder / state.snapshot
        with files.explained(path):
            return path.open("rb")

    def published(self, contents: Iterable[bytes]) -> set[bytes]:
        """Return which of these contents, by their SHA-256, have an entry in force."""
        asked = list(contents)
        with files.opened(self._path, _SCHEMA, _APPLICATION) as connection:
            query = f"SELECT DISTINCT content FROM entries WHERE content IN ({', '.join('?' * len(asked))})"
            return {bytes(content) for (content,) in connection.execute(query, asked)}

    # --- for the publisher

    def create(self, name: str) -> LogState:
        """Begin a log, with a key of its own, and sign its empty head."""
        if not NAME.fullmatch(name):
            remedy = "take your domain: small letters, digits, dots and dashes"
            raise SharingUsageError(f"the name {name!r}", "is not fit for a list that is shared", remedy)
        with files.opened(self._path, _SCHEMA, _APPLICATION) as connection, sqlite_files.writing(connection):
            if _state(connection) is None:
                if not self._key_path.exists():
                    files.write_secret(self._key_path, SecretKey(self._random(32)).text)
                key = self._read_key(self._key_path)
                first = genesis(name, key.public.text)
                values = (name, key.public.text, 0, first, 0, b"", "")
                connection.execute("INSERT INTO state VALUES (?, ?, ?, ?, ?, ?, ?)", values)
                self._sign(connection, key)
            state = _state(connection)
        assert state is not None
        self._sweep(state)
        return state

    def publish(self, wanted: Iterable[Wanted], *, dry_run: bool = False) -> Published:
        """Make these the entries in force, by as few changes as that needs, and sign the head anew.

        What is in force and not wanted is retracted; what was vouched for again is renewed; what is past its end is
        left out. Of several that are one entry the first counts. A dry run only counts.
        """
        with files.opened(self._path, _SCHEMA, _APPLICATION) as connection:
            now = int(self._now())
            connection.execute(_WANTED)
            with sqlite_files.writing(connection):
                given = iter(each for each in wanted if each.expires > now)
                while batch := list(islice(given, _BATCH)):
                    rows = [_row(each) for each in batch]
                    places = ", ".join("?" * 10)
                    connection.executemany(f"INSERT OR IGNORE INTO temp.wanted VALUES ({places})", rows)
                key = self._key(connection)
                counts = self._retract(connection, now), *self._add(connection, now)
                done = self._published(connection, *counts)
                if dry_run:
                    connection.execute("ROLLBACK")
                    connection.execute("BEGIN")  # which is committed, empty
                else:
                    self._sign(connection, key)
            state = _state(connection)
        assert state is not None
        self._sweep(state)
        return done

    def change_key(self) -> LogState:
        """Make a new key, named by a change that the old one signs, and sign the head with it."""
        with files.opened(self._path, _SCHEMA, _APPLICATION) as connection:
            with sqlite_files.writing(connection):
                old = self._key(connection)
                self._next_key_path.unlink(missing_ok=True)
                new = SecretKey(self._random(32))
                files.write_secret(self._next_key_path, new.text)
                now = int(self._now())
                seq, link = _next(connection)
                bare = KeyChange(self._id(now), new.public.text, link, seq, "", now)
                _append(connection, bare.signed_by(old))
                connection.execute("UPDATE state SET key = ?", (new.public.text,))
                self._sign(connection, new)
            self._key(connection)  # which puts the new one into the old one's place
            state = _state(connection)
        assert state is not None
        self._sweep(state)
        return state

    def set_aside(self) -> Path:
        """Move the log, its key and what was signed out of the way, so that another can begin; return where to."""
        place = self._folder / f"before-{int(self._now())}"
        with files.explained(place):
            place.mkdir(mode=0o700)
            names = ("log.sqlite*", "key", "key.new", "snapshot-*.gz")
            for path in (found for name in names for found in self._folder.glob(name)):
                path.rename(place / path.name)
            files.sync_folder(self._folder)
        return place

    def _retract(self, connection: sqlite3.Connection, now: int) -> int:
        connection.execute("DELETE FROM entries WHERE expires <= ?", (now,))
        query = (
            "SELECT e.kind, e.hash, e.clip FROM entries e WHERE NOT EXISTS "
            f"(SELECT 1 FROM temp.wanted w WHERE {_SAME}) ORDER BY e.kind, e.hash, e.clip"
        )
        gone = connection.execute(query).fetchall()
        for kind, value, clip in gone:
            seq, link = _next(connection)
            _append(connection, Retraction(clip, value, self._id(now), kind, link, seq, now))
            connection.execute("DELETE FROM entries WHERE kind = ? AND hash = ? AND clip = ?", (kind, value, clip))
        return len(gone)

    def _add(self, connection: sqlite3.Connection, now: int) -> tuple[int, int]:
        """Append what is not in force as it is wanted; return how many are new, and how many renewed."""
        query = (
            "SELECT w.kind, w.hash, w.clip, w.content, w.type, w.verdict, w.category, w.quality, w.seen, w.since, "
            f"e.seq IS NULL FROM temp.wanted w LEFT JOIN entries e ON {_SAME} WHERE e.seq IS NULL "
            "OR e.type <> w.type OR e.verdict <> w.verdict OR w.since > e.time ORDER BY w.kind, w.hash, w.clip"
        )
        added = renewed = 0
        for *row, fresh in connection.execute(query).fetchall():
            kind, value, clip, content, change, verdict, category, quality, seen, since = row
            seq, link = _next(connection)
            entry = Entry(
                "own", category, clip, min(now, since) + LIFE_S, value, self._id(now), kind, link, quality, seen, seq,
                now, change, verdict,
            )  # fmt: skip
            _append(connection, entry)
            values = (kind, value, clip, seq, content, change, verdict, now, entry.expires)
            connection.execute("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
            added, renewed = added + fresh, renewed + 1 - fresh
        return added, renewed

    def _published(self, connection: sqlite3.Connection, retracted: int, added: int, renewed: int) -> Published:
        (entries,) = connection.execute("SELECT count(*) FROM entries").fetchone()
        (seq,) = connection.execute("SELECT seq FROM state").fetchone()
        return Published(added, renewed, retracted, entries, seq)

    # --- keys and signatures

    def _key(self, connection: sqlite3.Connection) -> SecretKey:
        """Return the key that signs. Raises where it is not there: nobody else can sign for this log."""
        (public,) = connection.execute("SELECT key FROM state").fetchone()
        # A process may have ended between naming a new key and putting it into the old one's place.
        with suppress(SharingError):
            if self._read_key(self._next_key_path).public.text == public:
                self._next_key_path.replace(self._key_path)
                files.sync_folder(self._folder)
        key = self._read_key(self._key_path)
        if key.public.text != public:
            cause = "is not the key of this log"
            raise SharingUsageError(str(self._key_path), cause, "bring the key back from a backup")
        return key

    def _read_key(self, path: Path) -> SecretKey:
        try:
            return SecretKey.of_text(path.read_text("ascii"))
        except FileNotFoundError:
            remedy = (
                f"bring it back from a backup; if it is lost, {hint('hashes publish --new-log')} begins anew, and who "
                "subscribes has to do that anew, too"
            )
            raise SharingUsageError(str(path), "the key that signs this list is not there", remedy) from None
        except ValueError as error:
            raise SharingUsageError(str(path), str(error), "bring the key back from a backup") from None

    def _sign(self, connection: sqlite3.Connection, key: SecretKey) -> None:
        """Write head and snapshot of the log as it is, inside the transaction that makes it so."""
        now = int(self._now())
        name, seq, link = connection.execute("SELECT name, seq, link FROM state").fetchone()
        (entries,) = connection.execute("SELECT count(*) FROM entries WHERE expires > ?", (now,)).fetchone()
        told = name, seq, link, entries, now, now + HEAD_S
        file = self._write_snapshot(connection, Statement(What.SNAPSHOT, *told), key)
        head = signed_head(Statement(What.HEAD, *told), key)
        query = "UPDATE state SET expires = ?, head = ?, snapshot = ?"
        connection.execute(query, (now + HEAD_S, head, file))

    def _write_snapshot(self, connection: sqlite3.Connection, stands: Statement, key: SecretKey) -> str:
        def lines() -> Iterator[bytes]:
            yield stands.line + b"\n"
            query = "SELECT c.line FROM entries e JOIN changes c ON c.seq = e.seq WHERE e.expires > ? ORDER BY e.seq"
            for (line,) in connection.execute(query, (stands.time,)):
                yield line + b"\n"

        hashed = digest()
        for line in lines():
            hashed.update(line)
        path = self._folder / f"snapshot-{stands.seq}-{self._random(6).hex()}.gz"
        with path.open("xb") as file:
            with gzip.GzipFile("", "wb", 6, file, mtime=0) as packed:
                packed.write(key.signature(hashed.digest(), stands.comment).encode())
                packed.writelines(lines())
            file.flush()
            os.fsync(file.fileno())
        files.sync_folder(self._folder)
        return path.name

    def _sweep(self, state: LogState) -> None:
        """Remove snapshots that no state names. Who has one open keeps it."""
        for path in self._folder.glob("snapshot-*.gz"):
            if path.name != state.snapshot:
                with suppress(OSError):
                    path.unlink()

    def _id(self, now: int) -> str:
        return uuid7(now, self._random(10))


def _next(connection: sqlite3.Connection) -> tuple[int, str]:
    """Return the number of the next change, and the link before it."""
    seq, link = connection.execute("SELECT seq, link FROM state").fetchone()
    return seq + 1, link


def _append(connection: sqlite3.Connection, change: Change) -> None:
    line = line_of(change)
    connection.execute("INSERT INTO changes VALUES (?, ?)", (change.seq, line))
    connection.execute("UPDATE state SET seq = ?, link = ?", (change.seq, link_of(line)))


def _state(connection: sqlite3.Connection) -> LogState | None:
    row = connection.execute("SELECT name, key, seq, link, expires, head, snapshot FROM state").fetchone()
    return None if row is None else LogState(*row)


def _row(each: Wanted) -> tuple[object, ...]:
    told = each.kind, each.hash, each.clip, each.content, each.type.value, each.verdict.value
    return (*told, each.category, each.quality, each.seen, each.since)
