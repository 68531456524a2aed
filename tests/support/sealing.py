"""Sealing in tests: keys, a vault in a directory, the act over a store, and what lies in a vault, opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import cast

import pyrage

from fedi_safety.acts.delete import Remove
from fedi_safety.acts.seal import SealFirst
from fedi_safety.acts.sealed_file import Opened, opened
from fedi_safety.core.ledger.seals import SealWriter
from fedi_safety.core.ports import Act, Clock, Store
from fedi_safety.core.sealing.copies import Restorer, Seal, SealState
from fedi_safety.core.types import Plan
from fedi_safety.stores.restoring import restorer_of
from fedi_safety.stores.vaults.local import LocalVault
from support.file_descriptors import open_descriptors

NO_SEALS = cast("SealWriter", None)
"""For acts that seal nothing."""


@cache
def key() -> pyrage.x25519.Identity:
    """Return the operator's key, another one in each run of the tests."""
    return pyrage.x25519.Identity.generate()


def public() -> str:
    """Return its public half."""
    return str(key().to_public())


class RememberedSeals:
    """Reserves and records sealed copies in memory, as a ledger does for acts that come one after another."""

    def __init__(self) -> None:
        self.kept: dict[int, Seal] = {}

    def reserve_seals(self, plans: Sequence[Plan], vault: str) -> dict[int, Seal]:
        """Return the copies of these plans."""
        for plan in plans:
            name = f"{plan.id:032x}.age"
            made = Seal(plan.id, plan.id, "store", plan.object.key, plan.sha256, vault, name, SealState.RESERVED)
            self.kept.setdefault(plan.id, made)
        return {plan.id: self.kept[plan.id] for plan in plans}

    def record_seal(self, seal: Seal, size: int, digest: bytes, keep_s: float | None, detail: str = "") -> bool:
        """Record it; everything may be removed."""
        assert keep_s is None
        self.kept[seal.id] = replace(seal, state=SealState.SEALED, size=size, digest=digest, detail=detail)
        return True

    def may_go(self, seal: Seal) -> bool:
        """Everything may be removed."""
        return seal.id in self.kept


def open_within(folder: Path) -> list[str]:
    """Return the files below a folder that this process has open, those without a name among them."""
    return [path for _, path in open_descriptors() if path.startswith(f"{folder}/")]


@dataclass
class SealedFolder:
    """A vault in a directory, and the act that fills it."""

    folder: Path
    keep_s: float | None = None
    acts: list[SealFirst] = field(default_factory=list)

    def act(
        self,
        store: Store,
        seals: SealWriter,
        clock: Clock,
        *,
        then: Act | None = None,
        restorer: Restorer | None = None,
    ) -> SealFirst:
        """Return the act over a store."""
        self.folder.mkdir(exist_ok=True)
        act = SealFirst(
            store,
            then or Remove(store),
            lambda url: LocalVault(url or str(self.folder)),
            lambda: restorer or restorer_of(store),
            [key().to_public()],
            seals,
            clock,
            keep_s=self.keep_s,
        )
        self.acts.append(act)
        return act

    def names(self) -> list[str]:
        """Return what lies there."""
        return sorted(path.name for path in self.folder.iterdir())

    def opened(self) -> dict[str, Opened]:
        """Open every file with the operator's key."""
        return {path.name: opened(path.name, path.read_bytes(), [key()]) for path in sorted(self.folder.glob("*.age"))}
