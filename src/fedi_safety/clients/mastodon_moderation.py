"""Mastodon's API as a moderator acts by it: reports, actions on accounts, blocks of domains; and how they stand after.

There is no call that deletes another account's post or medium. Every call raises `ApiError` where it is not answered.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from fedi_safety.clients.json_api import JsonApi
from fedi_safety.core.errors import ApiError

SCOPES = ("write:reports", "admin:read:reports", "admin:read:accounts", "admin:write:accounts",
          "admin:read:domain_blocks", "admin:write:domain_blocks")  # fmt: skip
_MOST_BLOCKS = 200
_MOST_PAGES = 200


class MastodonModeration:
    """Speaks to one Mastodon as the moderator whose token it is, with those of `SCOPES` that are needed."""

    def __init__(self, root: str, token: str) -> None:
        """Take the server's address and a token; nothing is sent yet. Raises `ApiError` for a token that is none."""
        self._api = JsonApi(root, "Mastodon", token)

    def own_account(self, within_s: float) -> tuple[str, int | None]:
        """Return the name of the token's account and its role's permissions as bits.

        Empty and None where the token has no scope to ask that.
        """
        found = self._own("accounts", within_s)
        name, role = found.get("acct"), found.get("role")
        bits = role.get("permissions") if isinstance(role, dict) else None
        told = isinstance(bits, str | int) and str(bits).isdigit()
        return (f"@{name}" if isinstance(name, str) else "", int(str(bits)) if told else None)

    def own_scopes(self, within_s: float) -> frozenset[str] | None:
        """Return the scopes of the token's application, which Mastodon tells since 4.3; None where it does not."""
        scopes = self._own("apps", within_s).get("scopes")
        return frozenset(map(str, scopes)) if isinstance(scopes, list) else None

    def _own(self, what: str, within_s: float) -> dict[str, Any]:
        try:
            found = self._api.ask("GET", f"/api/v1/{what}/verify_credentials", within_s=within_s)
        except ApiError as error:
            if error.status in (403, 404):
                return {}
            raise
        return found if isinstance(found, dict) else {}

    def account(self, account_id: str, within_s: float) -> dict[str, Any] | None:
        """Return an account as moderators see it, with `silenced`, `suspended` and `sensitized`; None for none."""
        try:
            found = self._ask("GET", f"accounts/{quote(account_id, safe='')}", within_s)
        except ApiError as error:
            if error.status in (404, 410):
                return None
            raise
        if not isinstance(found, dict) or not isinstance(found.get("suspended"), bool):
            raise _unclear("how an account stands")
        return found

    def act(self, account_id: str, kind: str, text: str, within_s: float) -> None:
        """Act on an account: `sensitive`, `silence` or `suspend`. Its owner is not written to."""
        body = {"type": kind, "text": text, "send_email_notification": False}
        self._ask("POST", f"accounts/{quote(account_id, safe='')}/action", within_s, body=body)

    def reported(self, account_id: str, mark: str, within_s: float) -> bool:
        """Whether there is a report on an account whose comment has the mark in it, open or settled."""
        settled: tuple[dict[str, str], ...] = ({}, {"resolved": "true"})
        for which in settled:
            asked = {"target_account_id": account_id, "limit": "100"} | which
            rows = self._list("reports", asked, within_s)
            if any(mark in comment for row in rows if isinstance(comment := row.get("comment"), str)):
                return True
        return False

    def report(self, account_id: str, status_ids: list[str], comment: str, within_s: float) -> None:
        """Report an account with its posts as unlawful, to this server's own moderators alone."""
        body = {"account_id": account_id, "status_ids": status_ids, "comment": comment, "category": "legal"}
        self._api.ask("POST", "/api/v1/reports", within_s=within_s, body=body | {"forward": False})

    def domain_block(self, domain: str, within_s: float) -> dict[str, Any] | None:
        """Return the block of a domain, None where there is none."""
        asked = {"limit": str(_MOST_BLOCKS)}
        for _ in range(_MOST_PAGES):
            rows = self._list("domain_blocks", asked, within_s)
            found = next((row for row in rows if row.get("domain") == domain), None)
            if found is not None or not rows:
                return found
            asked["max_id"] = str(rows[-1].get("id"))
        raise _unclear("which domains are blocked")

    def block_domain(self, domain: str, comment: str, block: dict[str, Any] | None, within_s: float) -> None:
        """Limit a domain and take no media from it; what there is of a block already keeps its severity."""
        if block is None:
            body = {"domain": domain, "severity": "silence", "reject_media": True, "private_comment": comment}
            self._ask("POST", "domain_blocks", within_s, body=body)
        else:
            body = {"severity": block.get("severity"), "reject_media": True}
            self._ask("PUT", f"domain_blocks/{quote(str(block.get('id')), safe='')}", within_s, body=body)

    def close(self) -> None:
        """Close the connections. May be called twice."""
        self._api.close()

    def _list(self, path: str, asked: dict[str, str], within_s: float) -> list[dict[str, Any]]:
        rows = self._ask("GET", path, within_s, params=asked)
        if not isinstance(rows, list):
            raise _unclear(f"what there is of {path}")
        return [row for row in rows if isinstance(row, dict)]

    def _ask(self, method: str, path: str, within_s: float, **more: Any) -> Any:
        return self._api.ask(method, f"/api/v1/admin/{path}", within_s=within_s, **more)


def _unclear(what: str) -> ApiError:
    return ApiError("API of Mastodon", f"its answer does not tell {what}", "check its version", status=200)
