"""Sealed copies as configured: where they are kept, what puts objects back, and which of them are over."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager

from fedi_safety.config.schema import Settings
from fedi_safety.core.enums import ActKind
from fedi_safety.core.errors import FediSafetyError, StoreUsageError, UsageError
from fedi_safety.core.ledger.seals import SealLedger
from fedi_safety.core.notices.access import ACCESS
from fedi_safety.core.ports import Store
from fedi_safety.core.sealing.copies import Draft, Restorer, Vault

log = logging.getLogger(__name__)

_PAGE = 100


def act_after_seal(settings: Settings, default: ActKind) -> ActKind:
    """Return the act that takes an original once its copy is sealed: as configured, else what suits the store.

    `default` is the store's own default act.
    """
    if settings.seal.then is not None:
        return ActKind(settings.seal.then)
    return ActKind.DELETE if default is ActKind.DELETE and settings.pictrs.url is None else ActKind.PURGE


def scanned_urls(settings: Settings, *more: str) -> list[str]:
    """Return the canonical URLs of all configured stores and of `more`; those that are not there now are left out."""
    from fedi_safety.stores import access_sections, canonical_url

    named = [(url, settings) for url in (*more, *([settings.store] if settings.store else []))]
    for store in settings.stores:
        own = {name: value for name in access_sections() if (value := getattr(store, name)) is not None}
        named.append((store.url, settings.model_copy(update=own)))
    found: dict[str, None] = {}
    for url, access in named:
        try:
            found[canonical_url(url, access)] = None
        except StoreUsageError:  # its own check says so
            continue
    return list(found)


def opened_vault(settings: Settings, store: Store | None = None, url: str | None = None) -> Vault:
    """Return the configured vault, or the one at `url` where a copy lies. Raises `UsageError`, `StoreError`."""
    from fedi_safety.stores.vaults import open_vault

    place = url or settings.seal.vault
    if place is None:
        raise UsageError("seal", "no vault is configured", "set `seal.vault`")
    about = f"vault {_shown(settings, place)}"
    with _heard(about):
        vault = open_vault(place, settings, scanned_urls(settings, *([] if store is None else [store.url])))
    return _HeardVault(vault, about)


def _shown(settings: Settings, place: str) -> str:
    """Return what a vault is called: its canonical URL, which has no credentials, or of what is none its scheme."""
    from fedi_safety.stores import canonical_url
    from fedi_safety.stores.vaults import access_of

    try:
        return canonical_url(place, access_of(settings))
    except StoreUsageError:
        scheme, is_url, _ = place.partition("://")
        return scheme if is_url else place


@contextmanager
def _heard(about: str) -> Iterator[None]:
    """Say whether the credentials for a vault are refused or accepted."""
    try:
        yield
    except FediSafetyError as error:
        if error.refused:
            ACCESS.refused(about, "it refuses the credentials, or their rights", error)
        raise
    ACCESS.accepted(about)


class _HeardVault:
    """A vault of which is said whether it lets us in: what fails there becomes a line about one object elsewhere."""

    def __init__(self, vault: Vault, about: str) -> None:
        self._vault, self._about = vault, about
        self.url, self.takes_whole = vault.url, vault.takes_whole

    def put(self, name: str, pieces: Iterable[bytes | memoryview]) -> None:
        with _heard(self._about):
            self._vault.put(name, pieces)

    def draft(self) -> Draft | None:
        return self._vault.draft()

    def get(self, name: str) -> bytes | None:
        return self._vault.get(name)

    def holds(self, name: str, data: bytes | memoryview) -> bool:
        return self._vault.holds(name, data)

    def remove(self, name: str) -> bool:
        with _heard(self._about):
            return self._vault.remove(name)

    def close(self) -> None:
        self._vault.close()


def opened_restorer(settings: Settings, store: Store, *, through_pictrs: bool | None = None) -> Restorer:
    """Return what describes a store's objects and puts them back: pict-rs, where it is what removes them.

    `through_pictrs` says so of an object that was sealed before; None asks the configuration. Raises `StoreUsageError`
    where pict-rs is needed and not configured.
    """
    from fedi_safety.stores.restoring import restorer_of

    if store.owner is not None:
        return restorer_of(store)
    if through_pictrs is None:
        through_pictrs = act_after_seal(settings, store.default_act) is ActKind.PURGE
    if not through_pictrs:
        return restorer_of(store)
    from fedi_safety.stores.restoring.pictrs import open_pictrs_files

    return open_pictrs_files(restorer_of(store), settings.pictrs)


def destroy_ended(
    settings: Settings, ledger: SealLedger, run: int | None, keep_going: Callable[[], bool] = lambda: True
) -> tuple[int, list[str]]:
    """Destroy the sealed files whose time is over; return how many went, and why others did not, a line for each vault.

    What is held stays, and so does what a person holds until the moment before. What could not be reached is tried
    again by the next pass.
    """
    gone, problems, tried = 0, dict[str, str](), set[int]()
    while page := [seal for seal in ledger.due_seals(_PAGE + len(tried)) if seal.id not in tried]:
        for vault_url in dict.fromkeys(seal.vault for seal in page):
            mine = [seal for seal in page if seal.vault == vault_url]
            tried |= {seal.id for seal in mine}
            try:
                with closing(opened_vault(settings, url=vault_url)) as vault:
                    for seal in mine:
                        if not keep_going():
                            return gone, list(problems.values())
                        if ledger.start_destroying(run, seal):
                            there = vault.remove(seal.name)
                            ledger.end_destroying(run, seal, "destroyed" if there else "there was no file")
                            gone += 1
                            log.info("sealed copy %s of %s: its time is over, and it is destroyed", seal.name, seal.key)
            except FediSafetyError as error:
                problems[vault_url] = f"sealed copies that are over could not be destroyed: {error.line()}"
    for line in problems.values():
        log.warning(line)
    return gone, list(problems.values())
