"""What a kind of source is, what it is told when it is asked, and what it answers with. Nothing here reads or sends."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedi_safety.core.errors import KnownError, KnownUsageError
from fedi_safety.core.known.types import DISTANCE, Effect, HashKind
from fedi_safety.known.formats.items import Item, ReadFn
from fedi_safety.known.formats.items import Source as FileSource
from fedi_safety.known.formats.json_stream import elements

if TYPE_CHECKING:
    from fedi_safety.clients.list_server import ListServer

MOST_PAGES = 100_000
"""So many answers are asked for in one fetch: at a thousand entries each, more than anybody publishes."""


@dataclass(frozen=True, slots=True)
class ListSource:
    """A source as it is configured. Its list has its name.

    `credentials` gives the secret in the words of its kind, read when it is needed, and empty where there is none.
    `effect`, `distance` and `redistribute` are what its list is made with. `every_s` is how often it is fetched.
    """

    name: str
    kind: str
    url: str
    effect: Effect = Effect.BLOCK
    distance: int = DISTANCE
    redistribute: bool = False
    every_s: float = 3600.0
    categories: tuple[str, ...] = ()
    format: str | None = None
    hash_kind: HashKind | None = None
    credentials: Callable[[], str] = field(default=str)

    @property
    def place(self) -> str:
        """What is asked, as a text: where it is another, what was read before counts for nothing."""
        said = (self.kind, self.url, *sorted(self.categories), self.format or "", self.hash_kind or "")
        return " ".join(said)

    @property
    def terms(self) -> str:
        """What its list is made with, as a text."""
        return f"{self.effect.value} {self.distance} {self.redistribute}"


@dataclass(frozen=True, slots=True)
class Page:
    """One answer: its items, in order, read as they are asked for.

    With a `checkpoint` the next fetch may go on from there once this and all pages before it are on the list. With
    `whole` this page is all of the list.
    """

    items: Iterable[Item]
    checkpoint: str | None = None
    whole: bool = False


@dataclass(slots=True)
class Asking:
    """One fetch, as a kind is told of it: the source, and after which `checkpoint` to go on; empty means all.

    Answers go into `folder`, which is gone afterwards. `own` gives hashes of stored pictures with the mark after which
    to go on; it is asked by kinds alone that send them, and these count what they tell. `now_s` is when the fetch
    began.
    """

    source: ListSource
    checkpoint: str
    server: ListServer
    folder: Path
    now_s: float
    own: Callable[[str], Iterator[tuple[str, bytes]]] = lambda _after: iter(())
    calls: int = 0
    sent: int = 0
    _seen: set[bytes] = field(default_factory=set)

    @property
    def answer(self) -> Path:
        """The file for an answer; each takes the place of the one before."""
        return self.folder / "answer"

    def read(self, read: ReadFn, kind: HashKind | None = None) -> Iterator[Item]:
        """Yield what the answer has, in a format of lists. Raises `KnownError` for one that is damaged."""
        try:
            yield from read(FileSource(self.answer, kind))
        except KnownUsageError as error:
            # Of the file that it was brought into nobody knows.
            raise self.strange(error.cause) from error

    def values(self) -> dict[str, Any]:
        """Return what an answer that is one JSON object has besides its arrays. Raises `KnownError`."""
        try:
            return {name: value for name, number, value in elements(self.answer) if not number}
        except KnownUsageError as error:
            raise self.strange(error.cause) from error

    def told(self, hashes: int) -> None:
        """Count a request that tells somebody so many hashes, before it is sent."""
        self.calls += 1
        self.sent += hashes

    def turn(self, cursor: str) -> None:
        """Note which page comes next. Raises `KnownError` for one that came already, and for far too many."""
        digest = hashlib.sha256(cursor.encode("utf-8", "surrogatepass")).digest()[:16]
        if digest in self._seen:
            raise self.strange("it leads in a circle: the next page is one that it gave before")
        if len(self._seen) >= MOST_PAGES:
            raise self.strange(f"it has more than {MOST_PAGES:,} pages")
        self._seen.add(digest)

    def strange(self, cause: str) -> KnownError:
        """Return the error of an answer that is none of this kind; the list stays as it was."""
        return KnownError(f"source {self.source.name}", cause, "the list is as it was; check its url and format")

    def pair(self, what: str, separator: str = ":") -> tuple[str, str]:
        """Return credentials that are two, such as a user and a password. Raises `KnownUsageError`."""
        one, found, other = self.source.credentials().strip().partition(separator)
        if not (one.strip() and found and other.strip()):
            cause = f"it wants {what}" if not one else f"its credentials are not {what}"
            raise KnownUsageError(
                f"source {self.source.name}", cause, "write them into a file, and name it as credentials_file"
            )
        return one.strip(), other.strip()

    def basic(self) -> Mapping[str, str]:
        """Return the header for a user and a password. Raises `KnownUsageError`."""
        return basic(":".join(self.pair("user:password")))


def basic(pair: str) -> Mapping[str, str]:
    """Return the header for `user:password`."""
    return {"Authorization": f"Basic {b64encode(pair.encode()).decode()}"}


FetchFn = Callable[[Asking], Iterator[Page]]


@dataclass(frozen=True, slots=True)
class SourceKind:
    """How sources of a kind are fetched. The last page that `fetch` gives has a checkpoint; no page, nothing is new.

    What is had under an `agreement` is never passed on. A kind that `sends` tells somebody hashes of stored pictures;
    nothing else leaves this machine, and of all other kinds nothing at all.
    """

    name: str
    about: str
    fetch: FetchFn
    agreement: bool = False
    sends: bool = False
    url: str = ""
