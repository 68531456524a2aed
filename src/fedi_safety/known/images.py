"""All lists as they are now, asked while something is judged: an open reader that is a `KnownImages`.

It looks at each call whether another process changed the lists. What cannot be read is never taken for no hit.
"""

from __future__ import annotations

import hashlib
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fedi_safety.core.classes import dataclass
from fedi_safety.core.enums import Reason
from fedi_safety.core.errors import KnownError, Unscannable
from fedi_safety.core.known.types import BY_SUREST, PDQ_BITS, SURE_BITS, HashKind, Hit, KnownList
from fedi_safety.core.types import Fingerprints
from fedi_safety.core.wording.hints import hint
from fedi_safety.known import changes, tables, upkeep
from fedi_safety.known.index import segment
from fedi_safety.known.index.chunks import RADIUS, Numbers, Words, words
from fedi_safety.known.index.descriptors import meet, rows_of
from fedi_safety.known.index.segment import Segment
from fedi_safety.known.records import WHOLE_BITS

MOST_HITS = 100
"""So many pictures of one list are named for one picture, the nearest ones; every list that has one is named."""

MOST_CLIPS = 10_000
"""Of so many clips of one list a frame is named for one picture, the nearest one of each."""

GONE = "is not there any more, and there were lists"


def begin_anew() -> str:
    """Return what a person is to do about lists that are gone."""
    return f"bring the folder back, import lists again, or begin without any: {hint('hashes verify --repair')}"


_WAIT_S = 30.0
_RACES = 10
_AT_ONCE = 10_000
_EXACT = (HashKind.SHA256, HashKind.SHA1, HashKind.MD5)
Answer = TypeVar("Answer")
_COLUMNS = ("query", "list", "row", "distance", "by the surest bits")
_NOTHING = np.empty((0, len(_COLUMNS)), np.int64)
_Described = tuple[NDArray[np.int64], NDArray[np.uint8]]
HIT_COLUMNS = "row, kind, hash, id, clip, expires_s"


@dataclass(frozen=True, slots=True)
class View:
    """The lists as they were at one moment, by their numbers in the tables, and the index of that moment."""

    lists: dict[int, KnownList]
    digest: str
    parts: tuple[upkeep.Part, ...] = ()
    index: tuple[Segment, ...] = ()

    def live(self, now_s: float) -> dict[int, KnownList]:
        """Return the lists that have not expired."""
        return {n: found for n, found in self.lists.items() if found.expires_s is None or found.expires_s > now_s}


