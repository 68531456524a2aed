"""Lemmy's API as an admin acts by it: v3 of 0.19, v4 of 1.0, by the server's own ids; and what it says of them after.

Every call raises `ApiError` where it gets no answer to it.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from fedi_safety.clients.json_api import JsonApi
from fedi_safety.clients.lemmy import Version, tell_version
from fedi_safety.core.errors import ApiError
from fedi_safety.core.notices.access import ACCESS

_NOT_THERE = frozenset({"couldnt_find_post", "couldnt_find_comment", "couldnt_find_person", "not_found"})
_BAN = {3: "/user/ban", 4: "/admin/ban"}
_PERSON = {3: "/user", 4: "/person"}
_MOST_REPORTS = 50


class LemmyModeration:
    """Speaks to one Lemmy as the admin whose token it is. The version is asked for when it is first needed."""

    def __init__(self, root: str, token: str) -> None:
        """Take the server's address and a token; nothing is sent yet. Raises `ApiError` for a token that is none."""
        self._api = JsonApi(root, "Lemmy", token, accepts=False)
        self._version: int | None = None

    def version(self, within_s: float) -> int:
        """Return the version of the API that takes an admin's calls: 4 where there is one, else 3.

        Lemmy takes a token that it does not know for none at all, and then shows less: that is an error here.
        """
        if self._version is None:
            told, site = tell_version(self._api.ask, within_s)
            version = 4 if told is Version.V1_0 else 3
            self._known(version, site, within_s)
            self._version = version
        return self._version

    def _known(self, version: int, site: Any, within_s: float) -> None:
        try:
            known = version == 3 or self._api.ask("GET", "/api/v4/account", within_s=within_s) is not None
        except ApiError as error:
            if error.status not in (400, 401):
                raise
            known = False
        if not known or (version == 3 and not isinstance(_at(site, "my_user"), dict)):
            refused = ApiError("API of Lemmy", "it does not accept the token", "make a new token", status=401)
            raise ACCESS.refused(self._api.about, refused.cause, refused)
        ACCESS.accepted(self._api.about)

    def own_account(self, within_s: float) -> tuple[str, bool | None]:
        """Return the address of the token's account, and whether it is an admin's; None where that is not told."""
        if self.version(within_s) == 3:
            own = _at(self._api.ask("GET", "/api/v3/site", within_s=within_s), "my_user", "local_user_view")
        else:
            own = _at(self._api.ask("GET", "/api/v4/account", within_s=within_s), "local_user_view")
        name = _at(own, "person", "ap_id") or _at(own, "person", "actor_id") or _at(own, "person", "name")
        admin = _at(own, "local_user", "admin")
        return (name if isinstance(name, str) else "", admin if isinstance(admin, bool) else None)

    # --- reading

    def post(self, post_id: int, within_s: float) -> dict[str, Any] | None:
        """Return a post as its view has it, None where there is none."""
        return self._read("post", post_id, within_s)

    def comment(self, comment_id: int, within_s: float) -> dict[str, Any] | None:
        """Return a comment as its view has it, None where there is none."""
        return self._read("comment", comment_id, within_s)

    def banned(self, person_id: int, within_s: float) -> bool | None:
        """Whether a person is banned from the site, None where there is none."""
        version = self.version(within_s)
        found = self._maybe(_PERSON[version], {"person_id": person_id}, within_s)
        if found is None:
            return None
        path = ("person_view", "person", "banned") if version == 3 else ("person_view", "banned")
        banned = _at(found, *path)
        if not isinstance(banned, bool):
            raise _unclear("whether somebody is banned")
        return banned

    def reported(self, kind: str, target_id: int, mark: str, within_s: float) -> bool:
        """Whether there is a report on a post or comment (`kind`) whose reason has the mark in it."""
        rows = self._reports3(kind, target_id, within_s) if self.version(within_s) == 3 else self._reports4(
            kind, target_id, within_s
        )  # fmt: skip
        if not isinstance(rows, list):
            raise _unclear("which reports there are")
        reports = (_at(row, f"{kind}_report") for row in rows)
        reasons = (_at(report, "reason") for report in reports if _at(report, f"{kind}_id") == target_id)
        return any(mark in reason for reason in reasons if isinstance(reason, str))

    def _reports3(self, kind: str, target_id: int, within_s: float) -> Any:
        asked = {f"{kind}_id": target_id, "limit": _MOST_REPORTS}
        return _at(self._ask("GET", f"/{kind}/report/list", within_s, params=asked), f"{kind}_reports")

    def _reports4(self, kind: str, target_id: int, within_s: float) -> Any:
        """Return the newest reports of a kind on a post, or on the post that a comment is below."""
        comment = None if kind == "post" else self.comment(target_id, within_s)
        post_id = target_id if comment is None else comment.get("post_id")
        asked = {"post_id": post_id, "type_": f"{kind}s", "limit": _MOST_REPORTS}
        # Without this those that are for moderators of communities are left out.
        asked["show_community_rule_violations"] = True
        return _at(self._ask("GET", "/report/list", within_s, params=asked), "items")

    def shows_image(self, filename: str, within_s: float) -> bool:
        """Whether the server still gives an image out by this name. Its bytes are not read, nor another size made."""
        path = f"/api/v{self.version(within_s)}/image/{quote(filename, safe='')}"
        return 200 <= self._api.status(path, within_s=within_s) < 300

    # --- doing

    def purge_post(self, post_id: int, reason: str, within_s: float) -> None:
        """Purge a post from the database, with what hangs on it."""
        self._ask("POST", "/admin/purge/post", within_s, body={"post_id": post_id, "reason": reason})

    def remove(self, kind: str, target_id: int, reason: str, within_s: float) -> None:
        """Remove a post or comment (`kind`), as a moderator does; it can be restored."""
        body = {f"{kind}_id": target_id, "removed": True, "reason": reason}
        self._ask("POST", f"/{kind}/remove", within_s, body=body)

    def report(self, kind: str, target_id: int, reason: str, within_s: float) -> None:
        """Report a post or comment (`kind`): with 0.19 to those who moderate it, with 1.0 to this server's admins."""
        body: dict[str, Any] = {f"{kind}_id": target_id, "reason": reason}
        if self.version(within_s) == 4:
            body["violates_instance_rules"] = True
        self._ask("POST", f"/{kind}/report", within_s, body=body)

    def ban(self, person_id: int, reason: str, within_s: float) -> None:
        """Ban a person from the site, without an end. What they wrote stays."""
        body = {"person_id": person_id, "ban": True, "reason": reason}
        self._ask("POST", _BAN[self.version(within_s)], within_s, body=body)

    def delete_image(self, filename: str, within_s: float) -> bool:
        """Delete an image with the records of all its names; return whether there was one. 1.0 alone can."""
        if self.version(within_s) == 3:
            raise ApiError("API of Lemmy", "0.19 deletes no image by its name", "leave `delete_image` out", status=501)
        try:
            self._ask("DELETE", "/image", within_s, body={"filename": filename})
        except ApiError as error:
            if error.status == 404:
                return False
            raise
        return True

    def close(self) -> None:
        """Close the connections. May be called twice."""
        self._api.close()

    def _read(self, kind: str, target_id: int, within_s: float) -> dict[str, Any] | None:
        found = self._maybe(f"/{kind}", {"id": target_id}, within_s)
        if found is None:
            return None
        shown = _at(found, f"{kind}_view", kind)
        if not isinstance(shown, dict) or not isinstance(shown.get("removed"), bool):
            raise _unclear(f"how a {kind} stands")
        return shown

    def _maybe(self, path: str, params: dict[str, str | int | bool], within_s: float) -> Any:
        try:
            return self._ask("GET", path, within_s, params=params)
        except ApiError as error:
            if error.status == 404 or (error.status == 400 and error.code in _NOT_THERE):
                return None
            raise

    def _ask(self, method: str, path: str, within_s: float, **more: Any) -> Any:
        return self._api.ask(method, f"/api/v{self.version(within_s)}{path}", within_s=within_s, **more)


def _at(found: Any, *path: str) -> Any:
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _unclear(what: str) -> ApiError:
    return ApiError("API of Lemmy", f"its answer does not tell {what}", "check its version", status=200)
