"""Whatever a client sends reaches the server behind the gate as it was sent, and the answer its client."""

from __future__ import annotations

import hashlib
import json
import random
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

import pytest

from support.servers.echo import Came, EchoServer, echo_server
from support.serving import RED, Gate, gate
from support.share import Share

_HOP = {b"connection", b"keep-alive", b"te", b"upgrade", b"trailer", b"transfer-encoding", b"proxy-connection"}
_LARGEST = 100 << 20
_BIG = b"\0" * (1 << 20)


@dataclass(frozen=True, slots=True)
class Drawn:
    """A request to be sent: its head as it is, and its body in pieces."""

    line: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: tuple[bytes, ...]
    chunked: bool

    @property
    def digest(self) -> str:
        found = hashlib.sha256()
        for piece in self.body:
            found.update(piece)
        return found.hexdigest()

    @property
    def size(self) -> int:
        return sum(map(len, self.body))

    def wire(self) -> Iterator[bytes]:
        head = self.line + b"\r\n" + b"".join(b"%s: %s\r\n" % header for header in self.headers)
        yield head + b"\r\n"
        for piece in self.body:
            if self.chunked and piece:
                yield b"%x\r\n" % len(piece) + piece + b"\r\n"
            else:
                yield piece
        if self.chunked:
            yield b"0\r\n\r\n"


def _path(drawn: random.Random) -> bytes:
    parts = [b"a%20b", b"%e4%F6", b"x", b"@name", b"~", b"%2F", b"media", b"1", b"..", b"", b"%00", b"(a)"]
    path = b"/" + b"/".join(drawn.choice(parts) for _ in range(drawn.randint(0, 5)))
    return path + drawn.choice([b"", b"?", b"?a=%41&b=", b"?x=1;y=2", b"?%FF&&", b"?q=a+b#"[:-1]])


def _headers(drawn: random.Random) -> list[tuple[bytes, bytes]]:
    names = [b"X-Custom", b"accept", b"ACCEPT-LANGUAGE", b"Cookie", b"Authorization", b"If-None-Match", b"x-a", b"X-A",
             b"User-Agent", b"Range", b"X-Forwarded-Proto", b"Idempotency-Key", b"DNT"]  # fmt: skip
    values = [b"", b"1", b"a, b", b"text/html;q=0.9", b'"quoted"', b"caf\xc3\xa9", b"\xe4", b"a  b", b"x" * 900]
    return [(drawn.choice(names), drawn.choice(values)) for _ in range(drawn.randint(0, 12))]


def _size(drawn: random.Random, *, large: bool) -> int:
    if large and drawn.random() < 0.002:
        return drawn.randint(10 << 20, _LARGEST)
    return int(drawn.choice([0, 1, 100, 4095, 4096, 65_535, 65_536, 65_537, 200_000, drawn.randint(0, 1 << 20)]))


def _body(drawn: random.Random, size: int) -> list[bytes]:
    """Return bytes in pieces of any size; what is large is made of the same ones."""
    pieces, left = [], size
    while left:
        some = min(left, drawn.choice([1, 7, 1000, 1 << 16, 1 << 20])) if size < (4 << 20) else min(left, 1 << 20)
        pieces.append(_BIG if some == len(_BIG) else drawn.randbytes(some))
        left -= some
    return pieces if len(pieces) < 2_000 else [b"".join(pieces)]


def part(boundary: bytes, name: bytes) -> bytes:
    return b'--%s\r\nContent-Disposition: form-data; name="%s"; filename="a.png"\r\n\r\n' % (boundary, name)


def draw(seed: int, *, large: bool) -> Drawn:
    """Draw a request: to any path, or an upload that is clear."""
    drawn = random.Random(seed)
    headers = [(b"Host", b"social.example"), *_headers(drawn)]
    method = drawn.choice([b"GET", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"HEAD", b"PROPFIND"])
    if drawn.random() < 0.5:
        boundary = b"----%016x" % drawn.getrandbits(64)
        head = part(boundary, b"thumbnail") + RED + b"\r\n" + part(boundary, b"file") + b"\0"
        body = [head, *_body(drawn, _size(drawn, large=large)), b"\r\n--%s--\r\n" % boundary]
        headers.append((drawn.choice([b"Content-Type", b"content-type"]), b"multipart/form-data; boundary=" + boundary))
        line, has_body = b"POST /api/v2/media" + drawn.choice([b"", b"?x=%41"]), True
    else:
        body = _body(drawn, _size(drawn, large=large))
        has_body = method in (b"POST", b"PUT", b"PATCH") or (method == b"DELETE" and drawn.random() < 0.3)
        line = method + b" /other" + _path(drawn)
        if has_body:
            headers.append((b"Content-Type", drawn.choice([b"application/json", b"text/plain", b"application/x"])))
    chunked = has_body and drawn.random() < 0.4
    if not has_body:
        body = []
    elif chunked:
        headers.append((b"Transfer-Encoding", b"chunked"))
    else:
        headers.insert(drawn.randint(1, len(headers)), (b"Content-Length", b"%d" % sum(map(len, body))))
    if has_body and drawn.random() < 0.2:
        headers.append((b"Expect", b"100-continue"))
    return Drawn(line + b" HTTP/1.1", tuple(headers), tuple(body), chunked)


def answer(came: Came) -> bytes:
    """Answer with what came, in one of several framings that are drawn by it."""
    body = came.told
    head = b"HTTP/1.1 200 OK\r\nX-Kept: As It Is\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n"
    if int(came.digest[:2], 16) % 2 or came.line.startswith(b"HEAD"):
        return head + b"Content-Length: %d\r\n\r\n" % len(body) + (b"" if came.line.startswith(b"HEAD") else body)
    half = len(body) // 2
    chunks = b"".join(b"%x\r\n" % len(p) + p + b"\r\n" for p in (body[:half], body[half:]) if p)
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


