"""Counting all rows of a table part by part: databases group what they are asked at once in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select

ROWS = 50_000


def spans(connection: Connection, number: ColumnElement[Any]) -> Iterator[ColumnElement[bool]]:
    """Yield conditions on the column that numbers a table's rows, by which each row is in one part, and none is empty.

    For one transaction: a row that is added meanwhile may be in none.
    """
    least = select(func.min(number))
    first = connection.execute(least).scalar_one()
    while first is not None:
        last = first + ROWS - 1
        yield number.between(first, last)
        first = connection.execute(least.where(number > last)).scalar_one()  # PostgreSQL leaves gaps of any width
