"""A whole gate in a thread of the tests, on loopback, over fakes: real HTTP and a real ledger, no models."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.routing import BaseRoute

from fedi_safety.app.engine import Engine
from fedi_safety.app.ledger import SystemClock
from fedi_safety.config.loading import load_settings
from fedi_safety.config.schema import Settings
from fedi_safety.core.enums import Detail, MediaType, Reason
from fedi_safety.core.errors import Unscannable
from fedi_safety.core.ledger.uploads import UploadFigures
from fedi_safety.core.policy import Policy
from fedi_safety.core.types import Decoded
from fedi_safety.gate import edge
from fedi_safety.gate.in_hand import UploadsInHand
from fedi_safety.gate.moving import Elsewhere
from fedi_safety.gate.service import Serving
from fedi_safety.judging import engine
from fedi_safety.ledger.ledger import SqlLedger, open_ledger
from fedi_safety.media.sniff import sniff
from support.fakes import FakeDecoder, FakeDetector, detectors, red_circles

RED_CIRCLE = b"pic red=0.9 circle=0.9"
RED = b"pic red=0.9"


class SlowDetector(FakeDetector):
    """Gives signals when it is let: `gate` holds every batch back while it is clear."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.free = threading.Event()
        self.free.set()
        self.pause_s = 0.0

    def score(self, batch: Sequence[Any]) -> Any:
        self.free.wait(30)
        time.sleep(self.pause_s)
        return super().score(batch)


class Decoder(FakeDecoder):
    """Cannot decode real pictures either, such as the one that warms the engine up."""

    def decode(self, data: bytes, media_type: MediaType, detail: Detail = Detail.COARSE) -> Decoded:
        if not data.startswith((b"pic", b"bad")):
            raise Unscannable(Reason.CORRUPT)
        return super().decode(data, media_type, detail)


def sniff_fakes(head: bytes) -> MediaType:
    """Tell fakes and real media, as a decoder of both would."""
    try:
        return FakeDecoder().sniff(head)
    except Unscannable:
        return sniff(head)


@dataclass
class Reply:
    """What a request got."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return str(self.json["code"])


@dataclass
class Gate:
    """A running gate and its parts."""

    serving: Serving
    settings: Settings
    ledger: SqlLedger
    port: int
    decoder: FakeDecoder
    detectors: list[FakeDetector]
    slow: SlowDetector
    thread: threading.Thread
    loop: asyncio.AbstractEventLoop
    error: list[BaseException] = field(default_factory=list)
    upstream_ports: Mapping[str, int] = field(default_factory=dict)

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 30,
        port: int | None = None,
    ) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=timeout)
        try:
            connection.request(method, path, body, dict(headers or {}), encode_chunked=False)
            answer = connection.getresponse()
            return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def upload(self, data: bytes, path: str = "/api/v1/scan/IPADDR", **named: Any) -> Reply:
        return self.request("POST", path, data, {"Content-Type": "image/png"} | named.pop("headers", {}), **named)

    def get(self, path: str, **named: Any) -> Reply:
        return self.request("GET", path, **named)

    def metric(self, name: str, **labels: str) -> float:
        """Return a figure from the metrics' page; 0 where it is not there."""
        page = self.get("/metrics").body.decode()
        want = "".join(f'{k}="{v}",' for k, v in sorted(labels.items())).rstrip(",")
        full = f"fedi_safety_gate_{name}{{{want}}} " if want else f"fedi_safety_gate_{name} "
        found = [float(line.removeprefix(full)) for line in page.splitlines() if line.startswith(full)]
        return found[0] if found else 0.0

    def figures(self) -> UploadFigures:
        return self.ledger.upload_figures(time.time())

    def flush(self) -> None:
        assert self.serving.writer.flush(30)

    def wait_for(self, condition: Any, seconds: float = 30.0) -> None:
        until = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < until, "it did not happen in time"
            time.sleep(0.02)

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.serving.stop)
        self.thread.join(30)
        assert not self.thread.is_alive()


