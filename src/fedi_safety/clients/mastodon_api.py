"""Mastodon's REST API as moderators use it, as far as it tells whose a file is: accounts, by their ids.

There is no question that leads from a medium to its post or its account; only the database knows that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx

from fedi_safety.clients.json_api import JsonApi
from fedi_safety.core.errors import ApiError

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
    try:
        own, username, domain, shown = found["id"], found["username"], found["domain"], found["account"]
        pictures = [shown[name] for name in ("avatar", "avatar_static", "header", "header_static")]
    except (KeyError, TypeError):
        raise _strange() from None
    texts = (own, username, "" if domain is None else domain, *pictures)
    if not (own and username and all(isinstance(text, str) for text in texts)):
        raise _strange()
    return Account(own, username, domain or None, tuple(pictures))


def _strange() -> ApiError:
    return ApiError("API of Mastodon", "its account is not understood", "check its version")
