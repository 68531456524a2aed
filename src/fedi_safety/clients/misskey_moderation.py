"""Misskey's API, and Sharkey's, as a moderator acts by it: drive files and users, and how they stand after.

Every call raises `ApiError` where it gets no answer to it.
"""

from __future__ import annotations

from typing import Any

from fedi_safety.clients.json_api import JsonApi
from fedi_safety.core.errors import ApiError

PERMISSIONS = ("read:admin:drive", "write:drive", "read:admin:show-user", "write:admin:suspend-user")
_UNKNOWN = frozenset({"NO_SUCH_FILE", "NO_SUCH_USER", "USER_NOT_FOUND"})


class MisskeyModeration:
    """Speaks to one Misskey as the moderator whose token it is, with those of `PERMISSIONS` that are needed."""

    def __init__(self, root: str, token: str) -> None:
        """Take the server's address and a token; nothing is sent yet. Raises `ApiError` for a token that is none."""
        self._api = JsonApi(root, "Misskey", token)

    def own_account(self, within_s: float) -> tuple[str, bool | None]:
        """Return the name of the token's account, and whether it may moderate.

        Empty and None where the token has not the permission `read:account`.
        """
        try:
            found = self._ask("i", {}, within_s)
        except ApiError as error:
            if error.status != 403:
                raise
            return "", None
        if not isinstance(found, dict):
            raise _unclear("whose the token is")
        name, roles = found.get("username"), [found.get("isModerator"), found.get("isAdmin")]
        may = True in roles if any(isinstance(role, bool) for role in roles) else None
        return (f"@{name}" if isinstance(name, str) else "", may)

    def file_there(self, file_id: str, within_s: float) -> bool:
        """Whether there is a drive file with this id."""
        return self._maybe("admin/drive/show-file", {"fileId": file_id}, within_s) is not None

    def suspended(self, user_id: str, within_s: float) -> bool | None:
        """Whether a user is suspended, None where there is none."""
        found = self._maybe("admin/show-user", {"userId": user_id}, within_s)
        if found is None:
            return None
        suspended = found.get("isSuspended")
        if not isinstance(suspended, bool):
            raise _unclear("whether a user is suspended")
        return suspended

    def delete_file(self, file_id: str, within_s: float) -> None:
        """Delete a drive file, whosever it is: the bytes and the record."""
        self._ask("drive/files/delete", {"fileId": file_id}, within_s)

    def suspend(self, user_id: str, within_s: float) -> None:
        """Suspend a user."""
        self._ask("admin/suspend-user", {"userId": user_id}, within_s)

    def close(self) -> None:
        """Close the connections. May be called twice."""
        self._api.close()

    def _maybe(self, endpoint: str, body: dict[str, str], within_s: float) -> dict[str, Any] | None:
        try:
            found = self._ask(endpoint, body, within_s)
        except ApiError as error:
            if error.code in _UNKNOWN:
                return None
            raise
        if not isinstance(found, dict):
            raise _unclear("anything")
        return found

    def _ask(self, endpoint: str, body: dict[str, str], within_s: float) -> Any:
        return self._api.ask("POST", f"/api/{endpoint}", within_s=within_s, body=body)


def _unclear(what: str) -> ApiError:
    return ApiError("API of Misskey", f"its answer does not tell {what}", "check its version", status=200)
