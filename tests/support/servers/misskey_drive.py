"""A fake Misskey that takes files: `drive/files/create` and `i`, with what Misskey's own types allow as answers.

What it was asked and what it answered is kept, to be held to those types: see misskey_types.py. What it takes lies in a
folder, under a name without an extension, as Misskey keeps it.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from threading import Thread
from typing import Any

from python_multipart import parse_form

from support.servers.misskey import MADE, error, user_detailed
from support.servers.misskey_types import Exchange


@dataclass
class MisskeyDrive:
    """A running one, with the names of its people by their tokens."""

    url: str
    folder: Path
    people: dict[str, str]
    exchanges: list[Exchange] = field(default_factory=list)

    def create(self, fields: dict[str, str], name: str, data: bytes) -> tuple[int, Any]:
        """Take a file in."""
        if fields.get("i") not in self.people:
            return self._said("drive/files/create", {}, 401, error("AUTHENTICATION_FAILED"), "file")
        key = str(uuid.uuid4())
        (self.folder / key).write_bytes(data)
        given = {k: v for k, v in fields.items() if k != "i"}
        return self._said("drive/files/create", given, 200, _taken(key, name, data, f"{self.url}/files/{key}"), "file")

    def ask(self, endpoint: str, asked: dict[str, Any], token: str) -> tuple[int, Any]:
        """Answer a question in JSON."""
        if endpoint != "i":
            return 404, error("UNKNOWN_API_ENDPOINT")
        if token not in self.people:
            return self._said("i", asked, 401, error("AUTHENTICATION_FAILED"))
        name = self.people[token]
        return self._said("i", asked, 200, _me(f"id-of-{name}", name, self.url))

    def _said(
        self, endpoint: str, asked: dict[str, Any], status: int, answered: Any, file: str | None = None
    ) -> tuple[int, Any]:
        self.exchanges.append(Exchange(endpoint, asked, answered, failed=status != 200, file=file))
        return status, answered


def _taken(own: str, name: str, data: bytes, url: str) -> dict[str, Any]:
    return {
        "id": own,
        "createdAt": MADE,
        "name": name,
        "type": "application/octet-stream",
        "md5": hashlib.md5(data, usedforsecurity=False).hexdigest(),
        "size": len(data),
        "isSensitive": False,
        "properties": {},
        "url": url,
        **dict.fromkeys(("blurhash", "thumbnailUrl", "comment", "folderId", "userId")),
    }


_NUMBERS = (
    "mentionLimit inviteLimit inviteLimitCycle inviteExpirationTime driveCapacityMb maxFileSizeMb pinLimit "
    "antennaLimit wordMuteLimit webhookLimit clipLimit noteEachClipsLimit userListLimit userEachUserListsLimit "
    "rateLimitFactor avatarDecorationLimit noteDraftLimit scheduledNoteLimit"
)
_MAY = (
    "gtlAvailable ltlAvailable canPublicNote canInvite canManageCustomEmojis canManageAvatarDecorations canSearchNotes "
    "canSearchUsers canUseTranslator canHideAds canCreateChannel alwaysMarkNsfw canUpdateBioMedia canImportAntennas "
    "canImportBlocking canImportFollowing canImportMuting canImportUserLists watermarkAvailable"
)
_FLAGS = (
    "isModerator isAdmin injectFeaturedNote receiveAnnouncementEmail alwaysMarkNsfw autoSensitive carefulBot "
    "autoAcceptFollowed noCrawle preventAiLearning isExplorable isDeleted hideOnlineStatus hasUnreadSpecifiedNotes "
    "hasUnreadMentions hasUnreadAnnouncement hasUnreadAntenna hasUnreadChannel hasUnreadChatMessages "
    "hasUnreadNotification hasPendingReceivedFollowRequest twoFactorEnabled usePasswordLessLogin securityKeys"
)
_LISTS = "unreadAnnouncements mutedWords hardMutedWords mutedInstances emailNotificationTypes achievements"


def _me(own: str, username: str, url: str) -> dict[str, Any]:
    """Return a person as only they see themselves."""
    return {
        **user_detailed(own, username, None, f"{url}/avatar", None),
        **dict.fromkeys(("avatarId", "bannerId", "followedMessage")),
        **dict.fromkeys(_FLAGS.split(), False),
        **{name: [] for name in _LISTS.split()},
        **dict.fromkeys(("unreadNotificationsCount", "loggedInDays"), 0),
        "twoFactorBackupCodesStock": "none",
        "notificationRecieveConfig": {},
        "policies": {
            **dict.fromkeys(_NUMBERS.split(), 1),
            **dict.fromkeys(_MAY.split(), False),
            "uploadableFileTypes": [],
            "chatAvailability": "available",
        },
    }


@contextmanager
def misskey_drive(folder: Path, people: dict[str, str]) -> Iterator[MisskeyDrive]:
    """Start one that keeps its files in a folder, and end it. `people`: their names by their tokens."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            endpoint = self.path.removeprefix("/api/")
            if endpoint == "drive/files/create":
                status, answered = running.create(*_form(self.headers["Content-Type"], body))
            else:
                asked = json.loads(body)
                token = asked.pop("i", None) or (self.headers["Authorization"] or "").removeprefix("Bearer ")
                status, answered = running.ask(endpoint, asked, token)
            said = json.dumps(answered).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    folder.mkdir(parents=True, exist_ok=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running = MisskeyDrive(f"http://127.0.0.1:{server.server_port}", folder, people)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield running
    finally:
        server.shutdown()
        server.server_close()


def _form(content_type: str, body: bytes) -> tuple[dict[str, str], str, bytes]:
    """Return the fields of a form, the name of its file, and the file."""
    fields: dict[str, str] = {}
    files: list[tuple[str, bytes]] = []

    def field_(found: Any) -> None:
        fields[found.field_name.decode()] = (found.value or b"").decode()

    def file(found: Any) -> None:
        found.file_object.seek(0)
        files.append(((found.file_name or b"").decode(), found.file_object.read()))

    headers = {"Content-Type": content_type.encode(), "Content-Length": str(len(body)).encode()}
    parse_form(headers, BytesIO(body), field_, file)
    ((name, data),) = files
    return fields, name, data
