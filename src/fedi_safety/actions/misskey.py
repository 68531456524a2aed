"""Misskey and Sharkey: drive files deleted, users suspended."""

from __future__ import annotations

from fedi_safety.actions.refusals import refusals
from fedi_safety.clients.misskey_moderation import MisskeyModeration
from fedi_safety.core.moderation import AppAction, Standing, TargetKind


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
