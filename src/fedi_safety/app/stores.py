"""The stores that a command is about: those of the configuration by their names, or one that is named by its place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fedi_safety.actions import switched_on
from fedi_safety.config.schema import Settings
from fedi_safety.core.enums import ActKind
from fedi_safety.core.errors import UsageError
from fedi_safety.core.ports import Store
from fedi_safety.stores import access_sections, canonical_url, kind_of, local_root, open_store


@dataclass(frozen=True, slots=True)
class Target:
    """A store that a command is about: what it is called, and the settings with its own access in them."""

    name: str
    url: str  # or a path
    settings: Settings

    def open(self) -> Store:
        """Open it. Raises `StoreUsageError` or `StoreError`."""
        return open_store(self.url, self.settings)

    @property
    def default_act(self) -> ActKind:
        """What `Store.default_act` will be. Raises `StoreUsageError` where there is no such kind of store."""
        return kind_of(self.url).default_act

    @property
    def local_root(self) -> Path | None:
        """What `Store.local_root` will be, but for links on the way."""
        return local_root(self.url)

    @property
    def owner(self) -> str | None:
        """What `Store.owner` will be. Raises `StoreUsageError` where there is no such kind of store."""
        return kind_of(self.url).owner(self.url)


def targets(settings: Settings, named: str | None) -> list[Target]:
    """Return the store that was named, by its name or place, else every configured one.

    Raises `UsageError`, and `TraceUsageError` where actions through the app are switched on that there are not.
    """
    known: dict[str, Target] = {}
    for store in settings.stores:
        if store.name in known:
            raise UsageError(f"stores: {store.name}", "two stores have this name", "rename one of them")
        own = {name: value for name in (*access_sections(), "trace") if (value := getattr(store, name)) is not None}
        known[store.name] = Target(store.name, store.url, settings.model_copy(update=own))
    for checked in (settings, *(target.settings for target in known.values())):
        switched_on(checked.trace)
    if named is not None:
        return [known.get(named) or Target(named, named, settings)]
    chosen = list(known.values())
    if settings.store is not None and settings.store not in {word for t in chosen for word in (t.name, t.url)}:
        chosen.insert(0, Target(settings.store, settings.store, settings))
    if not chosen:
        raise UsageError("store", "no store was named and none is configured", "give a path, or set `store`")
    return chosen


def named_store(settings: Settings, named: str | None) -> Store:
    """Open the store that was named, else the only configured one. Raises `UsageError` if there is not exactly one."""
    chosen = targets(settings, named)
    if len(chosen) > 1:
        names = ", ".join(target.name for target in chosen)
        raise UsageError("store", f"several are configured: {names}", "name one of them")
    return chosen[0].open()


def upload_store(settings: Settings) -> Target | None:
    """Return the store that uploads end in, None where none is configured. Raises `UsageError` for an unclear one."""
    named = settings.gate.store
    if named is None and settings.store is None and not settings.stores:
        return None
    chosen = targets(settings, named)
    if len(chosen) > 1:
        names = ", ".join(target.name for target in chosen)
        raise UsageError("gate.store", f"several stores are configured: {names}", "name the one that uploads end in")
    return chosen[0]


def spoken_name(store: Store) -> str:
    """Return a store as a person would name it on the command line: a path where that says the same as its URL."""
    path = str(store.local_root or "")
    return path if path and path.isprintable() else store.url


def store_url(settings: Settings, named: str) -> str:
    """Return the ledger's name of a store that was named as for `targets`. It is not reached, nor need it still exist.

    Raises `StoreUsageError` for a path that is no directory.
    """
    (target,) = targets(settings, named)
    return canonical_url(target.url, target.settings)
