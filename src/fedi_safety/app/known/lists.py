"""Taking lists in, letting them go, and what people's dismissals say of them."""

from __future__ import annotations

import hashlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import field, replace
from itertools import chain
from typing import TYPE_CHECKING

from fedi_safety.app.known.backwards import Applied, apply_lists
from fedi_safety.app.known.compared import Current, Exchanged, Halted, Lists, tried
from fedi_safety.config.locations import known_folder
from fedi_safety.config.schema import Settings
from fedi_safety.core.classes import dataclass
from fedi_safety.core.errors import FediSafetyError, KnownError, KnownUsageError, LedgerUsageError, Unscannable
from fedi_safety.core.known.effects import LEAST_QUALITY
from fedi_safety.core.known.types import DISTANCE, Effect, Entry, HashKind, KnownList
from fedi_safety.core.ledger.matches import TURNED
from fedi_safety.core.types import index_of
from fedi_safety.core.wording.hints import hint
from fedi_safety.policies import load_policy

if TYPE_CHECKING:
    from fedi_safety.core.ledger.matches import ListHits, MatchReader
    from fedi_safety.core.ledger.ports import WholeLedger
    from fedi_safety.core.types import Hashes
    from fedi_safety.known.catalog import Catalog
    from fedi_safety.known.formats import Reading
    from fedi_safety.known.records import Imported, Withdrawn

log = logging.getLogger(__name__)

DISMISSED = "dismissed"
"""The list of what people dismissed on this machine: harmless, whatever other lists say of its like."""

REMOVED = "removed"
"""The list of what was condemned and removed on this machine, by its descriptors alone."""

OWN = (DISMISSED, REMOVED)
"""The lists that this machine makes itself; no file, source or publisher may have such a name."""

DISMISSED_DISTANCE = DISTANCE
"""As wide as lists are, so that no copy is condemned that they meet; see `effects.NEARER_BITS` for what is listed."""

_RUN = "hashes"
_MOST_CATEGORIES = 1_000  # that are counted: a file may be made to have millions


@dataclass(slots=True)
class Taken:
    """What became of a file that was imported: what was read by kind and category, the list, and what it changed."""

    known: KnownList
    kinds: Counter[str] = field(default_factory=Counter)
    categories: Counter[str] = field(default_factory=Counter)
    left_out: int = 0
    imported: Imported | None = None
    applied: Applied | None = None
    doubted: tuple[str, ...] = ()


def open_catalog(settings: Settings) -> Catalog:
    """Return the configured lists; there may be none yet."""
    from fedi_safety.known.catalog import Catalog

    return Catalog(known_folder(settings))


def find_list(catalog: Catalog, name: str) -> KnownList | None:
    """Return a list by its name, None where there is none."""
    return next((known for known in catalog.lists() if known.name == name), None)


def items_of(reading: Reading, taken: Taken, categories: Sequence[str] = ()) -> Iterator[Entry | Withdrawn]:
    """Yield what a reading has and count its entries, those of the wanted categories where some are named.

    Raises `KnownUsageError` at the end of a file that has none, so that the list stays as it was.
    """
    for entry in reading:
        if not isinstance(entry, Entry):
            yield entry
            continue
        if categories and entry.category not in categories:
            taken.left_out += 1
            continue
        taken.kinds[entry.kind.value] += 1
        if entry.category in taken.categories or len(taken.categories) < _MOST_CATEGORIES:
            taken.categories[entry.category] += 1
        yield entry
    if not taken.kinds:
        raise KnownUsageError(str(reading.source.path), _nothing(reading, taken), "the lists are as they were")


def _nothing(reading: Reading, taken: Taken) -> str:
    if not reading.flaws:
        return "no entry is of a category that was named" if taken.left_out else "there is no hash in it"
    cause, count = reading.flaws.most_common(1)[0]
    flaw = reading.first[cause]
    detail = f" ({flaw.detail})" if flaw.detail else ""
    return f"no hash in it can be used: {count} with {cause}, first {flaw.place}{detail}"


