"""Which act is configured for a store, and how it is carried out there."""

from __future__ import annotations

import logging
from functools import cache
from typing import Protocol

from fedi_safety.acts.delete import Remove
from fedi_safety.config.schema import Settings
from fedi_safety.core.errors import UsageError
from fedi_safety.core.ports import Act, Store
from fedi_safety.core.types import ActKind

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


def act_for(settings: Settings, place: Place) -> ActKind:
    """Return the configured act, else the one that suits the store: `purge` where it is a pict-rs, or `delete`.

    Raises `UsageError` if that is `purge` and there is no pict-rs to purge through.
    """
    if settings.act is None:
        return place.default_act
    if settings.act == "purge" and place.default_act is not ActKind.PURGE and settings.pictrs.url is None:
        raise UsageError(
            "purge",
            f"{place.url} is no pict-rs, and the one that owns its files is not configured",
            "set `pictrs.url` and `pictrs.api_key`, or choose `delete`",
        )
    return ActKind(settings.act)


def acts_for(settings: Settings, store: Store) -> dict[ActKind, Act]:
    """Return the acts that can be carried out on a store, by the kind that plans name."""
    from fedi_safety.acts.purge import PurgeUnavailable, RemovePurging, open_purge

    acts: dict[ActKind, Act] = {ActKind.DELETE: Remove(store)}
    if store.owner is not None:
        acts[ActKind.PURGE] = RemovePurging(store)
    elif settings.pictrs.url is None:
        acts[ActKind.PURGE] = PurgeUnavailable()
    else:
        acts[ActKind.PURGE] = open_purge(store, settings.pictrs)
        if act_for(settings, store) is ActKind.DELETE:
            _warn_of_delete(store.url)
    return acts


@cache
def _warn_of_delete(store_url: str) -> None:
    """Say once per process that a pict-rs is configured and will not learn of what is deleted."""
    log.warning(
        "%s: objects will be deleted, and pict-rs will not know: aliases and thumbnails stay, and the same picture "
        "cannot be uploaded again; if they are its files, choose the action `purge`",
        store_url,
    )
