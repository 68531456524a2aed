"""Servers to be acted on, on loopback: each answers as the real one's types allow, and refuses what they do not.

The bodies of Lemmy 0.19's requests are those of `lemmy_api_common` 0.19.21, those of 1.0 of its beta 1, Misskey's
of misskey-js 2026.5.1; of Pixelfed and Mastodon what their code and documentation say. They keep what was done to them.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

TOKEN = "s3cret-never-shown"
Reply = tuple[int, Any]


@dataclass
class Asked:
    """One request: what the server gets of it."""

    method: str
    path: str
    query: dict[str, str]
    body: dict[str, Any]
    known: bool = True  # whether the token is


@dataclass
class Moderated:
    """A server's state: posts, comments, files and people by id, each a dictionary of flags; reports; domain blocks."""

    posts: dict[str, dict[str, Any]] = field(default_factory=dict)
    comments: dict[str, dict[str, Any]] = field(default_factory=dict)
    people: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: set[str] = field(default_factory=set)
    reports: list[dict[str, Any]] = field(default_factory=list)
    blocks: list[dict[str, Any]] = field(default_factory=list)
    account: dict[str, Any] = field(default_factory=dict)  # whose the token is, beyond what every server says of it
    scopes: list[str] | None = None  # of the token's application, where the server tells them
    asked: list[Asked] = field(default_factory=list)
    answer: Callable[[Asked], Reply | None] = lambda _asked: None  # before the server's own
    url: str = ""

    @property
    def writes(self) -> list[str]:
        """What was asked for that changes something, as method and path."""
        reading = re.compile(r"GET |POST /api/(i|admin/(drive/show-file|show-user))$")
        return [line for one in self.asked if not reading.match(line := f"{one.method} {one.path}")]


def exactly(body: dict[str, Any], needed: dict[str, type], **more: type) -> bool:
    """Whether a body has what a type asks for, of the right kinds, and nothing beyond."""
    kinds = needed | more
    return needed.keys() <= body.keys() <= kinds.keys() and all(
        type(value) is kinds[name] for name, value in body.items()
    )


def lemmy19(state: Moderated, asked: Asked) -> Reply:
    """Answer as Lemmy 0.19 does."""
    return _lemmy(state, asked, 3)


def lemmy10(state: Moderated, asked: Asked) -> Reply:
    """Answer as Lemmy 1.0 does; its v3 knows no admin's calls."""
    return _lemmy(state, asked, 4)


