"""Hands this instance's own list out to its subscribers: each by a token of its own, slowed down, and in the log.

What is handed out was signed before, by another process: no key is here. What a line means is not known here either.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import IO, TypeVar

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from fedi_safety.core.errors import FediSafetyError
from fedi_safety.gate.admission import Caller, block, recognise
from fedi_safety.gate.app import presented
from fedi_safety.gate.responses import Refusal
from fedi_safety.judging import logs
from fedi_safety.sharing.log import PAGE, Log, LogState
from fedi_safety.sharing.subscribers import Subscribers

T = TypeVar("T")

HEAD, CHANGES, SNAPSHOT = "/sharing/v1/head", "/sharing/v1/changes", "/sharing/v1/snapshot"

_AT_ONCE = 4
_BURST_S = 30.0  # what a subscriber may save up of its rate: a first fetch of a long log
_MOST_DIGITS = 15
_PIECE = 64 << 10
_HEADERS = {"Cache-Control": "private, no-cache", "Vary": "Accept-Encoding, Authorization"}


class SharedList:
    """The endpoints for subscribers, over one log. `per_minute` requests are each one's."""

    def __init__(
        self,
        log: Log,
        subscribers: Subscribers,
        per_minute: float,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read nothing yet."""
        self._log = log
        self._subscribers = subscribers
        self._rate = per_minute / 60.0
        self._monotonic = monotonic
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._busy = 0

    def routes(self) -> list[BaseRoute]:
        """Return the routes to mount at the root."""
        return [
            Route(HEAD, self._head, methods=["GET"]),
            Route(CHANGES, self._changes, methods=["GET"]),
            Route(SNAPSHOT, self._snapshot, methods=["GET"]),
        ]

    async def _head(self, request: Request) -> Response:
        name = await self._admitted(request)
        state = await self._read(self._state)
        return await self._told(request, name, "head", state.head, hashlib.sha256(state.head).hexdigest()[:16])

    async def _changes(self, request: Request) -> Response:
        name = await self._admitted(request)
        asked = request.query_params.get("after", "")
        if not (asked.isascii() and asked.isdigit() and len(asked) <= _MOST_DIGITS):
            raise Refusal(400, "bad_request", "after is missing, or no whole number")
        after = int(asked)
        state = await self._read(self._state)
        if after > state.seq:
            raise Refusal(404, "no_such_change", f"there are {state.seq} changes")
        upto = min(state.seq, after + PAGE)
        tag = f"{after}-{upto}-{state.link[:16] if upto == state.seq else state.name}"
        return await self._told(request, name, "changes", lambda: self._log.page(after, upto), tag)

    async def _snapshot(self, request: Request) -> Response:
        name = await self._admitted(request)
        state = await self._read(self._state)
        tag = _tag(state.snapshot)
        headers = _HEADERS | {"ETag": tag}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        file = await self._read(self._opened)
        logs.note("shared", id=logs.new_id(), sender=name, code="snapshot")
        if _packs(request):
            return StreamingResponse(_pieces(file), headers=headers | {"Content-Encoding": "gzip"},
                                     media_type="text/plain; charset=us-ascii")  # fmt: skip
        return StreamingResponse(_unpacked(file), headers=headers, media_type="text/plain; charset=us-ascii")

    def _opened(self) -> IO[bytes]:
        """Open the snapshot of now: asked again, for the one of a moment ago may just have been replaced."""
        return self._log.snapshot(self._state())

    def _state(self) -> LogState:
        state = self._log.state()
        if state is None:
            raise Refusal(404, "not_published", "nothing was published here yet")
        return state

    async def _told(
        self, request: Request, name: str, what: str, data: bytes | Callable[[], bytes], tag: str
    ) -> Response:
        """Answer with what is small enough to be held."""
        headers = _HEADERS | {"ETag": _tag(tag)}
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        packs = _packs(request)

        def made() -> bytes:
            body = data if isinstance(data, bytes) else data()
            return gzip.compress(body, 6, mtime=0) if packs else body

        body = await self._read(made)
        logs.note("shared", id=logs.new_id(), sender=name, code=what, bytes=len(body))
        packed = {"Content-Encoding": "gzip"} if packs else {}
        return Response(body, headers=headers | packed, media_type="text/plain; charset=us-ascii")

    async def _admitted(self, request: Request) -> str:
        """Return who asks. Raises `Refusal` for a token that is nobody's, and for one that asks too often."""
        if self._busy >= _AT_ONCE:
            raise Refusal(503, "busy", "too many subscribers ask at once")
        token = presented(request)
        name = None if token is None else await self._read(lambda: self._subscribers.holder(token))
        peer = "" if request.client is None else request.client.host
        if name is None:
            raise Refusal(401, "unauthorized", "this token is no subscriber's", why="the token is none that was given",
                          kind="subscriber")  # fmt: skip
        request.scope["caller"] = Caller(name, block(peer))
        recognise(request.scope)
        self._slow_down(name)
        return name

    def _slow_down(self, name: str) -> None:
        now = self._monotonic()
        most = max(2.0, self._rate * _BURST_S)
        saved, at = self._buckets.pop(name, (most, now))
        saved = min(most, saved + (now - at) * self._rate)
        allowed = saved >= 1.0
        self._buckets[name] = (saved - 1.0 if allowed else saved, now)  # as many as there are subscribers
        if not allowed:
            raise Refusal(429, "rate_limited", f"more than {self._rate * 60:g} requests a minute")

    async def _read(self, read: Callable[[], T]) -> T:
        """Have something read beside the event loop. What cannot be read is an error of the moment."""
        self._busy += 1
        try:
            return await asyncio.to_thread(read)
        except FediSafetyError as error:
            raise Refusal(503, "list_failed", "the list cannot be read now", why=error.line()) from None
        finally:
            self._busy -= 1


def _tag(text: str) -> str:
    return f'"{text}"'


def _packs(request: Request) -> bool:
    """Whether the answer may be packed with gzip."""
    return any(
        part.partition(";")[0].strip().lower() == "gzip" and part.partition(";")[2].replace(" ", "") != "q=0"
        for part in request.headers.get("accept-encoding", "").split(",")
    )


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while piece := file.read(_PIECE):
            yield piece


def _unpacked(file: IO[bytes]) -> Iterator[bytes]:
    with file, gzip.GzipFile(fileobj=file) as whole:
        while piece := whole.read(_PIECE):
            yield piece
