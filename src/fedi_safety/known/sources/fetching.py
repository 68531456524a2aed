"""One fetch of a source: what it gives is brought onto its list in steps, each of them whole, as far as it can go on.

What breaks off leaves what was, and the next fetch goes on from there. Why it broke off is kept beside the lists.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from fedi_safety.core.errors import FediSafetyError, KnownError, KnownUsageError, printable
from fedi_safety.core.known.types import Entry, KnownList
from fedi_safety.core.wording.hints import hint
from fedi_safety.known.formats.items import Flaw
from fedi_safety.known.progress import SourceState
from fedi_safety.known.records import Imported, Withdrawn
from fedi_safety.known.sources.kinds import Asking, ListSource, Page, SourceKind

if TYPE_CHECKING:
    from fedi_safety.clients.list_server import ListServer
    from fedi_safety.known.catalog import Catalog

MOST_ITEMS = 100_000_000
"""So much comes onto a list in one step: several times as many hashes as anybody publishes."""

_MOST_FAILURE = 500  # characters


@dataclass(slots=True)
class Fetched:
    """What a fetch came to, also one that broke off: what was read by kind, and what of it is on the list.

    `complete` is whether the source was read to its end; `changed` whether the list is another than it was.
    """

    source: ListSource
    imported: Imported = field(default_factory=Imported)
    kinds: Counter[str] = field(default_factory=Counter)
    flaws: Counter[str] = field(default_factory=Counter)
    first: dict[str, Flaw] = field(default_factory=dict)
    withdrawn: int = 0
    left_out: int = 0
    pages: int = 0
    sent: int = 0
    complete: bool = False

    @property
    def changed(self) -> bool:
        """Whether anything came onto the list or left it."""
        return bool(self.imported.added or self.imported.replaced or self.imported.removed)


class _Stopped(Exception):
    """Whoever asked wants no more of it."""


def fetch(
    catalog: Catalog,
    source: ListSource,
    kind: SourceKind,
    server: ListServer,
    *,
    own: Callable[[str], Iterator[tuple[str, bytes]]] | None = None,
    keep_going: Callable[[], bool] = lambda: True,
    anew: bool = False,
    now: Callable[[], float] = time.time,
) -> Fetched:
    """Bring a source's list to what the source has now, from where it was read to, or `anew`.

    Raises `FediSafetyError` where it breaks off, after that was noted; what was complete until then stays.
    """
    began_s = now()
    state = next(iter(catalog.sources(source.name)), None)
    known, state = _known(catalog, source, kind, state)
    fresh = anew or state is None or state.place != source.place
    before = state or SourceState(source.name, source.kind, source.place)
    fetched = Fetched(source)
    with TemporaryDirectory(prefix="fedi-safety-source-") as folder:
        checkpoint = "" if fresh else before.checkpoint
        asking = Asking(source, checkpoint, server, Path(folder), began_s, own or (lambda _after: iter(())))
        run = _Run(catalog, kind, known, asking, fetched, replace(before, tried_s=began_s), keep_going)
        try:
            run.take(kind.fetch(asking))
        except _Stopped:
            run.note()
        except FediSafetyError as error:
            with suppress(KnownError):  # that it cannot even be kept is not what is to be said
                run.note(failure=error.line()[:_MOST_FAILURE])
            raise
        else:
            fetched.complete = True
            run.note(fetched_s=now(), failure="")
        finally:
            fetched.sent = asking.sent
    return fetched


def _known(
    catalog: Catalog, source: ListSource, kind: SourceKind, state: SourceState | None
) -> tuple[KnownList, SourceState | None]:
    """Return the source's list as it should be: as it is, unless its terms were configured anew since.

    So a list that somebody, or too many dismissals, turned to review stays that. New terms count at once, whether or
    not anything comes.
    """
    if source.redistribute and kind.agreement:
        cause = f"what kind {kind.name} gives is had under an agreement, and not passed on"
        raise KnownUsageError(f"source {source.name}", cause, "leave out redistribute")
    before = next((known for known in catalog.lists() if known.name == source.name), None)
    if before is not None and state is None:
        cause = "there is a list of that name, which is from no source"
        raise KnownUsageError(
            f"source {source.name}", cause, f"give the source another name, or see {hint('hashes drop LIST')}"
        )
    new = before or KnownList(source.name, origin=printable(urlsplit(source.url).hostname or source.url))
    known = replace(new, effect=source.effect, distance=source.distance, redistribute=source.redistribute)
    if before is None or state is None:
        return known, state
    if state.terms == source.terms:
        return before, state
    state = replace(state, terms=source.terms, agreement=kind.agreement, applied=0, pending=True)
    catalog.describe(known)
    catalog.note(source.name, lambda _before: state)
    return known, state


@dataclass(slots=True)
class _Run:
    """A fetch under way: takes pages until one says how far that is, and brings them onto the list together."""

    catalog: Catalog
    kind: SourceKind
    known: KnownList
    asking: Asking
    fetched: Fetched
    state: SourceState
    keep_going: Callable[[], bool]
    told: tuple[int, int] = (0, 0)

    def take(self, pages: Iterator[Page]) -> None:
        """Bring all pages onto the list. From the beginning, what comes first takes the place of what was on it."""
        whole = not self.asking.checkpoint
        while (first := self._next(pages)) is not None:
            reached: list[str] = []
            items = self._items(first, pages, reached)
            done = self.catalog.absorb(
                self.known,
                items,
                partial(self._reached, reached),
                after=self.state.checkpoint,
                whole=whole or first.whole,
                some=first.whole,  # a list of all that a source has, of which nothing can be used, is a mistake
            )
            (self.state,) = self.catalog.sources(self.known.name)
            self.fetched.imported = _sum(self.fetched.imported, done)
            whole = False

    def _next(self, pages: Iterator[Page]) -> Page | None:
        if not self.keep_going():
            raise _Stopped
        page = next(pages, None)
        if page is not None:
            self.fetched.pages += 1
        return page

    def _items(self, page: Page | None, pages: Iterator[Page], reached: list[str]) -> Iterator[Entry | Withdrawn]:
        """Yield what pages have up to the one with a checkpoint, and count it."""
        usable = taken = 0
        source = self.asking.source
        while page is not None:
            for item in page.items:
                taken += 1
                if taken > MOST_ITEMS:
                    raise self.asking.strange(f"it gives more than {MOST_ITEMS:,} entries and withdrawals in one step")
                if isinstance(item, Flaw):
                    self.fetched.flaws[item.cause] += 1
                    self.fetched.first.setdefault(item.cause, item)
                elif isinstance(item, Withdrawn):
                    self.fetched.withdrawn += not item.again
                    yield item
                elif source.categories and item.category not in source.categories:
                    self.fetched.left_out += 1
                    yield Withdrawn(item.id, kind=item.kind, hash=item.hash, clip=item.clip)
                else:
                    usable += 1
                    self.fetched.kinds[item.kind.value] += 1
                    yield item
            if page.whole and not usable:
                # An empty answer is more often a mistake than a list that was given up.
                raise self.asking.strange(self._nothing())
            if page.checkpoint is not None:
                reached.append(page.checkpoint)
                return
            page = self._next(pages)
        raise AssertionError(f"the last page of kind {self.kind.name} has no checkpoint")

    def _nothing(self) -> str:
        if not self.fetched.flaws:
            return "no entry is of a category that was named" if self.fetched.left_out else "there is no hash in it"
        cause, count = self.fetched.flaws.most_common(1)[0]
        return f"no hash in it can be used: {count} with {cause}, first {self.fetched.first[cause].place}"

    def _reached(self, reached: list[str]) -> SourceState:
        source = self.asking.source
        return replace(
            self._counted(self.state),
            kind=source.kind,
            place=source.place,
            terms=source.terms,
            agreement=self.kind.agreement,
            checkpoint=reached[0],
        )

    def note(self, *, failure: str | None = None, fetched_s: float | None = None) -> None:
        """Keep what was told, that it was tried, and why it failed or that it was complete."""

        def now(before: SourceState | None) -> SourceState:
            state = replace(self._counted(before or self.state), tried_s=self.state.tried_s)
            if failure is None:
                return state
            if fetched_s is not None:
                return replace(state, fetched_s=fetched_s, failures=0, failure="")
            return replace(state, failures=state.failures + 1, failure=failure)

        self.catalog.note(self.known.name, now)

    def _counted(self, state: SourceState) -> SourceState:
        """Return the state with what was told since it was last asked for."""
        calls, sent = self.asking.calls - self.told[0], self.asking.sent - self.told[1]
        self.told = self.asking.calls, self.asking.sent
        return replace(state, calls=state.calls + calls, sent=state.sent + sent)


def _sum(one: Imported, other: Imported) -> Imported:
    refused = Counter(one.refused)
    refused.update(other.refused)
    return Imported(
        one.accepted + other.accepted,
        one.added + other.added,
        one.replaced + other.replaced,
        one.removed + other.removed,
        one.withdrawn + other.withdrawn,
        dict(refused),
    )
