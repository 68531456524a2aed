"""Publishers that this instance subscribes to: read on, believed as far as they agree, and left."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from fedi_safety.app.known.compared import Current
from fedi_safety.app.known.lists import OWN, apply, find_list, keep_dismissals
from fedi_safety.app.sharing.asking import Asked
from fedi_safety.app.sharing.looking import Suspicion, suspicions
from fedi_safety.config.locations import sharing_folder
from fedi_safety.config.schema import Settings
from fedi_safety.core.errors import KnownError, SharingUsageError
from fedi_safety.core.known.types import Effect, Entry, HashKind, KnownList
from fedi_safety.core.wording.hints import hint
from fedi_safety.sharing.change import Kind, Word
from fedi_safety.sharing.minisign import PublicKey
from fedi_safety.sharing.publishers import RELEASED, Bounds, Publisher, Publishers, Read, Received
from fedi_safety.sharing.reading import Beginning, Following, Known

if TYPE_CHECKING:
    from fedi_safety.app.known.backwards import Applied
    from fedi_safety.clients.list_server import ListServer
    from fedi_safety.core.ledger.ports import WholeLedger
    from fedi_safety.known.catalog import Catalog
    from fedi_safety.sharing.reading import Publication

WAITING, ADVICE, HARMLESS = "waiting", "advice", "harmless"
"""The further lists of a publisher, each after its name and a stroke."""


@dataclass(slots=True)
class Brought:
    """What came of a publisher. `applied` is None where nothing on its lists changed; `waits` count for none yet."""

    publisher: Publisher
    read: Read
    in_force: int = 0
    waits: int = 0
    held: tuple[Suspicion, ...] = ()
    applied: Applied | None = None


def open_publishers(settings: Settings, now: Callable[[], float] = time.time) -> Publishers:
    """Return those that are subscribed to; there may be none yet."""
    return Publishers(sharing_folder(settings), now=now)


def bounds_of(settings: Settings) -> Bounds:
    """Return how much of one publisher is taken."""
    return Bounds(settings.sharing.max_entries, settings.sharing.max_entries_per_day)


def subscribe(
    settings: Settings,
    ledger: WholeLedger,
    catalog: Catalog,
    url: str,
    key: str,
    token: str,
    *,
    group: str | None = None,
    now: Callable[[], float] = time.time,
    server: ListServer | None = None,
) -> Brought:
    """Read a publisher's list for the first time, and keep both. Raises `KnownError`; then nothing is kept."""
    try:
        PublicKey.of_text(key)
    except ValueError as error:
        raise SharingUsageError(f"the key {key}", str(error), "copy it anew from the publisher") from None
    publishers = open_publishers(settings, now)
    with _asking(url, token, server, url) as asked:
        beginning = Beginning(key, asked, now(), settings.sharing.max_entries)
        name = beginning.name
        _check_new(settings, catalog, publishers, name)

        def made() -> Publisher:
            known = beginning.known
            assert known is not None
            at = now()
            told = name, url, token, group or name, known.key, known.seq, known.link, at, beginning.head.expires
            return Publisher(*told, fetched_s=at, tried_s=at)

        publisher, read = publishers.begin(made, beginning.changes(), bounds_of(settings))
    return settle(settings, ledger, catalog, publishers, publisher, read, now=now)


def fetch(
    settings: Settings,
    ledger: WholeLedger,
    catalog: Catalog,
    name: str,
    *,
    now: Callable[[], float] = time.time,
    server: ListServer | None = None,
) -> Brought:
    """Read on in a publisher's log. What is refused changes nothing and is noted; what has waited counts then, too."""
    publishers = open_publishers(settings, now)
    publisher = publishers.get(name)
    try:
        with _asking(publisher.url, publisher.token, server, name) as asked:
            following = Following(publisher.known, asked, now())
            read = publishers.read_on(
                publisher, following.changes(), lambda: _known(following), following.head.expires, bounds_of(settings)
            )
    except KnownError as error:
        publishers.failed(name, error.cause)
        settle(settings, ledger, catalog, publishers, publishers.get(name), Read(), now=now)
        raise
    return settle(settings, ledger, catalog, publishers, publishers.get(name), read, now=now)


