"""Takes over the predecessor's database (`lemmy_safety.db`): names and verdicts, for it recorded nothing else.

It only ever reads that file. No plan is made of what it says: a predecessor's verdict removes nothing.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from sqlalchemy import Connection, insert, select

from fedi_safety.core.errors import LedgerUsageError
from fedi_safety.core.ledger.records import Imported
from fedi_safety.ledger import codec
from fedi_safety.ledger.counts import tallies
from fedi_safety.ledger.counts.groups import Groups, group_of
from fedi_safety.ledger.counts.tallies import Tally, What
from fedi_safety.ledger.database.base import Database
from fedi_safety.ledger.database.sqlite import open_foreign
from fedi_safety.ledger.events import Event, Kind, append
from fedi_safety.ledger.lookup import store_row
from fedi_safety.ledger.schema import State, objects

_PAGE_ROWS = 5_000
_COLUMNS = frozenset({"id", "filename", "csam", "nsfw", "created"})


@dataclass(frozen=True, slots=True)
class _Legacy:
    key: str
    csam: bool
    nsfw: bool
    created: float | None


def import_database(database: Database, at: float, run: int, file: Path, store: str, *, trust: bool) -> Imported:
    """See `WholeLedger.import_predecessor`. Every page of the file is a transaction of its own."""
    total = Imported()
    try:
        with closing(open_foreign(file)) as source:
            _check_kind(source, file)
            for page in _pages(source):
                total.rows += len(page)
                _take_over(database, at, page, store, trust, total)
    except sqlite3.Error as error:
        raise _refusal(file) from error
    if total.condemned or total.trusted:
        with database.write() as connection:
            payload = {"run": run, "file": file.name, "store": store, "trust": trust} | asdict(total)
            append(connection, at, [Event(Kind.IMPORTED, payload)])
    return total


def _refusal(file: Path) -> LedgerUsageError:
    return LedgerUsageError(str(file), "is not a predecessor's database", "name its lemmy_safety.db")


def _check_kind(source: sqlite3.Connection, file: Path) -> None:
    columns = {row[1].decode() for row in source.execute("PRAGMA table_info(images)")}
    if not columns >= _COLUMNS:
        raise _refusal(file)


def _pages(source: sqlite3.Connection) -> Iterator[list[tuple[Any, ...]]]:
    after = -(2**63)
    query = "SELECT id, filename, csam, nsfw, created FROM images WHERE id > ? ORDER BY id LIMIT ?"
    while page := source.execute(query, (after, _PAGE_ROWS)).fetchall():
        yield page
        after = page[-1][0]


def _take_over(
    database: Database, at: float, page: Sequence[tuple[Any, ...]], store: str, trust: bool, total: Imported
) -> None:
    wanted: dict[str, _Legacy] = {}
    for _, filename, csam, nsfw, created in page:
        if csam is None or filename is None:
            total.failures += 1
            continue
        key = _key(filename if isinstance(filename, bytes) else str(filename).encode(), store)
        if key is None:
            total.outside += 1
        elif not csam and not trust:
            total.to_judge += 1
        elif key in wanted:
            total.already_known += 1
        else:
            wanted[key] = _Legacy(key, bool(csam), bool(nsfw), _moment(created))
    if not wanted:
        return
    with database.write() as connection:
        store_id = store_row(connection, store)
        known = _known(connection, store_id, list(wanted))
        new = [item for key, item in wanted.items() if codec.key_bytes(key) not in known]
        counted, days = Groups(connection), Counter[Tally]()
        for part in codec.chunks(new):
            connection.execute(insert(objects), [_counted(item, store_id, at, counted, days) for item in part])
        counted.write()
        tallies.add(connection, days)
    total.already_known += len(wanted) - len(new)
    total.condemned += sum(item.csam for item in new)
    total.trusted += sum(not item.csam for item in new)


def _known(connection: Connection, store_id: int, keys: Sequence[str]) -> set[bytes]:
    found: set[bytes] = set()
    for part in codec.chunks(keys):
        raw = [codec.key_bytes(key) for key in part]
        query = select(objects.c.key).where(objects.c.store_id == store_id, objects.c.key.in_(raw))
        found.update(connection.execute(query).scalars())
    return found


def _counted(item: _Legacy, store_id: int, now: float, counted: Groups, days: Counter[Tally]) -> dict[str, Any]:
    """Return an object's columns with its group, and count it."""
    columns = _columns(item, store_id, now)
    number = counted.number(group_of(store_id, columns["state"], None, columns["detail"], None, None, False))
    counted.move(None, number)
    if item.created is not None:
        days[Tally(What.JUDGED, store_id, "", tallies.day_of(item.created))] += 1
    return columns | {"group_id": number}


def _columns(item: _Legacy, store_id: int, now: float) -> dict[str, Any]:
    return {
        "store_id": store_id,
        "key": codec.key_bytes(item.key),
        "size": -1,
        "mtime_ns": -1,
        "tag": "",
        "state": (State.HISTORY if item.csam else State.TRUSTED).value,
        "detail": "nsfw" if item.nsfw else None,
        "attempts": 0,
        "first_seen": now,
        "judged_at": item.created,
    }


def _key(filename: bytes, store: str) -> str | None:
    """Return the key under the store's root; None for an absolute name elsewhere, or one that climbs out."""
    name = codec.key_text(filename)
    root = unquote(urlsplit(store).path, errors="surrogateescape").strip("/")
    if root and name.lstrip("/").startswith(root + "/"):
        name = name.lstrip("/")[len(root) + 1 :]
    elif name.startswith("/"):
        return None
    while name.startswith("./"):
        name = name[2:]
    return name if name and ".." not in name.split("/") else None


def _moment(created: object) -> float | None:
    """Return the time of a row, which the predecessor wrote in UTC without saying so."""
    if not isinstance(created, bytes):
        return None
    try:
        return datetime.fromisoformat(created.decode("ascii")).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
