"""What a request pays for going through the gate to a server, on loopback: without a file, with a picture, and beside.

Each figure is measured in turns with the way without the proxy, in one run: the server directly, or the gate as pict-rs
asks it.

What stands where: the gate, the server behind it, who asks, and who uploads are processes of their own on the same
machine and the same processors, each at ordinary priority. The gate, the server and who uploads have a session each, as
services have: Linux weighs sessions against each other. Who asks stands for the web server of the same machine; who
uploads is elsewhere in life, and takes little. What each of them has in memory is left alone by the garbage collector,
so that nobody measures its own pauses; the gate's are its own affair.

    ./dev bench proxy                   all of it, about 5 minutes
    ./dev bench proxy --quick           the same in about a minute: does it run at all
    ./dev bench proxy --only through    one part: through, picture or beside
    ./dev bench proxy --only beside --known    every upload is one content: what is left without judging
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import io
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench.gate import _free_port, running_gate
from bench.measure import environment, machine, machine_line, write_result
from bench.uploads import arrivals, unlike

PARTS = ("through", "picture", "beside")
IDLE, BUSY, UPLOADS_S = 200, 50, 10.0
_BOUNDARY = b"----f00dfacef00dface"
_BUSY_PAUSE_S = 0.5  # between two requests of a busy connection: a hundred a second in all
_ANSWER = b"x" * 1024


# --- the server behind ----------------------------------------------------------------------------------------------
async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer every request alike, when all of it is there."""
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
            await reader.readexactly(int(length or 0))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(_ANSWER))
            writer.write(_ANSWER)
            await writer.drain()
    writer.close()


async def _upstream(port: int) -> None:
    server = await asyncio.start_server(_serve, "127.0.0.1", port, limit=1 << 20, backlog=512)
    await server.serve_forever()


@contextlib.contextmanager
def upstream() -> Iterator[int]:
    """Run the server in a process of its own; yields its port."""
    port = _free_port()
    command = [sys.executable, __file__, "--upstream", str(port)]
    with subprocess.Popen(command, env=environment(), start_new_session=True) as process:
        try:
            until = time.monotonic() + 30
            while time.monotonic() < until:
                with contextlib.suppress(OSError), contextlib.closing(_connection(port)):
                    break
                time.sleep(0.05)
            yield port
        finally:
            process.terminate()


def _connection(port: int) -> Any:
    import socket

    return socket.create_connection(("127.0.0.1", port))


@contextlib.contextmanager
def proxied(scratch: Path) -> Iterator[tuple[int, int, int]]:
    """Run a gate with the server behind it; yields the ports of the server, of the gate, and of the gate before it."""
    with upstream() as server:
        port = _free_port()
        config = scratch / "proxy.toml"
        table = f'[gate.upstream.bench]\nurl = "http://127.0.0.1:{server}"\nkind = "mastodon"\nport = {port}\n'
        config.write_text(table, "utf-8")
        with running_gate(scratch, "--config", str(config), watch=False, own_session=True) as (gate, _ledger, _memory):
            gc.freeze()
            try:
                yield server, gate, port
            finally:
                gc.unfreeze()


# --- clients --------------------------------------------------------------------------------------------------------
class Client:
    """A connection that is kept, until the answer says that it ends."""

    def __init__(self, port: int) -> None:
        """Connect when something is sent."""
        self._port = port
        self._writer: asyncio.StreamWriter | None = None

    async def connect(self) -> None:
        """Connect now."""
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 20)

    async def ask(self, request: bytes) -> float:
        """Send it; return the seconds until all of the answer was there."""
        if self._writer is None:
            await self.connect()
        assert self._writer is not None
        start = time.perf_counter()
        self._writer.write(request)
        await self._writer.drain()
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        await self._reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
        took = time.perf_counter() - start
        if b"connection: close" in head:
            await self.close()
            self._writer = None
        if not head.startswith(b"http/1.1 200"):
            raise SystemExit(f"not what was to be measured: {head.splitlines()[0].decode()}")
        return took

    async def close(self) -> None:
        """End it."""
        if self._writer is not None:
            self._writer.close()


def get(path: bytes = b"/api/v1/timelines/home") -> bytes:
    """Return a request without a body."""
    return b"GET " + path + b" HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer x\r\nAccept: */*\r\n\r\n"


def post(path: bytes, kind: bytes, body: bytes) -> bytes:
    """Return a request with a body."""
    head = b"POST %s HTTP/1.1\r\nHost: bench\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n"
    return head % (path, kind, len(body)) + body


