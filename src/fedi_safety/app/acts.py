"""Which act is configured for a store, and how it is carried out there."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Protocol

from fedi_safety.acts.delete import Remove
from fedi_safety.app.sealing import act_after_seal, opened_restorer, opened_vault, scanned_urls
from fedi_safety.config.schema import Settings
from fedi_safety.core.classes import dataclass
from fedi_safety.core.enums import NO_ACT, ActKind
from fedi_safety.core.errors import FediSafetyError, UsageError
from fedi_safety.core.ledger.seals import SealWriter
from fedi_safety.core.ports import Act, Store
from fedi_safety.core.sealing.law import keep_s

if TYPE_CHECKING:
    from fedi_safety.acts.sealed_file import Recipient

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


def acts_for(settings: Settings, store: Store, seals: SealWriter) -> dict[ActKind, Act]:
    """Return the acts that can be carried out on a store, by the kind that plans name; `seals` records what is sealed.

    What one of them opens is closed by `opened_acts`, which is what runs use.
    """
    return {kind: row.open(settings, store, seals) for kind, row in ACTS.items()}


@contextmanager
def opened_acts(settings: Settings, store: Store, seals: SealWriter) -> Iterator[Mapping[ActKind, Act]]:
    """Hold the acts of a run, and close what they opened when it is over."""
    acts = acts_for(settings, store, seals)
    try:
        yield acts
    finally:
        for act in acts.values():
            if (close := getattr(act, "close", None)) is not None:
                close()


@dataclass(frozen=True, slots=True)
class ActRow:
    """How an act of one kind comes about. One that does something before another opens that one by its own row.

    `check` raises `UsageError` where somebody chose it for a store and it is not configured; `open` must not fail for
    that: a plan of an earlier configuration fails by name instead of breaking the run.
    """

    open: Callable[[Settings, Store, SealWriter], Act]
    check: Callable[[Settings, Place], None] = lambda _settings, _place: None


def _open_delete(settings: Settings, store: Store, _seals: SealWriter | None = None) -> Act:
    if store.owner is None and settings.pictrs.url is not None and act_for(settings, store) is ActKind.DELETE:
        _warn_of_delete(store.url)
    return Remove(store)


def _open_purge(settings: Settings, store: Store, _seals: SealWriter | None = None) -> Act:
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


def _open_seal(settings: Settings, store: Store, seals: SealWriter) -> Act:
    from fedi_safety.acts.seal import SealFirst, SealUnavailable
    from fedi_safety.app.ledger import SystemClock

    if not settings.seal.recipients and settings.seal.vault is None:
        return SealUnavailable(_unset())
    try:
        recipients = checked_seal(settings, store)
        then = ACTS[act_after_seal(settings, store.default_act)].open(settings, store, seals)
    except FediSafetyError as error:
        return SealUnavailable(error)
    return SealFirst(
        store,
        then,
        lambda url: opened_vault(settings, store, url),
        lambda: opened_restorer(settings, store),
        recipients,
        seals,
        SystemClock(),
        keep_s=keep_s(settings.law.preset, settings.seal.keep_days),
    )


def _check_seal(settings: Settings, place: Place) -> None:
    checked_seal(settings, place)
    ACTS[act_after_seal(settings, place.default_act)].check(settings, place)


def checked_seal(settings: Settings, place: Place) -> list[Recipient]:
    """Return the keys for which objects of a store are sealed. Raises `UsageError`, `SealUsageError`, `StoreError`."""
    from fedi_safety.acts.sealed_file import recipients_of
    from fedi_safety.stores.vaults import check_vault

    if settings.seal.vault is None:
        raise _unset()
    recipients = recipients_of(settings.seal.recipients)
    check_vault(settings.seal.vault, settings, scanned_urls(settings, place.url))
    return recipients


def _unset() -> UsageError:
    return UsageError(
        "seal",
        "it is not said for whose keys copies are sealed, and where they are kept",
        "set `seal.recipients` and `seal.vault`, or choose another action",
    )


ACTS: dict[ActKind, ActRow] = {
    ActKind.DELETE: ActRow(_open_delete),
    ActKind.PURGE: ActRow(_open_purge, _check_purge),
    ActKind.SEAL: ActRow(_open_seal, _check_seal),
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
