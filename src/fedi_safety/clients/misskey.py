"""The API of Misskey and its forks, as far as it tells whose a file is: files, the notes that show them, their owners.

Every question is a POST of JSON. Answers are checked for the shapes that misskey-js 2026.5.1 gives them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import httpx

from fedi_safety.clients.json_api import JsonApi
from fedi_safety.core.errors import ApiError

PERMISSIONS = ("read:admin:drive", "read:drive", "read:account")
MOST_NOTES = 100
"""Notes that one question gives at most."""
T = TypeVar("T")

_UNKNOWN = frozenset({"NO_SUCH_FILE", "NO_SUCH_USER"})


@dataclass(frozen=True, slots=True)
class DriveFile:
    """A file as moderators see it. `user_id` is None for one of the server's own, `host` for one of its people."""

    id: str
    created_at: float  # in epoch seconds
    user_id: str | None
    host: str | None
    urls: tuple[str, ...]
    access_keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class User:
    """A person. `host` is None for one of this server."""

    id: str
    username: str
    host: str | None
    avatar_url: str
    banner_url: str


@dataclass(frozen=True, slots=True)
class Note:
    """A note that shows a file; never what it says. `uri` is its address where it was written, None for one from here.

    `direct`: only those whom it names see it.
    """

    id: str
    created_at: float  # in epoch seconds
    uri: str | None
    direct: bool
    user_id: str
    username: str
    host: str | None


class MisskeyApi:
    """Asks one Misskey, by a token of a moderator with `PERMISSIONS`."""

    def __init__(self, root: str, name: str, token: str, *, transport: httpx.BaseTransport | None = None) -> None:
        """Take the server's address, its kind for messages, and the token; nothing is sent.

        Raises `ApiError` for a token that is none.
        """
        self._name = name
        self._api = JsonApi(root, name, token, transport=transport)

    def file_at(self, url: str, *, within_s: float) -> DriveFile | None:
        """Return the file that has this address, or one of its copies has; None where there is none."""
        found = self._ask("admin/drive/show-file", {"url": url}, within_s)
        return None if found is None else self._understood(_file, found)

    def notes_with(self, file_id: str, *, within_s: float) -> list[Note]:
        """Return the notes that show a file, `MOST_NOTES` at most, the newest first."""
        body = {"fileId": file_id, "limit": MOST_NOTES}
        found = self._ask("drive/files/attached-notes", body, within_s)
        return [] if found is None else self._understood(lambda notes: [_note(note) for note in notes], found)

    def user(self, user_id: str, *, within_s: float) -> User | None:
        """Return a person, None where there is none of this id."""
        found = self._ask("users/show", {"userId": user_id}, within_s)
        return None if found is None else self._understood(_user, found)

    def _ask(self, endpoint: str, body: dict[str, Any], within_s: float) -> Any:
        try:
            return self._api.ask("POST", f"/api/{endpoint}", within_s=within_s, body=body)
        except ApiError as error:
            if error.code in _UNKNOWN:
                return None
            raise

    def _understood(self, read: Callable[[Any], T], found: Any) -> T:
        try:
            return read(found)
        except (AttributeError, KeyError, TypeError, ValueError):
            raise ApiError(f"API of {self._name}", "its answer is not understood", "check its version") from None

    def close(self) -> None:
        """Close the connections. May be called twice."""
        self._api.close()


def _file(found: Any) -> DriveFile:
    # Address and headers of the upload's request, which an answer has as well, are not looked at.
    return DriveFile(
        _text(found["id"]),
        _time(found["createdAt"]),
        _maybe(found["userId"]),
        _maybe(found["userHost"]),
        tuple(url for name in ("url", "thumbnailUrl", "webpublicUrl") if (url := _maybe(found[name]))),
        tuple(
            key for name in ("accessKey", "thumbnailAccessKey", "webpublicAccessKey") if (key := _maybe(found[name]))
        ),
    )


def _user(found: Any) -> User:
    return User(
        _text(found["id"]),
        _text(found["username"]),
        _maybe(found["host"]),
        _maybe(found["avatarUrl"]) or "",
        _maybe(found.get("bannerUrl")) or "",
    )


def _note(found: Any) -> Note:
    user = found["user"]
    return Note(
        _text(found["id"]),
        _time(found["createdAt"]),
        _maybe(found.get("url")) or _maybe(found.get("uri")),
        found["visibility"] == "specified",
        _text(found["userId"]),
        _text(user["username"]),
        _maybe(user["host"]),
    )


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("a text is missing")
    return value


def _maybe(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise ValueError("it is no text")
    return value or None


def _time(value: Any) -> float:
    return datetime.fromisoformat(_text(value)).timestamp()
