"""Counting all rows of a table part by part: databases group what they are asked at once in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select

ROWS = 50_000


def spans(connection: Connection, number: ColumnElement[Any]) -> Iterator[ColumnElement[bool]]:
    """Yield conditions on the column that numbers a table's rows from 1 on, by which each row is in one part.

    For one transaction: a row that is added meanwhile may be in none.
    """
    last = connection.execute(select(func.max(number))).scalar_one() or 0
    for first in range(1, last + 1, ROWS):
        yield number.between(first, first + ROWS - 1)