@contextmanager
def gate(
    path: Path,
    *,
    policy: Policy | None = None,
    jobs: int = 2,
    load_s: float = 0.0,
    ready: bool = True,
    load_error: BaseException | None = None,
    busy_timeout_s: float = 0.5,
    extra_routes: Sequence[BaseRoute] = (),
    apart: bool = False,
    elsewhere: Elsewhere | None = None,
    in_hand: UploadsInHand | None = None,
    place: str | Path | None = None,
    judge_s: float | None = None,
    **settings: Any,
) -> Iterator[Gate]:
    """Run a gate with these settings until the block ends; keys without a dot are of the section `gate`.

    Its ledger is at `place`; left out, it is `ledger.db` in `path`. With `judge_s` an upload is judged for so long, and
    all the rest of its deadline is for writing it down, which a busy disk may take: `deadline`, and not `unrecorded`.
    """
    engine._JOIN_S = 0.5  # the fake engine is left standing still
    turns = sys.getswitchinterval()
    whole = settings.pop("whole", {})
    configured = load_settings(None, gate=settings, **whole)
    ledger = open_ledger(place or path / "ledger.db", clock=SystemClock(), busy_timeout_s=busy_timeout_s)
    decoder = Decoder()
    cheap, middle, dear = sorted(detectors(), key=lambda d: d.name)
    slow = SlowDetector(cheap.name, cheap.signals, cost=cheap.cost)
    all_detectors: list[FakeDetector] = [dear, middle, slow]

    def load() -> Engine:
        time.sleep(load_s)
        if load_error is not None:
            raise load_error
        return Engine(decoder, list(all_detectors), "fake", jobs)

    listener = edge.bind("127.0.0.1", 0)
    others = {name: edge.bind("127.0.0.1", 0) for name in configured.gate.upstream}
    chosen = policy or red_circles()
    errors: list[BaseException] = []
    started = threading.Event()
    box: dict[str, Any] = {}

    def run() -> None:
        async def main() -> None:
            box["loop"] = asyncio.get_running_loop()
            box["serving"] = serving = Serving(
                configured, ledger, chosen, listener, reload=lambda: chosen, load=load, sniff=sniff_fakes,
                extra_routes=extra_routes, upstream_listeners=others, apart=apart,
                elsewhere=elsewhere, in_hand=in_hand,
            )  # fmt: skip
            started.set()
            await serving.run()

        try:
            asyncio.run(main())
        except BaseException as error:  # noqa: BLE001 - handed to the test
            errors.append(error)
            started.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert started.wait(30) and "serving" in box
    found = Gate(
        box["serving"], configured, ledger, listener.getsockname()[1], decoder, all_detectors, slow, thread,
        box["loop"], errors, {name: other.getsockname()[1] for name, other in others.items()},
    )  # fmt: skip
    try:
        if ready:
            found.wait_for(lambda: errors or found.get("/readyz").status == 200)
        if judge_s is not None:
            found.wait_for(lambda: errors or hasattr(found.serving, "_parts"))
            found.serving._parts.record_s = configured.gate.deadline_s - judge_s
        yield found
    finally:
        slow.free.set()
        if thread.is_alive():
            found.stop()
        for one in (listener, *others.values()):
            one.close()
        ledger.dispose()
        sys.setswitchinterval(turns)  # the gate's are shorter, in all of the process


@contextmanager
def held(running: Gate) -> Iterator[Callable[[], bool]]:
    """Keep the gate's event loop busy within the block, for 30 s at most; what is given tells whether it still is."""
    let_go, at_work, ended = threading.Event(), threading.Event(), threading.Event()

    def busy() -> None:
        at_work.set()
        let_go.wait(30)
        ended.set()

    running.loop.call_soon_threadsafe(busy)
    assert at_work.wait(30)
    try:
        yield lambda: not ended.is_set()
    finally:
        let_go.set()


def answer(client: socket.socket) -> tuple[bytes, bytes]:
    """Return the head, in small letters, and the body of an answer; nothing where the connection has ended."""
    stream = client.makefile("rb")
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = stream.readline()
        if not line:
            return b"", b""
        head += line.lower()
    return head, stream.read(int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0))
