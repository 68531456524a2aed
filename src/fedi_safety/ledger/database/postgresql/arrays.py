"""Many rows, or many wanted values, in one statement: what SQLAlchemy would write out one by one goes as arrays.

Without prepared statements, which a pooler between does not let through, every row would be parsed and planned anew.
Arrays are packed here as the server takes them: psycopg's own way asks of each cell what it is.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from psycopg import Binary
from psycopg.abc import Buffer
from psycopg.adapt import Dumper
from psycopg.pq import Format
from sqlalchemy import Connection, Dialect, Table, TextClause, text

from fedi_safety.ledger.database.bulk import AHEAD

_PARAMETER = re.compile(r"%\((\w+)\)s")
_INSERT = re.compile(r"(INSERT INTO [^()]+ \([^()]+\)) VALUES \((.+?)\)( ON CONFLICT .*)?", re.DOTALL)
_UPDATE = re.compile(r"(UPDATE \S+ SET .+) WHERE (.+)", re.DOTALL)
_LIST = re.compile(r" (NOT )?IN \((%\(\w+\)s(?:::\w+)?(?:, %\(\w+\)s(?:::\w+)?)+)\)")
_LAST = text(
    "SELECT setval(own, nextval(own) + :more)"
    " FROM (SELECT CAST(pg_get_serial_sequence(:table, 'id') AS regclass) AS own OFFSET 0) AS sequences"
)
_KEY = "row"
"""The parameter that names a row in statements that change one."""
_MANY = 16  # values from which on an array is shorter than what it takes the place of

_NULL = b"\xff\xff\xff\xff"
_LENGTH = struct.Struct(">i").pack


def _sized(data: bytes) -> bytes:
    return _LENGTH(len(data)) + data


def _plain(value: bytes | Binary) -> bytes:
    """Return bytes that SQLAlchemy has wrapped as the standard of drivers wants it."""
    return bytes(value.obj) if isinstance(value, Binary) else bytes(value)


_PACKED: Mapping[str, tuple[int, Callable[[Any], bytes]]] = {
    "BIGINT": (20, partial(struct.Struct(">iq").pack, 8)),
    "INTEGER": (23, partial(struct.Struct(">ii").pack, 4)),
    "DOUBLE PRECISION": (701, partial(struct.Struct(">id").pack, 8)),
    "FLOAT": (701, partial(struct.Struct(">id").pack, 8)),
    "BOOLEAN": (16, partial(struct.Struct(">i?").pack, 1)),
    "VARCHAR": (1043, lambda value: _sized(value.encode())),
    "TEXT": (25, lambda value: _sized(value.encode())),
    "BYTEA": (17, lambda value: _sized(value if type(value) is bytes else _plain(value))),
}
"""By a type's name: the number that PostgreSQL has for it, and what makes a cell of an array's binary form."""
_PYTHON: Mapping[type, str] = {int: "BIGINT", str: "TEXT", bytes: "BYTEA", Binary: "BYTEA"}


class Packed:
    """An array in its binary form."""

    __slots__ = ("data",)

    def __init__(self, kind: str, values: Sequence[Any]) -> None:
        """Pack values of a kind that `_PACKED` has."""
        number, cell = _PACKED[kind]
        some = None in values
        if values.count(values[0]) == len(values):  # as in half of the columns of what a batch writes
            cells = (_NULL if some else cell(values[0])) * len(values)
        elif some:
            cells = b"".join([_NULL if value is None else cell(value) for value in values])
        else:
            cells = b"".join(map(cell, values))
        self.data = struct.pack(">iiiii", 1, some, number, len(values), 1) + cells


class PackedDumper(Dumper):
    """Hands a `Packed` on as it is; of what type it is says the cast beside it."""

    format = Format.BINARY

    def dump(self, obj: Packed) -> Buffer:
        """Return its bytes."""
        return obj.data


class Rows:
    """Puts many rows into one statement. What was made of a statement is kept: a ledger has some dozens."""

    part = 128

    def __init__(self) -> None:
        """Know no statement yet."""
        self._made: dict[str, _Made | None] = {}
        self._puts: dict[tuple[str, ...], tuple[TextClause, Mapping[str, str]]] = {}

    def put(self, connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert new rows, all with the same columns; see `base.put`. SQLAlchemy would look at each cell twice."""
        if not rows:
            return
        names = tuple(rows[0])
        if (table.name, *names) not in self._puts:
            self._puts[table.name, *names] = _put(table, names, connection.dialect)
        statement, kinds = self._puts[table.name, *names]
        arrays = {f"c{at}": Packed(kind, [row[name] for row in rows]) for at, (name, kind) in enumerate(kinds.items())}
        connection.execute(statement, arrays)

    def numbers(self, connection: Connection, table: Table, count: int) -> Sequence[int]:
        """Take numbers for new rows from the table's sequence; see `base.numbers`. One transaction writes at a time."""
        if not count:
            return ()
        last = connection.execute(_LAST, {"table": table.name, "more": count - 1}).scalar_one()
        return range(last - count + 1, last + 1)

    def in_one(
        self, statement: str, rows: Sequence[Mapping[str, Any]], context: Any
    ) -> tuple[str, dict[str, Packed]] | None:
        """Return one statement that does what `statement` would with each of these rows, and its arrays.

        None where that is not known to be the same: then it must be sent row by row.
        """
        if statement not in self._made:
            self._made[statement] = _made(statement, context)
        made = self._made[statement]
        if made is None or any(len(row) != len(made.kinds) for row in rows):
            return None
        if made.changes and len({row[_KEY] for row in rows}) != len(rows):
            return None  # of two changes of one row only one would be made
        return made.text, {name: Packed(kind, [row[name] for row in rows]) for name, kind in made.kinds.items()}


