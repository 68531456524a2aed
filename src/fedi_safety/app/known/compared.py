"""The lists as they are, or as they would be with one of them exchanged: what stored contents are compared with."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from fedi_safety.core.known.types import Entry, HashKind, Hit, KnownList
from fedi_safety.core.types import Fingerprints

if TYPE_CHECKING:
    from fedi_safety.core.known.ports import KnownImages
    from fedi_safety.known.backwards import Page, Pages
    from fedi_safety.known.catalog import Catalog

Done = TypeVar("Done")


class Halted(Exception):
    """Comparing was stopped before its end; what was compared until then stands, and comparing again finds the rest."""


class Lists(Protocol):
    """What is asked of lists while stored contents are compared with them."""

    @property
    def images(self) -> KnownImages:
        """The open reader of all of them."""
        ...

    def named(self) -> Mapping[str, KnownList]:
        """Return the lists by their names."""
        ...

    def called(self, name: str, wanted: Sequence[str]) -> Iterator[Entry]:
        """Give the PDQs of a list that hits name so; see `Catalog.called`."""
        ...

    def added(self, name: str, kind: HashKind) -> Iterator[Entry]:
        """Give the entries of one kind on a list that stored contents are to be compared with."""
        ...

    def join(self, name: str, pages: Pages[Page]) -> Iterator[tuple[Page, int, Hit]]:
        """Give each stored PDQ that meets such an entry of a list; see `Catalog.join`."""
        ...


class Current:
    """The lists of a catalog as they are now.

    Stored contents are to be compared with the entries that came `after` a mark of the catalog: 0 for all. Comparing
    raises `Halted` once `keep_going` says no.
    """

    def __init__(self, catalog: Catalog, *, after: int = 0, keep_going: Callable[[], bool] = lambda: True) -> None:
        """Open a reader."""
        self._catalog = catalog
        self._after = after
        self._keep_going = keep_going
        self.images: KnownImages = catalog.images()

    def named(self) -> Mapping[str, KnownList]:
        """Return the lists by their names."""
        return {known.name: known for known in self._catalog.lists()}

    def called(self, name: str, wanted: Sequence[str]) -> Iterator[Entry]:
        """Give the PDQs of a list that hits name so."""
        return self._catalog.called(name, wanted)

    def added(self, name: str, kind: HashKind) -> Iterator[Entry]:
        """Give the entries of one kind on a list that came after the mark."""
        return self._catalog.entries(name, after=self._after, kind=kind)

    def join(self, name: str, pages: Pages[Page]) -> Iterator[tuple[Page, int, Hit]]:
        """Give each stored PDQ that meets an entry of a list that came after the mark."""
        return self._catalog.join(partial(self._until_halted, pages), name=name, after=self._after)

    def _until_halted(self, pages: Pages[Page]) -> Iterator[tuple[Page, Any]]:
        for page in pages():
            if not self._keep_going():
                raise Halted
            yield page


class Exchanged:
    """The same with some lists exchanged for what is in another catalog, or, without one, dropped."""

    def __init__(self, current: Current, names: Collection[str], other: Current | None) -> None:
        """Change nothing."""
        self._current = current
        self._names = names
        self._other = other
        self.images: KnownImages = _ExchangedImages(current.images, names, None if other is None else other.images)

    def named(self) -> Mapping[str, KnownList]:
        """Return the lists by their names."""
        kept = {name: known for name, known in self._current.named().items() if name not in self._names}
        return kept if self._other is None else {**kept, **self._other.named()}

    def called(self, name: str, wanted: Sequence[str]) -> Iterator[Entry]:
        """Give the PDQs of a list that hits name so."""
        source = self._of(name)
        return iter(()) if source is None else source.called(name, wanted)

    def added(self, name: str, kind: HashKind) -> Iterator[Entry]:
        """Give the entries of one kind on a list, as far as they are to be compared with."""
        source = self._of(name)
        return iter(()) if source is None else source.added(name, kind)

    def join(self, name: str, pages: Pages[Page]) -> Iterator[tuple[Page, int, Hit]]:
        """Give each stored PDQ that meets an entry of a list."""
        source = self._of(name)
        return iter(()) if source is None else source.join(name, pages)

    def _of(self, name: str) -> Current | None:
        return self._other if name in self._names else self._current


class _ExchangedImages:
    def __init__(self, current: KnownImages, names: Collection[str], other: KnownImages | None) -> None:
        self._current = current
        self._names = names
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

    def near(self, hashes: Any, surest: Any = None) -> list[Sequence[Hit]]:
        kept = [self._kept(hits) for hits in self._current.near(hashes, surest)]
        if self._other is None:
            return [list(hits) for hits in kept]
        pairs = zip(kept, self._other.near(hashes, surest), strict=True)
        return [sorted([*one, *other], key=lambda hit: hit.distance) for one, other in pairs]

    def alike(self, descriptors: Any, model: str, distance: int) -> list[Sequence[Hit]]:
        kept = [self._kept(hits) for hits in self._current.alike(descriptors, model, distance)]
        if self._other is None:
            return [list(hits) for hits in kept]
        pairs = zip(kept, self._other.alike(descriptors, model, distance), strict=True)
        return [sorted([*one, *other], key=lambda hit: hit.distance) for one, other in pairs]

    def _kept(self, hits: Sequence[Hit]) -> list[Hit]:
        return [hit for hit in hits if hit.list not in self._names]


@contextmanager
def tried(catalog: Catalog, put: Callable[[Catalog], Done]) -> Iterator[tuple[Exchanged, Done]]:
    """Give the lists as they would be with what is `put` in place of those of its name, and what putting it came to.

    Nothing is changed: it is put into a catalog beside them, which goes again.
    """
    from fedi_safety.known.catalog import Catalog as Opened

    with TemporaryDirectory(prefix="fedi-safety-lists-") as folder, Opened(Path(folder)) as beside:
        done = put(beside)
        yield Exchanged(Current(catalog), {known.name for known in beside.lists()}, Current(beside)), done
