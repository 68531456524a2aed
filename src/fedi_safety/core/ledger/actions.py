"""What is said to the ledger about actions through the app, and what it answers; a part of its ports."""

from __future__ import annotations

from typing import Protocol

from fedi_safety.core.moderation import ActionState, AppAction, Confirmation


class ActionLedger(Protocol):
    """What is remembered of actions through the app. See `Ledger`."""

    def due_actions(self, store: str, *, only_due: bool = False) -> list[AppAction]:
        """Return what is planned for contents of a store, or has failed, oldest first; not what waits for a person.

        With `only_due` of what failed only that whose time has come again.
        """
        ...

    def start_action(self, run: int, action: AppAction, most: int | None, since: float) -> AppAction | None:
        """Commit that this run is about to do it; return it as it is then, or None where it may not be done.

        Asked in the transaction that starts it: it waits or failed; the content is condemned, decided, and nobody
        dismissed it; its bytes are away in this store; somebody vouches for what is done about a person; and with
        `most` no more than that have begun since `since`.
        """
        ...

    def close_action(self, run: int, action: AppAction, state: ActionState, detail: str) -> None:
        """Commit how an action ended that this run started: `done`, `gone` or `failed`."""
        ...

    def take_back_actions(self, run: int, store: str) -> int:
        """Let what an earlier run started and never finished wait again; return how many. See `Ledger.take_back`."""
        ...

    def actions_since(self, store: str, after: float) -> int:
        """Count what was begun for a store since then, or since a person last let its breaker of actions go."""
        ...

    def action_breaker(self, store: str) -> str | None:
        """Return why the breaker of actions holds a store's actions through the app back, or None."""
        ...

    def set_action_breaker(self, run: int, store: str, why: str | None) -> None:
        """Trip (`why` given) or reset a store's breaker of actions, and record the event."""
        ...

    def unconfirmed_actions(self, store: str) -> int:
        """Count what waits for a person's word, of contents that are condemned."""
        ...


class ActionReader(Protocol):
    """What people look at of actions through the app; reads only."""

    def actions_of(self, sha256: bytes) -> list[AppAction]:
        """Return the actions through the app for a content, oldest first."""
        ...

    def confirmation(self, sha256: bytes) -> Confirmation | None:
        """Return a person's word that a content is what it was condemned for, where it stands."""
        ...


class Confirming(Protocol):
    """What only a person says of a content that a rule found."""

    def confirm(self, sha256: bytes, reason: str, by: str) -> list[AppAction]:
        """Record a person's word that this content is what a rule said; return what may be done by it now.

        What was sent to review is condemned by that, whatever a policy says from then on; what is done about it is not
        planned by this. `unconfirm` and a dismissal take it back. Raises `LedgerUsageError` for a content that is not
        known, was dismissed, or is clear.
        """
        ...

    def unconfirm(self, sha256: bytes, reason: str, by: str) -> bool:
        """Take such a word back; return whether there was one.

        What was condemned by it alone stands as it did before, its waiting plans are closed, and the next scan decides
        it anew. What was removed stays removed.
        """
        ...
