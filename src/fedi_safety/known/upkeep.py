"""The index kept in step with the tables, inside the transaction that changes them: what breaks off changes nothing.

The newest rows are in no file: readers take them from the tables. When they become many, they make a segment; when
later segments weigh as much as an earlier one, they are merged with it, so that there are few. Whatever is made is made
anew from the tables: a segment covers the rows from `first` to `last`, and no row is covered by two.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import numpy as np

from fedi_safety.core.classes import dataclass
from fedi_safety.core.errors import KnownError
from fedi_safety.known.index import segment
from fedi_safety.known.index.chunks import Numbers, Words, words
from fedi_safety.known.tables import PDQ

FOLDER = "index"
LOOSE_ROWS = 8_192
"""So many of the newest rows are compared with one by one: about 20 microseconds a look-up."""
_LOOSE_SPAN = 200_000  # numbers of rows that a reader walks to find the newest PDQs among other hashes
_CHEAP_ROWS = 200_000  # a merge of so many takes a fraction of a second, and is made at once
_DEAR = 8  # a larger one waits, unless at least this part of it is new
_PAGE = 65_536


@dataclass(frozen=True, slots=True)
class Part:
    """A segment as the tables know it: the rows it covers, how many it has, and how many of these are gone."""

    folder: str
    first: int
    last: int
    rows: int
    dead: int
    checksums: dict[str, int]

    @property
    def live(self) -> int:
        """Return how many of its rows are still there."""
        return self.rows - self.dead


def parts(connection: sqlite3.Connection) -> list[Part]:
    """Return the segments, by the rows they cover."""
    found = connection.execute("SELECT folder, first, last, rows, dead, checksums FROM segments ORDER BY first")
    return [
        Part(name, first, last, rows, dead, json.loads(checksums)) for name, first, last, rows, dead, checksums in found
    ]


def loose_rows(connection: sqlite3.Connection) -> tuple[Numbers, Numbers, Words]:
    """Return the rows that no segment covers: their numbers, their lists' and their hashes."""
    (after,) = connection.execute("SELECT loose_after FROM state").fetchone()
    return _rows(connection, after + 1, None)


def count_dead(connection: sqlite3.Connection) -> None:
    """Tell the segments which of their rows are named in the table `gone`, before these go."""
    connection.execute(
        "UPDATE segments SET dead = dead + (SELECT count(*) FROM gone WHERE kind = ? AND row BETWEEN first AND last)",
        (PDQ,),
    )


def extend(connection: sqlite3.Connection, folder: Path, added: int) -> None:
    """Bring the index in step after `added` rows: at most as much work as that is worth."""
    (after,) = connection.execute("SELECT loose_after FROM state").fetchone()
    query = "SELECT count(*), min(row) FROM entries WHERE kind = ? AND row > ?"
    fresh, first = connection.execute(query, (PDQ, after)).fetchone()
    (last,) = connection.execute("SELECT coalesce(max(row), 0) FROM entries").fetchone()
    if fresh > LOOSE_ROWS or (fresh and last - first > _LOOSE_SPAN):
        _replace(connection, folder, [], after + 1, last)
        first = None
    connection.execute("UPDATE state SET loose_after = ?", (max(after, last if first is None else first - 1),))
    merge(connection, folder, most_rows=max(_CHEAP_ROWS, _DEAR * added))


def merge(connection: sqlite3.Connection, folder: Path, *, most_rows: int | None = None) -> bool:
    """Merge what has become many or is mostly gone; return whether anything was. Not more than `most_rows` at once."""
    merged = False
    while due := _due(parts(connection), most_rows):
        _replace(connection, folder, due, due[0].first, due[-1].last)
        merged = True
    return merged


def rebuild(connection: sqlite3.Connection, folder: Path) -> None:
    """Make all segments anew from the tables."""
    found = parts(connection)
    if found:
        _replace(connection, folder, found, found[0].first, found[-1].last)


def sweep(connection: sqlite3.Connection, folder: Path) -> None:
    """Remove the segments that the tables do not name, left by a merge or by a process that was killed.

    Called where nobody else writes. Whoever has one open keeps it until it is closed.
    """
    root = folder / FOLDER
    if not root.is_dir():
        return
    named = {part.folder for part in parts(connection)}
    for found in root.iterdir():
        if found.name not in named:
            shutil.rmtree(found, ignore_errors=True)


def verify(connection: sqlite3.Connection, folder: Path) -> list[KnownError]:
    """Read every segment, and hold them and the tables against each other; return what is wrong."""
    wrong = []
    for part in parts(connection):
        try:
            segment.check(folder / FOLDER / part.folder, part.checksums)
            found = segment.read(folder / FOLDER / part.folder)
            query = "SELECT count(*) FROM entries WHERE kind = ? AND row BETWEEN ? AND ?"
            (live,) = connection.execute(query, (PDQ, part.first, part.last)).fetchone()
            if (len(found), live) != (part.rows, part.live):
                raise KnownError(
                    str(folder / FOLDER / part.folder), "does not have the rows of the lists", segment.repair()
                )
        except KnownError as error:
            wrong.append(error)
    return wrong


def _due(found: list[Part], most_rows: int | None) -> list[Part]:
    """Return what to merge next: the last segments, from the first that those after it outweigh; or a hollow one."""
    after = 0
    due: list[Part] = []
    for at in range(len(found) - 1, -1, -1):
        outweighed = 0 < found[at].live <= after
        after += found[at].live
        if outweighed and (most_rows is None or after <= most_rows):
            due = found[at:]
    hollow = [part for part in found if part.dead * 4 > part.rows and (most_rows is None or part.live <= most_rows)]
    return due or hollow[:1]


def _replace(connection: sqlite3.Connection, folder: Path, old: list[Part], first: int, last: int) -> None:
    """Put one segment of the rows from `first` to `last` in the place of some others."""
    rows, lists, hashes = _rows(connection, first, last)
    connection.executemany("DELETE FROM segments WHERE folder = ?", [(part.folder,) for part in old])
    if len(rows):
        name, checksums = segment.write(folder / FOLDER, rows, lists, hashes)
        values = (name, first, last, len(rows), 0, json.dumps(checksums))
        connection.execute("INSERT INTO segments VALUES (?, ?, ?, ?, ?, ?)", values)


def _rows(connection: sqlite3.Connection, first: int, last: int | None) -> tuple[Numbers, Numbers, Words]:
    """Return the PDQs among the rows from `first` to `last`, upwards: their numbers, their lists' and their hashes."""
    # A page is read as three texts, which takes a third of the time of as many rows.
    page = "SELECT row, list, hash FROM entries WHERE kind = ? AND row >= ? AND row <= ? ORDER BY row LIMIT ?"
    query = f"SELECT group_concat(row), group_concat(list), group_concat(hex(hash), '') FROM ({page})"
    rows, lists, hashes = [], [], []
    while True:
        values = (PDQ, first, last if last is not None else 1 << 62, _PAGE)
        numbers, owners, digits = connection.execute(query, values).fetchone()
        if numbers is None:
            break
        rows.append(np.fromstring(numbers, np.int64, sep=","))
        lists.append(np.fromstring(owners, np.int64, sep=","))
        hashes.append(words(np.frombuffer(bytes.fromhex(digits), np.uint8)))
        first = int(rows[-1].max()) + 1
    if not rows:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, 4), np.uint64)
    found = np.concatenate(rows)
    upwards = np.argsort(found, kind="stable")  # in which order texts are put together is nowhere promised
    return found[upwards], np.concatenate(lists)[upwards], np.concatenate(hashes)[upwards]