def take_in(
    settings: Settings,
    ledger: WholeLedger,
    catalog: Catalog,
    known: KnownList,
    reading: Reading,
    *,
    categories: Sequence[str] = (),
    dry_run: bool = False,
) -> Taken:
    """Put a file's entries in the place of a list's, and apply it to what was judged before.

    A dry run changes nothing and says what that would come to.
    """
    _refuse_own(catalog, known.name)
    catalog.check(known)
    taken = Taken(known)
    items = items_of(reading, taken, categories)
    if dry_run:

        def put(beside: Catalog) -> Imported:
            imported = beside.put(known, items, some=True)
            keep_dismissals(ledger, catalog, into=beside)
            return imported

        with tried(catalog, put) as (lists, taken.imported):
            taken.applied = apply(settings, ledger, lists, (known.name,), dry_run=True)
        return taken
    taken.imported = catalog.put(known, items, some=True)
    keep_dismissals(ledger, catalog)
    taken.applied = apply(settings, ledger, Current(catalog), (known.name,), about=known.name)
    catalog.merge()  # last: what was found is on record, and who looks up meanwhile does not wait
    return taken


def drop(settings: Settings, ledger: WholeLedger, catalog: Catalog, name: str, *, dry_run: bool = False) -> Applied:
    """Let a list go, and decide anew what met it; a dry run only says what that comes to."""
    _refuse_own(catalog, name)
    if dry_run:
        return apply(settings, ledger, Exchanged(Current(catalog), {name}, None), dry_run=True)
    catalog.drop(name)
    return apply(settings, ledger, Current(catalog), about=name)


def describe(settings: Settings, ledger: WholeLedger, catalog: Catalog, known: KnownList) -> Applied:
    """Change what a list does or says of itself, and apply that."""
    if known.redistribute or (known.name == DISMISSED and known.effect is not Effect.NEGATIVE):
        _refuse_own(catalog, known.name)
    catalog.describe(known)
    return apply(settings, ledger, Current(catalog), (known.name,), about=known.name)


def _refuse_own(catalog: Catalog, name: str) -> None:
    """Keep the lists that are made here, and those of publishers, what they are. Raises `KnownUsageError`."""
    known = find_list(catalog, name)
    if known is not None and known.group:
        publisher = name.partition("/")[0]
        remedy = f"take another name, or leave the publisher: {hint('hashes leave {}', publisher)}"
        raise KnownUsageError(name, f"is a list of the publisher {publisher}, kept as that one says", remedy)
    if name in OWN:
        raise KnownUsageError(name, own_cause(name), f"take another name, or see {hint('dismiss KEY')}")


def own_cause(name: str) -> str:
    """Return why nothing else may have the name of an own list."""
    return f"that list is made from what was {name} here, and is not given away"


def apply(
    settings: Settings,
    ledger: WholeLedger,
    lists: Lists,
    named: Collection[str] = (),
    *,
    dry_run: bool = False,
    about: str = "",
) -> Applied:
    """Apply the lists to what was judged before, as a run of its own in the ledger. See `apply_lists`.

    All that is stored is compared with the `named` ones.
    """
    there = lists.named()
    names = [name for name in named if name in there and there[name].effect is not Effect.NEGATIVE]
    policy = load_policy(settings.policy)
    with _unreadable_lists(settings):
        if dry_run:
            return apply_lists(settings, policy, ledger, lists, run=None, names=names)
        run = ledger.begin_run(_RUN, "", {"list": about, "digest": lists.images.digest})
        try:
            applied = apply_lists(settings, policy, ledger, lists, run=run, names=names)
        except BaseException as error:
            said = error.line() if isinstance(error, FediSafetyError) else type(error).__name__
            stopped = isinstance(error, KeyboardInterrupt | Halted)
            ledger.end_run(run, "interrupted" if stopped else "failed", {"error": said})
            raise
        ledger.end_run(run, "done", applied.as_json())
        return applied


def check_there(settings: Settings, ledger: MatchReader, catalog: Catalog) -> None:
    """Raise `KnownError` where there were lists and the folder has none: that they are gone says nothing of them."""
    if not catalog.exists and ledger.had_lists():
        from fedi_safety.known.images import GONE, begin_anew

        raise KnownError(str(known_folder(settings)), GONE, begin_anew())


