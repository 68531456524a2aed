"""A store's keys in parts, and a part as a store of its own for the pass that judges it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

from fedi_safety.app.sweep.messages import Shard
from fedi_safety.core.keys import KeyRange, key_bytes
from fedi_safety.core.ports import Clock, Divisible, Store
from fedi_safety.core.types import Object, Unscanned

_SAMPLES = 8


def cut(store: Store, within: KeyRange, parts: int) -> list[Shard]:
    """Return the parts of a store's keys, each key in one of them. Raises `StoreError`."""
    if not isinstance(store, Divisible):
        return [Shard(within, parted=False)]
    cuts = store.cuts(within, parts - 1)
    return [Shard(within, parted=False)] if cuts is None else [Shard(each) for each in within.parted(cuts)]


def samples(store: Store, prefixes: Sequence[str]) -> tuple[Object, ...]:
    """Return a few objects that a store lists first. Raises `StoreError`."""
    listed = islice(store.list(prefixes), 64 * _SAMPLES)
    return tuple(islice((item for item in listed if isinstance(item, Object)), _SAMPLES))


class PartOfStore:
    """The objects of one part of a store. Lists so many, or for so long, and then says what is left."""

    def __init__(self, store: Store, shard: Shard, clock: Clock) -> None:
        """List nothing yet."""
        self.url = store.url
        self.concurrency = store.concurrency
        self.rest: KeyRange | None = shard.within
        self.fetch: Callable[[Object, Callable[[bytes], object]], bytes] = store.fetch
        self._store, self._shard, self._clock = store, shard, clock

    def list(self, prefixes: Sequence[str] = (), since: float | None = None) -> Iterator[Object | Unscanned]:
        """Yield this part's objects, in the store's order; see the `Store` port."""
        shard, store = self._shard, self._store
        if shard.parted and isinstance(store, Divisible):
            listing = store.list_within(shard.within, prefixes, since)
            ends_at, left = self._clock.monotonic() + shard.seconds, shard.most
        else:
            listing, ends_at, left = store.list(prefixes, since), float("inf"), -1
        for item in listing:
            key = key_bytes(item.key if isinstance(item, Object) else item.object.key)
            if key == shard.within.after:
                continue  # a directory that failed, which the part before this one has told
            yield item
            self.rest = replace(shard.within, after=key)
            left -= 1
            if left == 0 or self._clock.monotonic() >= ends_at:
                return
        self.rest = None
