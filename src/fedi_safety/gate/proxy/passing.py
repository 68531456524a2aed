"""What goes through to the server behind the gate as it comes, and which requests these are: all that have no file.

It judges nothing: what may have files is `server`'s. A request that is passed is not held in memory, and no thread is
asked for anything.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from fedi_safety.config.schema import Gate
from fedi_safety.config.upstream import GateUpstream
from fedi_safety.gate.admission import Admission, Caller, block, parse
from fedi_safety.gate.proxy.forwarding import Head, Reply, Upstream, UpstreamError, head_of
from fedi_safety.gate.proxy.kinds import KINDS, Shape
from fedi_safety.gate.proxy.media_type import ambiguous, mentions_form
from fedi_safety.gate.proxy.refusals import refusal, shape_for
from fedi_safety.gate.proxy.values import speaks_of_a_file
from fedi_safety.gate.responses import Refusal
from fedi_safety.gate.stream import discard, last_word, left, pieces
from fedi_safety.gate.tally import Tally
from fedi_safety.judging import logs
from fedi_safety.judging.logs import since

log = logging.getLogger(__name__)

_SOON_S = 0.05
_STATUS = {"upstream_down": 502, "upstream_garbage": 502, "upstream_slow": 504}


class Figures(Protocol):
    """Where is counted what becomes of requests."""

    def became(self, upstream: str, outcome: str) -> None:
        """Count a request to a server by what became of it."""

    def answered(self, upstream: str, seconds: float) -> None:
        """Measure how long a server took to begin its answer."""

    def failed(self, code: str) -> None:
        """Count an error by its code."""


@dataclass(slots=True)
class Exchange:
    """One request on its way, and what is known of it so far."""

    request: Request
    id: str
    started: float
    at: float
    head: Head = field(init=False)
    caller: Caller = field(default_factory=lambda: Caller(""))
    begun: bool = False  # its answer
    waiting: list[str] = field(default_factory=list)  # uploads of it that are let in without a verdict
    unseen: list[tuple[str, bytes]] = field(default_factory=list)  # of these, what may be found again by what it shows


class Passing:
    """The application of one port, without what judges: `_judge` is its heirs'. It belongs to one event loop."""

    def __init__(self, name: str, settings: GateUpstream, gate: Gate, figures: Figures, tally: Tally) -> None:
        """Stand in front of the server of these settings."""
        self.name = name
        self._settings = settings
        self._gate = gate
        self._figures = figures
        self._tally = tally
        self._kind = KINDS[settings.kind]
        believed = (*gate.trusted_proxies, *settings.networks)
        self._admission = Admission(
            gate.model_copy(update={"networks": settings.networks, "trusted_proxies": believed, "tokens": {}})
        )
        self._upstream = Upstream(settings.url, settings.answer_s, gate.connections)

    def knows(self, peer: str) -> bool:
        """Whether an address is that of a web server in front of this port."""
        address = parse(peer)
        return address is not None and any(address in network for network in self._settings.networks)

    async def close(self) -> None:
        """Close the connections to the server."""
        await self._upstream.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        exchange = Exchange(Request(scope, receive), logs.new_id(), time.monotonic(), time.time())
        try:
            response = await self._handle(exchange, send)
        except Refusal as error:
            response = await self._refused(exchange, error)
        except UpstreamError as error:
            response = self._failed(exchange, error)
        except ClientDisconnect:
            response = self._gone(exchange)
        except Exception as error:  # noqa: BLE001 - a bug lets nothing through, and the client gets an answer
            log.error("internal error: %s", logs.named(error))
            response = await self._refused(exchange, Refusal(500, "internal", "something went wrong here", close=True))
        if response is not None and not exchange.begun:
            await response(scope, receive, send)

    # --- which way a request goes

    async def _handle(self, exchange: Exchange, send: Send) -> Response | None:
        request = exchange.request
        exchange.caller = self._let_in(request)
        exchange.head = head = head_of(request.scope)
        if any(b"websocket" in value.lower() for value in head.values(b"upgrade")):
            raise Refusal(501, "websocket", "WebSockets do not go this way", why="a WebSocket, which the web server is "
                          "to send to the server itself", close=True)  # fmt: skip
        if not self._may_have_files(head):
            return await self._pass(exchange, send)
        return await self._judge(exchange, send)

    async def _judge(self, exchange: Exchange, send: Send) -> Response | None:
        """Have what may have files judged."""
        raise NotImplementedError

    def _let_in(self, request: Request) -> Caller:
        """Return who asks, by the word of the web server. Raises `Refusal` for anybody else than that."""
        peer = request.client.host if request.client is not None else ""
        if not self.knows(peer):
            why = f"{peer} is not in gate.upstream.{self.name}.networks"
            raise Refusal(403, "forbidden", "you are not authorized to use this service", why=why, kind="peer")
        address = self._admission.address(peer, request.headers)
        return Caller(self.name, None if address is None else str(address))

    def _may_have_files(self, head: Head) -> bool:
        """Whether a request has to be read whole before it is handed on. Raises `Refusal` for a file in a query."""
        if not head.has_body and not head.query:
            return False
        route = self._kind.route(head.path)
        if route is not None and speaks_of_a_file(head.query):
            raise ambiguous("a file is written out in its query")
        if not head.has_body:
            return False
        types = head.values(b"content-type")
        return route is not None or (self._kind.everywhere and (mentions_form(types) or _is_picture(types)))

    def _shape(self, exchange: Exchange) -> Shape:
        """Return the form in which this client is told that something went wrong."""
        raw_path = exchange.request.scope.get("raw_path") or b"/"
        route = self._kind.route(raw_path)
        accept = exchange.request.headers.get("accept", "")
        return shape_for(self._kind.shape, None if route is None else route.shape, accept)

    # --- handing on

    async def _pass(self, exchange: Exchange, send: Send) -> Response | None:
        """Hand a request on as it comes; where its client goes away, nobody waits for the answer."""
        head, request = exchange.head, exchange.request
        leaving = Leaving(request)

        async def coming() -> AsyncIterator[bytes]:
            async for piece in pieces(request):
                yield piece
            leaving.watch()

        if not head.has_body:
            leaving.watch()
        try:
            reply = await self._upstream.send(head, coming() if head.has_body else None)
        except asyncio.CancelledError:
            if not leaving.left:
                raise
            return self._gone(exchange)
        finally:
            leaving.over()
        return await self._answer(exchange, send, reply, "passed")

    async def _answer(self, exchange: Exchange, send: Send, reply: Reply, outcome: str) -> Response | None:
        """Send the server's answer back as it comes."""
        self._count(outcome)
        self._figures.answered(self.name, time.monotonic() - exchange.started)
        exchange.begun = True
        try:
            await send({"type": "http.response.start", "status": reply.status, "headers": reply.headers})
            more = True
            while more:
                piece = await reply.piece()
                more = bool(piece) and not reply.whole
                await send({"type": "http.response.body", "body": piece, "more_body": more})
        except RuntimeError:  # its length is not what it says: the connection is closed, as the server's was
            self._note(exchange, "upstream_garbage", "its answer is not as long as it says")
        finally:
            reply.close()
        return None

    async def _refused(self, exchange: Exchange, error: Refusal) -> Response:
        self._figures.failed(error.code)
        self._count("error")
        close = error.close or not await discard(exchange.request)
        self._note(exchange, error.code, error.why, kind=error.kind)
        text = None if error.code != "refused" else self._settings.refusal
        response = refusal(self._shape(exchange), error.code, status=error.status, text=text, upload=exchange.id)
        return last_word(response) if close else response

    def _failed(self, exchange: Exchange, error: UpstreamError) -> Response:
        self._figures.failed(error.code)
        self._count("error")
        self._note(exchange, error.code, f"gate.upstream.{self.name}: {error.detail}")
        response = refusal(self._shape(exchange), error.code, status=_STATUS[error.code], upload=exchange.id)
        return last_word(response)

    def _gone(self, exchange: Exchange) -> Response:
        self._count("gone")
        logs.note("gone", id=exchange.id, sender=self.name, seconds=since(exchange.started))
        return Response(status_code=400)  # nobody reads it

    def _note(self, exchange: Exchange, code: str, detail: str, *, kind: str = "") -> None:
        """Write one line: of each kind the first, and once a minute the sum of the others."""
        place = block(exchange.caller.address or self.name)
        self._tally.note(code, place, detail, kind=kind or self.name, upload=exchange.id)

    def _count(self, outcome: str) -> None:
        self._figures.became(self.name, outcome)


class Leaving:
    """Cancels the task that made it when a client goes away which waits for an answer, from a moment on."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._task = asyncio.current_task()
        self._timer: asyncio.TimerHandle | None = None
        self._watching: asyncio.Task[None] | None = None
        self._over = False
        self.left = False

    def watch(self) -> None:
        """Begin, soon: its request is whole. Most answers are there before."""
        self._timer = asyncio.get_running_loop().call_later(_SOON_S, self._watch)

    def _watch(self) -> None:
        self._watching = asyncio.get_running_loop().create_task(left(self._request))
        self._watching.add_done_callback(self._gone)

    def _gone(self, watching: asyncio.Task[None]) -> None:
        if not (self._over or watching.cancelled()) and self._task is not None:
            self.left = True
            self._task.cancel()

    def over(self) -> None:
        """End it; whoever leaves from now on is not looked for."""
        self._over = True
        if self.left and self._task is not None:
            self._task.uncancel()
        if self._timer is not None:
            self._timer.cancel()
        if self._watching is not None:
            self._watching.cancel()


def _is_picture(types: Sequence[bytes]) -> bool:
    return any(value.strip().lower().startswith((b"image/", b"video/")) for value in types)
