"""Mastodon and glitch-soc: reports, actions on accounts, domain blocks. Posts and media are a person's to delete."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

from fedi_safety.actions.refusals import refusals
from fedi_safety.clients.mastodon_moderation import MastodonModeration
from fedi_safety.core.errors import ModerationError
from fedi_safety.core.moderation import AppAction, Standing, TargetKind, TokenAccount, mark_of, reason_of

_ACCOUNTS = ({"admin:read:accounts", "admin:write:accounts"}, "manage_users")
# By action: the scopes that its calls ask for, and the permission that the account's role must have.
_NEEDS = {
    "report": ({"write:reports", "admin:read:reports"}, "manage_reports"),
    "sensitive": _ACCOUNTS,
    "silence": _ACCOUNTS,
    "suspend": _ACCOUNTS,
    "domain_block": ({"admin:read:domain_blocks", "admin:write:domain_blocks"}, "manage_federation"),
}
_TRACING = ({"admin:read:accounts"}, "manage_users")
_PERMISSIONS = {"manage_reports": 1 << 4, "manage_federation": 1 << 5, "manage_users": 1 << 10}
_ADMINISTRATOR = 1
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


def token_account(root: str, token: str, actions: Sequence[str], within_s: float) -> TokenAccount:
    """Return whose a token is, and what its scopes and its role lack for the actions, or else for tracing.

    Raises `ApiError`.
    """
    with closing(MastodonModeration(root, token)) as mastodon:
        name, bits = mastodon.own_account(within_s)
        scopes = mastodon.own_scopes(within_s)
    needs = [_NEEDS[action] for action in actions] or [_TRACING]
    needed = sorted(set().union(*(names for names, _ in needs)))
    permissions = sorted({permission for _, permission in needs})
    lacks = [] if scopes is None else [f"scope {name}" for name in needed if not _covered(name, scopes)]
    if bits is not None and not bits & _ADMINISTRATOR:
        lacks += [f"permission {name} of its role" for name in permissions if not bits & _PERMISSIONS[name]]
    untold = [f"scope {name}" for name in needed] if scopes is None else []
    untold += [f"permission {name} of its role" for name in permissions] if bits is None else []
    return TokenAccount(name, tuple(lacks), tuple(untold))


def _covered(scope: str, scopes: frozenset[str]) -> bool:
    """Whether a token's scopes hold one: `admin:read` holds `admin:read:accounts`."""
    parts = scope.split(":")
    return any(":".join(parts[:count]) in scopes for count in range(1, len(parts) + 1))


def _account(action: AppAction) -> str:
    if action.about is None:
        raise ModerationError(action.text, "a report needs the account, and the trace does not tell it")
    return action.about
