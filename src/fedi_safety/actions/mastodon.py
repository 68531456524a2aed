"""Mastodon and glitch-soc: reports, actions on accounts, domain blocks. Posts and media are a person's to delete."""

from __future__ import annotations

from fedi_safety.actions.refusals import refusals
from fedi_safety.clients.mastodon_moderation import MastodonModeration
from fedi_safety.core.errors import ModerationError
from fedi_safety.core.moderation import AppAction, Standing, TargetKind, mark_of, reason_of

_STATES = {"sensitive": "sensitized", "silence": "silenced", "suspend": "suspended"}


class MastodonModerator:
    """Acts on one Mastodon; see the `Moderator` port."""

    def __init__(self, name: str, root: str, token: str) -> None:
        """Take the server; nothing is sent yet."""
        self.name = name
        self._mastodon = MastodonModeration(root, token)

    @refusals()
    def standing(self, action: AppAction, *, within_s: float) -> Standing:
        """Read how a target stands; a domain is blocked when no media are taken from it."""
        if action.target is TargetKind.INSTANCE:
            block = self._mastodon.domain_block(action.target_id, within_s)
            blocked = block is not None and (block.get("reject_media") is True or block.get("severity") == "suspend")
            return Standing.SO if blocked else Standing.OPEN
        if action.action == "report":
            reported = self._mastodon.reported(_account(action), mark_of(action), within_s)
            return Standing.SO if reported else Standing.OPEN
        account = self._mastodon.account(action.target_id, within_s)
        if account is None:
            return Standing.GONE
        return Standing.SO if account.get(_STATES[action.action]) is True else Standing.OPEN

    @refusals()
    def perform(self, action: AppAction, *, within_s: float) -> None:
        """Do it; see the `Moderator` port."""
        if action.target is TargetKind.INSTANCE:
            block = self._mastodon.domain_block(action.target_id, within_s)
            self._mastodon.block_domain(action.target_id, reason_of(action), block, within_s)
        elif action.action == "report":
            posts = [action.target_id] if action.target is TargetKind.POST else []
            self._mastodon.report(_account(action), posts, reason_of(action), within_s)
        else:
            self._mastodon.act(action.target_id, action.action, reason_of(action), within_s)

    def close(self) -> None:
        """Release connections."""
        self._mastodon.close()


def _account(action: AppAction) -> str:
    if action.about is None:
        raise ModerationError(action.text, "a report needs the account, and the trace does not tell it")
    return action.about
