"""Many rows, or many wanted values, in one statement: what SQLAlchemy would write out one by one goes as arrays.

Without prepared statements, which a pooler between does not let through, every row would be parsed and planned anew.
Arrays are packed here as the server takes them: psycopg's own way asks of each cell what it is.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from psycopg import Binary
from psycopg.abc import Buffer
from psycopg.adapt import Dumper
from psycopg.pq import Format

_PARAMETER = re.compile(r"%\((\w+)\)s")
_INSERT = re.compile(r"(INSERT INTO [^()]+ \([^()]+\)) VALUES \((.+?)\)( ON CONFLICT .*)?", re.DOTALL)
_UPDATE = re.compile(r"(UPDATE \S+ SET .+) WHERE (.+)", re.DOTALL)
_LIST = re.compile(r" (NOT )?IN \((%\(\w+\)s(?:::\w+)?(?:, %\(\w+\)s(?:::\w+)?)+)\)")
_KEY = "row"
"""The parameter that names a row in statements that change one."""
_MANY = 16  # values from which on an array is shorter than what it takes the place of

_NULL = b"\xff\xff\xff\xff"


def _sized(data: bytes) -> bytes:
    return struct.pack(">i", len(data)) + data


def _plain(value: bytes | Binary) -> bytes:
    """Return bytes that SQLAlchemy has wrapped as the standard of drivers wants it."""
    return bytes(value.obj) if isinstance(value, Binary) else bytes(value)


_PACKED: Mapping[str, tuple[int, Callable[[Any], bytes]]] = {
    "BIGINT": (20, lambda value: struct.pack(">iq", 8, value)),
    "INTEGER": (23, lambda value: struct.pack(">ii", 4, value)),
    "DOUBLE PRECISION": (701, lambda value: struct.pack(">id", 8, value)),
    "FLOAT": (701, lambda value: struct.pack(">id", 8, value)),
    "BOOLEAN": (16, lambda value: struct.pack(">i?", 1, value)),
    "VARCHAR": (1043, lambda value: _sized(value.encode())),
    "TEXT": (25, lambda value: _sized(value.encode())),
    "BYTEA": (17, lambda value: _sized(_plain(value))),
}
"""By a type's name: the number that PostgreSQL has for it, and what makes a cell of an array's binary form."""
_PYTHON: Mapping[type, str] = {int: "BIGINT", str: "TEXT", bytes: "BYTEA", Binary: "BYTEA"}


class Packed:
    """An array in its binary form."""

    __slots__ = ("data",)

    def __init__(self, kind: str, values: Sequence[Any]) -> None:
        """Pack values of a kind that `_PACKED` has."""
        number, cell = _PACKED[kind]
        cells = [_NULL if value is None else cell(value) for value in values]
        head = struct.pack(">iiiii", 1, any(value is None for value in values), number, len(values), 1)
        self.data = b"".join((head, *cells))


class PackedDumper(Dumper):
    """Hands a `Packed` on as it is; of what type it is says the cast beside it."""

    format = Format.BINARY

    def dump(self, obj: Packed) -> Buffer:
        """Return its bytes."""
        return obj.data


def in_one(statement: str, rows: Sequence[Mapping[str, Any]], context: Any) -> tuple[str, dict[str, Packed]] | None:
    """Return one statement that does what `statement` would with each of these rows, and its arrays.

    None where that is not known to be the same: then it must be sent row by row.
    """
    names = list(dict.fromkeys(_PARAMETER.findall(statement)))
    if not names or context.compiled is None or any(len(row) != len(names) for row in rows):
        return None
    kinds = {name: _kind(context, name) for name in names}
    if not kinds.keys() <= context.compiled.binds.keys() or not set(kinds.values()) <= _PACKED.keys():
        return None
    arrays = ", ".join(f"%({name})s::{_array(kinds[name])}" for name in names)
    source = f"unnest({arrays}) AS v({', '.join(map(_quoted, names))})"
    told = _told(statement, kinds)
    if made := _INSERT.fullmatch(told):
        into, values, further = made.groups()
        one = f"{into} SELECT {values} FROM {source}{further or ''}"
    elif (made := _UPDATE.fullmatch(told)) and told.count(" WHERE ") == 1:
        if _KEY not in names or len({row[_KEY] for row in rows}) != len(rows):
            return None  # of two changes of one row only one would be made
        changes, where = made.groups()
        one = f"{changes} FROM {source} WHERE {where}"
    else:
        return None
    return one, {name: Packed(kinds[name], [row[name] for row in rows]) for name in names}


def shorter(statement: str, parameters: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Return a statement with long lists of wanted values as arrays, and its parameters."""
    if " IN (" not in statement or len(parameters) < _MANY:
        return statement, parameters
    left = dict(parameters)

    def array(found: re.Match[str]) -> str:
        names = _PARAMETER.findall(found[2])
        values = [left.get(name) for name in names]
        kind = _PYTHON.get(type(values[0]))
        if len(names) < _MANY or kind is None or _kinds(values) != {type(values[0])}:
            return found[0]
        for name in names[1:]:
            left.pop(name, None)
        left[names[0]] = Packed(kind, values)
        return f" {'<> ALL' if found[1] else '= ANY'} (%({names[0]})s::{kind}[])"

    return _LIST.sub(array, statement), left


def _kinds(values: Iterable[Any]) -> set[type]:
    return set(map(type, values))


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
