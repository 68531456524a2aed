"""The two halves of pictrs-safety v1.2.2 as they are deployed, made from what was recorded of them, not of its code.

`PictrsSafety` is the server, with its order of checks, its status codes and its quirks; `PredecessorWorker` is
the worker of the earlier fedi-safety. Neither is ours: they stand for the half that is not swapped.
"""

from __future__ import annotations

import http.server
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import httpx
from PIL import Image


@dataclass
class ScanRequest:
    """One row of its table."""

    name: str
    data: bytes
    subtype: str
    state: str = "waiting"
    is_csam: Any = None
    is_nsfw: Any = None


@dataclass
class PictrsSafety:
    """Its state. Requests come in threads."""

    key: str = "its key"
    ids: tuple[str, ...] = ("__WELCOME_IN__",)
    bypass: int = 10
    missing_s: float = 5.0
    patience: int = 120  # looks, one a second; tests look oftener
    look_s: float = 0.02
    rows: dict[str, ScanRequest] = field(default_factory=dict)
    popped: float = field(default_factory=time.monotonic)
    pops: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    url: str = ""

    def waiting(self) -> int:
        return sum(row.state == "waiting" for row in self.rows.values())

    def scan(self, data: bytes, content_type: str) -> tuple[int, str]:
        """Answer an upload of somebody who was let in."""
        if self.missing_s and time.monotonic() - self.popped > self.missing_s:
            return 200, "Worker Stale"
        if self.bypass and self.waiting() > self.bypass:
            return 200, "Queue Full"
        subtype = content_type.partition("/")[2]
        try:
            again = BytesIO()
            with Image.open(BytesIO(data)) as image:
                image.save(again, subtype)  # it re-encodes, and keeps the first frame only
        except Exception:  # noqa: BLE001 - whatever Pillow cannot do ends in its handler's own failure
            return 500, "Internal Server Error"
        row = ScanRequest(f"{uuid.uuid4()}.{subtype}", again.getvalue(), subtype)
        with self.lock:
            self.rows[row.name] = row
        for _ in range(self.patience):
            time.sleep(self.look_s)
            if row.state == "done":
                return (406, "Potential CSAM Image detected") if row.is_csam else (200, "Image OK")
        return 200, "Could not scan request in reasonable amount of time. Returning OK"


def _handler(state: PictrsSafety) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            self.request.settimeout(30)

        def say(self, code: int, value: Any = None, data: bytes = b"", **headers: str) -> None:
            if value is not None:
                data = (json.dumps(value) + "\n").encode()
            self.send_response(code)
            self.send_header("Content-Type", headers.pop("kind", "application/json"))
            self.send_header("Access-Control-Allow-Origin", "*")
            for name, text in headers.items():
                self.send_header(name.replace("_", "-"), text)
            if code != 204:
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def allowed(self) -> bool:
            key = self.headers.get("apikey")
            if key is None:
                text = "The auth api key Missing required parameter in the HTTP headers"
                self.say(400, {"errors": {"apikey": text}, "message": "Input payload validation failed"})
            elif key != state.key:
                self.say(403, {"message": "Access Denied"})
            return key == state.key

        def body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") == "chunked":
                parts = []
                while size := int(self.rfile.readline(), 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(parts)
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))

        def do_GET(self) -> None:
            if self.path != "/api/v1/pop":
                self.say(404, {"message": "The requested URL was not found on the server."})
                return
            if not self.allowed():
                return
            state.popped = time.monotonic()
            with state.lock:
                state.pops += 1
                row = next((row for row in state.rows.values() if row.state == "waiting"), None)
                if row is not None:
                    row.state = "processing"
            if row is None:
                self.say(204)
            else:
                name = f"attachment; filename={row.name}"
                self.say(200, data=row.data, kind=f"image/{row.subtype}", Content_Disposition=name)

        def do_POST(self) -> None:
            body = self.body()
            if self.path.startswith("/api/v1/scan/"):
                if self.path.rpartition("/")[2] not in (*state.ids, "IPADDR"):
                    self.say(401, {"message": "You are not authorized to use this service"})
                    return
                code, text = state.scan(body, self.headers.get("Content-Type", ""))
                self.say(code, {"message": text})
            elif self.path != "/api/v1/pop":
                self.say(404, {"message": "The requested URL was not found on the server."})
            elif self.allowed():
                self.take(json.loads(body))

        def take(self, said: dict[str, Any]) -> None:
            for name in ("image", "is_csam", "is_nsfw"):
                if name not in said:
                    text = "Missing required parameter in the JSON body"
                    self.say(400, {"errors": {name: text}, "message": "Input payload validation failed"})
                    return
            row = state.rows.get(said["image"])
            if row is None:
                text = "No image found waiting for this result. You have requested this URI [/api/v1/pop] but ..."
                self.say(404, {"message": text})
                return
            row.is_csam, row.is_nsfw = said["is_csam"], said["is_nsfw"]
            row.state = "done"
            self.say(201, {"message": "OK"})

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@contextmanager
def pictrs_safety(port: int = 0, **settings: Any) -> Iterator[PictrsSafety]:
    """Run one on loopback."""
    state = PictrsSafety(**settings)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), _handler(state))
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


class PredecessorWorker:
    """The worker of the earlier fedi-safety: asks every tenth of a second, and says nothing of what it cannot open."""

    def __init__(self, url: str, key: str, is_csam: Callable[[Image.Image], bool], threads: int = 4) -> None:
        self._url = f"{url}/api/v1/pop"
        self._headers = {"apikey": key}
        self._is_csam = is_csam
        self._ended = threading.Event()
        self.said: list[tuple[str, bool, int]] = []
        self.failures: list[str] = []
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]

    def __enter__(self) -> PredecessorWorker:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(10)

    def _run(self) -> None:
        while not self._ended.wait(0.1):
            try:
                self._once()
            except Exception as error:  # noqa: BLE001 - it logs whatever happens, and goes on
                self.failures.append(repr(error))

    def _once(self) -> None:
        answer = httpx.get(self._url, headers=self._headers, timeout=2, trust_env=False)
        if not answer.is_success:
            self.failures.append(str(answer.json()))
            return
        if answer.status_code == 204:
            return
        name = answer.headers["Content-Disposition"].split("=", 1)[1]
        verdict = self._is_csam(Image.open(BytesIO(answer.content)))
        said = {"image": name, "is_csam": verdict, "is_nsfw": verdict}
        answer = httpx.post(self._url, headers=self._headers, json=said, timeout=10, trust_env=False)
        self.said.append((name, verdict, answer.status_code))
