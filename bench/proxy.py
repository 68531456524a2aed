"""What a request pays for going through the gate to a server, on loopback: without a file, with a picture, and beside.

Each figure is measured in turns with the way without the proxy, in one run: the server directly, or the gate as pict-rs
asks it.

What stands where: the gate, the server behind it, who asks, and who uploads are processes of their own on the same
machine and the same processors. The gate and the server have a session each, as services have: Linux weighs sessions
against each other. What each process of the bench has in memory is left alone by the garbage collector, so that nobody
measures its own pauses; the gate's are its own affair. `beside` is `bench/other_paths.py`, which says more.

    ./dev bench proxy                   all of it, about 5 minutes
    ./dev bench proxy --quick           the same in about a minute: does it run at all
    ./dev bench proxy --only through    one part: through, picture or beside
    ./dev bench proxy --only beside --pairs 8 --beside-s 7    so many rounds of three halves, of so many seconds each
    ./dev bench proxy --only beside --known    every upload is one content: what is left without judging
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench.measure import machine, machine_line, write_result
from bench.other_paths import beside
from bench.proxied import form, get, picture, post, proxied
from bench.uploads import unlike

PARTS = ("through", "picture", "beside")


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
    with proxied(scratch) as running:
        kinds = {
            "get": get(),
            "post": post(b"/api/v1/statuses", b"application/json", b'{"status": "' + b"x" * 2000 + b'"}'),
        }
        for name, request in kinds.items():
            ways = (running.server, lambda _n, r=request: r), (running.proxy, lambda _n, r=request: r)
            found[name] = compared(*asyncio.run(_in_turns(*ways, options.requests)))
            _tell(f"without a file, {name}", found[name])
    return found


def with_picture(scratch: Path, options: argparse.Namespace) -> dict[str, Any]:
    """A picture of 250 KB, each a content of its own: to the gate as pict-rs asks it, and through it to the server."""
    data = picture(250_000)
    with proxied(scratch) as running:
        ways = (
            (running.gate, lambda n: post(b"/validate", b"image/jpeg", unlike(data, n))),
            (running.proxy, lambda n: form(unlike(data, n))),
        )
        found = compared(*asyncio.run(_in_turns(*ways, options.pictures))) | {"bytes": len(data)}
    _tell(f"a picture of {len(data) // 1000} KB", found)
    return found


def main() -> None:
    """Run the parts that were asked for, print and write their figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS, action="append", help="one part; repeatable (default: all)")
    parser.add_argument("--quick", action="store_true", help="everything, but short")
    parser.add_argument("--requests", type=int, default=5_000, help="requests of each kind without a file")
    parser.add_argument("--pictures", type=int, default=400, help="pictures of 250 KB each way")
    parser.add_argument("--beside-s", type=float, default=8.0, help="how long other paths are asked in a half")
    parser.add_argument(
        "--pairs", type=int, default=8, help="of halves with and without uploads (default: %(default)s)"
    )
    parser.add_argument("--server-first", action="store_true", help="beside: the server never waits for a processor")
    parser.add_argument("--known", action="store_true", help="beside: every upload is one content, which is known")
    parser.add_argument("--out", type=Path, help="where the JSON goes (default: bench/results/)")
    options = parser.parse_args()
    if options.quick:
        options.requests, options.pictures, options.beside_s, options.pairs = 1000, 15, 2.0, 2
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
