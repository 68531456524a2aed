"""Many rows in one statement: what SQLAlchemy would send row by row goes as one array for each column.

Without prepared statements, which a pooler between does not let through, every row would be parsed and planned anew.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Double, Float

_PARAMETER = re.compile(r"%\((\w+)\)s")
_INSERT = re.compile(r"(INSERT INTO [^()]+ \([^()]+\)) VALUES \((.+?)\)( ON CONFLICT .*)?", re.DOTALL)
_UPDATE = re.compile(r"(UPDATE \S+ SET .+) WHERE (.+)", re.DOTALL)
_KEY = "row"
"""The parameter that names a row in statements that change one."""


def in_one(statement: str, rows: Sequence[Mapping[str, Any]], context: Any) -> tuple[str, dict[str, list[Any]]] | None:
    """Return one statement that does what `statement` would with each of these rows, and its arrays.

    None where that is not known to be the same: then it must be sent row by row.
    """
    names = list(dict.fromkeys(_PARAMETER.findall(statement)))
    if not names or context.compiled is None or any(len(row) != len(names) for row in rows):
        return None
    types = {name: _type(context, name) for name in names}
    source = (
        f"unnest({', '.join(f'%({name})s::{types[name]}[]' for name in names)}) AS v({', '.join(map(_quoted, names))})"
    )
    told = _told(statement, types)
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
    real = {name for name in names if isinstance(context.compiled.binds[name].type, Double | Float)}
    return one, {name: [_cell(row[name], name in real) for row in rows] for name in names}


def _told(statement: str, types: Mapping[str, str]) -> str:
    """Return a statement with columns of `v` in place of its parameters."""
    for name, word in types.items():
        for form in (f"%({name})s::{word}", f"%({name})s"):
            statement = statement.replace(form, f"v.{_quoted(name)}")
    return statement


def _quoted(name: str) -> str:
    return f'"{name}"'


def _type(context: Any, name: str) -> str:
    kind = context.compiled.binds[name].type
    return str(kind.dialect_impl(context.dialect).compile(dialect=context.dialect))


def _cell(value: Any, real: bool) -> Any:
    return float(value) if real and value is not None else value
