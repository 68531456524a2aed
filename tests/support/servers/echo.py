"""An upstream on loopback that tells what came: every line of the head as it was sent, and a digest of the body.

What it answers can be set; what came is kept. Nothing is parsed but the framing, so that nothing is made equal.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Came:
    """One request as it came. `body` is kept where it is small."""

    line: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    size: int
    digest: str
    body: bytes
    whole: bool

    def value(self, name: bytes) -> bytes | None:
        return next((v for n, v in self.headers if n.lower() == name.lower()), None)

    @property
    def told(self) -> bytes:
        shown = [[n.decode("latin-1"), v.decode("latin-1")] for n, v in self.headers]
        return json.dumps([self.line.decode("latin-1"), shown, self.size, self.digest]).encode()


Answer = Callable[[Came], bytes]
"""Return all bytes of the answer, head and body. Empty: the connection is closed without one."""


def told(came: Came) -> bytes:
    """Answer with what came."""
    body = came.told
    return (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\nX-Case: Kept\r\n\r\n" % len(body)
        + body
    )


@dataclass
class EchoServer:
    """A running one."""

    url: str
    port: int
    answer: Answer = told
    came: list[Came] = field(default_factory=list)
    keep_bytes: int = 1 << 20
    free: threading.Event = field(default_factory=threading.Event)  # answers wait while it is clear

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (came := await self._read(reader, writer)) is not None:
                self.came.append(came)
                while not self.free.is_set():
                    await asyncio.sleep(0.005)
                answer = self.answer(came)
                writer.write(answer)
                await writer.drain()
                if not answer or b"connection: close" in answer.partition(b"\r\n\r\n")[0].lower() or not came.whole:
                    break
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Came | None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return None
        line, *rest = head[:-4].split(b"\r\n")
        headers = tuple((n, v.removeprefix(b" ")) for n, _, v in (one.partition(b":") for one in rest))
        named = {n.lower(): v for n, v in headers}
        if named.get(b"expect", b"").lower() == b"100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        digest, size, kept, whole = hashlib.sha256(), 0, b"", True
        try:
            async for piece in self._body(reader, named):
                digest.update(piece)
                size += len(piece)
                kept += piece if size <= self.keep_bytes else b""
        except (asyncio.IncompleteReadError, ConnectionError):
            whole = False
        return Came(line, headers, size, digest.hexdigest(), kept, whole)

    @staticmethod
    async def _body(reader: asyncio.StreamReader, named: dict[bytes, bytes]):  # type: ignore[no-untyped-def]
        if b"transfer-encoding" in named:
            while size := int((await reader.readuntil(b"\r\n")).strip(), 16):
                yield await reader.readexactly(size)
                await reader.readexactly(2)
            await reader.readexactly(2)
            return
        left = int(named.get(b"content-length", b"0"))
        while left:
            piece = await reader.read(min(left, 1 << 16))
            if not piece:
                raise asyncio.IncompleteReadError(b"", left)
            left -= len(piece)
            yield piece


@contextmanager
def echo_server() -> Iterator[EchoServer]:
    """Run one in a thread until the block ends."""
    box: dict[str, object] = {}
    started = threading.Event()
    server = EchoServer("", 0)
    server.free.set()

    def run() -> None:
        async def main() -> None:
            listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, limit=1 << 20)
            server.port = listening.sockets[0].getsockname()[1]
            server.url = f"http://127.0.0.1:{server.port}"
            box["stop"], box["loop"] = stop, loop = asyncio.Event(), asyncio.get_running_loop()
            del loop
            started.set()
            await stop.wait()
            listening.close()

        asyncio.run(main())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield server
    finally:
        server.free.set()
        box["loop"].call_soon_threadsafe(box["stop"].set)  # type: ignore[attr-defined]
        thread.join(10)
