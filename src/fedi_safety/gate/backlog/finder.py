"""Finds uploads again in the store that they ended in, by their content. It judges and removes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fedi_safety.app.stores import Target
from fedi_safety.clients.pictrs import PictrsClient, Picture
from fedi_safety.core.ledger.ports import Ledger
from fedi_safety.core.ledger.uploads import BacklogEntry
from fedi_safety.core.nulls import ReadableSubset
from fedi_safety.core.ports import Store
from fedi_safety.core.presence import Presence, Standing
from fedi_safety.core.types import Object


class StoreSubset(ReadableSubset):
    """A few objects of a store, which can be removed as the store does it; the store stays open, as its owner's."""

    def __init__(self, store: Store, objects: Sequence[Object]) -> None:
        """Show only these objects of `store`."""
        super().__init__(store, objects)
        self.concurrency = store.concurrency
        self.default_act = store.default_act
        self.local_root = store.local_root
        self.identity = store.identity
        self.owner = store.owner
        self.remove = store.remove
        self.may_remove = store.may_remove

    def close(self) -> None:
        """Leave the store open: it is its owner's to close."""


class Finder:
    """Finds uploads again in the store that they ended in."""

    def __init__(self, target: Target) -> None:
        """Look into this store; nothing is opened yet."""
        self.target = target
        self._store: Store | None = None
        self._client: PictrsClient | None = None

    def open(self) -> Store:
        """Return the store. Raises `StoreError` or `StoreUsageError`."""
        if self._store is None:
            self._store = self.target.open()
        return self._store

    def find(self, entry: BacklogEntry) -> tuple[Object, ...] | None:
        """Return the objects with an upload's content; None where the store cannot be asked. Raises `StoreError`."""
        note = entry.note
        if note.sha256 is None or note.size is None:
            return None
        store = self.open()
        client = self._pictrs(store)
        if client is None:
            return None
        picture = client.find_content(note.sha256, note.size)
        if picture is None:
            return ()
        if store.owner is not None:
            return (Object(picture.hash, picture.size, picture.mtime_ns),)
        return tuple(self._files(store, client, picture))

    def is_itself(self, ledger: Ledger) -> bool:
        """Whether what is not found may be said not to be there: an empty or another store proves nothing.

        Raises `StoreError`.
        """
        store = self.open()
        if Presence(store, ledger).standing() is not Standing.ITSELF:
            return False
        client = self._pictrs(store)
        return store.owner is not None or client is None or client.has_pictures()

    def _files(self, store: Store, client: PictrsClient, picture: Picture) -> Iterator[Object]:
        """Yield the file of a picture in pict-rs' own store."""
        found = {client.identifier(alias) for alias in picture.aliases}
        keys = tuple(sorted(key for key in found if key is not None))
        if keys:
            yield from (obj for obj in store.list(keys) if isinstance(obj, Object) and obj.key in keys)

    def _pictrs(self, store: Store) -> PictrsClient | None:
        access = self.target.settings.pictrs
        url = store.owner or access.url
        if self._client is None and url is not None:
            self._client = PictrsClient(url, access.api_key.get_secret_value() if access.api_key else "")
        return self._client

    def close(self) -> None:
        """Close what was opened. It is opened anew when it is needed."""
        for one in (self._client, self._store):
            if one is not None:
                one.close()
        self._client = self._store = None
