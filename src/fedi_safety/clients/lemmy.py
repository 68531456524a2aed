"""The wire protocol of Lemmy's HTTP API: version 3 of the interface for 0.19, version 4 for 1.0.

It asks and tells by typed errors what went wrong, never with the token in a message. It decides nothing and keeps
nothing, and it asks for no address of other servers: Lemmy would fetch what is there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, TypeVar

import httpx

from fedi_safety.clients.json_api import JsonApi
from fedi_safety.core.errors import ApiError
from fedi_safety.core.notices.access import ACCESS

PAGE = 50  # the most that a page may have
MOST_PAGES = 100  # 0.19 gives no more, and so only the newest 5000 uploads
_NOT_ADMIN = frozenset({"not_an_admin", "incorrect_login", "not_logged_in"})

T = TypeVar("T")


class Version(Enum):
    """Which of its interfaces a Lemmy is asked by."""

    V0_19 = "v3"
    V1_0 = "v4"


@dataclass(frozen=True, slots=True)
class Person:
    """An account. `address` is its actor's id, by which all servers know it."""

    id: int
    address: str
    local: bool
    avatar: str | None = None
    banner: str | None = None


@dataclass(frozen=True, slots=True)
class Shown:
    """A post or comment, and who made it. `text` is for comparing only, and never to be kept."""

    id: int
    address: str
    at: float | None
    creator: Person
    url: str | None = None
    thumbnail: str | None = None
    text: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Media:
    """An upload: pict-rs' alias, when and by whom. `preview_of`: Lemmy fetched it itself, to preview that post's link,
    and the person is whoever made the post.
    """

    alias: str
    at: float | None
    person: Person
    preview_of: Shown | None = None


@dataclass(frozen=True, slots=True)
class MediaPage:
    """Some uploads, and by what the next page is asked for; None at the end."""

    media: tuple[Media, ...]
    next: str | None


def tell_version(ask: Callable[..., Any], within_s: float) -> tuple[Version, Mapping[str, Any]]:
    """Return which version answers `ask` (see `JsonApi.ask`), and what it says of its site.

    Raises `ApiError` for one that is not known.
    """
    told = ""
    for version, pattern in ((Version.V1_0, r"1\."), (Version.V0_19, r"0\.19\.")):
        try:
            # 1.0 answers a few of version 3's questions too, but none of an admin's.
            site = ask("GET", f"/api/{version.value}/site", within_s=within_s / 2)
        except ApiError as error:
            if error.status != 404:
                raise
            continue
        told = str(site.get("version", "")) if isinstance(site, Mapping) else ""
        if re.match(pattern, told):
            return version, site
    cause = f"its version {told[:30]!r} is not known" if told else "it is no Lemmy"
    raise ApiError("API of Lemmy", cause, "Lemmy 0.19 and 1.0 are known; check `trace.url`")