def leave(
    settings: Settings, ledger: WholeLedger, catalog: Catalog, name: str, *, now: Callable[[], float] = time.time
) -> tuple[int, Applied]:
    """Forget a publisher, and decide anew what its entries led to; return how many these were.

    Its lists go first: what ends this between the two is done by leaving once more.
    """
    publishers = open_publishers(settings, now)
    publishers.get(name)
    for each in _names(name):
        if find_list(catalog, each) is not None:
            catalog.drop(each)
    applied = apply(settings, ledger, Current(catalog), about=name)
    return publishers.leave(name), applied


def settle(
    settings: Settings,
    ledger: WholeLedger,
    catalog: Catalog,
    publishers: Publishers,
    publisher: Publisher,
    read: Read,
    *,
    now: Callable[[], float] = time.time,
) -> Brought:
    """Bring a publisher's lists in step with its entries, and apply them to what was judged before.

    New entries are held against what is known to be harmless as they come, and again when they have waited.
    """
    done = Brought(publisher, read)
    keep_dismissals(ledger, catalog)
    sorting = _Sorting(settings, publisher, now())
    due = [each for each in publishers.received(publisher.name) if sorting.due(each)]
    held = suspicions(settings, ledger, due)
    publishers.looked(publisher.name, [each.id for each in due], {each.entry: each.why for each in held})
    done.held = tuple(held)
    # Where a process ends between changing lists and applying them, the next one goes on from this mark.
    mark = publisher.mark if publisher.mark is not None else catalog.mark()
    publishers.set_mark(publisher.name, mark)
    changed = publisher.mark is not None
    for name, known in sorting.lists(catalog).items():
        entries = (_entry(each) for each in publishers.received(publisher.name) if sorting.list_of(each) == name)
        before = find_list(catalog, name)
        changed = _put(catalog, known, before, entries) or changed
        if before is not None and before != known:  # other terms: its older entries may lead to something else now
            mark = 0
    for each in publishers.received(publisher.name):
        done.waits += sorting.list_of(each) == f"{publisher.name}/{WAITING}"
        done.in_force += sorting.list_of(each) is not None
    if changed:
        lists = [each.name for each in catalog.lists() if each.name in _names(publisher.name)]
        done.applied = apply(settings, ledger, Current(catalog, after=mark), lists, about=publisher.name)
    publishers.set_mark(publisher.name, None)
    return done


class _Sorting:
    """Says on which of a publisher's lists an entry belongs."""

    def __init__(self, settings: Settings, publisher: Publisher, now_s: float) -> None:
        self._publisher = publisher
        self._agreeing = settings.sharing.agreeing
        self._waited_since = now_s - settings.sharing.wait_s

    def waited(self, each: Received) -> bool:
        """Whether an entry's time to wait is over."""
        return each.arrived_s <= self._waited_since

    def due(self, each: Received) -> bool:
        """Whether it is to be held against what is harmless now."""
        return each.verdict == Word.CONDEMNED and not each.held and each.looked < 1 + self.waited(each)

    def list_of(self, each: Received) -> str | None:
        """Return the list that an entry belongs on; None where it does nothing."""
        name = self._publisher.name
        if each.verdict == Word.HARMLESS:
            return f"{name}/{HARMLESS}"
        if each.held not in ("", RELEASED):
            return None
        if not self.waited(each):
            return f"{name}/{WAITING}" if each.type == Kind.RECOMMENDATION else None
        return name if each.type == Kind.RECOMMENDATION else f"{name}/{ADVICE}"

    def lists(self, catalog: Catalog) -> dict[str, KnownList]:
        """Return the publisher's lists as they should be; what a person or this program made milder stays so."""
        name, origin = self._publisher.name, f"publisher {self._publisher.name}"
        told = {"origin": origin, "group": self._publisher.group, "agreeing": self._agreeing}
        fresh = {
            name: KnownList(name, Effect.BLOCK),
            f"{name}/{WAITING}": KnownList(f"{name}/{WAITING}", Effect.BLOCK, waiting=True),
            f"{name}/{ADVICE}": KnownList(f"{name}/{ADVICE}", Effect.REVIEW),
            f"{name}/{HARMLESS}": KnownList(f"{name}/{HARMLESS}", Effect.NEGATIVE),
        }
        there = {each.name: each for each in catalog.lists()}
        for each in fresh.keys() & there.keys():
            if not there[each].group:
                remedy = "drop it, or import it by another name; then fetch again"
                raise SharingUsageError(name, f"there is a list {each} that is not the publisher's", remedy)
        return {each: replace(there.get(each, known), **told) for each, known in fresh.items()}  # type: ignore[arg-type]


