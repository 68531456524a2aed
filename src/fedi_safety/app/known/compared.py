"""The lists as they are, or as they would be with one of them exchanged: what stored contents are compared with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol

from fedi_safety.core.known.types import Entry, HashKind, Hit, KnownList
from fedi_safety.core.types import Fingerprints

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fedi_safety.core.known.ports import KnownImages
    from fedi_safety.known.backwards import Page, Pages
    from fedi_safety.known.catalog import Catalog
    from fedi_safety.known.records import Imported


class Lists(Protocol):
    """What is asked of lists while stored contents are compared with them."""

    @property
    def images(self) -> KnownImages:
        """The open reader of all of them."""
        ...

    def named(self) -> Mapping[str, KnownList]:
        """Return the lists by their names."""
        ...

    def entries(self, name: str, kind: HashKind) -> Iterator[Entry]:
        """Give the entries of one kind on a list."""
        ...

    def added(self, name: str, kind: HashKind) -> Iterator[Entry]:
        """Give those among them that stored contents are to be compared with."""
        ...

    def join(self, name: str, pages: Pages[Page]) -> Iterator[tuple[Page, int, Hit]]:
        """Give each stored PDQ that meets such an entry of a list; see `Catalog.join`."""
        ...


class Current:
    """The lists of a catalog as they are now.

    Stored contents are to be compared with the entries that came `after` a mark of the catalog: 0 for all.
    """

    def __init__(self, catalog: Catalog, *, after: int = 0) -> None:
        """Open a reader."""
        self._catalog = catalog
        self._after = after
        self.images: KnownImages = catalog.images()

    def named(self) -> Mapping[str, KnownList]:
        """Return the lists by their names."""
        return {known.name: known for known in self._catalog.lists()}

    def entries(self, name: str, kind: HashKind) -> Iterator[Entry]:
        """Give the entries of one kind on a list."""
        return self._catalog.entries(name, kind=kind)

    def added(self, name: str, kind: HashKind) -> Iterator[Entry]:
        """Give those among them that came after the mark."""
        return self._catalog.entries(name, after=self._after, kind=kind)

    def join(self, name: str, pages: Pages[Page]) -> Iterator[tuple[Page, int, Hit]]:
        """Give each stored PDQ that meets an entry of a list that came after the mark."""
        return self._catalog.join(pages, name=name, after=self._after)


class Exchanged:
    """The same with one list exchanged for what is in another catalog, or, without one, dropped."""

    def __init__(self, current: Current, name: str, other: Current | None) -> None:
        """Change nothing."""
        self._current = current
        self._name = name
        self._other = other
        self.images: KnownImages = _ExchangedImages(current.images, name, None if other is None else other.images)

    def named(self) -> Mapping[str, KnownList]:
        """Return the lists by their names."""
        kept = {name: known for name, known in self._current.named().items() if name != self._name}
        return kept if self._other is None else {**kept, **self._other.named()}

    def entries(self, name: str, kind: HashKind) -> Iterator[Entry]:
        """Give the entries of one kind on a list."""
        source = self._of(name)
        return iter(()) if source is None else source.entries(name, kind)

    def added(self, name: str, kind: HashKind) -> Iterator[Entry]:
        """Give the entries of one kind on a list, as far as they are to be compared with."""
        source = self._of(name)
        return iter(()) if source is None else source.added(name, kind)

    def join(self, name: str, pages: Pages[Page]) -> Iterator[tuple[Page, int, Hit]]:
        """Give each stored PDQ that meets an entry of a list."""
        source = self._of(name)
        return iter(()) if source is None else source.join(name, pages)

    def _of(self, name: str) -> Current | None:
        return self._other if name == self._name else self._current


class _ExchangedImages:
    def __init__(self, current: KnownImages, name: str, other: KnownImages | None) -> None:
        self._current = current
        self._name = name
        self._other = other

    @property
    def digest(self) -> str:
        return f"{self._current.digest} {self._other.digest if self._other is not None else ''}"

    @property
    def empty(self) -> bool:
        return self._current.empty and (self._other is None or self._other.empty)

    def close(self) -> None:
        """Nothing of it is its own."""

    def exact(self, fingerprints: Fingerprints) -> list[Hit]:
        other = [] if self._other is None else self._other.exact(fingerprints)
        return [*self._kept(self._current.exact(fingerprints)), *other]

    def near(self, hashes: Any) -> list[Sequence[Hit]]:
        kept = [self._kept(hits) for hits in self._current.near(hashes)]
        if self._other is None:
            return [list(hits) for hits in kept]
        pairs = zip(kept, self._other.near(hashes), strict=True)
        return [sorted([*one, *other], key=lambda hit: hit.distance) for one, other in pairs]

    def _kept(self, hits: Sequence[Hit]) -> list[Hit]:
        return [hit for hit in hits if hit.list != self._name]


@contextmanager
def tried(catalog: Catalog, known: KnownList, entries: Iterable[Entry]) -> Iterator[tuple[Exchanged, Imported]]:
    """Give the lists as they would be with this one put into them, and what putting it came to; nothing is changed."""
    from fedi_safety.known.catalog import Catalog as Opened

    with TemporaryDirectory(prefix="fedi-safety-lists-") as folder, Opened(Path(folder)) as beside:
        imported = beside.put(known, entries)
        yield Exchanged(Current(catalog), known.name, Current(beside)), imported