def form(data: bytes) -> bytes:
    """Return an upload as Mastodon takes it."""
    head = b'--%s\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    body = head % _BOUNDARY + data + b"\r\n--%s--\r\n" % _BOUNDARY
    return post(b"/api/v2/media", b"multipart/form-data; boundary=" + _BOUNDARY, body)


def picture(size: int) -> bytes:
    """Return a JPEG of about so many bytes: noise over a gradient, drawn the same each time."""
    import numpy as np
    from PIL import Image

    drawn = np.random.default_rng(18)
    base = np.linspace(40, 200, 1200)[None, :, None] + np.zeros((900, 1, 3))
    pixels = np.clip(base + drawn.normal(0, 12, (900, 1200, 3)), 0, 255).astype(np.uint8)
    best = b""
    for quality in range(20, 96, 3):
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, "JPEG", quality=quality)
        if len(out.getvalue()) > size:
            break
        best = out.getvalue()
    return best


# --- figures --------------------------------------------------------------------------------------------------------
def ms(times: Sequence[float], share: float) -> float:
    """Return a quantile in milliseconds."""
    return round(1000 * sorted(times)[min(len(times) - 1, int(share * len(times)))], 3)


def spread(times: Sequence[float]) -> dict[str, float]:
    """Return how long requests took."""
    return {"count": len(times), "p50_ms": ms(times, 0.5), "p90_ms": ms(times, 0.9), "p99_ms": ms(times, 0.99)}


def compared(plain: Sequence[float], proxy: Sequence[float]) -> dict[str, Any]:
    """Return both ways and what the second takes longer."""
    found: dict[str, Any] = {"without": spread(plain), "with": spread(proxy)}
    found["added_p50_ms"] = round(found["with"]["p50_ms"] - found["without"]["p50_ms"], 3)
    found["added_p99_ms"] = round(found["with"]["p99_ms"] - found["without"]["p99_ms"], 3)
    return found


def _tell(name: str, found: dict[str, Any]) -> None:
    print(
        f"{name}: p50 {found['without']['p50_ms']} -> {found['with']['p50_ms']} ms, "
        f"p99 {found['without']['p99_ms']} -> {found['with']['p99_ms']} ms, added {found['added_p99_ms']} ms at p99",
        flush=True,
    )


