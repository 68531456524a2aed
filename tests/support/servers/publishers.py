"""Publishers of lists on loopback, who answer what their own clients and python-threatexchange ask of the real ones.

Each has hashes and nothing else. They page, delete, repeat and pack; what they are told to spoil they break off,
refuse, or answer with what was made to harm.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import threading
import zlib
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import Message
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlencode, urlsplit


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


@dataclass
class Record:
    """An entry of a publisher, as it stands now."""

    at_s: int
    hashes: dict[str, str]
    gone: bool = False
    word: str = "A1"


def _moment(at_s: int) -> str:
    return f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _basic(asked: Asked, pair: str) -> bool:
    scheme, _, said = asked.headers.get("Authorization", "").partition(" ")
    return scheme == "Basic" and b64decode(said).decode() == pair


class Ncmec(Publisher):
    """NCMEC's version 2: entries of a span in no order, a page leads to the next, and what is deleted is said so."""

    packs = True

    def __init__(self, records: dict[str, Record], *, page: int = 2) -> None:
        super().__init__()
        self.records = records
        self.page = page
        self.counted = 0  # that it says a span has, where it is more

    def answer(self, asked: Asked) -> Reply:
        """Answer with a page of a span."""
        if not _basic(asked, "me:secret"):
            return Reply(401)
        if asked.path != "/hashsharing/v2/entries":
            return Reply(404)
        since, until = (
            datetime.fromisoformat(asked.query[end].replace("Z", "+00:00")).timestamp() for end in ("from", "to")
        )
        found = sorted(
            ((name, each) for name, each in self.records.items() if since <= each.at_s <= until),
            key=lambda each: hashlib.md5(each[0].encode()).digest(),
        )
        start = int(asked.query.get("start", "1")) - 1
        some = found[start : start + self.page]
        images = "".join(self._image(name, each) for name, each in some)
        following = ""
        if start + self.page < len(found):
            more = urlencode(
                {
                    "from": asked.query["from"],
                    "to": asked.query["to"],
                    "start": start + self.page + 1,
                    "size": self.page,
                    "max": max(self.counted, len(found)),
                }
            )
            following = f"<paging><next>{escape('/v2/entries?' + more)}</next></paging>"
        latest = _moment(max((each.at_s for _, each in some), default=int(until)))
        return Reply(
            200,
            f'<?xml version="1.0" encoding="UTF-8"?><queryResult xmlns="https://hashsharing.ncmec.org/hashsharing/v2">'
            f'<images count="{len(some)}" maxTimestamp="{latest}">{images}</images><videos count="0"/>{following}'
            "</queryResult>".encode(),
        )

    @staticmethod
    def _image(name: str, each: Record) -> str:
        head = f'<member id="42">Example Member</member><timestamp>{_moment(each.at_s)}</timestamp><id>{name}</id>'
        if each.gone:
            return f"<deletedImage>{head}</deletedImage>"
        hashes = "".join(f"<{kind}>{text}</{kind}>" for kind, text in each.hashes.items())
        said = f"<classification>{each.word}</classification><fingerprints>{hashes}</fingerprints>"
        return f"<image>{head}{said}</image>"


class StopNcii(Publisher):
    """StopNCII's FetchHashes: records that changed since a moment, and a token that leads on."""

    def __init__(self, records: dict[str, Record], *, page: int = 2) -> None:
        super().__init__()
        self.records = records
        self.page = page

    def answer(self, asked: Asked) -> Reply:
        """Answer with a page."""
        keys = asked.headers.get("x-functions-key"), asked.headers.get("Ocp-Apim-Subscription-Key")
        if keys != ("function", "subscription"):
            return Reply(401)
        if asked.path != "/v1/FetchHashes":
            return Reply(404)
        since = int(asked.query["startTimestamp"])
        found = sorted((r for r in self.records.values() if r.at_s >= since), key=lambda r: r.at_s)
        start = int(asked.query.get("nextPageToken", "token-0").removeprefix("token-"))
        some = found[start : start + self.page]
        more = start + self.page < len(found)
        latest = max((r.at_s for r in found), default=since)
        records = [
            {
                "lastModtimestamp": each.at_s,
                "signalType": kind,
                "hashValue": text,
                "hashStatus": "Withdrawn" if each.gone else "Active",
                "caseNumbers": {"1": "Active"},
                "CSPFeedbacks": [{"feedbackValue": "Blocked", "tags": [], "source": "somebody"}],
            }
            for each in some
            for kind, text in each.hashes.items()
        ]
        said = {
            "count": len(records),
            "nextPageToken": f"token-{start + self.page}" if more else "",
            "nextSetTimestamp": latest,
            "hasMoreRecords": more,
            "hashRecords": records,
        }
        return Reply(200, json.dumps(said).encode())


class Terrorism(Publisher):
    """Tech Against Terrorism's list: entries in the order of their changes, after any of them."""

    packs = True

    def __init__(self, records: dict[str, Record], *, page: int = 2) -> None:
        super().__init__()
        self.records = records
        self.page = page
        self.tokens = 0

    def answer(self, asked: Asked) -> Reply:
        """Answer with a token, or a page for one."""
        if asked.path == "/token-auth/tcap/":
            if asked.method != "POST" or parse_qs(asked.body.decode()).get("password") != ["secret"]:
                return Reply(401)
            self.tokens += 1
            return Reply(200, json.dumps({"user": {"username": "me"}, "token": f"token-{self.tokens}"}).encode())
        if asked.headers.get("Authorization") != f"Bearer token-{self.tokens}":
            return Reply(401)
        if asked.path != "/api/hash-list/v2/all" or asked.query.get("order") != "asc":
            return Reply(404)
        since = tuple(int(part) for part in asked.query["after"].split(",")) if asked.query.get("after") else (0, 0)
        found = sorted((r.at_s, int(name), r) for name, r in self.records.items() if (r.at_s, int(name)) > since)
        some = found[: self.page]
        results = [
            {
                "hash_digest": text,
                "algorithm": kind,
                "ideology": each.word,
                "file_type": "image/png",
                "deleted": each.gone,
                "updated_on": at_s,
                "created_on": at_s,
                "id": number,
            }
            for at_s, number, each in some
            for kind, text in each.hashes.items()
        ]
        said = {
            "count": len(found),
            "next": f"{self.url}/api/hash-list/v2/all?limit=2" if len(found) > self.page else None,
            "previous": None,
            "checkpoint": f"{some[-1][0]},{some[-1][1]}" if some else None,
            "results": results,
        }
        return Reply(200, json.dumps(said).encode())


class Arachnid(Publisher):
    """Arachnid Shield's question about PDQs: which of these are known, and as what."""

    def __init__(self, known: dict[bytes, str]) -> None:
        super().__init__()
        self.known = known

    def answer(self, asked: Asked) -> Reply:
        """Answer about each hash."""
        if not _basic(asked, "me:secret"):
            return Reply(401)
        if (asked.method, asked.path) != ("POST", "/v1/pdq/"):
            return Reply(404)
        said = {}
        for text in json.loads(asked.body)["hashes"]:
            word = self.known.get(b64decode(text))
            near = {"timestamp": 0.0, "sha1_base32": "A" * 32, "sha256_hex": "0" * 64, "classification": word}
            said[text] = {
                "classification": word or "no-known-match",
                "match_type": word and "near",
                "near_match_details": [near] if word else None,
            }
        return Reply(200, json.dumps({"scanned_hashes": said}).encode())

    def told(self) -> list[bytes]:
        """Return every hash that it was told."""
        return [b64decode(text) for asked in self.asked for text in json.loads(asked.body)["hashes"]]


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
