"""Misskey and Sharkey: drive files deleted, users suspended."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

from fedi_safety.actions.refusals import refusals
from fedi_safety.clients.misskey_moderation import MisskeyModeration
from fedi_safety.core.moderation import AppAction, Standing, TargetKind, TokenAccount

# By action: the permissions of the token that its calls ask for. Misskey tells nobody which a token has.
_NEEDS = {
    "delete_file": ("read:admin:drive", "write:drive"),
    "suspend_user": ("read:admin:show-user", "write:admin:suspend-user"),
}


class MisskeyModerator:
    """Acts on one Misskey; see the `Moderator` port."""

    def __init__(self, name: str, root: str, token: str) -> None:
        """Take the server; nothing is sent yet."""
        self.name = name
        self._misskey = MisskeyModeration(root, token)

    @refusals()
    def standing(self, action: AppAction, *, within_s: float) -> Standing:
        """Read how a target stands; see the `Moderator` port."""
        if action.target is TargetKind.FILE:
            return Standing.OPEN if self._misskey.file_there(action.target_id, within_s) else Standing.GONE
        suspended = self._misskey.suspended(action.target_id, within_s)
        return Standing.GONE if suspended is None else Standing.SO if suspended else Standing.OPEN

    @refusals()
    def perform(self, action: AppAction, *, within_s: float) -> None:
        """Do it; see the `Moderator` port."""
        if action.target is TargetKind.FILE:
            self._misskey.delete_file(action.target_id, within_s)
        else:
            self._misskey.suspend(action.target_id, within_s)

    def close(self) -> None:
        """Release connections."""
        self._misskey.close()


def token_account(root: str, token: str, actions: Sequence[str], within_s: float) -> TokenAccount:
    """Return whose a token is, and whether that may moderate. Raises `ApiError`."""
    with closing(MisskeyModeration(root, token)) as misskey:
        name, may = misskey.own_account(within_s)
    role = ("the role of a moderator",)
    permissions = sorted({f"permission {name}" for action in actions for name in _NEEDS[action]})
    return TokenAccount(name, role if may is False else (), (*(role if may is None else ()), *permissions))
