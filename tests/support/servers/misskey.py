"""A fake Misskey on loopback: the reading endpoints, with files, people and notes that it is given.

What it was asked and what it answered is kept, to be held to Misskey's own types: see misskey_types.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from support.servers.misskey_types import Exchange

TOKEN = "t0ken-never-shown"
MADE = "2026-02-03T04:05:06.000Z"


@dataclass
class MisskeyServer:
    """A running one. `files`, `users` and `notes` are what it has; `broken` answers in the place of an endpoint."""

    url: str
    files: list[dict[str, Any]] = field(default_factory=list)
    users: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: list[dict[str, Any]] = field(default_factory=list)
    broken: dict[str, tuple[int, Any]] = field(default_factory=dict)
    exchanges: list[Exchange] = field(default_factory=list)

    def answer(self, endpoint: str, asked: dict[str, Any], token: str | None) -> tuple[int, Any]:
        """Return the status and the body for a question."""
        if endpoint in self.broken:
            return self.broken[endpoint]
        if token != TOKEN:
            return 401, error("AUTHENTICATION_FAILED")
        endpoints: dict[str, Callable[[dict[str, Any]], tuple[int, Any]]] = {
            "admin/drive/show-file": self._show_file,
            "drive/files/attached-notes": self._notes,
            "users/show": self._user,
        }
        return endpoints[endpoint](asked) if endpoint in endpoints else (404, error("UNKNOWN_API_ENDPOINT"))

    def _show_file(self, asked: dict[str, Any]) -> tuple[int, Any]:
        for file in self.files:
            if asked["url"] in (file["url"], file["thumbnailUrl"], file["webpublicUrl"]):
                return 200, file
        return 400, error("NO_SUCH_FILE")

    def _notes(self, asked: dict[str, Any]) -> tuple[int, Any]:
        return 200, [note for note in self.notes if asked["fileId"] in note["fileIds"]][: asked["limit"]]

    def _user(self, asked: dict[str, Any]) -> tuple[int, Any]:
        found = self.users.get(asked["userId"])
        return (400, error("NO_SUCH_USER")) if found is None else (200, found)


def error(code: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": "said", "id": "0c1b2a39-4857-4665-9748-3f2e1d0c9b8a"}}


def drive_file(own: str, user: str | None, host: str | None, key: str, url: str) -> dict[str, Any]:
    """Return a file as a moderator sees it."""
    return {
        "id": own,
        "createdAt": MADE,
        "userId": user,
        "userHost": host,
        "md5": "0" * 32,
        "name": "cat.png",
        "type": "image/png",
        "size": 1,
        "comment": None,
        "blurhash": None,
        "properties": {},
        "storedInternal": True,
        "url": url,
        "thumbnailUrl": None,
        "webpublicUrl": None,
        "accessKey": key,
        "thumbnailAccessKey": None,
        "webpublicAccessKey": None,
        "uri": None,
        "src": None,
        "folderId": None,
        "isSensitive": False,
        "isLink": False,
        "maybeSensitive": False,
        "maybePorn": False,
        "requestIp": "192.0.2.1",
        "requestHeaders": None,
    }


def user_lite(own: str, username: str, host: str | None, avatar_url: str) -> dict[str, Any]:
    """Return a person as notes name them."""
    return {
        "id": own,
        "name": None,
        "username": username,
        "host": host,
        "avatarUrl": avatar_url,
        "avatarBlurhash": None,
        "avatarDecorations": [],
        "emojis": {},
        "onlineStatus": "unknown",
    }


def user_detailed(own: str, username: str, host: str | None, avatar_url: str, banner_url: str | None) -> dict[str, Any]:
    """Return a person as their page shows them."""
    nothing = ["url", "uri", "movedTo", "alsoKnownAs", "updatedAt", "lastFetchedAt", "bannerBlurhash", "description"]
    nothing += ["location", "birthday", "lang", "pinnedPageId", "pinnedPage", "memo"]
    return {
        **user_lite(own, username, host, avatar_url),
        **dict.fromkeys(nothing),
        **dict.fromkeys(("isLocked", "isSilenced", "isSuspended", "canChat"), False),
        **dict.fromkeys(("followersCount", "followingCount", "notesCount"), 0),
        **{name: [] for name in ("fields", "verifiedLinks", "pinnedNoteIds", "pinnedNotes", "roles")},
        **dict.fromkeys(("followingVisibility", "followersVisibility"), "public"),
        "createdAt": MADE,
        "bannerUrl": banner_url,
        "publicReactions": True,
        "chatScope": "mutual",
    }


def note(own: str, user: dict[str, Any], files: list[str], visibility: str, uri: str | None = None) -> dict[str, Any]:
    """Return a note that shows files."""
    return {
        "id": own,
        "createdAt": MADE,
        "text": "said",
        "userId": user["id"],
        "user": user,
        "visibility": visibility,
        "fileIds": files,
        "reactionAcceptance": None,
        "reactionEmojis": {},
        "reactions": {},
        "reactionCount": 0,
        "renoteCount": 0,
        "repliesCount": 0,
        **({} if uri is None else {"uri": uri}),
    }


@contextmanager
def misskey_server() -> Iterator[MisskeyServer]:
    """Start one that has nothing yet, and end it."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            scheme, _, token = (self.headers["Authorization"] or "").partition(" ")
            endpoint = self.path.removeprefix("/api/")
            status, answered = running.answer(endpoint, asked, token if scheme == "Bearer" else None)
            running.exchanges.append(Exchange(endpoint, asked, answered, failed=status >= 400))
            body = json.dumps(answered).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running = MisskeyServer(f"http://127.0.0.1:{server.server_port}")
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield running
    finally:
        server.shutdown()
        server.server_close()
