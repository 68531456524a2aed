"""Whether a store is the one that the ledger remembers, and what follows from what is not there any more.

"Gone" is believed only of a store that is itself: an empty directory in the place of a mount lacks every object, and
so does a bucket behind a wrong endpoint. It removes nothing and judges nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum

from fedi_safety.core.decide import BreakerLimits, Compared, listing_opinion, stranger_opinion
from fedi_safety.core.enums import Listing, Reason, Root
from fedi_safety.core.errors import StoreError, Unscannable
from fedi_safety.core.ledger.census import Census
from fedi_safety.core.ledger.ports import Ledger
from fedi_safety.core.ports import ReadableStore, Store
from fedi_safety.core.types import Object
from fedi_safety.core.wording.hints import hint

_PROBES = 8


def remedy(store: str) -> str:
    """Return what a person is to do about a store, by any name, that lacks what is known of it."""
    return (
        "check that it is mounted, whole, and the one that was meant; if it is, and what is missing is really gone, "
        f"run {hint('scan {} --accept-gone', store)}"
    )


class Standing(Enum):
    """What a store shows of itself, without all of it being listed."""

    ITSELF = "itself"
    OTHER = "other"  # nothing of what is known is there
    EMPTY = "empty"  # nothing is known of it, and nothing is there


class _There(Exception):
    """The head of an object came: that is enough."""


class Presence:
    """One store beside what the ledger remembers of it."""

    def __init__(self, store: Store, ledger: Ledger, *, accepted: bool = False) -> None:
        """Ask `store` and `ledger`. `accepted`: a person has said that the store is as it should be."""
        self.store = store
        self.accepted = accepted
        self._ledger = ledger

    def root(self) -> Root:
        """Return whether the store stands on the root that was remembered."""
        now, before = self.store.identity, self._ledger.identity(self.store.url)
        if now is None or before is None:
            return Root.UNTOLD
        return Root.SAME if now == before else Root.OTHER

    def standing(self, besides: Collection[str] = ()) -> Standing:
        """Ask for a few known objects other than `besides`, at most. Raises `StoreError`."""
        if self.accepted:
            return Standing.ITSELF
        known = self._ledger.known_objects(self.store.url, _PROBES + len(besides))
        if any(self._has(obj) for obj in [obj for obj in known if obj.key not in besides][:_PROBES]):
            return Standing.ITSELF
        # All of what it held may have been replaced; but for an empty store that is not to be told from an absent one.
        if (not known or self.root() is Root.SAME) and lists_anything(self.store):
            return Standing.ITSELF
        return Standing.OTHER if known else Standing.EMPTY

    def doubt(self, besides: Collection[str]) -> StoreError | None:
        """Return why these objects cannot be said to be gone, or None where they can. Raises `StoreError`."""
        if self.standing(besides) is Standing.ITSELF:
            return None
        return self.stranger("none of the known objects that were asked for is there")

    def stranger(self, why: str) -> StoreError:
        """Return the error of a store that is not the one that is remembered."""
        return StoreError(self.store.url, f"it is not the store that is remembered: {why}", remedy(self.store.url))

    def _has(self, obj: Object) -> bool:
        """Whether something still answers for the object, be it with another content or a failure."""

        def enough(_head: bytes) -> None:
            raise _There

        try:
            self.store.fetch(obj, enough)
        except _There:
            return True
        except Unscannable as error:
            return error.reason is not Reason.VANISHED
        except MemoryError:
            return True
        return True

    def conclude(self, run: int, census: Census, listed: int, limits: BreakerLimits) -> tuple[Listing, str | None, int]:
        """Mark gone what a listing of the whole store did not meet, if that may be believed; return how many.

        With it comes what kind of listing it was, and why the breaker holds it back, if it does. Raises `StoreError`
        where the store is not the one that is remembered: then nothing follows from the listing.
        """
        known = census.known - self._ledger.hidden(census)
        found = Compared(listed, known, census.met, self.root())
        if not self.accepted:
            if not listed and not found.known:
                return Listing.NOTHING, None, 0
            if (why := stranger_opinion(limits, found)) is not None:
                raise self.stranger(why)
            if (why := listing_opinion(limits, found)) is not None:
                return Listing.DOUBTED, why, 0
        gone = 0 if census.crowded else self._ledger.mark_gone(run, census)
        if (identity := self.store.identity) is not None:
            self._ledger.set_identity(self.store.url, identity)
        return Listing.PARTIAL if census.closed else Listing.COMPLETE, None, gone


def lists_anything(store: ReadableStore) -> bool:
    """Whether a store lists at least one entry. Raises `StoreError`."""
    return next(iter(store.list()), None) is not None
