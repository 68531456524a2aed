"""What `gate-config` prints, in real web servers: uploads go to the gate whole, all else to the server, and what then.

The gate and the server are two small servers that tell what reached them; test_gate_servers.py has real ones.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from fedi_safety.gate.fronts import Front, Place, WhenDown, front_text
from fedi_safety.gate.proxy.kinds import KINDS
from support.servers.fronts import Site, front_server, place_for, refused
from support.servers.sshd import free_port

FRONTS = [pytest.param(front, marks=pytest.mark.needs(front.value)) for front in Front]
LARGE = bytes(range(256)) * (3 << 12)
CODED = "/api/v2/media/%7Efoo%20bar?a=%2F&b=%C3%A4"


class _Told(BaseHTTPRequestHandler):
    """Answers with its name and what it got."""

    protocol_version = "HTTP/1.1"

    def _tell(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        if self.headers["Transfer-Encoding"] == "chunked":
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        told = {
            "name": self.server.name,  # type: ignore[attr-defined]
            "path": self.path,
            "method": self.command,
            "sha256": hashlib.sha256(body).hexdigest(),
            **{name: self.headers[name] for name in ("X-Forwarded-For", "X-Forwarded-Proto", "Content-Type")},
        }
        said = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(said)))
        self.send_header("Connection", "close")  # so that it is gone at once when it ends
        self.end_headers()
        self.wfile.write(said)

    do_GET = do_POST = do_PUT = do_PATCH = _tell

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def telling(name: str, port: int = 0) -> Iterator[int]:
    ThreadingHTTPServer.request_queue_size = 64
    server = ThreadingHTTPServer(("127.0.0.1", port), _Told)
    server.name = name  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


@dataclass(frozen=True)
class Answered:
    status: int
    body: bytes
    content_type: str

    @property
    def told(self) -> Any:
        return json.loads(self.body)


def ask(url: str, path: str, body: Any = b"", method: str = "POST", **headers: str) -> Answered:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=60)
    try:
        connection.request(method, path, body, headers, encode_chunked="Transfer-Encoding" in headers)
        answer = connection.getresponse()
        return Answered(answer.status, answer.read(), answer.headers.get("Content-Type", ""))
    finally:
        connection.close()


def check_what_goes_where(url: str, kind: str) -> None:
    """With the gate there."""
    told = ask(url, "/api/v2/media", LARGE, **{"Content-Type": "multipart/form-data; boundary=x"}).told
    assert told["name"] == "gate" and told["sha256"] == hashlib.sha256(LARGE).hexdigest()
    assert (told["method"], told["path"]) == ("POST", "/api/v2/media")
    assert told["Content-Type"] == "multipart/form-data; boundary=x"
    assert (told["X-Forwarded-Proto"], told["X-Forwarded-For"]) == ("http", "127.0.0.1")
    pieces = ask(url, "/api/v1/media", iter([LARGE[:70000], LARGE[70000:]]), **{"Transfer-Encoding": "chunked"}).told
    assert pieces["name"] == "gate" and pieces["sha256"] == hashlib.sha256(LARGE).hexdigest()
    assert ask(url, CODED, b"x").told["name"] == "gate"
    forged = ask(url, "/api/v2/media", b"x", **{"X-Forwarded-For": "192.0.2.1"}).told["X-Forwarded-For"]
    assert forged.split(", ")[-1] == "127.0.0.1", "who comes last is who came"
    assert ask(url, "/api/v1/timelines/home", method="GET").told["name"] == "server"
    assert ask(url, "/api/v1/statuses", b"x").told["name"] == ("gate" if KINDS[kind].everywhere else "server")


@pytest.mark.long
@pytest.mark.parametrize("when_down", WhenDown)
@pytest.mark.parametrize("kind", ["mastodon", "pixelfed"])
@pytest.mark.parametrize("name", FRONTS)
def test_uploads_go_to_the_gate_and_where_they_shall_without_it(
    tmp_path: Path, name: Front, kind: str, when_down: WhenDown
) -> None:
    port = free_port()
    with ExitStack() as until, ExitStack() as gate:
        server = f"127.0.0.1:{until.enter_context(telling('server'))}"
        gate.enter_context(telling("gate", port))
        text = front_text(name, Place(KINDS[kind], f"127.0.0.1:{port}", server, 8 << 20), when_down)
        text = text.replace("fail_duration 10s", "fail_duration 1s")
        url = until.enter_context(front_server(name, place_for(tmp_path / "place"), server, text))
        check_what_goes_where(url, kind)
        gate.close()
        answers = [ask(url, "/api/v2/media", LARGE) for _ in range(3)]
        if when_down is WhenDown.CLOSED:
            for answer in answers:
                assert answer.status == 503 and "not taken" in answer.told["error"], answer
                assert name is Front.APACHE or answer.content_type == "application/json"
        else:
            # Caddy learns by the first one that the gate is away.
            for answer in answers[1:] if name is Front.CADDY else answers:
                assert answer.status == 200 and answer.told["name"] == "server", answer
                assert answer.told["sha256"] == hashlib.sha256(LARGE).hexdigest()
        assert ask(url, "/api/v1/timelines/home", method="GET").told["name"] == "server"
        with telling("gate", port):  # it comes back
            while when_down is WhenDown.OPEN and ask(url, "/api/v2/media", b"x").told["name"] != "gate":
                time.sleep(0.1)
            check_what_goes_where(url, kind)


@pytest.mark.parametrize("name", FRONTS)
def test_every_kind_is_understood(tmp_path: Path, name: Front) -> None:
    places = [Place(kind, "127.0.0.1:14052", "127.0.0.1:3000", 128 << 20) for kind in KINDS.values()]
    place = place_for(tmp_path / "place")
    for when_down in WhenDown:
        sites = [
            Site("127.0.0.1:3000", front_text(name, each, when_down), 20000 + at) for at, each in enumerate(places)
        ]
        together = [[site] for site in sites] if name is Front.NGINX else [sites]
        for some in together:
            assert refused(name, place, some) is None
    broken = Site("127.0.0.1:3000", front_text(name, places[0], WhenDown.OPEN) + "\nno_such_word on;", 20000)
    assert refused(name, place, [broken]) is not None
