"""What messages are sent to in tests, on loopback: a webhook, and servers that speak as ntfy's and Matrix' do."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

Answer = Literal["accept", "fail", "proxy", "lose", "redirect", "hang"]
"""`lose`: the message is taken, and the connection ends without an answer."""


@dataclass
class Receiver:
    """One server. `answers` is asked for every message; what was taken is in `taken`, whatever was answered."""

    port: int = 0
    taken: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    answers: Callable[[], Answer] = lambda: "accept"
    released: threading.Event = field(default_factory=threading.Event)

    @property
    def webhook(self) -> str:
        return f"json://127.0.0.1:{self.port}/hook/s3cr3t-path"

    @property
    def ntfy(self) -> str:
        return f"ntfy://someone:s3cr3t-word@127.0.0.1:{self.port}/s3cr3t-topic"

    @property
    def matrix(self) -> str:
        return f"matrix://someone:s3cr3t-word@127.0.0.1:{self.port}/%23room"

    def numbers(self) -> list[int]:
        """The numbers of the notices that were taken, in order."""
        found = [re.search(r"\(notice (\d+)\)", self.text(each)) for each in self.taken]
        return [int(match[1]) for match in found if match]

    @staticmethod
    def text(message: dict[str, Any]) -> str:
        """What a message says, whoever's form it has."""
        return str(message.get("message") or message.get("body"))


class _Handler(BaseHTTPRequestHandler):
    receiver: Receiver

    def do_GET(self) -> None:
        self.receiver.asked.append(f"GET {self.path}")
        answer = self.receiver.answers()
        self._say({"accept": 200, "redirect": 302}.get(answer, 500), {"joined_rooms": ["!room:here"]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        self.receiver.asked.append(f"{self.command} {self.path}")
        if self.path.endswith("/login"):
            self._say(200, {"access_token": "t0ken", "home_server": "here", "user_id": "@someone:here"})
        elif "/join/" in self.path:
            self._say(200, {"room_id": "!room:here"})
        elif self.path.endswith("/logout"):
            self._say(200, {})
        else:
            self._message(body)

    do_PUT = do_POST

    def _message(self, body: dict[str, Any]) -> None:
        answer = self.receiver.answers()
        if answer in ("accept", "lose"):
            self.receiver.taken.append(body)
        if answer == "lose":
            self.close_connection = True
            return
        if answer == "hang":
            self.receiver.released.wait(60)
        said = {"accept": 200, "redirect": 307, "proxy": 504}.get(answer, 500)
        self._say(said, {"event_id": "$1", "id": "x", "event": "message"})

    def _say(self, status: int, answer: dict[str, Any]) -> None:
        data = json.dumps(answer).encode()
        self.send_response(status)
        if status in (302, 307):
            self.send_header("Location", f"http://127.0.0.1:{self.receiver.port}/elsewhere")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True


@contextmanager
def receiver() -> Iterator[Receiver]:
    """Serve until the block ends."""
    made = Receiver()
    handler = type("Handler", (_Handler,), {"receiver": made})
    with _Server(("127.0.0.1", 0), handler) as server:
        made.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, args=[0.05], daemon=True)
        thread.start()
        try:
            yield made
        finally:
            made.released.set()
            server.shutdown()
            thread.join()