class Client:
    """A connection that is kept as a web server keeps it: until an answer says that it ends."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None

    def close(self) -> None:
        """End it."""
        if self._socket is not None:
            self._stream.close()
            self._socket.close()

    def send(self, drawn: Drawn) -> tuple[bytes, bytes]:
        """Send it, and return the head and the body of the answer."""
        head, body = self._sent(drawn)
        if b"connection: close" in head.lower():
            self.close()
            self._socket = None
        return head, body

    def _sent(self, drawn: Drawn) -> tuple[bytes, bytes]:
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=120)
            self._stream = self._socket.makefile("rb")
        stream = self._stream
        for piece in drawn.wire():
            self._socket.sendall(piece)
        head = b"HTTP/1.1 100"
        while head.startswith(b"HTTP/1.1 100"):
            head = b"".join(iter(stream.readline, b"\r\n")) if stream.peek(1) else b"nothing"
        lower = head.lower()
        if drawn.line.startswith(b"HEAD"):
            return head, b""
        if b"transfer-encoding: chunked" in lower:
            body = b""
            while size := int(stream.readline(), 16):
                body += stream.read(size)
                stream.readline()
            stream.readline()
            return head, body
        length = int(lower.partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
        return head, stream.read(length)


def check(client: Client, drawn: Drawn, seed: int) -> int:
    """Send it, and hold what came and what came back to what was sent."""
    head, body = client.send(drawn)
    assert head.startswith(b"HTTP/1.1 200 "), (seed, head, body)
    assert b"x-kept: As It Is" in head and head.count(b"set-cookie: ") == 2, (seed, head)
    if drawn.line.startswith(b"HEAD"):
        return 0
    line, headers, size, digest = json.loads(body)
    assert line.encode("latin-1") == drawn.line, seed
    assert (size, digest) == (drawn.size, drawn.digest), (seed, size, drawn.size)
    came = [(n.encode("latin-1"), v.encode("latin-1")) for n, v in headers]
    assert [h for h in came if h[0].lower() not in _HOP] == [h for h in drawn.headers if h[0].lower() not in _HOP], seed
    assert ((b"Transfer-Encoding", b"chunked") in came) == drawn.chunked, seed
    return drawn.size


@pytest.fixture(scope="module")
def echo() -> Iterator[EchoServer]:
    with echo_server() as server:
        server.answer, server.keep_bytes = answer, 0
        yield server


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, echo: EchoServer) -> Iterator[Gate]:
    upstream = {"m": {"url": echo.url, "kind": "mastodon"}}
    with gate(tmp_path_factory.mktemp("exact"), upstream=upstream, apart=True, deadline_s=120, body_s=60) as running:
        yield running


def test_ten_thousand_requests_reach_the_server_byte_for_byte(served: Gate, echo: EchoServer, share: Share) -> None:
    count = share.of(150, 10_000)
    free: Queue[Client] = Queue()
    clients = [Client(served.upstream_ports["m"]) for _ in range(4)]
    for client in clients:
        free.put(client)

    def one(seed: int) -> int:
        client = free.get()
        try:
            return check(client, draw(seed, large=share.full), seed)
        finally:
            free.put(client)

    try:
        with ThreadPoolExecutor(len(clients)) as pool:
            sizes = list(pool.map(one, range(share.seed * 1_000_003, share.seed * 1_000_003 + count)))
    finally:
        for client in clients:
            client.close()
    echo.came.clear()
    share.figure(f"{count} requests, {sum(sizes) >> 20} MB, the largest {max(sizes) >> 20} MB, byte for byte")


def test_a_hundred_large_uploads_stay_within_the_gates_memory(tmp_path: Path, echo: EchoServer, share: Share) -> None:
    count, size = share.of(12, 100), share.of(4 << 20, 40 << 20)
    budget = share.of(16 << 20, 192 << 20)
    boundary = b"----0f1e2d3c4b5a6978"
    head = part(boundary, b"file")
    whole = size + len(head) + len(boundary) + 8
    headers = ((b"Host", b"x"), (b"Content-Type", b"multipart/form-data; boundary=" + boundary),
               (b"Content-Length", b"%d" % whole))  # fmt: skip
    pieces = (head, *[bytes(1 << 20)] * (size >> 20), b"\r\n--%s--\r\n" % boundary)
    drawn = Drawn(b"POST /api/v1/media HTTP/1.1", headers, pieces, False)
    upstream = {"m": {"url": echo.url, "kind": "mastodon", "body_s": 600}}
    most, over = [0], threading.Event()
    with gate(tmp_path, upstream=upstream, apart=True, deadline_s=600, body_s=360, held_bytes=budget * 4 // 3,
              max_bytes=budget // 2) as running:  # fmt: skip

        def watch() -> None:
            memory = running.serving._memory
            while not over.wait(0.002):
                with suppress(RuntimeError):  # its callers came or went meanwhile; it belongs to another thread
                    most[0] = max(most[0], memory.taken_bytes)

        def once(number: int) -> int:
            with closing(Client(running.upstream_ports["m"])) as client:
                return check(client, drawn, number)

        watching = threading.Thread(target=watch)
        watching.start()
        try:
            with ThreadPoolExecutor(min(count, 32)) as pool:
                sizes = list(pool.map(once, range(count)))
        finally:
            over.set()
            watching.join()
        assert sizes == [drawn.size] * count
        assert drawn.size < most[0] <= budget
        running.wait_for(lambda: running.serving._memory.taken_bytes == 0)
    share.figure(f"{count} uploads of {size >> 20} MB, at most {most[0] >> 20} MB of {budget >> 20} MB held at once")
