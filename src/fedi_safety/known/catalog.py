"""The lists of known images that an operator has: taken in, changed, dropped, read out, searched.

Each change is one transaction: a process that is killed, or a disk that is full, leaves the lists and the index as they
were. What a hit means is not decided here, and no file's format is known.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from fedi_safety.core import sqlite_files
from fedi_safety.core.errors import KnownError, KnownUsageError
from fedi_safety.core.known.types import Entry, HashKind, Hit, KnownList
from fedi_safety.core.wording.hints import hint
from fedi_safety.known import backwards, changes, ending, progress, staging, tables, upkeep
from fedi_safety.known.backwards import Page, Pages
from fedi_safety.known.images import Images
from fedi_safety.known.progress import SourceState
from fedi_safety.known.records import WHOLE_BITS, Imported, ListStatistics, Refusal, Withdrawn

MOST_DISTANCE = 64
"""The widest that a list may ask for: at 84 of 256 bits distinct photographs begin to match each other."""

_WAIT_S = 120.0
_NAME_CHARACTERS = 100
_AT_ONCE = 1_000
_RACES = 10


class Catalog:
    """The lists in a folder. Nothing is made there before the first list is put into it.

    Several threads and processes may use it at once: those who change wait for each other, up to `wait_s` seconds, and
    those who read never wait. `now` gives seconds since 1970. All methods raise `KnownError`.
    """

    def __init__(self, folder: Path, *, now: Callable[[], float] = time.time, wait_s: float = _WAIT_S) -> None:
        """Open nothing yet."""
        self._folder = folder
        self._path = folder / tables.FILE
        self._now = now
        self._wait_s = wait_s
        self._lock = threading.Lock()
        self._writer: sqlite3.Connection | None = None

    def __enter__(self) -> Catalog:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            if self._writer is not None:
                self._writer.close()
                self._writer = None

    def images(self, *, expected: bool = False) -> Images:
        """Return an open reader of all lists, which sees what changes.

        Where lists are `expected`, and there never were any in the folder, that is an error and not none.
        """
        return Images(self._folder, now=self._now, expected=expected)

    def lists(self) -> tuple[KnownList, ...]:
        """Return the lists, by their names; those that have expired as well."""
        with self._reading() as connection:
            if connection is None:
                return ()
            found = connection.execute(f"SELECT {tables.LIST_COLUMNS} FROM lists ORDER BY name")
            return tuple(tables.list_of(row) for row in found)

    def statistics(self) -> tuple[ListStatistics, ...]:
        """Return how much is on each list, by their names. Counts every entry: seconds for ten million."""
        with self._reading() as connection:
            if connection is None:
                return ()
            lists = connection.execute(
                f"SELECT number, changed_s, {tables.LIST_COLUMNS} FROM lists ORDER BY name"
            ).fetchall()
            return tuple(self._statistics(connection, row) for row in lists)

    @property
    def exists(self) -> bool:
        """Whether there ever was a list here, one that was dropped since as well. Raises `KnownError`."""
        with tables.explained(self._path):
            return tables.identity(self._path) is not None

    def begin(self) -> None:
        """Make the folder for lists where there is none. What had met lists that are not there meets none then."""
        with self._changing():
            pass

    def ended(self, ledger: str) -> bool:
        """Whether a list or an entry ended since `note_ended` for this ledger."""
        with self._reading() as connection:
            return connection is not None and ending.any_ended(connection, ledger, self._now())

    def next_end(self) -> float | None:
        """Return when the next list or entry ends, in seconds since 1970; None where none does."""
        with self._reading() as connection:
            return None if connection is None else ending.next_end(connection, self._now())

    def note_ended(self, ledger: str, until_s: float) -> None:
        """Note that what ended up to then was applied to what this ledger has."""
        with self._changing() as connection, tables.explained(self._path), sqlite_files.writing(connection):
            ending.note(connection, ledger, until_s)

    def check(self, known_list: KnownList) -> None:
        """Refuse what cannot be put: a list with impossible terms, or one that is fetched. Raises `KnownUsageError`."""
        _check(known_list)
        if self.sources(known_list.name):
            raise KnownUsageError(
                known_list.name, "that list is fetched from a source", "give the file's list another name"
            )

    def put(self, known_list: KnownList, items: Iterable[Entry | Withdrawn], *, some: bool = False) -> Imported:
        """Make this list what is given, in the place of whatever was on it; entries that stay keep their place.

        An entry is named by its kind, clip and id, or by its hash where it has no id; of several with one name the last
        one counts, and none that is taken back. Blank pictures and hashes of the wrong length are refused and counted,
        not an error. With `some` it is one if nothing at all is left. A list that is fetched from a source takes
        nothing else.
        """
        self.check(known_list)
        with self._changing() as connection:
            refused = staging.stage(connection, items, self._path)
            return self._apply(connection, known_list, refused, whole=True, some=some)

    def change(self, name: str, added: Iterable[Entry], removed: Iterable[Entry] = ()) -> Imported:
        """Take entries off a list, then put others onto it; `removed` need only name theirs. The list must be there."""
        with self._changing() as connection:
            gone = (Withdrawn(each.id, kind=each.kind, hash=each.hash, clip=each.clip) for each in removed)
            refused = staging.stage(connection, chain(gone, added), self._path)
            return self._apply(connection, name, refused, whole=False)

    def sources(self, name: str | None = None) -> tuple[SourceState, ...]:
        """Return how far the lists' sources were read, or one list's, by their names."""
        with self._reading() as connection:
            return () if connection is None else tuple(progress.states(connection, name))

    def absorb(
        self,
        known_list: KnownList,
        items: Iterable[Entry | Withdrawn],
        reached: Callable[[], SourceState],
        *,
        after: str = "",
        whole: bool = False,
        some: bool = False,
    ) -> Imported:
        """Bring onto a list what its source gave, and keep how far that was, in one step: both or nothing.

        `items` are taken in their order; what is withdrawn goes. With `whole` they are all of the list from now on.
        `reached` is asked once they are at an end. Refused where the source was read on from `after` by somebody else,
        and with `some` where nothing at all is left of them.
        """
        _check(known_list)
        with self._changing() as connection:
            refused = staging.stage(connection, items, self._path)
            return self._apply(connection, known_list, refused, whole=whole, some=some, source=(after, reached()))

    def note(self, name: str, change: Callable[[SourceState | None], SourceState]) -> None:
        """Keep how a source is where no entry comes with it: what `change` makes of it, None where nothing is kept."""
        with self._changing() as connection, tables.explained(self._path), sqlite_files.writing(connection):
            progress.write(connection, change(next(iter(progress.states(connection, name)), None)))

    def describe(self, known_list: KnownList) -> None:
        """Change what a list does and says of itself; its entries stay. The list must be there."""
        _check(known_list)
        with self._changing() as connection, tables.explained(self._path), sqlite_files.writing(connection):
            self._number(connection, known_list.name)
            if known_list.redistribute and any(each.agreement for each in progress.states(connection, known_list.name)):
                raise KnownUsageError(known_list.name, "it is had under an agreement", "such a list is not passed on")
            self._describe(connection, known_list)

    def drop(self, name: str) -> int:
        """Remove a list with all of its entries; return how many these were. The list must be there."""
        with self._changing() as connection:
            staging.stage(connection, (), self._path)
            return self._apply(connection, name, Counter(), whole=True, drop=True).removed

    def mark(self) -> int:
        """Return where the lists end now: what is put onto them afterwards comes `after` it."""
        with self._reading() as connection:
            if connection is None:
                return 0
            (last,) = connection.execute(
                "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'entries'"
            ).fetchone()
            return int(last)

    def entries(self, name: str, *, after: int = 0, kind: HashKind | None = None) -> Iterator[Entry]:
        """Give a list's entries, in no particular order, or those that came `after` a mark. The list must be there."""
        with self._reading() as connection:
            if connection is None:
                raise _no_list(name)
            number = self._number(connection, name)
            query = f"SELECT {tables.ENTRY_COLUMNS} FROM entries WHERE list = ? AND row > ?"
            values = [number, after]
            if kind is not None:
                query += " AND kind = ?"
                values.append(tables.NUMBERS[kind])
            for row in connection.execute(query, values):
                yield tables.entry_of(row)

    def called(self, name: str, wanted: Sequence[str]) -> Iterator[Entry]:
        """Give the PDQs of a list that hits name so, those of clips by their clip's name. The list must be there."""
        with self._reading() as connection:
            if connection is None:
                raise _no_list(name)
            number = self._number(connection, name)
            for first in range(0, len(wanted), _AT_ONCE):
                yield from tables.called(connection, number, wanted[first : first + _AT_ONCE])

    def join(self, pages: Pages[Page], *, name: str | None = None, after: int = 0) -> Iterator[tuple[Page, int, Hit]]:
        """Give each stored PDQ that meets an entry of a list, or of all: its page, its position there, and the hit.

        Turned and mirrored it meets one too, as far as its bits alone tell; see `index.turned`.

        `pages` gives anew, each time that it is called, all pages with their hashes, rows of 32 bytes; it is called
        once for every 32,768 entries. `after` a mark only what was put onto the lists since then is compared. Exact
        within each list's distance; lists and entries that have expired meet nothing. Memory does not grow with the
        pages.
        """
        with self._reading() as connection:
            if connection is not None:
                query = f"SELECT number, {tables.LIST_COLUMNS} FROM lists"
                lists = {number: tables.list_of(tuple(row)) for number, *row in connection.execute(query)}
                if name is not None:
                    number = self._number(connection, name)
                    lists = {number: lists[number]}
                now_s = self._now()
                live = {n: each for n, each in lists.items() if each.expires_s is None or each.expires_s > now_s}
                yield from backwards.join(connection, live, pages, after=after, now_s=now_s)

    def merge(self) -> bool:
        """Merge what has become many in the index, which makes look-ups quick; return whether there was any.

        Readers do not wait meanwhile, writers do: about a second for each million hashes.
        """
        with self._changing() as connection, tables.explained(self._path), sqlite_files.writing(connection):
            return upkeep.merge(connection, self._folder)

    def verify(self, *, repair: bool = False) -> tuple[KnownError, ...]:
        """Read everything, and return what is wrong with it. With `repair` a damaged index is made anew."""
        with self._reading() as connection:
            if connection is None:
                return ()
            (said,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if said != "ok":
                return (KnownError(str(self._path), f"is damaged: {said}", tables.RESTORE),)
        wrong = self._damage()
        if wrong and repair:
            with self._changing() as connection, tables.explained(self._path), sqlite_files.writing(connection):
                upkeep.rebuild(connection, self._folder)
            wrong = self._damage()
        return wrong

    def _damage(self) -> tuple[KnownError, ...]:
        """Return what is wrong with the index; what another process merged away meanwhile is not."""
        wrong: tuple[KnownError, ...] = ()
        for _ in range(_RACES):
            with self._reading() as connection:
                if connection is None:
                    return ()
                parts = upkeep.parts(connection)
                wrong = tuple(upkeep.verify(connection, self._folder))
            with self._reading() as connection:
                if not wrong or connection is None or upkeep.parts(connection) == parts:
                    break
        return wrong

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection | None]:
        """Give a connection that sees one state; None where there never was a list."""
        connection = tables.connect(self._folder, wait_s=self._wait_s)
        if connection is None:
            yield None
            return
        try:
            with tables.explained(self._path), tables.reading(connection):
                yield connection
        finally:
            connection.close()

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """Give the connection that changes; what it replaced in the index is gone afterwards."""
        with self._lock:
            if self._writer is None:
                self._writer = tables.create(self._folder, wait_s=self._wait_s)
            with ExitStack() as said:
                with tables.explained(self._path):
                    said.enter_context(changes.changing(self._folder))
                try:
                    yield self._writer
                finally:
                    # What was committed is, whether or not this succeeds; the next change tries again.
                    with suppress(sqlite3.Error, OSError):
                        staging.clear(self._writer)
                        with sqlite_files.writing(self._writer):
                            upkeep.sweep(self._writer, self._folder)

    def _apply(
        self,
        connection: sqlite3.Connection,
        target: KnownList | str,
        refused: Counter[Refusal],
        *,
        whole: bool,
        some: bool = False,
        drop: bool = False,
        source: tuple[str, SourceState] | None = None,
    ) -> Imported:
        with tables.explained(self._path):
            doubled, withdrawn = staging.unique(connection)
            with sqlite_files.writing(connection):
                changed = False
                if isinstance(target, KnownList):
                    changed = self._describe(connection, target)
                number = self._number(connection, target.name if isinstance(target, KnownList) else target)
                done = staging.apply(connection, number, whole=whole)
                if some and not done.accepted:
                    name = target.name if isinstance(target, KnownList) else target
                    raise KnownUsageError(name, _nothing(refused, withdrawn), "the lists are as they were")
                upkeep.extend(connection, self._folder, done.fresh)
                if source is not None:
                    self._reach(connection, *source, done)
                if drop:
                    connection.execute("DELETE FROM lists WHERE number = ?", (number,))
                    progress.forget(connection, str(target))
                else:
                    self._touch(connection, number, changed or done.fresh or done.gone)
        return Imported(done.accepted, done.added, done.replaced + doubled, done.removed, withdrawn, dict(refused))

    def _reach(self, connection: sqlite3.Connection, after: str, state: SourceState, done: staging.Applied) -> None:
        """Keep how far a source was read. Raises `KnownError` if that was not from where it had been read to."""
        before = progress.states(connection, state.name)
        if before and before[0].checkpoint != after:
            raise KnownError(state.name, "another process fetched it meanwhile", "nothing is lost; fetch it again")
        pending = state.pending or bool(done.fresh or done.gone)
        progress.write(connection, replace(state, pending=pending))

    def _number(self, connection: sqlite3.Connection, name: str) -> int:
        found = connection.execute("SELECT number FROM lists WHERE name = ?", (name,)).fetchone()
        if found is None:
            raise _no_list(name)
        return int(found[0])

    def _describe(self, connection: sqlite3.Connection, known_list: KnownList) -> bool:
        """Write a list's own row; return whether it says something else than before."""
        columns = tables.LIST_COLUMNS
        row = tables.list_row(known_list)
        query = f"SELECT {columns} FROM lists WHERE name = ?"
        if connection.execute(query, (known_list.name,)).fetchone() == row:
            return False
        places = ", ".join("?" * len(row))
        said = ", ".join(f"{column} = excluded.{column}" for column in columns.split(", ") if column != "name")
        connection.execute(
            f"INSERT INTO lists ({columns}, changed_s, revision) VALUES ({places}, 0, 0) "
            f"ON CONFLICT (name) DO UPDATE SET {said}",
            row,
        )
        self._touch(connection, self._number(connection, known_list.name), True)
        return True

    def _touch(self, connection: sqlite3.Connection, number: int, differs: object) -> None:
        """Note when a list was changed, and by a new revision that it is not what it was."""
        connection.execute("UPDATE lists SET changed_s = ? WHERE number = ?", (self._now(), number))
        if differs:
            connection.execute("UPDATE state SET revision = revision + 1")
            query = "UPDATE lists SET revision = (SELECT revision FROM state) WHERE number = ?"
            connection.execute(query, (number,))

    def _statistics(self, connection: sqlite3.Connection, row: tuple[Any, ...]) -> ListStatistics:
        number, changed_s, *columns = row
        counted = connection.execute(
            "SELECT kind, count(*), sum(bits < ?), sum(expires_s <= ?) FROM entries WHERE list = ? GROUP BY kind",
            (WHOLE_BITS, self._now(), number),
        ).fetchall()
        return ListStatistics(
            tables.list_of(tuple(columns)),
            changed_s,
            {tables.KINDS[kind]: count for kind, count, _, _ in counted},
            exact_only=sum(few or 0 for _, _, few, _ in counted),
            expired=sum(expired or 0 for _, _, _, expired in counted),
        )