@dataclass(frozen=True, slots=True)
class _Made:
    text: str
    kinds: Mapping[str, str]  # of its parameters
    changes: bool  # rows, each by its number


def _put(table: Table, names: Sequence[str], dialect: Dialect) -> tuple[TextClause, Mapping[str, str]]:
    """Return what inserts rows with these columns from an array for each, and what these are of."""
    kinds = {name: table.c[name].type.dialect_impl(dialect).compile(dialect=dialect) for name in names}
    quoted = dialect.identifier_preparer.quote
    columns = ", ".join(map(quoted, names))
    arrays = ", ".join(f"CAST(:c{at} AS {_array(kind)})" for at, kind in enumerate(kinds.values()))
    statement = f"INSERT INTO {quoted(table.name)} ({columns}) SELECT * FROM unnest({arrays})"
    return text(statement).execution_options(**AHEAD), kinds


def _made(statement: str, context: Any) -> _Made | None:
    if context.compiled is None:
        return None
    kinds = {name: _kind(context, name) for name in _PARAMETER.findall(statement)}
    if not kinds or not set(kinds.values()) <= _PACKED.keys():
        return None
    arrays = ", ".join(f"%({name})s::{_array(kind)}" for name, kind in kinds.items())
    source = f"unnest({arrays}) AS v({', '.join(map(_quoted, kinds))})"
    told = _told(statement, kinds)
    if found := _INSERT.fullmatch(told):
        into, values, further = found.groups()
        return _Made(f"{into} SELECT {values} FROM {source}{further or ''}", kinds, changes=False)
    if (found := _UPDATE.fullmatch(told)) and told.count(" WHERE ") == 1 and _KEY in kinds:
        changes, where = found.groups()
        return _Made(f"{changes} FROM {source} WHERE {where}", kinds, changes=True)
    return None


def shorter(statement: str, parameters: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Return a statement with long lists of wanted values as arrays, and its parameters."""
    if " IN (" not in statement or len(parameters) < _MANY:
        return statement, parameters
    left = dict(parameters)

    def array(found: re.Match[str]) -> str:
        names = _PARAMETER.findall(found[2])
        values = [left.get(name) for name in names]
        kind = _PYTHON.get(type(values[0]))
        if len(names) < _MANY or kind is None or set(map(type, values)) != {type(values[0])}:
            return found[0]
        for name in names[1:]:
            left.pop(name, None)
        left[names[0]] = Packed(kind, values)
        return f" {'<> ALL' if found[1] else '= ANY'} (%({names[0]})s::{kind}[])"

    return _LIST.sub(array, statement), left


def _told(statement: str, kinds: Mapping[str, str]) -> str:
    """Return a statement with columns of `v` in place of its parameters."""
    for name, word in kinds.items():
        for form in (f"%({name})s::{word}", f"%({name})s"):
            statement = statement.replace(form, f"v.{_quoted(name)}")
    return statement


def _quoted(name: str) -> str:
    return f'"{name}"'


def _array(kind: str) -> str:
    return f"{'DOUBLE PRECISION' if kind == 'FLOAT' else kind}[]"


def _kind(context: Any, name: str) -> str:
    found = context.compiled.binds.get(name)
    return "" if found is None else str(found.type.dialect_impl(context.dialect).compile(dialect=context.dialect))
