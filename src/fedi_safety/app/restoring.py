"""Opening sealed copies where the key is, and putting objects back: what a removal by mistake took can come back."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fedi_safety.app.sealing import opened_restorer, opened_vault
from fedi_safety.app.stores import Target, targets
from fedi_safety.config.schema import Settings
from fedi_safety.core.errors import SealError, UsageError
from fedi_safety.core.ledger.ports import WholeLedger
from fedi_safety.core.ports import Store
from fedi_safety.core.sealing.copies import Restorer, Seal
from fedi_safety.core.types import Object

if TYPE_CHECKING:
    from fedi_safety.acts.sealed_file import Identity, Opened


@dataclass(frozen=True, slots=True)
class Restored:
    """What became of one copy: `differs` says what is not as it was; `already` that it was there before."""

    seal: Seal
    differs: Sequence[str]
    already: bool = False


def opened_copy(settings: Settings, seal: Seal, identities: Sequence[Identity]) -> Opened:
    """Return what is in a sealed copy. Raises `SealError`, `SealUsageError`, `StoreError`."""
    from fedi_safety.acts.sealed_file import is_known, opened

    with closing(opened_vault(settings, url=seal.vault)) as vault:
        data = vault.get(seal.name)
    thing = f"{seal.vault}: {seal.name}"
    if data is None:
        raise SealError(thing, "there is no such sealed file", "get it from a copy of the vault")
    if not is_known(data, seal.digest):
        raise SealError(thing, "it is not the file that was sealed: it is cut or changed", "get it from a copy")
    return opened(thing, data, identities)


class Restoring:
    """Puts one copy back into the store that it came from. Close it."""

    def __init__(self, settings: Settings, seal: Seal, copy: Opened) -> None:
        """Open the store. Raises `StoreUsageError`, `StoreError`, `UsageError`."""
        self.seal = seal
        self._copy = copy
        target = _target_of(settings, seal.store)
        self._store: Store = target.open()
        try:
            through = "pictrs" in copy.manifest["described"]
            self._restorer: Restorer = opened_restorer(target.settings, self._store, through_pictrs=through)
        except BaseException:
            self._store.close()
            raise

    @property
    def lost(self) -> Sequence[str]:
        """What will not come back, a phrase each."""
        return self._restorer.lost(self._copy.manifest["described"], len(self._copy.older))

    def put_back(self, ledger: WholeLedger) -> Restored:
        """Put the object back, and record it. Nothing is overwritten; what is there already is left as it is."""
        key, data = str(self._copy.manifest["key"]), self._copy.data
        if not self._copy.older and self._is_there(key, data):
            return Restored(self.seal, (), already=True)
        differs = self._restorer.put_back(key, data, self._copy.manifest["described"], self._copy.older)
        ledger.note_opened(self.seal, "restored", "; ".join(differs) or "as it was")
        return Restored(self.seal, differs)

    def _is_there(self, key: str, data: bytes) -> bool:
        """Whether an object with this content stands there, such as one that a killed restoring put back."""
        for item in self._store.list((key,)):
            if isinstance(item, Object) and item.key == key:
                return item.size == len(data) and self._store.fetch(item, _anything) == data
        return False

    def close(self) -> None:
        """Close the store."""
        self._restorer.close()
        self._store.close()


def _target_of(settings: Settings, url: str) -> Target:
    """Return the configured store that has this canonical URL, with its own access, else one by the URL alone."""
    from fedi_safety.stores import canonical_url

    if settings.stores or settings.store:
        for target in targets(settings, None):
            try:
                if canonical_url(target.url, target.settings) == url:
                    return target
            except UsageError:
                continue
    return Target(url, url, settings)


def _anything(head: bytes) -> None:
    """Accept every object."""