def missing(settings: Settings) -> KnownError | None:
    """Return what is wrong where the configured ledger knows of lists and there are none; None where all is well."""
    from fedi_safety.app.ledger import open_settings_ledger

    try:
        ledger = open_settings_ledger(settings, readonly=True)
    except LedgerUsageError:  # where nothing was judged yet there is nothing to miss
        return None
    try:
        with open_catalog(settings) as catalog:
            check_there(settings, ledger, catalog)
    except KnownError as error:
        return error
    finally:
        ledger.dispose()
    return None


def apply_ended(settings: Settings, ledger: WholeLedger, *, now: Callable[[], float] = time.time) -> Applied | None:
    """Decide anew what rests on lists and entries whose time is over; None where that changes nothing.

    To be called before anything is done that plans say: an entry that ended condemns nothing any more.
    """
    with open_catalog(settings) as catalog:
        if not catalog.ended(ledger.name):
            return None
        until_s = now()
        changed = (
            next(ledger.matched(), None) is not None and apply(settings, ledger, Current(catalog), dry_run=True).changed
        )
        applied = apply(settings, ledger, Current(catalog)) if changed else None
        catalog.note_ended(ledger.name, until_s)
        return applied


def apply_all(settings: Settings, ledger: WholeLedger, catalog: Catalog, *, dry_run: bool = False) -> Applied:
    """Compare all that was judged before with all lists, after the own one was made anew from the ledger.

    Raises `KnownError` where there were lists and there is no folder of them: that it is gone says nothing of them.
    """
    check_there(settings, ledger, catalog)
    if not dry_run and (catalog.exists or next(ledger.matched(), None) is None):
        _put_removals(settings, ledger, catalog)
    names = [known.name for known in catalog.lists()]
    if not names:
        return apply(settings, ledger, Current(catalog), dry_run=dry_run)
    if dry_run:
        with tried(catalog, lambda beside: keep_dismissals(ledger, catalog, into=beside)) as (lists, _):
            return apply(settings, ledger, lists, names, dry_run=True)
    keep_dismissals(ledger, catalog)
    return apply(settings, ledger, Current(catalog), names)


@contextmanager
def _unreadable_lists(settings: Settings) -> Iterator[None]:
    try:
        yield
    except Unscannable as error:
        raise KnownError(
            str(known_folder(settings)), error.detail or error.reason.value, f"see {hint('hashes verify')}"
        ) from error


# --- a person's no


def remember_dismissal(settings: Settings, ledger: WholeLedger, *, undo: bool = False) -> list[str]:
    """Put what was dismissed onto the own list of what is harmless, or take it off; return what that led to, in words.

    Where no list was ever imported nothing is kept here: the ledger has the dismissal, and the first import takes it
    from there.
    """
    with open_catalog(settings) as catalog:
        if not catalog.lists():
            return []
        keep_dismissals(ledger, catalog)
        _put_removals(settings, ledger, catalog)
        said = [] if undo else _doubted(settings, ledger, catalog)
        applied = apply(settings, ledger, Current(catalog), about=DISMISSED)
    if applied.moves:
        said.append(f"contents that were decided anew for it: {applied.moves.total()}")
    return said


def keep_dismissals(ledger: WholeLedger, catalog: Catalog, *, into: Catalog | None = None) -> None:
    """Make the own list of what is harmless what the ledger says: every dismissal that stands, by bytes and by look.

    It is put `into` another catalog where only that is to change.
    """
    known = KnownList(DISMISSED, Effect.NEGATIVE, DISMISSED_DISTANCE, origin="dismissals on this machine")
    known = find_list(catalog, DISMISSED) or known
    while True:
        read = _standing(ledger)
        (into or catalog).put(known, _dismissed_entries(ledger))
        if _standing(ledger) == read:
            return
        # Another process wrote a dismissal meanwhile; this list, made without it, may have replaced that one's.


def _standing(ledger: WholeLedger) -> bytes:
    """Return a digest of the dismissals that stand."""
    digest = hashlib.sha256()
    for sha256 in ledger.dismissals():
        digest.update(sha256)
    return digest.digest()


