"""Entries on their way onto a list or off it: checked one by one, held beside the lists, compared with what is there.

So a list that is fetched again costs what has changed of it, and nobody waits while a long one is read. An entry is
named by kind, clip and id, or by its hash where it has no id.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

from fedi_safety.core.classes import dataclass
from fedi_safety.core.known.effects import LEAST_QUALITY
from fedi_safety.core.known.types import Entry, HashKind
from fedi_safety.known import tables, upkeep
from fedi_safety.known.records import FEWEST_BITS, Refusal, Withdrawn
from fedi_safety.known.tables import ENTRY_COLUMNS

_BATCH = 10_000
_MOST_NUMBER = 1 << 53  # what every format's numbers hold
_INTO = {  # by what is said: the table, its columns and how many; most of some lists say nothing but a hash
    "bare": ("staged", "place, kind, hash, id, bits", 5),
    "full": ("staged", f"place, {ENTRY_COLUMNS}", 1 + len(ENTRY_COLUMNS.split(","))),
    "leaving": ("leaving", "place, kind, hash, id, clip, at_s", 6),
}
Row = tuple[Any, ...]
_PDQ = HashKind.PDQ
_SIZES = {kind: kind.size_bytes for kind in HashKind}
_SAME_NAME = "s.kind = e.kind AND s.clip = e.clip AND ifnull(s.id, s.hash) = ifnull(e.id, e.hash)"
_KINDS = f"(VALUES {', '.join(f'({number})' for number in tables.KINDS)}) k"
_LEAVING = (  # of a table `e`, each row that a withdrawal names, of whatever kind where it names none
    f"temp.leaving l CROSS JOIN {_KINDS} CROSS JOIN {{table}} e ON e.kind = k.column1 AND e.clip = l.clip "
    "AND ifnull(e.id, e.hash) = ifnull(l.id, l.hash) AND (l.kind IS NULL OR l.kind = k.column1)"
)
_WORDS = ("category", "seen_s", "expires_s", "quality", "positive", "negative")


@dataclass(frozen=True, slots=True)
class Applied:
    """What came of it: `fresh` rows were written and `gone` ones removed, some of these replaced by the former."""

    accepted: int
    added: int
    replaced: int
    removed: int
    fresh: int
    gone: int


def stage(connection: sqlite3.Connection, items: Iterable[Entry | Withdrawn], path: Path) -> Counter[Refusal]:
    """Hold what is to come onto a list and what is to leave it; return what was refused, by cause.

    Raises `KnownError`.
    """
    refused: Counter[Refusal] = Counter()
    given = enumerate(items)
    with tables.explained(path):
        _make(connection)
        connection.execute("BEGIN")
    try:
        while batch := list(islice(given, _BATCH)):
            rows = _rows(batch, refused)
            with tables.explained(path):
                for into, (table, columns, count) in _INTO.items():
                    insert = f"INSERT INTO temp.{table} ({columns}) VALUES ({', '.join('?' * count)})"
                    connection.executemany(insert, rows[into])
        with tables.explained(path):
            connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return refused


def _rows(batch: Iterable[tuple[int, Entry | Withdrawn]], refused: Counter[Refusal]) -> dict[str, list[Row]]:
    """Return the rows of the items that are taken, by where they go, and count the others."""
    bare: list[Row] = []
    full: list[Row] = []
    leaving: list[Row] = []
    for place, item in batch:
        if isinstance(item, Withdrawn):
            kind = None if item.kind is None else tables.NUMBERS[item.kind]
            leaving.append((place, kind, item.hash, item.id or None, item.clip, item.at_s))
            continue
        bits = int.from_bytes(item.hash, "big").bit_count() if item.kind is _PDQ else None
        alone = item.quality is item.seen_s is item.expires_s is None and not (
            item.category or item.clip or item.positive or item.negative
        )
        refusal = _refusal(item, bits, alone=alone)
        if refusal is not None:
            refused[refusal] += 1
        elif alone:
            bare.append((place, tables.NUMBERS[item.kind], item.hash, item.id or None, bits))
        else:
            full.append((place, *tables.entry_row(item, bits)))
    return {"bare": bare, "full": full, "leaving": leaving}


def _refusal(entry: Entry, bits: int | None, *, alone: bool) -> Refusal | None:
    """Return why an entry is not taken onto a list; None where it is.

    `bits` are those set in a PDQ; `alone` is whether it has nothing but a hash and perhaps an id.
    """
    if len(entry.hash) != _SIZES[entry.kind]:
        return Refusal.LENGTH
    if not (entry.id + entry.category + entry.clip).isascii() and not _encodable(entry):
        return Refusal.VALUES
    if not alone:
        for number in (entry.positive, entry.negative, entry.quality, entry.seen_s, entry.expires_s):
            if number and not -_MOST_NUMBER < number < _MOST_NUMBER:
                return Refusal.VALUES
    if bits is not None:
        if bits < FEWEST_BITS:
            return Refusal.BLANK
        if entry.quality is not None and entry.quality < LEAST_QUALITY:
            return Refusal.QUALITY
    return None


def _encodable(entry: Entry) -> bool:
    """Tell whether its texts are such that the tables can hold: without lone surrogates."""
    try:
        (entry.id + entry.category + entry.clip).encode()
    except UnicodeEncodeError:
        return False
    return True


def unique(connection: sqlite3.Connection) -> tuple[int, int]:
    """Keep the last of those staged under one name; return how many were not kept for that, and how many withdrawn.

    What was withdrawn after it was said is not kept either, by the publisher's clock, else by the order.
    """
    doubled = _doubled(connection)
    after = "CASE WHEN l.at_s IS NULL OR e.seen_s IS NULL THEN l.place > e.place ELSE l.at_s >= e.seen_s END"
    withdrawn = f"SELECT e.place FROM {_LEAVING.format(table='temp.staged')} WHERE {after}"
    return doubled, connection.execute(f"DELETE FROM temp.staged WHERE place IN ({withdrawn})").rowcount


def _doubled(connection: sqlite3.Connection) -> int:
    named = "kind, clip, ifnull(id, hash)"
    try:
        connection.execute(f"CREATE UNIQUE INDEX temp.staged_named ON staged ({named})")
    except sqlite3.IntegrityError:
        connection.execute(f"CREATE INDEX temp.staged_named ON staged ({named})")
    else:
        return 0
    later = f"lead(place) OVER (PARTITION BY {named} ORDER BY place)"
    doubled = f"SELECT place FROM (SELECT place, {later} AS later FROM temp.staged) WHERE later IS NOT NULL"
    return connection.execute(f"DELETE FROM temp.staged WHERE place IN ({doubled})").rowcount


def apply(connection: sqlite3.Connection, number: int, *, whole: bool) -> Applied:
    """Bring what is staged onto the list `number`, inside a write transaction.

    With `whole` it is all of the list from now on; otherwise what is named as leaving goes and the rest stays. A row's
    hash never changes, for the index was made of it: an entry with another hash is another row. So is one that holds
    for another time, which may meet what it met no more.
    """
    named = f"EXISTS (SELECT 1 FROM temp.staged s WHERE {_SAME_NAME})"
    if whole:
        query = f"SELECT e.row, e.kind FROM entries e WHERE e.list = ? AND NOT {named}"
    else:
        query = (
            f"SELECT DISTINCT e.row, e.kind FROM {_LEAVING.format(table='entries')} WHERE e.list = ? AND NOT {named}"
        )
    removed = connection.execute(f"INSERT INTO temp.gone {query}", (number,)).rowcount
    ours, theirs = (", ".join(f"{table}.{word}" for word in ("hash", *_WORDS)) for table in ("e", "s"))
    connection.execute(
        "INSERT INTO temp.met SELECT e.row, e.kind, s.place, e.hash <> s.hash OR e.expires_s IS NOT s.expires_s "
        "FROM temp.staged s CROSS JOIN entries e "
        f"ON e.list = ? AND {_SAME_NAME} WHERE ({ours}) IS NOT ({theirs})",
        (number,),
    )
    rehashed = connection.execute("INSERT INTO temp.gone SELECT row, kind FROM temp.met WHERE rehashed").rowcount
    upkeep.count_dead(connection)
    connection.execute("DELETE FROM entries WHERE row IN (SELECT row FROM temp.gone)")
    reworded = _reword(connection)
    columns = ", ".join(f"s.{column.strip()}" for column in ENTRY_COLUMNS.split(","))
    fresh = connection.execute(
        f"INSERT OR IGNORE INTO entries (list, {ENTRY_COLUMNS}) SELECT ?, {columns} FROM temp.staged s "
        "ORDER BY s.kind, s.clip, ifnull(s.id, s.hash)",
        (number,),
    ).rowcount
    (accepted,) = connection.execute("SELECT count(*) FROM temp.staged").fetchone()
    return Applied(accepted, fresh - rehashed, rehashed + reworded, removed, fresh, removed + rehashed)


def _reword(connection: sqlite3.Connection) -> int:
    """Write anew what is said of entries whose hash stays, where it differs; return of how many."""
    words = ", ".join(_WORDS)
    said = f"SELECT {words} FROM temp.staged WHERE place = (SELECT place FROM temp.met WHERE row = entries.row)"
    rows = "SELECT row FROM temp.met WHERE NOT rehashed"
    return connection.execute(f"UPDATE entries SET ({words}) = ({said}) WHERE row IN ({rows})").rowcount


def clear(connection: sqlite3.Connection) -> None:
    """Forget what was staged."""
    for table in ("staged", "leaving", "gone", "met"):
        connection.execute(f"DROP TABLE IF EXISTS temp.{table}")


def _make(connection: sqlite3.Connection) -> None:
    # In files of SQLite's own that vanish with the connection; of the lists nothing is locked meanwhile.
    columns = (
        "place INTEGER PRIMARY KEY, kind INTEGER, hash BLOB, id TEXT, category TEXT DEFAULT '', seen_s REAL, "
        "expires_s REAL, quality INTEGER, positive INTEGER DEFAULT 0, negative INTEGER DEFAULT 0, "
        "clip TEXT DEFAULT '', bits INTEGER"
    )
    connection.execute(f"CREATE TEMP TABLE IF NOT EXISTS staged ({columns})")
    leaving = "place INTEGER PRIMARY KEY, kind INTEGER, hash BLOB, id TEXT, clip TEXT, at_s REAL"
    connection.execute(f"CREATE TEMP TABLE IF NOT EXISTS leaving ({leaving})")
    connection.execute("CREATE TEMP TABLE IF NOT EXISTS gone (row INTEGER PRIMARY KEY, kind INTEGER)")
    met = "row INTEGER PRIMARY KEY, kind INTEGER, place INTEGER, rehashed INTEGER"
    connection.execute(f"CREATE TEMP TABLE IF NOT EXISTS met ({met})")
