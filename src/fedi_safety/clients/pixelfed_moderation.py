"""Pixelfed's API as an admin acts by it: taking a post away. The token needs the scope `admin:write`, and `read`."""

from __future__ import annotations

from urllib.parse import quote

from fedi_safety.clients.json_api import JsonApi
from fedi_safety.core.errors import ApiError

_NOT_THERE = "Cannot find status"


class PixelfedModeration:
    """Speaks to one Pixelfed as the admin whose token it is. Every call raises `ApiError` where it is not answered."""

    def __init__(self, root: str, token: str) -> None:
        """Take the server's address and a token; nothing is sent yet. Raises `ApiError` for a token that is none."""
        self._api = JsonApi(root, "Pixelfed", token)

    def own_account(self, within_s: float) -> tuple[str, bool | None]:
        """Return the name of the token's account, and whether it is an admin's; None where that is not told."""
        try:
            found = self._api.ask("GET", "/api/v1/accounts/verify_credentials", within_s=within_s)
        except ApiError as error:
            if error.status != 403:
                raise
            found = {}
        name, admin = (found.get("acct"), found.get("is_admin")) if isinstance(found, dict) else (None, None)
        return (f"@{name}" if isinstance(name, str) else "", admin if isinstance(admin, bool) else None)

    def post_shown(self, post_id: str, within_s: float) -> bool:
        """Whether there is a post with this id that the account may see."""
        try:
            self._api.ask("GET", f"/api/v1/statuses/{quote(post_id, safe='')}", within_s=within_s)
        except ApiError as error:
            if error.status == 404:
                return False
            raise
        return True

    def delete_post(self, post_id: str, within_s: float) -> bool:
        """Delete a post with its media; return whether there was one."""
        path = f"/api/admin/moderate/post/{quote(post_id, safe='')}"
        try:
            self._api.ask("POST", path, within_s=within_s, body={"action": "delete"})
        except ApiError as error:
            if error.code == _NOT_THERE:
                return False
            raise
        return True

    def close(self) -> None:
        """Close the connections. May be called twice."""
        self._api.close()
