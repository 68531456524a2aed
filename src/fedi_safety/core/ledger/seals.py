"""What is said to the ledger about sealed copies, and what it answers; a part of its ports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from fedi_safety.core.sealing.copies import Seal, SealState
from fedi_safety.core.types import Plan


class SealWriter(Protocol):
    """What the act `seal` needs: a name before there is a file, and a record before the original goes."""

    def reserve_seals(self, plans: Sequence[Plan], vault: str) -> dict[int, Seal]:
        """Return by plan the sealed copies of these in this vault, made with a name of its own where there is none yet.

        One that was begun in another vault is given up: its file, if there is one, is destroyed as if it had expired.
        All of it is one commit.
        """
        ...

    def record_seal(self, seal: Seal, size: int, digest: bytes, keep_s: float | None, detail: str = "") -> bool:
        """Commit that the file was read back and opens; return whether its content may still be removed.

        `detail` says which versions of a key are in it, where a store keeps several.

        It may not where a person dismissed it meanwhile, or the plan is not under way any more.
        """
        ...

    def may_go(self, seal: Seal) -> bool:
        """Return the same of a copy that was made before."""
        ...


class SealLedger(SealWriter, Protocol):
    """What passes do about sealed copies. See `Ledger`."""

    def due_seals(self, limit: int) -> list[Seal]:
        """Return copies whose time is over and that nobody holds, and files that belong to no act any more."""
        ...

    def start_destroying(self, run: int | None, seal: Seal) -> bool:
        """Commit that a file is about to be destroyed; return whether it may be: it is due still, and not held."""
        ...

    def end_destroying(self, run: int | None, seal: Seal, detail: str) -> None:
        """Commit that a file is gone, after reading back."""
        ...


class SealReader(Protocol):
    """What people look at of sealed copies; reads only."""

    def seals(self, *, sha256: bytes | None = None, states: Sequence[SealState] = ()) -> list[Seal]:
        """Return sealed copies, oldest first: of a content, or all; in these states, or in any."""
        ...

    def seal_page(self, *, before: int | None = None, limit: int = 50) -> list[Seal]:
        """Return the copies that lie in a vault, newest first, from the one before that number on."""
        ...

    def seal_named(self, name: str) -> Seal | None:
        """Return the copy with this file name; None where there is none."""
        ...


class SealKeeper(Protocol):
    """What only a person does about sealed copies. Each is one event in the chain."""

    def hold_seal(self, seal: Seal, reason: str) -> Seal:
        """Stop that a copy ends by itself. Raises `LedgerUsageError` for one that is gone, or about to go."""
        ...

    def release_seal(self, seal: Seal) -> Seal:
        """Let it end by itself again. Raises `LedgerUsageError` for one that is gone."""
        ...

    def file_seal(self, seal: Seal, authority: str, reference: str, at: float, keep_s: float | None) -> Seal:
        """Record that its content was reported to an authority; with `keep_s` it is kept that long from then on."""
        ...

    def note_opened(self, seal: Seal, how: str, detail: str) -> None:
        """Record that a person opened a copy: `how` is `restored` or `unsealed`."""
        ...
