"""Pixelfed: posts deleted with their media."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

from fedi_safety.actions.refusals import refusals
from fedi_safety.clients.pixelfed_moderation import PixelfedModeration
from fedi_safety.core.errors import ModerationGone
from fedi_safety.core.moderation import AppAction, Standing, TokenAccount


class PixelfedModerator:
    """Acts on one Pixelfed; see the `Moderator` port."""

    def __init__(self, name: str, root: str, token: str) -> None:
        """Take the server; nothing is sent yet."""
        self.name = name
        self._pixelfed = PixelfedModeration(root, token)
        self._deleted: set[str] = set()

    @refusals()
    def standing(self, action: AppAction, *, within_s: float) -> Standing:
        """Read whether a post is shown. One that is not may be private, so that only deleting tells that it is gone."""
        if self._pixelfed.post_shown(action.target_id, within_s):
            return Standing.OPEN
        return Standing.SO if action.target_id in self._deleted else Standing.OPEN

    @refusals()
    def perform(self, action: AppAction, *, within_s: float) -> None:
        """Do it; see the `Moderator` port."""
        if not self._pixelfed.delete_post(action.target_id, within_s):
            raise ModerationGone(self.name, "there is no such post any more")
        self._deleted.add(action.target_id)

    def close(self) -> None:
        """Release connections."""
        self._pixelfed.close()


def token_account(root: str, token: str, actions: Sequence[str], within_s: float) -> TokenAccount:  # noqa: ARG001
    """Return whose a token is, and whether that is an admin. Raises `ApiError`."""
    with closing(PixelfedModeration(root, token)) as pixelfed:
        name, admin = pixelfed.own_account(within_s)
    role, scopes = ("the role of an admin",), ("scope admin:write", "scope read")
    return TokenAccount(name, role if admin is False else (), (*(role if admin is None else ()), *scopes))