class Images:
    """The lists in a folder, open for reading. `now` gives seconds since 1970, for what expires.

    Where lists are `expected`, a folder without any says nothing of what is on them: it is gone, or not mounted.
    """

    def __init__(self, folder: Path, *, now: Callable[[], float] = time.time, expected: bool = False) -> None:
        """Open nothing yet: where there is no list now there may be one later."""
        self._expected = expected
        self._folder = folder
        self._path = folder / tables.FILE
        self._explained = tables.explained(self._path)
        self._now = now
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._word: changes.Word | None = None
        self._known: bytes | None = None  # the word by which `_version` is of now
        self._asked_s = 0.0
        self._version = -1
        self._view = View({}, _digest([]))
        self._checked: dict[str, KnownError | None] = {}
        self._descriptors: tuple[View | None, dict[tuple[int, str], _Described]] = None, {}

    def close(self) -> None:
        """Let go of the files."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            if self._word is not None:
                self._word.close()
                self._word = None

    @property
    def digest(self) -> str:
        """A short name of the lists and all of their entries, which changes with them. Raises `Unscannable`."""
        with _unscannable:
            return self.view().digest

    @property
    def empty(self) -> bool:
        """Whether there is no list that could be met now. Raises `Unscannable` where the lists cannot be read."""
        with _unscannable:
            return not self.view().live(self._now())

    def exact(self, fingerprints: Fingerprints) -> list[Hit]:
        """Return every entry with one of these hashes. Raises `Unscannable` where the lists cannot be read."""
        hashes = {
            HashKind.SHA256: fingerprints.sha256,
            HashKind.SHA1: fingerprints.sha1,
            HashKind.MD5: fingerprints.md5,
        }

        def asked(view: View) -> tuple[list[Hit], bool]:
            live = view.live(self._now())
            return [hit for number in live for hit in self._exact(number, live[number], hashes)], bool(live)

        return self._steady(self.view, asked)

    def near(self, hashes: NDArray[np.uint8], surest: NDArray[np.uint8] | None = None) -> list[Sequence[Hit]]:
        """Return for each PDQ, a row of 32 bytes, the entries within their list's distance, the nearest first.

        Exact within the distance: no list is missed that has such an entry, and no listed clip that has such a frame.
        `surest` tells which `SURE_BITS` of each hash hang least on details: what differs by up to half as much again
        as its list allows, and in these by their part of that alone, is met too, if it shares a chunk of the index.
        Its distance is that of the surest bits, as of 256, and its `turn` says so.

        Of one list at most `MOST_HITS` pictures are named, however many frames of clips are nearer, and of clips one
        frame each. Raises `Unscannable` where the lists cannot be read.
        """
        asked = words(hashes), None if surest is None else words(surest)
        return self._steady(self._whole, partial(self._near, *asked))

    def _steady(self, seen: Callable[[], View], asked: Callable[[View], tuple[Answer, bool]]) -> Answer:
        """Return what is asked of the lists as they are `seen`; once more where they changed before it was answered.

        An entry that is written anew is another row: by the index of before and the tables of now it would be missed.
        With its answer `asked` says whether it read the tables; what the index alone says is of one moment.
        """
        with _unscannable:
            for _ in range(_RACES):
                view = seen()
                answer, read = asked(view)
                if not read or self.view() is view:
                    return answer
            raise KnownError(str(self._path), "changes faster than it can be read", "try again when that is over")

    def _near(self, asked: Words, surest: Words | None, view: View) -> tuple[list[Sequence[Hit]], bool]:
        live = view.live(self._now())
        columns = [self._found(part, asked, surest, live) for part in view.index] if live and len(asked) else []
        columns = [found for found in columns if len(found)]
        if not columns:
            return [[] for _ in range(len(asked))], False
        hits: list[list[Hit]] = [[] for _ in range(len(asked))]
        for query, number, rows, distances, sure in _groups(columns):
            hits[query] += _bounded(self._hits(live[number], rows, distances, sure))
        return [sorted(found, key=lambda hit: (hit.distance, hit.list, hit.entry)) for found in hits], True

    def alike(self, descriptors: NDArray[np.uint8], model: str, distance: int) -> list[Sequence[Hit]]:
        """Return for each descriptor, a row of 64 bytes, the entries that this model made within the distance.

        Every one is compared: they are of an operator's own removals and dismissals, of which there are thousands.
        Raises `Unscannable` where the lists cannot be read.
        """
        return self._steady(self.view, partial(self._alike, descriptors, model, distance))

    def _alike(
        self, asked: NDArray[np.uint8], model: str, distance: int, view: View
    ) -> tuple[list[Sequence[Hit]], bool]:
        hits: list[list[Hit]] = [[] for _ in range(len(asked))]
        for number, known_list in view.live(self._now()).items():
            rows, stored = self._described(view, number, model)
            met = [
                np.stack([query, np.full(len(query), number), rows[place], off, np.zeros_like(off)], axis=1)
                for query, place, off in meet(asked, stored, distance)
            ]
            for query, _, *some in _groups([found for found in met if len(found)]):
                hits[query] += _bounded(self._hits(known_list, *some))
        return [sorted(found, key=lambda hit: (hit.distance, hit.list, hit.entry)) for found in hits], True

    def _described(self, view: View, number: int, model: str) -> _Described:
        """Return a list's entries that a model made, by their rows; read once for each state of the lists."""
        entries = "SELECT row, hash FROM entries WHERE list = ? AND kind = ? AND category = ?"
        query = f"{entries} AND row > ? ORDER BY row LIMIT ?"
        with self._lock:
            if self._descriptors[0] is not view:
                self._descriptors = view, {}
            known = self._descriptors[1]
            if (number, model) not in known:
                rows, stored, after = [np.empty(0, np.int64)], [rows_of(b"")], -1
                while some := self._select(query, (number, tables.NUMBERS[HashKind.NEAR], model, after, _AT_ONCE)):
                    after = some[-1][0]
                    rows.append(np.array([row for row, _ in some], np.int64))
                    stored.append(rows_of(b"".join([bits for _, bits in some])))
                known[number, model] = np.concatenate(rows), np.concatenate(stored)
            return known[number, model]

    def view(self) -> View:
        """Return the lists as they are now. Raises `KnownError`."""
        with self._lock, self._explained:
            identity = tables.identity(self._path)
            if identity is None and (self._expected or self._identity is not None):
                raise KnownError(str(self._path), GONE, begin_anew())
            if identity != self._identity or (self._connection is None and identity is not None):
                self.close()
                self._connection = tables.connect(self._folder, wait_s=_WAIT_S)
                self._version, self._known = -1, None
                if self._connection is not None:
                    self._identity = identity
                    self._word = changes.Word(self._folder)
            if self._connection is None or self._word is None:
                return self._view
            word, now_s = self._word.read(), time.monotonic()
            if word is not None and word == self._known and now_s - self._asked_s < changes.BELIEVED_S:
                return self._view
            (version,) = self._connection.execute("PRAGMA data_version").fetchone()
            if version != self._version:
                self._view = self._load(self._connection)
                self._version = version
            self._known, self._asked_s = word, now_s
            return self._view

    def _load(self, connection: sqlite3.Connection) -> View:
        """Read lists and index of one moment: anew if a segment was merged away between the two."""
        had = dict(zip((part.folder for part in self._view.parts), self._view.index, strict=False))
        for attempt in range(_RACES):
            with tables.reading(connection):
                query = f"SELECT number, revision, {tables.LIST_COLUMNS} FROM lists ORDER BY name"
                lists = connection.execute(query).fetchall()
                parts = upkeep.parts(connection)
                loose = upkeep.loose_rows(connection)
            try:
                index = [
                    had[part.folder] if part.folder in had else segment.read(self._folder / upkeep.FOLDER / part.folder)
                    for part in parts
                ]
            except KnownError:
                if attempt == _RACES - 1 or parts == upkeep.parts(connection):
                    raise
                continue
            if len(loose[0]):
                index.append(segment.loose(*loose))
            self._checked = {part.folder: self._checked[part.folder] for part in parts if part.folder in self._checked}
            named = {number: tables.list_of(tuple(columns)) for number, _, *columns in lists}
            return View(named, _digest(lists), tuple(parts), tuple(index))
        raise AssertionError("unreachable")

    def _whole(self) -> View:
        """Return the lists as they are now, with every segment of the index read once and found whole."""
        with self._lock:
            view = self.view()
            while (damage := next(filter(None, map(self._damage, view.parts)), None)) is not None:
                before, view = view, self.view()
                if view.parts == before.parts:  # else it was merged away while it was read
                    raise damage
            return view

    def _damage(self, part: upkeep.Part) -> KnownError | None:
        """Return what is wrong with a segment, which is read once."""
        if part.folder not in self._checked:
            try:
                segment.check(self._folder / upkeep.FOLDER / part.folder, part.checksums)
                self._checked[part.folder] = None
            except KnownError as error:
                self._checked[part.folder] = error
        return self._checked[part.folder]

    def _found(
        self, part: Segment, asked: Words, surest: Words | None, live: dict[int, KnownList]
    ) -> NDArray[np.int64]:
        """Return what of one segment is near enough to the queries by its list: as `_COLUMNS`."""
        wide = {number: found.distance for number, found in live.items() if found.distance > RADIUS}
        found = part.near(asked, wide)
        if not len(found.row):
            return _NOTHING
        rows, lists = part.rows_of(found.row)
        within = np.full(len(rows), -1)
        for number, known_list in live.items():
            within[lists == number] = known_list.distance
        within[part.bits(found.row) < WHOLE_BITS] = 0
        distance, sure = found.distance.copy(), np.zeros(len(rows), np.int64)
        beyond = np.flatnonzero((distance > within) & (distance <= within + within // 2))
        if surest is not None and len(beyond):
            query = found.query[beyond]
            differing = (part.words(found.row[beyond]) ^ asked[query]) & surest[query]
            distance[beyond] = -(-np.bitwise_count(differing).sum(axis=1, dtype=np.int64) * PDQ_BITS // SURE_BITS)
            sure[beyond] = 1
        return np.stack([found.query, lists, rows, distance, sure], axis=1)[distance <= within]

    def _exact(self, number: int, known_list: KnownList, hashes: dict[HashKind, bytes]) -> Iterator[Hit]:
        query = (
            f"SELECT {HIT_COLUMNS} FROM entries WHERE hash IN (?, ?, ?) AND list = ? AND kind <> {tables.PDQ} "
            "AND (expires_s IS NULL OR expires_s > ?) LIMIT ?"
        )
        values = (*(hashes[kind] for kind in _EXACT), number, self._now(), MOST_HITS)
        for row in self._select(query, values):
            yield hit_of(known_list, row, 0)

    def _hits(self, known_list: KnownList, rows: Numbers, distances: Numbers, sure: Numbers) -> Iterator[Hit]:
        """Give the entries of these rows of one list that are still there and have not expired, in the order given."""
        now_s = self._now()
        for first in range(0, len(rows), MOST_HITS):
            some = rows[first : first + MOST_HITS].tolist()
            query = f"SELECT {HIT_COLUMNS} FROM entries WHERE row IN ({', '.join('?' * len(some))})"
            found = {row[0]: row for row in self._select(query, some)}
            how = (column[first : first + MOST_HITS].tolist() for column in (distances, sure))
            for number, distance, surest in zip(some, *how, strict=True):
                row = found.get(number)
                if row is not None and (row[5] is None or row[5] > now_s):
                    hit = hit_of(known_list, row, distance)
                    yield replace(hit, turn=BY_SUREST) if surest else hit

    def _select(self, query: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        with self._lock, self._explained:
            if self._connection is None:
                raise KnownError(str(self._path), "is closed")
            return self._connection.execute(query, values).fetchall()


def _groups(columns: list[NDArray[np.int64]]) -> Iterator[tuple[int, int, Numbers, Numbers, Numbers]]:
    """Give for each query and list what was found, the nearest first: its columns, of the first two the one value."""
    if not columns:
        return
    found = np.concatenate(columns)
    query, lists, rows, distances, sure = found[np.lexsort((found[:, 2], found[:, 3], found[:, 1], found[:, 0]))].T
    starts = np.flatnonzero(np.diff(query, prepend=-1) | np.diff(lists, prepend=-1))
    for first, last in zip(starts, [*starts[1:], len(query)], strict=True):
        yield int(query[first]), int(lists[first]), rows[first:last], distances[first:last], sure[first:last]


def _bounded(hits: Iterable[Hit]) -> Iterator[Hit]:
    """Give of one list's hits, the nearest first, so many that none is hidden by others that decide something else.

    A picture is met by any one of its entries; a clip by a frame for each of the content's, so that one suffices.
    """
    pictures = 0
    clips: set[str] = set()
    for hit in hits:
        if hit.clip:
            if hit.clip not in clips and len(clips) < MOST_CLIPS:
                clips.add(hit.clip)
                yield hit
        elif pictures < MOST_HITS:
            pictures += 1
            yield hit


def hit_of(known_list: KnownList, row: Sequence[Any], distance: int) -> Hit:
    """Return the hit of a row that begins with `HIT_COLUMNS`. An entry without an id is named by its hash."""
    _, kind, value, name, clip, *_ = row
    share = known_list.share if clip else 0.0
    entry = name or value.hex()
    return Hit(
        known_list.name, known_list.effect, entry, tables.KINDS[kind], distance, clip=clip, share=share,
        group=known_list.group, agreeing=known_list.agreeing, waiting=known_list.waiting,
    )  # fmt: skip


def _digest(lists: list[tuple[object, ...]]) -> str:
    return hashlib.sha256(repr(lists).encode()).hexdigest()[:16]


class _Unscannable:
    """Says of the content in hand that it could not be judged, where the lists cannot be read."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, KnownError):
            raise Unscannable(Reason.DETECTOR_FAILED, error.line()) from error


_unscannable = _Unscannable()
