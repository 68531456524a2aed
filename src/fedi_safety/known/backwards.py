"""Lists against hashes that are stored: what a list that came today condemns of all that was judged before."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fedi_safety.core.known.types import Hit, KnownList
from fedi_safety.known.images import HIT_COLUMNS, hit_of
from fedi_safety.known.index.chunks import words
from fedi_safety.known.index.join import SLICE, Joiner
from fedi_safety.known.records import WHOLE_BITS
from fedi_safety.known.tables import PDQ

Page = TypeVar("Page")
Pages = Callable[[], Iterable[tuple[Page, NDArray[np.uint8]]]]


def join(
    connection: sqlite3.Connection, lists: dict[int, KnownList], pages: Pages[Page], *, after: int, now_s: float
) -> Iterator[tuple[Page, int, Hit]]:
    """Give each stored hash that meets an entry of these lists: its page, its position there, and the hit."""
    query = (
        f"SELECT {HIT_COLUMNS}, list, bits FROM entries WHERE kind = ? AND row > ? "
        f"AND (expires_s IS NULL OR expires_s > ?) AND list IN ({', '.join('?' * len(lists))})"
    )
    cursor = connection.execute(query, (PDQ, after, now_s, *lists))
    while entries := cursor.fetchmany(SLICE):
        yield from _slice(entries, lists, pages)


def _slice(
    entries: list[tuple[Any, ...]], lists: dict[int, KnownList], pages: Pages[Page]
) -> Iterator[tuple[Page, int, Hit]]:
    hashes = words(np.frombuffer(b"".join(entry[2] for entry in entries), np.uint8))
    within = [lists[number].distance if bits >= WHOLE_BITS else 0 for *_, number, bits in entries]
    few = Joiner(hashes, np.array(within, np.int64))
    for page, stored in pages():
        found = few.meet(words(stored))
        for position, row, distance in zip(*(column.tolist() for column in found), strict=True):
            yield page, position, hit_of(lists[entries[row][-2]], entries[row], distance)