# --- the parts ------------------------------------------------------------------------------------------------------
async def _in_turns(plain: tuple[int, Any], proxy: tuple[int, Any], count: int) -> tuple[list[float], list[float]]:
    """Ask both ways in turns; each is a port, and what makes the next request for it."""
    clients = [Client(plain[0]), Client(proxy[0])]
    times: tuple[list[float], list[float]] = ([], [])
    for n in range(count + count // 10):
        for way, (client, (_, make)) in enumerate(zip(clients, (plain, proxy), strict=True)):
            took = await client.ask(make(2 * n + way))
            if n >= count // 10:  # the first ones are not counted
                times[way].append(took)
    for client in clients:
        await client.close()
    return times


def through(scratch: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Requests without a file: to the server, and through the gate."""
    found = {}
    with proxied(scratch) as (server, _, port):
        kinds = {
            "get": get(),
            "post": post(b"/api/v1/statuses", b"application/json", b'{"status": "' + b"x" * 2000 + b'"}'),
        }
        for name, request in kinds.items():
            ways = (server, lambda _n, r=request: r), (port, lambda _n, r=request: r)
            found[name] = compared(*asyncio.run(_in_turns(*ways, options.requests)))
            _tell(f"without a file, {name}", found[name])
    return found


def with_picture(scratch: Path, options: argparse.Namespace) -> dict[str, Any]:
    """A picture of 250 KB, each a content of its own: to the gate as pict-rs asks it, and through it to the server."""
    data = picture(250_000)
    with proxied(scratch) as (_, gate, port):
        ways = (
            (gate, lambda n: post(b"/validate", b"image/jpeg", unlike(data, n))),
            (port, lambda n: form(unlike(data, n))),
        )
        found = compared(*asyncio.run(_in_turns(*ways, options.pictures))) | {"bytes": len(data)}
    _tell(f"a picture of {len(data) // 1000} KB", found)
    return found


def beside(scratch: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Other paths, by 50 busy connections among 200 idle ones: without uploads, and beside ten a second.

    The same requests go to the server directly in turns with those through the gate, in both halves: what is slower
    there is the machine's and the clients' own. The uploads are sent by a process of their own.
    """
    with proxied(scratch) as (server, _, port):
        quiet, loud, uploads = asyncio.run(_beside(server, port, options.beside_s, options.known))
    found: dict[str, Any] = {"uploads": spread(uploads)}
    for name, before, after in zip(("direct", "through"), quiet, loud, strict=True):
        found[name] = compared(before, after)
        found[name]["p99_ratio"] = round(found[name]["with"]["p99_ms"] / found[name]["without"]["p99_ms"], 3)
        _tell(f"other paths beside {UPLOADS_S:g} uploads a second, {name}", found[name])
    return found


Both = tuple[list[float], list[float]]


async def _beside(server: int, port: int, seconds: float, known: bool) -> tuple[Both, Both, list[float]]:
    async with _idle(port):
        quiet = await _busy((server, port), seconds)
        command = [sys.executable, __file__, "--uploads", str(port), "--beside-s", str(seconds)]
        command += ["--known"] if known else []
        with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, start_new_session=True) as sending:
            assert sending.stdout is not None
            await asyncio.to_thread(sending.stdout.readline)  # it begins
            loud = await _busy((server, port), seconds)
            uploads = await asyncio.to_thread(sending.stdout.read)
        return quiet, loud, json.loads(uploads)


@contextlib.asynccontextmanager
async def _idle(port: int) -> AsyncIterator[None]:
    clients = [Client(port) for _ in range(IDLE)]
    for client in clients:
        await client.ask(get())  # a connection without any request is closed soon
    try:
        yield
    finally:
        for client in clients:
            await client.close()


async def _busy(ports: tuple[int, int], seconds: float) -> Both:
    """Ask both ways from busy connections for a while, each a little after the one before."""
    times: Both = ([], [])
    until = time.monotonic() + seconds

    async def one(number: int) -> None:
        clients = [Client(port) for port in ports]
        await asyncio.sleep(number / BUSY * _BUSY_PAUSE_S)
        while time.monotonic() < until:
            for way, client in enumerate(clients):
                times[way].append(await client.ask(get()))
                await asyncio.sleep(_BUSY_PAUSE_S / 2)
        for client in clients:
            await client.close()

    await asyncio.gather(*(one(n) for n in range(BUSY)))
    return times


def send_uploads(port: int, seconds: float, known: bool) -> None:
    """Send them, all one content where that is to be `known`, and print how long each took."""
    data = picture(250_000)
    count = len(list(arrivals(UPLOADS_S, seconds, seed=18)))
    bodies = [form(data if known else unlike(data, 1_000_000 + n)) for n in range(count)]
    gc.freeze()
    print("begun", flush=True)
    print(json.dumps(asyncio.run(_uploads(port, bodies, seconds))))


async def _uploads(port: int, bodies: Sequence[bytes], seconds: float) -> list[float]:
    start = time.monotonic()

    async def one(number: int, moment: float) -> float:
        await asyncio.sleep(max(0.0, start + moment - time.monotonic()))
        client = Client(port)
        try:
            return await client.ask(bodies[number])
        finally:
            await client.close()

    return list(await asyncio.gather(*(one(n, at) for n, at in enumerate(arrivals(UPLOADS_S, seconds, seed=18)))))


def main() -> None:
    """Run the parts that were asked for, print and write their figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS, action="append", help="one part; repeatable (default: all)")
    parser.add_argument("--quick", action="store_true", help="everything, but short")
    parser.add_argument("--requests", type=int, default=5_000, help="requests of each kind without a file")
    parser.add_argument("--pictures", type=int, default=400, help="pictures of 250 KB each way")
    parser.add_argument("--beside-s", type=float, default=60.0, help="how long other paths are asked, each way")
    parser.add_argument("--known", action="store_true", help="beside: every upload is one content, which is known")
    parser.add_argument("--out", type=Path, help="where the JSON goes (default: bench/results/)")
    parser.add_argument("--upstream", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--uploads", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.uploads is not None:
        send_uploads(options.uploads, options.beside_s, options.known)
        return
    if options.upstream is not None:
        gc.freeze()
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(_upstream(options.upstream))
        return
    if options.quick:
        options.requests, options.pictures, options.beside_s = 1000, 15, 8.0
    about = machine()
    print(machine_line(about))
    result: dict[str, Any] = {"machine": about}
    parts = {"through": through, "picture": with_picture, "beside": beside}
    for part in options.only or PARTS:
        with tempfile.TemporaryDirectory() as name:
            result[part] = parts[part](Path(name), options)
    write_result("proxy", result, options.out)


if __name__ == "__main__":
    main()
