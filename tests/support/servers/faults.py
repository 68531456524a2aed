"""A proxy on loopback that stands before a real HTTP server and spoils chosen answers; it counts every request.

What it is not told to spoil passes through byte for byte, Host header included, so that signatures stay valid.
"""

from __future__ import annotations

import http.client
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from support.servers.door import Door

Answer = tuple[int, str]
"""A status and a body."""


def xml_error(code: str, message: str = "", more: str = "") -> str:
    """Return the body of an S3 error."""
    return f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{message}</Message>{more}</Error>'


ANSWERS: dict[str, Answer] = {
    "storm": (503, xml_error("SlowDown", "Please reduce your request rate.")),
    "too many": (429, xml_error("TooManyRequests")),
    "html error": (502, "<html><body><h1>502 Bad Gateway</h1></body></html>"),
    "html page": (200, "<html><body>Welcome to the console</body></html>"),
    "empty error": (500, ""),
    "expired": (403, xml_error("ExpiredToken", "The provided token has expired.")),
    "skewed": (403, xml_error("RequestTimeTooSkewed")),
    "r2 unauthorized": (401, xml_error("Unauthorized", "Unauthorized")),
    "denied": (403, xml_error("AccessDenied", "Access Denied.")),
    "mfa": (403, xml_error("AccessDenied", "Mfa Authentication must be used for this request")),
    "not implemented": (501, xml_error("NotImplemented")),
    "wrong region": (
        400,
        xml_error("AuthorizationHeaderMalformed", "the region is wrong", "<Region>us-east-1</Region>"),
    ),
    "redirect": (301, xml_error("PermanentRedirect", "use another endpoint")),
}
BODY_FAULTS = frozenset({"truncate", "long length", "short length", "trickle", "reset in body"})
"""Faults that spoil the body of the server's own answer. `reset` and `stall` come before any answer."""


@dataclass
class Rule:
    """One thing to spoil: which requests, how, and how often."""

    kind: str
    times: int
    method: str
    contains: str
    answer: Callable[[str], Answer] | None


@dataclass
class Faults:
    """The running proxy."""

    upstream_port: int
    _server: _Server
    _door: Door
    requests: list[str] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)
    spoilt: Counter[str] = field(default_factory=Counter)
    _thread: threading.Thread | None = None
    _rules: list[Rule] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def port(self) -> int:
        """The proxy's port."""
        return self._door.port

    @property
    def endpoint(self) -> str:
        """The proxy's URL."""
        return f"http://127.0.0.1:{self.port}"

    def spoil(self, kind: str, times: int = 1, *, method: str = "", contains: str = "") -> None:
        """Spoil the next `times` requests of this method whose target holds `contains`."""
        assert kind in ANSWERS or kind in BODY_FAULTS or kind in ("reset", "stall"), kind
        self._rules.append(Rule(kind, times, method, contains, None))

    def answer(self, make: Callable[[str], Answer], *, method: str = "", contains: str = "") -> None:
        """Answer such requests ourselves, always, by what `make` returns for the target."""
        self._rules.append(Rule("answer", 1 << 30, method, contains, make))

    def listen(self) -> None:
        """Take connections, from the beginning or after `refuse`."""
        self._server.socket = self._door.open()
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def refuse(self) -> None:
        """Refuse every connection, and break those that are open at their next request, until `listen`."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._server.shutdown()
            thread.join(5)
        self._door.shut()

    @property
    def refusing(self) -> bool:
        """Whether nobody gets through."""
        return self._thread is None

    def mend(self, kind: str) -> None:
        """Spoil nothing in this way any more."""
        with self._lock:
            self._rules[:] = [rule for rule in self._rules if rule.kind != kind]

    def heal(self) -> None:
        """Spoil nothing any more, and count from zero."""
        with self._lock:
            self._rules.clear()
            self.requests.clear()

    def count(self, method: str, contains: str = "") -> int:
        """Return how many such requests came."""
        return sum(1 for line in self.requests if line.startswith(method) and contains in line)

    def note(self, method: str, target: str) -> Rule | None:
        """Count a request and return what spoils it."""
        with self._lock:
            self.requests.append(f"{method} {target}")
            for rule in self._rules:
                if rule.times > 0 and rule.method in ("", method) and rule.contains in target:
                    rule.times -= 1
                    self.spoilt[rule.kind] += 1
                    return rule
        return None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    faults: Faults

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent."""

    def _pass(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        rule = self.faults.note(self.command, self.path)
        kind = rule.kind if rule else ""
        if kind == "reset" or self.faults.refusing:
            self._reset()
        elif kind == "stall":
            self.faults.stopping.wait(30)
            self.close_connection = True
        elif rule and rule.answer:
            self._say(*rule.answer(self.path))
        elif kind in ANSWERS:
            self._say(*ANSWERS[kind])
        else:
            self._forward(body, kind)

    do_GET = do_HEAD = do_PUT = do_DELETE = do_POST = _pass

    def _say(self, status: int, text: str) -> None:
        data = b"" if self.command == "HEAD" else text.encode()
        self.send_response_only(status)
        self.send_header("Content-Type", "application/xml" if text.startswith("<?xml") else "text/html")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _forward(self, body: bytes, kind: str) -> None:
        upstream = http.client.HTTPConnection("127.0.0.1", self.faults.upstream_port, timeout=30)
        try:
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                upstream.putheader(name, value)
            upstream.endheaders(body or None)
            answer = upstream.getresponse()
            data = answer.read()
            length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(data))
            self.send_response_only(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                    self.send_header(name, value)
            self._body(data, kind, length or "0")
        finally:
            upstream.close()

    def _body(self, data: bytes, kind: str, length: str) -> None:
        half = data[: len(data) // 2]
        promised = {"long length": str(len(data) + 100), "short length": str(len(half))}.get(kind, length)
        self.send_header("Content-Length", promised)
        self.end_headers()
        if kind in ("truncate", "reset in body"):
            self.wfile.write(half)
            self.wfile.flush()
            self.close_connection = True
            if kind == "reset in body":
                time.sleep(0.05)  # what was sent must arrive before the reset throws it away
                self._reset()
        elif kind == "short length":
            self.wfile.write(half)
        elif kind == "trickle":
            self._trickle(data)
        else:
            self.wfile.write(data)
            self.close_connection = self.close_connection or kind == "long length"

    def _trickle(self, data: bytes) -> None:
        self.close_connection = True
        with suppress(OSError):
            for i in range(len(data)):
                self.wfile.write(data[i : i + 1])
                self.wfile.flush()
                if self.faults.stopping.wait(0.02):
                    return

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.shutdown(socket.SHUT_RD)
        self.connection.close()
        self.close_connection = True


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        """Stay silent: clients that give up, and connections that we reset, are what this proxy is for."""


@contextmanager
def faults_before(upstream_port: int) -> Iterator[Faults]:
    """Run the proxy before a server on loopback."""
    handler = type("Handler", (_Handler,), {})
    door = Door()
    server = _Server(("127.0.0.1", door.port), handler, bind_and_activate=False)
    server.socket.close()  # the door's is used
    faults = Faults(upstream_port, server, door)
    handler.faults = faults  # type: ignore[attr-defined]
    faults.listen()
    try:
        yield faults
    finally:
        faults.stopping.set()
        faults.refuse()
        door.close()