def _lemmy(state: Moderated, asked: Asked, version: int) -> Reply:
    path = asked.path.removeprefix(f"/api/v{version}")
    if path == asked.path:
        return 404, None
    body = asked.body
    reason: dict[str, type] = {} if version == 3 else {"reason": str}
    maybe: dict[str, type] = {"reason": str} if version == 3 else {}
    wrong: Reply = (400, {"error": "unknown", "message": "the body is not of its type"})
    match asked.method, path:
        case "GET", "/site":
            who: dict[str, Any] = {"my_user": _lemmy_user(state)} if version == 3 and asked.known else {}
            return 200, {"version": "0.19.21" if version == 3 else "1.0.0-beta.1", "site_view": {}} | who
        case "GET", "/account" if version == 4 and asked.known:
            return 200, _lemmy_user(state)
        case _ if not asked.known:  # it takes a token that it does not know for none, and shows no post that is hidden
            return 400, {"error": "incorrect_login"}
        case "GET", "/post" | "/comment":
            kind = path[1:]
            found = (state.posts if kind == "post" else state.comments).get(asked.query["id"])
            if found is None:
                return (404 if version == 3 else 400), {
                    "error": f"couldnt_find_{kind}" if version == 3 else "not_found"
                }
            return 200, {f"{kind}_view": {kind: {"id": int(asked.query["id"])} | found}}
        case "GET", "/user" | "/person" if (path == "/user") is (version == 3):
            person = state.people.get(asked.query["person_id"])
            if person is None:
                return 404, {"error": "couldnt_find_person" if version == 3 else "not_found"}
            own = {"person": {"id": 1} | (person if version == 3 else {}), "is_admin": False}
            return 200, {"person_view": own | ({} if version == 3 else {"banned": person["banned"]})}
        case "GET", "/post/report/list" | "/comment/report/list" if version == 3:
            kind = path.split("/")[1]
            rows = [row for row in state.reports if str(row.get(f"{kind}_id")) == asked.query[f"{kind}_id"]]
            return 200, {f"{kind}_reports": [{f"{kind}_report": {"id": 1} | row} for row in rows]}
        case "GET", "/report/list" if version == 4:
            kind = asked.query["type_"].removesuffix("s")
            shown = asked.query.get("show_community_rule_violations") == "true"
            rows = [
                row for row in state.reports if f"{kind}_id" in row and (shown or row.get("violates_instance_rules"))
            ]
            if kind == "post":
                rows = [row for row in rows if str(row["post_id"]) == asked.query["post_id"]]
            else:
                below = {name for name, one in state.comments.items() if str(one["post_id"]) == asked.query["post_id"]}
                rows = [row for row in rows if str(row["comment_id"]) in below]
            return 200, {"items": [{"type_": kind, f"{kind}_report": {"id": 1} | row} for row in rows]}
        case "POST", "/post/report" | "/comment/report":
            kind = path.split("/")[1]
            for_admins: dict[str, type] = {} if version == 3 else {"violates_instance_rules": bool}
            if not exactly(body, {f"{kind}_id": int, "reason": str}, **for_admins):
                return wrong
            state.reports.append(body)
            return 200, {f"{kind}_report_view": {f"{kind}_report": {"id": 1} | body}}
        case "POST", "/post/remove" | "/comment/remove":
            kind = path.split("/")[1]
            if not exactly(body, {f"{kind}_id": int, "removed": bool, **reason}, **maybe):
                return wrong
            (state.posts if kind == "post" else state.comments)[str(body[f"{kind}_id"])]["removed"] = body["removed"]
            return 200, {}
        case "POST", "/admin/purge/post":
            if not exactly(body, {"post_id": int, **reason}, **maybe):
                return wrong
            del state.posts[str(body["post_id"])]
            return 200, {"success": True}
        case "POST", "/user/ban" | "/admin/ban" if (path == "/user/ban") is (version == 3):
            ends = {"remove_data": bool, "expires": int} if version == 3 else {"remove_or_restore_data": bool}
            if not exactly(body, {"person_id": int, "ban": bool, **reason}, **maybe, **ends):
                return wrong
            state.people[str(body["person_id"])]["banned"] = body["ban"]
            return 200, {"banned": body["ban"], "person_view": {}}
        case "DELETE", "/image" if version == 4:
            if not exactly(body, {"filename": str}):
                return wrong
            if body["filename"] not in state.files:
                return 404, {"error": "not_found"}
            state.files.discard(body["filename"])
            return 200, {"success": True}
        case "GET", _ if path.startswith("/image/"):
            return (200 if path.removeprefix("/image/") in state.files else 404), None
    return 404, None


def _lemmy_user(state: Moderated) -> dict[str, Any]:
    """What both versions say of the token's account, as far as it is read: a view of it."""
    person = {"id": 1, "name": "mod", "actor_id": "https://lemmy.example/u/mod"}
    return {"local_user_view": {"local_user": {"id": 1, "admin": True} | state.account, "person": person}}


def mastodon(state: Moderated, asked: Asked) -> Reply:
    """Answer as Mastodon does."""
    missing: Reply = (404, {"error": "Record not found"})
    path, body = asked.path, asked.body
    if path == "/api/v1/accounts/verify_credentials":
        return 200, {"id": "1", "username": "mod", "acct": "mod"} | state.account
    if path == "/api/v1/apps/verify_credentials":
        return 200, {"name": "fedi-safety"} | ({} if state.scopes is None else {"scopes": state.scopes})
    if found := re.fullmatch(r"/api/v1/admin/accounts/(\d+)(/action)?", path):
        person = state.people.get(found[1])
        if person is None:
            return missing
        if found[2] is None:
            return 200, {"id": found[1]} | person
        flag = {"sensitive": "sensitized", "silence": "silenced", "suspend": "suspended"}.get(body.get("type", ""))
        if flag is None or not exactly(body, {"type": str}, text=str, send_email_notification=bool):
            return 422, {"error": "Validation failed"}
        person[flag] = True
        return 200, {}
    match asked.method, path:
        case "POST", "/api/v1/reports":
            kinds = {"status_ids": list, "comment": str, "category": str, "forward": bool}
            if not exactly(body, {"account_id": str}, **kinds) or body["account_id"] not in state.people:
                return 422, {"error": "Validation failed"}
            state.reports.append(body)
            return 200, {"id": "1", "category": body["category"]}
        case "GET", "/api/v1/admin/reports":
            rows = [row for row in state.reports if row["account_id"] == asked.query["target_account_id"]]
            settled = asked.query.get("resolved") == "true"
            return 200, [{"comment": row["comment"]} for row in rows if bool(row.get("settled")) is settled]
        case "GET", "/api/v1/admin/domain_blocks":
            before = asked.query.get("max_id")
            return 200, [row for row in state.blocks if before is None or int(row["id"]) < int(before)][:2]
        case "POST", "/api/v1/admin/domain_blocks":
            if not exactly(body, {"domain": str}, severity=str, reject_media=bool, private_comment=str):
                return 422, {"error": "Validation failed"}
            state.blocks.append({"id": str(len(state.blocks) + 100)} | body)
            return 200, state.blocks[-1]
        case "PUT", _ if path.startswith("/api/v1/admin/domain_blocks/"):
            (row,) = [row for row in state.blocks if row["id"] == path.rpartition("/")[2]]
            row.update(body)
            return 200, row
    return missing


