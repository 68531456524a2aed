"""Which act is configured for a store, and how it is carried out there."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Protocol

from fedi_safety.acts.delete import Remove
from fedi_safety.config.schema import Settings
from fedi_safety.core.enums import NO_ACT, ActKind
from fedi_safety.core.errors import UsageError
from fedi_safety.core.ports import Act, Store

log = logging.getLogger(__name__)


class Place(Protocol):
    """A store, or the target that it will be opened from."""

    @property
    def url(self) -> str:
        """Its URL, as messages name it."""
        ...

    @property
    def default_act(self) -> ActKind:
        """See `Store`."""
        ...


def act_for(settings: Settings, place: Place) -> ActKind | None:
    """Return the configured act, else the one that suits the store: `purge` where it is a pict-rs, or `delete`.

    None where the store is to be left as it is. Raises `UsageError` for an act that cannot be had there.
    """
    if settings.act is None:
        return place.default_act
    if settings.act == NO_ACT:
        return None
    kind = ActKind(settings.act)
    ACTS[kind].check(settings, place)
    return kind


def acts_for(settings: Settings, store: Store) -> dict[ActKind, Act]:
    """Return the acts that can be carried out on a store, by the kind that plans name."""
    return {kind: row.open(settings, store) for kind, row in ACTS.items()}


@dataclass(frozen=True, slots=True)
class ActRow:
    """How an act of one kind comes about. One that does something before another opens that one by its own row.

    `check` raises `UsageError` where somebody chose it for a store and it is not configured; `open` must not fail for
    that: a plan of an earlier configuration fails by name instead of breaking the run.
    """

    open: Callable[[Settings, Store], Act]
    check: Callable[[Settings, Place], None] = lambda _settings, _place: None


def _open_delete(settings: Settings, store: Store) -> Act:
    if store.owner is None and settings.pictrs.url is not None and act_for(settings, store) is ActKind.DELETE:
        _warn_of_delete(store.url)
    return Remove(store)


def _open_purge(settings: Settings, store: Store) -> Act:
    from fedi_safety.acts.purge import PurgeUnavailable, RemovePurging, open_purge

    if store.owner is not None:
        return RemovePurging(store)
    return PurgeUnavailable() if settings.pictrs.url is None else open_purge(store, settings.pictrs)


def _check_purge(settings: Settings, place: Place) -> None:
    if place.default_act is not ActKind.PURGE and settings.pictrs.url is None:
        raise UsageError(
            "purge",
            f"{place.url} is no pict-rs, and the one that owns its files is not configured",
            "set `pictrs.url` and `pictrs.api_key`, or choose `delete`",
        )


ACTS: dict[ActKind, ActRow] = {
    ActKind.DELETE: ActRow(_open_delete),
    ActKind.PURGE: ActRow(_open_purge, _check_purge),
}
"""Every act. A row here, its word in `ActKind` and its section of the settings are what a new one needs besides its own
file."""


@cache
def _warn_of_delete(store_url: str) -> None:
    """Say once per process that a pict-rs is configured and will not learn of what is deleted."""
    log.warning(
        "%s: objects will be deleted, and pict-rs will not know: aliases and thumbnails stay, and the same picture "
        "cannot be uploaded again; if they are its files, choose the action `purge`",
        store_url,
    )
