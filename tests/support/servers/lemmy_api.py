"""A Lemmy's HTTP API for tests, in front of what a test says it has. It is a fake, held to Lemmy's own types.

What the types refuse, of a question or of an answer, is an error of the test that asked: so the fake says nothing that
no Lemmy says, and takes nothing that no Lemmy takes. Of what it says of the site there is the version alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import httpx

from support.servers.lemmy import LemmyTypes

AT = "2026-11-01T12:00:00Z"
ADMIN = "an-admins-token"
_PLAIN = {"removed": False, "deleted": False, "nsfw": False, "locked": False, "featured_community": False}
_PLAIN |= {"featured_local": False, "distinguished": False, "bot_account": False, "banned": False, "hidden": False}
_COUNTS = dict.fromkeys(("score", "upvotes", "downvotes", "comments", "posts", "child_count", "subscribers"), 0)
_COUNTS |= dict.fromkeys(("post_count", "comment_count", "report_count", "unresolved_report_count"), 0)
_COUNTS |= dict.fromkeys(("users_active_day", "users_active_week", "users_active_month", "subscribers_local"), 0)
_COUNTS |= {"users_active_half_year": 0}
_DATES = dict.fromkeys(("published", "published_at", "last_refreshed_at", "newest_comment_time"), AT)
_FIELDS = _PLAIN | _COUNTS | _DATES | {"language_id": 0, "instance_id": 1, "federation_pending": False}


def person(number: int, address: str, *, local: bool, **fields: Any) -> dict[str, Any]:
    """Return a person as both versions' types take one: each reads the fields that it has."""
    return _FIELDS | {"id": number, "name": "a", "actor_id": address, "ap_id": address, "local": local} | fields


def post(number: int, address: str, creator: int, **fields: Any) -> dict[str, Any]:
    """Return a post."""
    own = {"id": number, "name": "a title", "creator_id": creator, "community_id": 1, "ap_id": address, "local": True}
    return _FIELDS | own | fields


def comment(number: int, address: str, creator: int, content: str) -> dict[str, Any]:
    """Return a comment."""
    own = {"id": number, "creator_id": creator, "post_id": 1, "content": content, "ap_id": address, "local": True}
    return _FIELDS | own | {"path": f"0.{number}"}


def upload(alias: str, of: dict[str, Any], preview_of: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return an upload as an admin's list has it."""
    image = _DATES | {"pictrs_alias": alias, "pictrs_delete_token": "t", "local_user_id": 1, "person_id": of["id"]}
    found: dict[str, Any] = {"local_image": image, "person": of}
    if preview_of is not None:
        image["thumbnail_for_post_id"] = preview_of["id"]
        found["post"] = preview_of
    return found


_COMMUNITY = _FIELDS | {
    "id": 1,
    "name": "c",
    "title": "c",
    "actor_id": "https://lemmy.example/c/c",
    "ap_id": "https://lemmy.example/c/c",
    "local": True,
    "posting_restricted_to_mods": False,
    "local_removed": False,
}


def view(kind: str, record: dict[str, Any], creator: dict[str, Any]) -> dict[str, Any]:
    """Return a post or comment as lists have it, with who made it."""
    never: tuple[str, ...] = (
        "creator_banned_from_community",
        "banned_from_community",
        "creator_is_moderator",
        "creator_is_admin",
    )
    never += ("saved", "read", "hidden", "creator_blocked", "can_mod", "creator_banned")
    counts = _COUNTS | _DATES | {"post_id": record["id"], "comment_id": record["id"]}
    around = {"creator": creator, "counts": counts, "subscribed": "NotSubscribed"}
    if kind == "comment":
        around["post"] = post(1, "https://lemmy.example/post/1", creator["id"])
    return {kind: record, **around, **dict.fromkeys(never, False), "unread_comments": 0, "tags": []}


@dataclass
class FakeLemmy:
    """One server. `asked` are the questions that it got, as its types read them."""

    types: LemmyTypes
    version: str  # "v3" or "v4"
    told: str
    uploads: Sequence[dict[str, Any]] = ()
    posts: Sequence[dict[str, Any]] = ()  # views
    comments: Sequence[dict[str, Any]] = ()
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    @property
    def transport(self) -> httpx.MockTransport:
        """What a client speaks to it over."""
        return httpx.MockTransport(self._answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        _, _, version, *rest = request.url.path.split("/")
        path = "/".join(rest)
        if version != self.version:
            return httpx.Response(404)
        if path == "site":
            return httpx.Response(200, json={"version": self.told})
        if request.headers.get("authorization") != f"Bearer {ADMIN}":
            # Lemmy takes a token that is none for no token at all.
            return httpx.Response(400, json={"error": "not_an_admin" if version == "v3" else "incorrect_login"})
        name = {"admin/list_all_media": "ListMedia", "image/list": "ListMedia", "search": "Search"}[path]
        query = request.url.query.decode()
        read = self.types.read(f"{version}.{name}", query, "query")
        sent = dict(parse_qsl(query))
        assert {key: str(value).lower() for key, value in read.items() if value is not None} == {
            key: value.lower() for key, value in sent.items()
        }, "it has no such field"
        self.asked.append((name, read))
        answer = self._media(read) if name == "ListMedia" else self._search(read)
        return httpx.Response(200, json=self.types.read(f"{version}.{name}Response", json.dumps(answer)))

    def _media(self, asked: dict[str, Any]) -> dict[str, Any]:
        limit = asked["limit"]
        if self.version == "v3":
            begin = (asked["page"] - 1) * limit
            assert asked["page"] <= 100 and limit <= 50
            return {"images": list(self.uploads[begin : begin + limit])}
        begin = int(asked.get("page_cursor") or 0)
        more = {"next_page": str(begin + limit)} if begin + limit < len(self.uploads) else {}
        return {"items": list(self.uploads[begin : begin + limit]), **more}

    def _search(self, asked: dict[str, Any]) -> dict[str, Any]:
        kind, text = asked["type_"].lower(), asked.get("q") or asked.get("search_term")
        posts = [
            found
            for found in self.posts
            if (kind == "url" and found["post"].get("url") == text)
            or (kind == "posts" and text in found["post"]["name"] + (found["post"].get("body") or ""))
        ]
        comments = [found for found in self.comments if kind == "comments" and text in found["comment"]["content"]]
        community = _COMMUNITY | {"visibility": "Public" if self.version == "v3" else "public"}
        posts, comments = ([found | {"community": community} for found in some] for some in (posts, comments))
        empty: dict[str, Any] = {"communities": [], "users": [], "persons": [], "multi_communities": []}
        return empty | {"type_": asked["type_"], "posts": posts, "comments": comments}
