"""Lists against hashes that are stored: what a list that came today condemns of all that was judged before."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fedi_safety.core.known.types import PDQ_BYTES, TURNS, Hit, KnownList
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
    """Compare with these entries in every turn: of a picture one hash is stored, the upright one."""
    within = [lists[number].distance if bits >= WHOLE_BITS else 0 for *_, number, bits in entries]
    hashes = np.frombuffer(b"".join(entry[2] for entry in entries), np.uint8).reshape(-1, PDQ_BYTES)
    few = Joiner(hashes, np.array(within, np.int64))
    for page, stored in pages():
        nearest: dict[tuple[int, int], tuple[int, int]] = {}
        met = few.meet(words(stored))
        for position, entry, *how in zip(*(column.tolist() for column in met), strict=True):
            distance, turn = how
            known = nearest.get((position, entry))
            nearest[position, entry] = (distance, turn) if known is None else min(known, (distance, turn))
        for (position, entry), (distance, turn) in nearest.items():
            hit = hit_of(lists[entries[entry][-2]], entries[entry], distance)
            yield page, position, replace(hit, turn=TURNS[turn])
