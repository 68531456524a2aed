"""The stores that a command is about: those of the configuration by their names, or one that is named by its place."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from fedi_safety.actions import switched_on
from fedi_safety.config.schema import Settings
from fedi_safety.core.classes import dataclass
from fedi_safety.core.enums import ActKind
from fedi_safety.core.errors import FediSafetyError, UsageError
from fedi_safety.core.ports import Store
from fedi_safety.core.sealing.law import PRESETS
from fedi_safety.core.wording.nearest import did_you_mean
from fedi_safety.stores import access_sections, canonical_url, kind_of, local_root, open_store
from fedi_safety.tracing import kind_of as known_server


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
        if checked.trace.actions and checked.trace.server is not None:
            known_server(checked.trace.server)
        switched_on(checked.trace)
    if named is not None:
        _refuse_misspelt(named, known)
        return [_lawful(known.get(named) or Target(named, named, settings))]
    chosen = list(known.values())
    if settings.store is not None and settings.store not in {word for t in chosen for word in (t.name, t.url)}:
        chosen.insert(0, Target(settings.store, settings.store, settings))
    if not chosen:
        raise UsageError("store", "no store was named and none is configured", "give a path, or set `store`")
    return [_lawful(target) for target in chosen]


def _lawful(target: Target) -> Target:
    """Return a target whose act is chosen by the preset of law, where that alone says what is done."""
    preset, settings = target.settings.law.preset, target.settings
    if settings.act is not None or preset is None:
        return target
    act = ActKind.SEAL
    if not PRESETS[preset].seals:
        purges = settings.pictrs.url is not None or kind_of(target.url).default_act is ActKind.PURGE
        act = ActKind.PURGE if purges else ActKind.DELETE
    return replace(target, settings=settings.model_copy(update={"act": act.value}))


def _refuse_misspelt(named: str, known: Collection[str]) -> None:
    """Raise `UsageError` for a bare word that is neither a store's name, where there are such, nor a path."""
    if not known or named in known or "/" in named or os.path.lexists(named):
        return
    cause = "no store of this name is configured, and there is no such directory"
    remedy = f"name one of: {', '.join(known)}{did_you_mean(named, known)}, or give a path or URL"
    raise UsageError(named, cause, remedy)


def known_target(settings: Settings, url: str) -> Target:
    """Return the configured store that the ledger knows by this URL, with its own access, else one without.

    Raises `UsageError` where the configuration itself is wrong.
    """
    named = [*settings.stores, *([settings] if settings.store is not None else [])]
    for target in targets(settings, None) if named else ():
        with suppress(FediSafetyError):  # one that is not there is another one
            if canonical_url(target.url, target.settings) == url:
                return target
    return next(iter(targets(settings, url)))


def file_target(settings: Settings, named: str, known: Sequence[str] = ()) -> tuple[Target, str] | None:
    """Return the store and the key of a file of this machine that was named; None where something else was.

    The store is the configured one that it lies in, else one of `known` by its URL, else the file's directory.
    """
    path = None if named in {store.name for store in settings.stores} else local_root(named)
    if path is None or path.is_dir() or not os.path.lexists(path):
        return None
    place = str(Path(os.path.realpath(path.parent)) / path.name)
    stores = targets(settings, None) if settings.stores or settings.store else []
    stores += [Target(url, url, settings) for url in known]
    inside: list[tuple[Target, str]] = []
    for target in stores:
        root = None if target.local_root is None else os.path.realpath(target.local_root).rstrip("/") + "/"
        if root is not None and place.startswith(root):
            inside.append((target, place.removeprefix(root)))
    above = str(Path(place).parent)
    return min(inside, key=lambda found: len(found[1]), default=(Target(above, above, settings), path.name))


def object_target(settings: Settings, named: str) -> tuple[Target, str]:
    """Return the store and the key of an object that was named by its path or URL. Raises `UsageError`."""
    if (file := file_target(settings, named)) is not None:
        return file
    if "://" not in named:
        raise UsageError(named, "there is no such file", "name a file, or the URL of an object in a store")
    for target in targets(settings, None) if settings.stores or settings.store else []:
        if named.startswith(root := f"{target.url.rstrip('/')}/"):
            return target, named.removeprefix(root)
    kind_of(named)
    above, _, key = named.rpartition("/")
    if not key or above.endswith("/"):
        raise UsageError(named, "that names no object", "give the URL of the store, a slash and the key")
    return Target(above, above, settings), key


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