def misskey(state: Moderated, asked: Asked) -> Reply:
    """Answer as Misskey does."""
    body = asked.body
    no_file: Reply = (400, {"error": {"message": "No such file.", "code": "NO_SUCH_FILE", "id": "x"}})
    no_user: Reply = (400, {"error": {"message": "No such user.", "code": "NO_SUCH_USER", "id": "x"}})
    invalid: Reply = (400, {"error": {"message": "Invalid param.", "code": "INVALID_PARAM", "id": "x"}})
    name = asked.path.removeprefix("/api/")
    if name == "i":
        return 200, {"id": "m", "username": "mod", "isAdmin": False, "isModerator": True} | state.account
    wanted = "fileId" if name in ("admin/drive/show-file", "drive/files/delete") else "userId"
    if asked.method != "POST" or not exactly(body, {wanted: str}):
        return invalid
    there = body[wanted] in (state.files if wanted == "fileId" else state.people)
    match name:
        case "admin/drive/show-file":
            return (200, {"id": body["fileId"], "userId": "u"}) if there else no_file
        case "drive/files/delete" if there:
            state.files.discard(body["fileId"])
            return 204, None
        case "drive/files/delete":
            return no_file
        case "admin/show-user":
            return (200, {"isSuspended": state.people[body["userId"]]["suspended"]}) if there else no_user
        case "admin/suspend-user" if there:
            state.people[body["userId"]]["suspended"] = True
            return 204, None
    return no_user


def pixelfed(state: Moderated, asked: Asked) -> Reply:
    """Answer as Pixelfed does; a post that is private to its author it shows to nobody else."""
    if asked.path == "/api/v1/accounts/verify_credentials":
        return 200, {"id": "1", "username": "mod", "acct": "mod"} | state.account
    post = asked.path.rpartition("/")[2]
    if asked.method == "GET" and asked.path.startswith("/api/v1/statuses/"):
        shown = post in state.posts and not state.posts[post].get("private")
        return (200, {"id": post}) if shown else (404, {"error": "Record not found"})
    if asked.method == "POST" and asked.path.startswith("/api/admin/moderate/post/"):
        if asked.body.get("action") != "delete":
            return 422, {"message": "The selected action is invalid."}
        if state.posts.pop(post, None) is None:
            return 400, {"error": "Cannot find status"}
        return 200, []
    return 404, None


@contextmanager
def moderated(answers: Callable[[Moderated, Asked], Reply]) -> Iterator[Moderated]:
    """Start a server on loopback that answers so, to who has `TOKEN`, and end it."""
    state = Moderated()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def _take(self) -> None:
            parts = urlsplit(self.path)
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            known = self.headers.get("Authorization") == f"Bearer {TOKEN}"
            one = Asked(self.command, parts.path, dict(parse_qsl(parts.query)), json.loads(data) if data else {}, known)
            state.asked.append(one)
            reply = state.answer(one)
            if reply is None and not known and answers not in (lemmy19, lemmy10):
                reply = 401, {"error": "The access token is invalid"}
            status, body = reply or answers(state, one)
            text = b"" if body is None else json.dumps(body).encode()
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", "http://127.0.0.1:9/")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            with suppress(OSError):  # who asked may wait no longer
                self.wfile.write(text)

        do_GET = do_POST = do_PUT = do_DELETE = _take

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