def _dismissed_entries(ledger: WholeLedger) -> Iterator[Entry]:
    for some in _pages(ledger.dismissals()):
        hashes = ledger.hashes_of(some)
        for sha256 in some:
            yield Entry(HashKind.SHA256, sha256, id=sha256.hex())
            for picture in hashes[sha256].pictures if sha256 in hashes else ():
                if picture.quality >= LEAST_QUALITY:
                    name = f"{sha256.hex()}@{picture.index}"
                    yield Entry(HashKind.PDQ, picture.pdq, id=name, quality=picture.quality)
            yield from _described(sha256, hashes.get(sha256))


def keep_removals(settings: Settings, ledger: WholeLedger) -> None:
    """Make the own list of removals what the ledger says, where a copy descriptor is configured to compare with them.

    What was judged before and is like something that was removed since is decided anew. Lists that cannot be changed
    are a warning: what was removed is removed and on record.
    """
    if settings.known.near is None:
        return
    try:
        with open_catalog(settings) as catalog:
            check_there(settings, ledger, catalog)
            mark = catalog.mark()
            imported = _put_removals(settings, ledger, catalog)
            if imported is not None and imported.added + imported.replaced + imported.removed:
                apply(settings, ledger, Current(catalog, after=mark), (REMOVED,), about=REMOVED)
    except KnownError as error:
        log.warning("%s; what was removed is not compared with yet", error.line())


def _put_removals(settings: Settings, ledger: WholeLedger, catalog: Catalog) -> Imported | None:
    """Put what was removed onto the own list; None where nothing was, or no descriptor is configured."""
    known = find_list(catalog, REMOVED)
    entries = _removed_entries(ledger)
    first = next(entries, None)
    if settings.known.near is None or (first is None and known is None):
        return None
    known = known or KnownList(REMOVED, Effect.REVIEW, origin="removals on this machine")
    return catalog.put(known, entries if first is None else chain((first,), entries))


def _removed_entries(ledger: WholeLedger) -> Iterator[Entry]:
    for some in _pages(each.sha256 for each in ledger.removals()):
        hashes = ledger.hashes_of(some)
        for sha256 in some:
            yield from _described(sha256, hashes.get(sha256))


def _described(sha256: bytes, hashes: Hashes | None) -> Iterator[Entry]:
    """Give a content's descriptors as entries. Their category names the model, as no other's compare with them."""
    if hashes is not None and (made := hashes.descriptors) is not None:
        for frame, bits in made.of:
            yield Entry(HashKind.NEAR, bits, id=f"{sha256.hex()}@{index_of(frame)}", category=made.model)


def _pages(sha256s: Iterable[bytes], size: int = 500) -> Iterator[list[bytes]]:
    page: list[bytes] = []
    for sha256 in sha256s:
        page.append(sha256)
        if len(page) == size:
            yield page
            page = []
    if page:
        yield page


def is_doubtful(settings: Settings, hits: ListHits) -> bool:
    """Whether so much of what met a list was dismissed that it should not condemn any more."""
    enough = hits.dismissed >= settings.known.min_dismissed
    return enough and hits.dismissed > settings.known.max_dismissed_share * hits.contents


def _doubted(settings: Settings, ledger: WholeLedger, catalog: Catalog) -> list[str]:
    """Turn lists that block, and whose hits are too often dismissed, to review; say so of each."""
    said = []
    hits: Mapping[str, ListHits] = ledger.hits_by_list()
    for known in catalog.lists():
        of_list = hits.get(known.name)
        if known.effect is not Effect.BLOCK or of_list is None or not is_doubtful(settings, of_list):
            continue
        _turn(ledger, known.name, of_list)
        catalog.describe(replace(known, effect=Effect.REVIEW))
        text = (
            f"list {known.name}: {of_list.dismissed} of its {of_list.contents} hits were dismissed; "
            "it is for review from now on, and condemns nothing"
        )
        log.warning("%s", text)
        said.append(text)
    return said


def _turn(ledger: WholeLedger, name: str, hits: ListHits) -> None:
    """Write down that a list turns to review, before it does."""
    counts = {"contents": hits.contents, "dismissed": hits.dismissed}
    run = ledger.begin_run(_RUN, "", {"list": name, TURNED: counts})
    ledger.turn_list(run, name, hits)
    ledger.end_run(run, "done", counts)
