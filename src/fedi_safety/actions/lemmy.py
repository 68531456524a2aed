"""Lemmy 0.19 and 1.0: posts and comments reported, removed and purged, images deleted, people banned from the site."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

from fedi_safety.actions.refusals import refusals
from fedi_safety.clients.lemmy_moderation import LemmyModeration
from fedi_safety.core.errors import ModerationError, ModerationGone
from fedi_safety.core.moderation import AppAction, Standing, TargetKind, TokenAccount, mark_of, reason_of


class LemmyModerator:
    """Acts on one Lemmy; see the `Moderator` port."""

    def __init__(self, name: str, root: str, token: str) -> None:
        """Take the server; nothing is sent yet."""
        self.name = name
        self._lemmy = LemmyModeration(root, token)
        self._deleted: set[str] = set()

    @refusals()
    def standing(self, action: AppAction, *, within_s: float) -> Standing:
        """Read how a target stands. Whether an image's records are there no call tells: only whether it is shown."""
        if action.target is TargetKind.FILE:
            shown = self._lemmy.shows_image(action.target_id, within_s)
            return Standing.SO if not shown and action.target_id in self._deleted else Standing.OPEN
        number = _number(action)
        if action.target is TargetKind.PERSON:
            banned = self._lemmy.banned(number, within_s)
            return Standing.GONE if banned is None else Standing.SO if banned else Standing.OPEN
        read = self._lemmy.comment if action.target is TargetKind.COMMENT else self._lemmy.post
        found = read(number, within_s)
        if found is None:
            return Standing.GONE
        if action.action == "report":
            if found.get("removed") is True or found.get("deleted") is True:
                return Standing.GONE  # there is nothing to look at any more, and Lemmy takes no report of it
            done = self._lemmy.reported(action.target.value, number, mark_of(action), within_s)
        else:
            done = action.action != "purge_post" and found.get("removed") is True
        return Standing.SO if done else Standing.OPEN

    @refusals()
    def perform(self, action: AppAction, *, within_s: float) -> None:
        """Do it; see the `Moderator` port."""
        reason = reason_of(action)
        if action.target is TargetKind.FILE:
            if not self._lemmy.delete_image(action.target_id, within_s):
                raise ModerationGone(self.name, "there is no such image any more")
            self._deleted.add(action.target_id)
        elif action.action == "report":
            self._lemmy.report(action.target.value, _number(action), reason, within_s)
        elif action.action == "ban":
            self._lemmy.ban(_number(action), reason, within_s)
        elif action.action == "purge_post":
            self._lemmy.purge_post(_number(action), reason, within_s)
        else:
            self._lemmy.remove(action.target.value, _number(action), reason, within_s)

    def close(self) -> None:
        """Release connections."""
        self._lemmy.close()


def token_account(root: str, token: str, actions: Sequence[str], within_s: float) -> TokenAccount:  # noqa: ARG001
    """Return whose a token is: whatever is traced or done asks for an admin's. Raises `ApiError`."""
    with closing(LemmyModeration(root, token)) as lemmy:
        name, admin = lemmy.own_account(within_s)
    needed = ("the role of an admin",)
    return TokenAccount(name, lacks=needed if admin is False else (), untold=needed if admin is None else ())


def _number(action: AppAction) -> int:
    if not (action.target_id.isascii() and action.target_id.isdigit()):
        raise ModerationError(action.target_id, "this is no id of Lemmy's", "trace it again")
    return int(action.target_id)
