"""Columns of many rows, joined by the database: no row becomes an object, and no other thread waits for it. Reads only.

Where a row is what matters, rows are asked for as ever.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, LargeBinary, Select, Text, case, func, literal_column, select, text
from sqlalchemy.types import TypeEngine

from fedi_safety.ledger import codec
from fedi_safety.ledger.compact.arrays import Blobs
from fedi_safety.ledger.database.base import Database


class Texts(Sequence[str]):
    """Texts of many contents in one piece, from which that of one is cut when somebody asks for it.

    Most contents have the usual one, which stands nowhere.
    """

    __slots__ = ("_lengths", "_numbers", "_starts", "_usual", "_whole", "rows")

    def __init__(self, usual: str, whole: str, lengths: NDArray[np.int64], rows: NDArray[np.int64]) -> None:
        """Take the unusual ones one behind another, how many letters each has, and whose they are.

        `rows` are set to the numbers of all contents before one is asked for. Raises `ValueError`.
        """
        ends = np.cumsum(lengths)
        if len(whole) != (int(ends[-1]) if len(ends) else 0) or len(lengths) != len(rows):
            raise ValueError("not the texts that these lengths are of")
        self._usual, self._whole, self._lengths, self._starts = usual, whole, lengths, ends - lengths
        self._numbers = {row: at for at, row in enumerate(rows.tolist())}
        self.rows = rows

    @property
    def unusual(self) -> Collection[int]:
        """The numbers of the contents that have another one than the usual."""
        return self._numbers

    def __len__(self) -> int:
        """Return of how many contents they are."""
        return len(self.rows)

    def __getitem__(self, at: int) -> str:  # type: ignore[override]  # nobody asks for several
        """Return that of one content."""
        place = self._numbers.get(int(self.rows[at]))
        if place is None:
            return self._usual
        start = int(self._starts[place])
        return self._whole[start : start + int(self._lengths[place])]


class OneOf(Sequence[bytes]):
    """Bytes of many contents that were asked about one value alone: whoever has others has none here (`b""`)."""

    def __init__(self, wanted: bytes, found: Texts) -> None:
        """Take the value, and texts of which those are not empty whose contents have it."""
        self._wanted, self._found = wanted, found

    def __len__(self) -> int:
        """Return of how many contents they are."""
        return len(self._found)

    def __getitem__(self, at: int) -> bytes:  # type: ignore[override]  # nobody asks for several
        """Return those of one content."""
        return self._wanted if self._found[at] else b""

    def __contains__(self, value: object) -> bool:
        """Whether some content has these."""
        return value == self._wanted and bool(self._found.unusual)

    def index(self, value: Any, start: int = 0, stop: int | None = None) -> int:  # noqa: ARG002  # nobody asks for a part
        """Return the first content that has these bytes, of which there are some."""
        if value not in self:
            raise ValueError("no content has these bytes")
        return int(np.searchsorted(self._found.rows, min(self._found.unusual)))


class Columns:
    """A query of which whole columns are asked for, put together once and asked as often as is wanted."""

    def __init__(self, database: Database, query: Select[Any], usual: Mapping[str, str]) -> None:
        """Take a query whose first column is a number that no two rows share.

        No number, no text and no bytes of a length that the column names are null, and no text has a U+0000. `usual`
        has by name of each column of texts what most rows have there; where a page has others, they are asked for by
        themselves.
        """
        rows = query.subquery().c
        first = next(iter(rows))
        asked: list[ColumnElement[Any]] = []
        self._usual = usual
        self._unusual: dict[str, Select[Any]] = {}
        for column in rows:
            if _length(column.type):
                asked.append(database.joined(column))
            elif isinstance(column.type, Text):
                rare = column != literal_column(_quoted(usual[column.name]))
                asked.append(func.count(case((rare, 1))))
                theirs = database.joined(column), database.listed(func.length(column)), database.listed(first)
                self._unusual[column.name] = select(*theirs).where(rare)
            elif isinstance(column.type, LargeBinary):
                # A number in the statement's words is cheaper than one that is given with it, for each row.
                asked += [database.joined(column), database.listed(func.coalesce(func.length(column), text("-1")))]
            else:
                asked.append(database.listed(column))
        self._columns = [(name, column.type) for name, column in rows.items()]
        self._query = select(*asked)

    @codec.stored("a page of contents")
    def read(self, connection: Connection, **bounds: Any) -> dict[str, Any]:
        """Return the columns by name, in the order of the first one.

        `Blobs` of bytes, `Texts` of texts, arrays of int64 of numbers.
        """
        cells = iter(connection.execute(self._query, bounds).one())
        found: dict[str, Any] = {}
        for name, kind in self._columns:
            if length := _length(kind):
                count = len(next(iter(found.values())))
                found[name] = Blobs(next(cells) or b"", np.full(count, length, np.int64))
            elif isinstance(kind, LargeBinary):
                found[name] = Blobs(next(cells) or b"", numbers(next(cells)))
            elif isinstance(kind, Text):
                found[name] = self._texts(connection, name, next(cells), bounds)
            else:
                found[name] = numbers(next(cells))
        first = next(iter(found.values()))
        if any(len(cell) != len(first) for cell in found.values() if not isinstance(cell, Texts)):
            raise ValueError("columns of other rows than the first")
        if (np.diff(first) < 0).any():  # a database gives rows as it finds them
            order = np.argsort(first)
            for name, cell in found.items():
                if isinstance(cell, Blobs):
                    cell.arrange(order)
                elif not isinstance(cell, Texts):
                    found[name] = cell[order]
        for cell in found.values():
            if isinstance(cell, Texts):
                cell.rows = next(iter(found.values()))
        return found

    def _texts(self, connection: Connection, name: str, count: int, bounds: Mapping[str, Any]) -> Texts:
        """Return a column of texts, of which so many are not the usual one: most often none."""
        whole, lengths, rows = connection.execute(self._unusual[name], bounds).one() if count else ("", None, None)
        return Texts(self._usual[name], whole or "", numbers(lengths), numbers(rows))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _length(kind: TypeEngine[Any]) -> int | None:
    """Return how many bytes each row has of a column that says so and is never null."""
    return kind.length if isinstance(kind, LargeBinary) else None


def numbers(listed: str | None) -> NDArray[np.int64]:
    """Return numbers as `Database.listed` gives them."""
    if listed is None:
        return np.zeros(0, np.int64)
    alike = _of_one_width(listed)
    return np.fromstring(listed, np.int64, sep=",") if alike is None else alike


_COMMA, _ZERO, _DIGITS = 44, 48, 18


def _of_one_width(listed: str) -> NDArray[np.int64] | None:
    """Return numbers that all have as many digits, as most columns' do, a page at a time; None where they have not.

    It takes a tenth of the time, and others have their turn meanwhile.
    """
    width = listed.find(",") + 1 or len(listed) + 1
    data = np.frombuffer(listed.encode("ascii") + b",", np.uint8)
    if not 2 <= width <= _DIGITS + 1 or len(data) % width:
        return None
    cells = data.reshape(-1, width)
    digits = cells[:, :-1] - np.uint8(_ZERO)  # what stands before a zero becomes more than nine
    if (cells[:, -1] != _COMMA).any() or (digits > 9).any():
        return None
    found = digits[:, 0].astype(np.int64)
    for place in range(1, width - 1):
        found = found * 10 + digits[:, place]
    return found
