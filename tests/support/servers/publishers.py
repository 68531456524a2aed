"""Publishers of lists on loopback, who answer what their own clients and python-threatexchange ask of the real ones.

Each has hashes and nothing else. They page, delete, repeat and pack; what they are told to spoil they break off,
refuse, or answer with what was made to harm.
"""

from __future__ import annotations

import gzip
import json
import threading
import zlib
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Asked:
    """One request."""

    method: str
    path: str
    query: dict[str, str]
    headers: Message
    body: bytes


@dataclass
class Reply:
    """What is answered. `claims` is the length that it says it has."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    claims: int | None = None


Spoil = Callable[[Reply], Reply]


def cut(reply: Reply) -> Reply:
    """Break off in the middle."""
    return Reply(reply.status, reply.body[: len(reply.body) // 2], reply.headers, claims=len(reply.body))


def status(code: int, **headers: str) -> Spoil:
    """Answer with this status instead."""
    return lambda _reply: Reply(code, b"a secret of the server", {k.replace("_", "-"): v for k, v in headers.items()})


def bomb(reply: Reply) -> Reply:
    """Answer with what unpacks to 64 MiB of spaces before the answer."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    body = b"".join(packer.compress(b" " * (1 << 20)) for _ in range(64)) + packer.compress(reply.body) + packer.flush()
    return Reply(200, body, {"Content-Encoding": "gzip"})


class Publisher:
    """A server with one publisher's answers; `asked` has every request. A subclass answers."""

    packs = False

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.spoils: list[tuple[str, Spoil, int]] = []
        self.before: Callable[[Asked], None] = lambda _asked: None
        self.url = ""

    def answer(self, asked: Asked) -> Reply:
        """Answer a request."""
        raise NotImplementedError

    def spoil(self, how: Spoil, *, contains: str = "", times: int = 1, after: int = 0) -> None:
        """Spoil the next requests whose path and query have this, `after` so many of them."""
        self.spoils.append((contains, lambda reply: reply, after))
        self.spoils.append((contains, how, times))

    def reply(self, asked: Asked, target: str) -> Reply:
        """Return the answer, packed or spoilt."""
        self.asked.append(asked)
        self.before(asked)
        reply = self.answer(asked)
        if self.packs and "gzip" in asked.headers.get("Accept-Encoding", ""):
            reply = Reply(reply.status, gzip.compress(reply.body), reply.headers | {"Content-Encoding": "gzip"})
        for number, (contains, how, times) in enumerate(self.spoils):
            if times and contains in target:
                self.spoils[number] = (contains, how, times - 1)
                return how(reply)
        return reply


class File(Publisher):
    """A file at an address, with an entity tag."""

    def __init__(self, data: bytes = b"", secret: str = "") -> None:
        super().__init__()
        self.data = data
        self.secret = secret

    def answer(self, asked: Asked) -> Reply:
        """Answer with the file, or that it is as it was."""
        if self.secret and asked.headers.get("Authorization") != self.secret:
            return Reply(401)
        tag = f'"{zlib.crc32(self.data):x}"'
        if asked.headers.get("If-None-Match") == tag:
            return Reply(304)
        return Reply(200, self.data, {"ETag": tag})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    publisher: Publisher

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent."""

    def do_GET(self) -> None:
        """Answer."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        reply = self.publisher.reply(Asked(self.command, parts.path, query, self.headers, body), self.path)
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body) if reply.claims is None else reply.claims))
        self.end_headers()
        self.wfile.write(reply.body)
        self.close_connection = reply.claims is not None

    do_POST = do_GET


@contextmanager
def serving(publisher: Publisher) -> Iterator[str]:
    """Give the address at which a publisher answers."""
    handler = type("Handler", (_Handler,), {"publisher": publisher})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    publisher.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield publisher.url
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


__all__ = ["Asked", "File", "Publisher", "Reply", "b64decode", "bomb", "cut", "json", "serving", "status"]
