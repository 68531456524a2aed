"""Connections to the server behind the gate: HTTP/1.1 over asyncio, whose answers httptools parses.

httpx' transport, which does the same, takes more than a millisecond of the event loop for a request, and all requests
share that loop. Nothing is followed, unpacked or retried here, and no body is looked into.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

Headers = list[tuple[bytes, bytes]]

_HEAD_BYTES = 256 << 10  # of an answer
_BUFFER_BYTES = 256 << 10  # of an answer that its client takes slowly
_TOGETHER_BYTES = 64 << 10  # sent in one piece with what comes before it
_HEAD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ [\x21-\x7e]+ HTTP/1\.1\r\n"
                   rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+: [^\x00-\x08\x0a-\x1f\x7f]*\r\n)*\r\n")  # fmt: skip
_WITHOUT_BODY = frozenset({204, 304})


class Slow(Exception):
    """A step took too long."""


class Broken(Exception):
    """The connection ended, or what came is no HTTP; the text says which."""


class Malformed(Exception):
    """What was to be sent is no valid request."""


class _Whole(Exception):
    """An answer to HEAD is whole with its head, which the parser does not know."""


class _TooLarge(Exception):
    """The head of an answer is."""


class Connection(asyncio.Protocol):
    """One connection, and one exchange at a time on it. It belongs to one event loop."""

    def __init__(self) -> None:
        """Be made by `Pool`."""
        self._transport: asyncio.Transport | None = None
        self._reader: asyncio.Future[None] | None = None  # who waits for something to come
        self._writer: asyncio.Future[None] | None = None  # who waits until more can be sent
        self._paused = self._lost = False
        self._begin(of_head=False)
        self._parser: HttpResponseParser | None = None

    def _begin(self, *, of_head: bool) -> None:
        self._of_head = of_head
        self._parser = HttpResponseParser(self)
        self.status, self.headers = 0, Headers()
        self._pieces: deque[bytes] = deque()
        self._held = self._head_bytes = self._unanswered = 0
        self._answered = self.whole = self._keep = self._to_end = False
        self._trouble = ""

    # --- what asyncio tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Parse what comes."""
        if self._parser is None or self.whole:  # nobody asked for it
            self._keep = False
            self.close()
            return
        before, self._unanswered = self._unanswered, self._unanswered + len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            self._trouble = "it switched protocols"
        except HttpParserError:
            if not self.whole:
                self._trouble = "it is no HTTP"
        if self._answered:
            self._unanswered = 0
        elif before > _HEAD_BYTES:
            self._trouble = "its head is too large"
        if self._held > _BUFFER_BYTES and self._transport is not None:
            self._transport.pause_reading()
        _wake(self._reader)

    def eof_received(self) -> None:
        """Nothing more comes: that may be how the answer ends."""
        self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake whoever waits."""
        self._lost = True
        self._end(exc)
        _wake(self._writer)

    def _end(self, exc: Exception | None) -> None:
        if self._answered and self._to_end and exc is None and not self._trouble:
            self.whole = True
        elif not self.whole and not self._trouble:
            self._trouble = "it closed the connection"
        self._keep = False
        _wake(self._reader)

    def pause_writing(self) -> None:
        """Let the sender wait."""
        self._paused = True

    def resume_writing(self) -> None:
        """Let it go on."""
        self._paused = False
        _wake(self._writer)

    # --- what the parser tells

    def on_message_begin(self) -> None:
        """Begin an answer, after one that was only informational; another one is nobody's."""
        if self.whole:
            self._keep = False
            raise _Whole
        self.status, self.headers = 0, Headers()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header of the answer; trailers are not handed on."""
        if not self._answered:
            self._head_bytes += len(name) + len(value)
            if self._head_bytes > _HEAD_BYTES:
                raise _TooLarge
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Take the answer's head."""
        assert self._parser is not None
        self.status = self._parser.get_status_code()
        if self.status < 200:
            if self.status == 101:
                self._trouble = "it switched protocols"
            return
        self._answered = True
        self._keep = self._parser.should_keep_alive()
        named = {name.lower() for name, _ in self.headers}
        self._to_end = not named & {b"content-length", b"transfer-encoding"} and self.status not in _WITHOUT_BODY
        if self._of_head:
            self.whole = True
            raise _Whole

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the answer until it is asked for."""
        self._pieces.append(body)
        self._held += len(body)

    def on_message_complete(self) -> None:
        """End an answer."""
        self.whole = self.whole or self._answered

    # --- one exchange

    @property
    def reusable(self) -> bool:
        """Whether another exchange can follow."""
        return self.whole and self._keep and not (self._lost or self._paused or self._pieces)

    @property
    def lost(self) -> bool:
        """Whether the server, or this side, has closed it."""
        return self._lost or self._transport is None or self._transport.is_closing()

    async def exchange(
        self, head: bytes, body: AsyncIterator[bytes] | None, length: int | None, seconds: float, *, of_head: bool
    ) -> None:
        """Send a request, and wait for the head of its answer. A `body` without a `length` is sent in chunks.

        Each step may take so many seconds. Raises `Slow`, `Broken`, `Malformed`, and whatever `body` does; then the
        connection is to be closed.
        """
        if not _HEAD.fullmatch(head):
            raise Malformed
        self._begin(of_head=of_head)
        if body is None:
            await self._write(head, seconds)
        else:
            await self._write_body(head, body, length, seconds)
        while not self._answered:
            if self._trouble:
                raise Broken(self._trouble)
            await self._come(seconds)

    async def _write_body(self, head: bytes, body: AsyncIterator[bytes], length: int | None, seconds: float) -> None:
        sent, before = 0, head
        async for piece in body:
            if not piece:
                continue
            sent += len(piece)
            framed = [piece] if length is not None else [b"%x\r\n" % len(piece), piece, b"\r\n"]
            if len(before) + len(piece) <= _TOGETHER_BYTES:
                framed = [b"".join([before, *framed])]
            elif before:
                framed = [before, *framed]
            before = b""
            for part in framed:
                if not await self._write(part, seconds):
                    return  # it may have answered already
        if length is not None and sent != length:
            raise Malformed
        await self._write(before if length is not None else before + b"0\r\n\r\n", seconds)

    async def _write(self, data: bytes, seconds: float) -> bool:
        """Send, and wait while too much is on its way; return false where nobody takes it any more."""
        if self.lost:
            return False
        assert self._transport is not None
        if data:
            self._transport.write(data)
        while self._paused and not self._lost:
            self._writer = asyncio.get_running_loop().create_future()
            await _within(self._writer, seconds)
        return not self._lost

    async def piece(self, seconds: float) -> bytes:
        """Return more of the answer, empty at its end. Raises `Slow` and `Broken`."""
        while not self._pieces:
            if self.whole:
                return b""
            if self._trouble:
                raise Broken(self._trouble)
            await self._come(seconds)
        found = self._pieces.popleft() if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self._held = 0
        if self._transport is not None and not self._lost:
            self._transport.resume_reading()
        return found

    async def _come(self, seconds: float) -> None:
        self._reader = asyncio.get_running_loop().create_future()
        await _within(self._reader, seconds)

    def close(self) -> None:
        """Close it at once: what was not sent yet is not sent."""
        if self._transport is not None:
            self._transport.abort()


def _wake(waiting: asyncio.Future[None] | None) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)


def _late(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_exception(Slow())


async def _within(waiting: asyncio.Future[None], seconds: float) -> None:
    timer = asyncio.get_running_loop().call_later(seconds, _late, waiting)
    try:
        await waiting
    finally:
        timer.cancel()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server listens; `tls` is None where it speaks HTTP in the clear."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None


class Pool:
    """The connections to one server. It belongs to one event loop."""

    def __init__(self, place: Place, most: int, kept: int, kept_s: float) -> None:
        """Have at most `most` at once, of which `kept` that nobody uses are kept, for so many seconds."""
        self._place = place
        self._places = asyncio.Semaphore(most)
        self._kept: deque[tuple[float, Connection]] = deque(maxlen=kept)
        self._kept_s = kept_s
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    async def take(self, connect_s: float, seconds: float) -> Connection:
        """Return a connection: one that was kept, or a new one. Raises `Slow` where there are too many, and `OSError`.

        It is to be given back.
        """
        if self._places.locked():
            try:
                async with asyncio.timeout(seconds):
                    await self._places.acquire()
            except TimeoutError:
                raise Slow from None
        else:
            await self._places.acquire()
        try:
            while self._kept:
                at, kept = self._kept.pop()  # the one used last is the likeliest to be there
                if asyncio.get_running_loop().time() - at < self._kept_s and not kept.lost:
                    return kept
                kept.close()
            async with asyncio.timeout(connect_s):
                _, made = await asyncio.get_running_loop().create_connection(
                    Connection, self._place.host, self._place.port, ssl=self._place.tls,
                    server_hostname=self._place.host if self._place.tls else None,
                )  # fmt: skip
            return made
        except BaseException:
            self._places.release()
            raise

    def give_back(self, used: Connection) -> None:
        """Keep it for another exchange, or close it."""
        self._places.release()
        if not used.reusable or used.lost or self._closed:
            used.close()
            return
        loop = asyncio.get_running_loop()
        if len(self._kept) == self._kept.maxlen:
            self._kept.popleft()[1].close()
        self._kept.append((loop.time(), used))
        if self._timer is None:
            self._timer = loop.call_later(self._kept_s, self._let_go)

    def _let_go(self) -> None:
        """Close what was kept for long enough."""
        loop = asyncio.get_running_loop()
        while self._kept and loop.time() - self._kept[0][0] >= self._kept_s - 0.01:
            self._kept.popleft()[1].close()
        self._timer = loop.call_later(self._kept_s, self._let_go) if self._kept else None

    def close(self) -> None:
        """Close all that are kept, and keep none that is given back from now on."""
        self._closed = True
        with suppress(AttributeError):
            self._timer.cancel()  # type: ignore[union-attr]
        self._timer = None
        while self._kept:
            self._kept.pop()[1].close()