def _put(catalog: Catalog, known: KnownList, before: KnownList | None, entries: Iterable[Entry]) -> bool:
    """Make a list what it should be; return whether it was another. An empty one is not made."""
    given = iter(entries)
    first = list(islice(given, 1))
    if not first and before is None:
        return False
    done = catalog.put(known, chain(first, given))
    return before != known or bool(done.added or done.replaced or done.removed)


def _entry(each: Received) -> Entry:
    quality = each.quality if each.kind == HashKind.PDQ else None
    return Entry(
        HashKind(each.kind), bytes.fromhex(each.hash), each.id, each.category, float(each.seen), float(each.expires),
        quality, clip=each.clip,
    )  # fmt: skip


def _names(name: str) -> tuple[str, ...]:
    return (name, *(f"{name}/{each}" for each in (WAITING, ADVICE, HARMLESS)))


def _known(following: Following) -> Known:
    assert following.known is not None
    return following.known


def _check_new(settings: Settings, catalog: Catalog, publishers: Publishers, name: str) -> None:
    if name == settings.sharing.name:
        raise SharingUsageError(name, "is this instance's own list", "subscribe to others")
    if any(each.name == name for each in publishers.all()):
        raise SharingUsageError(name, "is subscribed to already", f"{hint('hashes leave {}', name)} ends that first")
    own = [*OWN, *(each.name for each in settings.known.sources)]
    own += [each.name for each in catalog.lists() if not each.group]
    taken = [each for each in own if each in _names(name)]
    if taken:
        raise SharingUsageError(name, f"there is a list {taken[0]} already", "drop it, or import it by another name")


@contextmanager
def _asking(url: str, token: str, server: ListServer | None, name: str) -> Iterator[Publication]:
    """Give a publisher's answers for as long as the block lasts."""
    from fedi_safety.clients.list_server import ListServer

    asked = server or ListServer(name, said=f"publisher {name}", where=hint("hashes subscribe"))
    with TemporaryDirectory(prefix="fedi-safety-shared-") as folder, asked:
        yield Asked(asked, url, token, Path(folder))


@dataclass(frozen=True, slots=True)
class Standing:
    """How a publisher stands: so many entries are in force, so many of these wait, and some are held."""

    publisher: Publisher
    in_force: int
    waits: int
    held: tuple[Received, ...]


def standings(settings: Settings, now: Callable[[], float] = time.time) -> list[Standing]:
    """Return how all publishers stand, by name."""
    publishers = open_publishers(settings, now)
    found = []
    for publisher in publishers.all():
        sorting = _Sorting(settings, publisher, now())
        in_force = waits = 0
        held = []
        for each in publishers.received(publisher.name):
            place = sorting.list_of(each)
            in_force += place is not None
            waits += place == f"{publisher.name}/{WAITING}"
            if each.held not in ("", RELEASED):
                held.append(each)
        found.append(Standing(publisher, in_force, waits, tuple(held)))
    return found


def settled(settings: Settings, ledger: WholeLedger, catalog: Catalog, name: str) -> Brought:
    """Bring a publisher's lists in step, without asking it."""
    publishers = open_publishers(settings)
    return settle(settings, ledger, catalog, publishers, publishers.get(name), Read())