class LemmyClient:
    """Asks one Lemmy by the token of an account. Every question raises `ApiError` where it gets no answer to it."""

    def __init__(self, root: str, token: str, *, transport: httpx.BaseTransport | None = None) -> None:
        """Take the server's address and the token; nothing is sent. Raises `ApiError` for a token that is none."""
        self.root = root
        self._api = JsonApi(root, "Lemmy", token, transport=transport, accepts=False)
        self._version: Version | None = None

    def close(self) -> None:
        """Close the connections. May be called twice."""
        self._api.close()

    def version(self, *, within_s: float) -> Version:
        """Return which version it is, asked once. Raises `ApiError` for one that is not known."""
        if self._version is None:
            self._version, _ = tell_version(self._call, within_s)
        return self._version

    def media_page(self, version: Version, cursor: str | None, *, within_s: float) -> MediaPage:
        """Return uploads of everybody, for an admin: newest first by 0.19, in no order that is promised by 1.0.

        Only those whose uploader is known; by 0.19 no more than the newest 5000.
        """
        if version is Version.V0_19:
            page = int(cursor or 1)
            params: dict[str, str | int | bool] = {"page": page, "limit": PAGE}
            answer = self.ask(version, "GET", "admin/list_all_media", within_s=within_s, params=params)
            ACCESS.accepted(self._api.about)  # it is an admin's question; others are answered to everybody
            found = tuple(_read(answer, "images", _media))
            return MediaPage(found, str(page + 1) if len(found) == PAGE and page < MOST_PAGES else None)
        params = {"limit": PAGE} | ({} if cursor is None else {"page_cursor": cursor})
        answer = self.ask(version, "GET", "image/list", within_s=within_s, params=params)
        ACCESS.accepted(self._api.about)
        following = answer.get("next_page")
        return MediaPage(tuple(_read(answer, "items", _media)), following if isinstance(following, str) else None)

    def posts_linking(self, url: str, *, within_s: float) -> list[Shown]:
        """Return posts that link to exactly this address, by 0.19 only: 1.0 has no such question."""
        params: dict[str, str | int | bool] = {"q": url, "type_": "Url", "listing_type": "All", "limit": PAGE}
        return list(_read(self.ask(Version.V0_19, "GET", "search", within_s=within_s, params=params), "posts", _post))

    def posts_saying(self, version: Version, text: str, *, within_s: float) -> list[Shown]:
        """Return posts with this in title or text. It must be no address: 1.0 would fetch what is there."""
        return list(_read(self._search(version, "Posts", text, within_s), "posts", _post))

    def comments_saying(self, version: Version, text: str, *, within_s: float) -> list[Shown]:
        """Return comments with this in them. It must be no address: 1.0 would fetch what is there."""
        return list(_read(self._search(version, "Comments", text, within_s), "comments", _comment))

    def _search(self, version: Version, kind: str, text: str, within_s: float) -> Mapping[str, Any]:
        params: dict[str, str | int | bool]
        if version is Version.V0_19:
            params = {"q": text, "type_": kind, "listing_type": "All", "limit": PAGE}
        else:
            params = {"search_term": text, "type_": kind.lower(), "listing_type": "all", "show_nsfw": True}
            params |= {"limit": PAGE}
        return self.ask(version, "GET", "search", within_s=within_s, params=params)

    def ask(
        self,
        version: Version,
        method: str,
        path: str,
        *,
        within_s: float,
        params: Mapping[str, str | int | bool] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Mapping[str, Any]:
        """Make one call of a version's interface and return its answer, which is an object. Raises `ApiError`."""
        answer = self._call(method, f"/api/{version.value}/{path}", within_s=within_s, params=params, body=body)
        return answer if isinstance(answer, Mapping) else {}

    def _call(self, method: str, path: str, **more: Any) -> Any:
        try:
            return self._api.ask(method, path, **more)
        except ApiError as error:
            if error.code in _NOT_ADMIN:  # also what a token gets that is none any more
                cause = f"the token is not accepted as an admin's ({error.code})"
                refused = ApiError(error.thing, cause, "set the token of an admin", status=error.status)
                raise ACCESS.refused(self._api.about, cause, refused) from None
            raise


def _read(answer: Mapping[str, Any], name: str, read: Callable[[Mapping[str, Any]], T]) -> Iterator[T]:
    try:
        yield from [read(item) for item in answer[name]]
    except (AttributeError, KeyError, TypeError, ValueError):
        raise ApiError("API of Lemmy", f"its {name} are not understood", "Lemmy 0.19 and 1.0 are known") from None


def _media(item: Mapping[str, Any]) -> Media:
    image, person, post = item["local_image"], _person(item["person"]), item.get("post")
    preview = None if post is None else _shown(post, person, "body")
    return Media(str(image["pictrs_alias"]), _at(image), person, preview)


def _post(view: Mapping[str, Any]) -> Shown:
    return _shown(view["post"], _person(view["creator"]), "body")


def _comment(view: Mapping[str, Any]) -> Shown:
    return _shown(view["comment"], _person(view["creator"]), "content")


def _shown(record: Mapping[str, Any], creator: Person, text: str) -> Shown:
    return Shown(
        int(record["id"]),
        str(record["ap_id"]),
        _at(record),
        creator,
        record.get("url"),
        record.get("thumbnail_url"),
        record.get(text) or "",
    )


def _person(record: Mapping[str, Any]) -> Person:
    address = record["ap_id"] if "ap_id" in record else record["actor_id"]
    return Person(int(record["id"]), str(address), bool(record["local"]), record.get("avatar"), record.get("banner"))


def _at(record: Mapping[str, Any]) -> float | None:
    """Return when a record was made, in epoch seconds: `published` by 0.19, `published_at` by 1.0."""
    written = record.get("published_at", record.get("published"))
    try:
        return None if written is None else datetime.fromisoformat(str(written)).timestamp()
    except (ValueError, OverflowError):
        return None