def _nothing(refused: Counter[Refusal], withdrawn: int) -> str:
    """Return why nothing of what was given is on a list."""
    if not refused:
        return f"all that was given is taken back in it ({withdrawn})" if withdrawn else "nothing was given"
    refusal, count = refused.most_common(1)[0]
    return f"nothing that was given can be on it: {count} refused, {refusal.value}"


def _no_list(name: str) -> KnownUsageError:
    return KnownUsageError(name, "there is no such list", f"{hint('hashes list')} names those there are")


def _check(known_list: KnownList) -> None:
    """Refuse a list that cannot be kept or would match anything. Raises `KnownUsageError`."""
    name = known_list.name
    if not name.strip() or not name.isprintable() or len(name) > _NAME_CHARACTERS:
        cause = f"a list's name has 1 to {_NAME_CHARACTERS} printable characters"
        raise KnownUsageError(name or "list", cause, "give it a short name")
    if not 0 <= known_list.distance <= MOST_DISTANCE:
        cause = f"distance {known_list.distance} is not from 0 to {MOST_DISTANCE} bits"
        raise KnownUsageError(name, cause, "31 is what those who publish such lists recommend")
    if not 0 < known_list.share <= 1:
        raise KnownUsageError(name, f"share {known_list.share} is not above 0 and at most 1", "0.8 is usual")
