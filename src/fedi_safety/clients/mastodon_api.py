"""Mastodon's REST API as moderators use it, as far as it tells whose a file is: accounts, by their ids.

There is no question that leads from a medium to its post or its account; only the database knows that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx

from fedi_safety.clients.json_api import ApiError, JsonApi

SCOPE = "admin:read:accounts"


@dataclass(frozen=True, slots=True)
class Account:
    """An account as moderators see it. `domain` is None for one of this server; `pictures` are the addresses of its
    avatar and its header."""

    id: str
    username: str
    domain: str | None
    pictures: tuple[str, ...]


class MastodonApi:
    """Asks one Mastodon, by a token of an account that may moderate, with the scope `SCOPE`."""

    def __init__(self, root: str, token: str, *, transport: httpx.BaseTransport | None = None) -> None:
        """Take the server's address and the token; nothing is sent. Raises `ApiError` for a token that is none."""
        self._api = JsonApi(root, "Mastodon", token, transport=transport)

    def account(self, account_id: str, *, within_s: float) -> Account | None:
        """Return an account, None where there is none of this id. Raises `ApiError`."""
        try:
            found = self._api.ask("GET", f"/api/v1/admin/accounts/{int(account_id)}", within_s=within_s)
        except ApiError as error:
            if error.status == 404:
                return None
            raise
        return _account(found)

    def close(self) -> None:
        """Close the connections. May be called twice."""
        self._api.close()


def _account(found: Any) -> Account:
    # E-mail and addresses of the network, which an answer has as well, are not looked at.
    shown = found.get("account") if isinstance(found, dict) else None
    own = (found["id"], found.get("username")) if isinstance(found, dict) and "id" in found else ()
    if not isinstance(shown, dict) or not own or not all(isinstance(text, str) for text in own):
        raise ApiError("API of Mastodon", "its account is not understood", "see its version")
    pictures = (shown.get(name) for name in ("avatar", "avatar_static", "header", "header_static"))
    domain = found.get("domain")
    return Account(
        own[0],
        own[1],
        domain if isinstance(domain, str) and domain else None,
        tuple(url for url in pictures if isinstance(url, str)),
    )
