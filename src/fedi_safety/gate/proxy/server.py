"""One port of the gate that stands in front of a server: uploads are judged on their way, all else goes through.

Where uploads come in, the body is read into memory, every file in it judged, and the request handed on as it came, or
refused in the server's own form. Which server that is, is the port's to say: nothing that a client sends chooses it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from fedi_safety.config.upstream import GateUpstream
from fedi_safety.core.ledger.uploads import NOT_FOUND, Move, UploadState
from fedi_safety.gate import responses
from fedi_safety.gate.admission import Admission, Caller, block, parse
from fedi_safety.gate.answering import BODY_SHARE, Answering, Taken, may_be_judged, new_id, since
from fedi_safety.gate.memory import Holding
from fedi_safety.gate.parts import Parts
from fedi_safety.gate.proxy.forwarding import Head, Reply, Upstream, UpstreamError, head_of
from fedi_safety.gate.proxy.kinds import KINDS, Shape
from fedi_safety.gate.proxy.media_type import BodyKind, MediaTypeHeader, ambiguous, content_type, mentions_form
from fedi_safety.gate.proxy.package import Package, take_in
from fedi_safety.gate.proxy.refusals import REFUSED, UNCHECKED, UNJUDGED, refusal, shape_for
from fedi_safety.gate.proxy.values import speaks_of_a_file
from fedi_safety.gate.proxy.who import uploader
from fedi_safety.gate.responses import Refusal, UploadResponse
from fedi_safety.gate.stream import discard, last_word, left, pieces
from fedi_safety.judging import logs
from fedi_safety.judging.types import Answer, Unjudged

log = logging.getLogger(__name__)

_SOON_S = 0.05
_STATUS = {"upstream_down": 502, "upstream_garbage": 502, "upstream_slow": 504}


@dataclass(slots=True)
class _Exchange:
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


class UpstreamProxy:
    """The application of one port. It belongs to one event loop."""

    def __init__(self, name: str, settings: GateUpstream, parts: Parts) -> None:
        """Stand in front of the server of these settings, and judge with these parts."""
        self.name = name
        self._settings = settings
        self._parts = parts
        self._kind = KINDS[settings.kind]
        self._answering = Answering(parts)
        gate = parts.gate
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
        exchange = _Exchange(Request(scope, receive), new_id(), time.monotonic(), time.time())
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

    async def _handle(self, exchange: _Exchange, send: Send) -> Response | None:
        request = exchange.request
        exchange.caller = self._let_in(request)
        exchange.head = head = head_of(request.scope)
        if any(b"websocket" in value.lower() for value in head.values(b"upgrade")):
            raise Refusal(501, "websocket", "WebSockets do not go this way", why="a WebSocket, which the web server is "
                          "to send to the server itself", close=True)  # fmt: skip
        if not self._may_have_files(head):
            return await self._pass(exchange, send)
        return await self._judge(exchange, send)

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

    # --- what may have files

    async def _judge(self, exchange: _Exchange, send: Send) -> Response | None:
        head, request = exchange.head, exchange.request
        if any(value.strip().lower() not in (b"", b"identity") for value in head.values(b"content-encoding")):
            raise Refusal(415, "packed", "it is packed by Content-Encoding", close=True)
        header = content_type(head.values(b"content-type"))
        self._check_length(head, header)
        turn = f"{self.name} {block(exchange.caller.address or '')}"
        holding = self._parts.memory.hold(turn)
        try:
            package = await take_in(
                pieces(request), header, holding, max_bytes=self._parts.gate.max_bytes, seconds=self._settings.body_s
            )
            response = await self._judged(exchange, package, turn) if package.files else None
            if response is not None:
                return response
            reply = await self._hand_on(exchange, package)
            del package  # nothing of it is needed for the answer, which may take long
        finally:
            unseen, exchange.unseen = exchange.unseen, []
            if unseen:  # it is let go of when these are hashed
                self._parts.likenesses.begin(unseen, partial(_let_go, asyncio.get_running_loop(), holding))
            else:
                holding.let_go()
        return await self._answer(exchange, send, reply, "accepted")

    def _check_length(self, head: Head, header: MediaTypeHeader) -> None:
        """Refuse at once what says that it is too large."""
        length = next(iter(head.values(b"content-length")), b"")
        most = self._parts.gate.max_bytes + (1 << 20 if header.kind is BodyKind.FORM else 0)
        if length.isdigit() and int(length) > most:
            raise Refusal(413, "too_large", f"more than {most} bytes", close=True)

    async def _judged(self, exchange: _Exchange, package: Package, turn: str) -> Response | None:
        """Have all files judged; return what refuses them, None if the request may be handed on."""
        taken = self._taken(exchange, package, turn)
        answers = await self._answering.answers(exchange.request, taken)
        if answers is None:
            return self._gone(exchange)
        said = [self._said(answer) for answer in answers]
        refused = [response for response in said if not response.accepted]
        if not refused:
            said = [
                await self._answering.record(upload, answer, response)
                for upload, answer, response in zip(taken, answers, said, strict=True)
            ]
            refused = [response for response in said if not response.accepted]
            self._tell(taken, answers, said)
            let_in = [
                (upload, answer)
                for upload, answer, response in zip(taken, answers, said, strict=True)
                if response.accepted and response.owed
            ]
            exchange.waiting = [upload.id for upload, _ in let_in]
            exchange.unseen = [(up.id, up.body.data) for up, answer in let_in if up.anew and may_be_judged(answer)]
            if refused:
                self._move(exchange, UploadState.REFUSED)
            return self._refusal(exchange, refused) if refused else None
        sighting = None
        if self._settings.who and self._kind.who is not None:
            sighting = await uploader(self._upstream, self._kind.who, exchange.head, package.token)
        for upload, answer, response in zip(taken, answers, said, strict=True):
            if response.accepted:  # by itself it might have been let in; of what comes together all is refused
                self._answering.remember(answer)
            else:
                await self._answering.record(upload, answer, response, sighting)
        self._tell(taken, answers, said)
        return self._refusal(exchange, refused)

    def _taken(self, exchange: _Exchange, package: Package, turn: str) -> list[Taken]:
        """Return the files of a request as uploads, whose time begins now that they are here."""
        gate, now = self._parts.gate, time.monotonic()
        patience = now + min(gate.body_s, BODY_SHARE * gate.deadline_s)
        for body in package.files:
            self._parts.metrics.upload_bytes.observe(body.size)
        return [
            Taken(
                exchange.id if not n else new_id(), exchange.at, exchange.caller, turn, body, now,
                now + gate.deadline_s, patience, self._kind.reencodes,
            )
            for n, body in enumerate(package.files)
        ]  # fmt: skip

    def _said(self, answer: Answer) -> UploadResponse:
        if answer.reason is Unjudged.NOT_MEDIA:  # servers that take music and the like are no worse for it
            accepted = self._settings.other_files == "accept"
            return UploadResponse(accepted, answer.reason.value, "it is no media")
        return responses.response_for(answer, self._parts.gate.unjudged)

    def _tell(self, taken: Sequence[Taken], answers: Sequence[Answer], said: Sequence[UploadResponse]) -> None:
        for upload, answer, response in zip(taken, answers, said, strict=True):
            self._answering.tell(upload, answer, response)

    def _refusal(self, exchange: _Exchange, refused: Sequence[UploadResponse]) -> Response:
        """Return what refuses a request, in the server's form: whether by a verdict, and nothing more."""
        self._count("refused")
        if any(response.code == "block" for response in refused):
            return refusal(self._shape(exchange), REFUSED, text=self._settings.refusal, upload=exchange.id)
        return refusal(self._shape(exchange), UNJUDGED, text=UNCHECKED, upload=exchange.id)

    def _move(self, exchange: _Exchange, state: UploadState, outcome: str | None = None) -> None:
        """Note that nothing of a request was let in after all: the server did not take it."""
        exchange.unseen = []
        self._parts.writer.enqueue_moves([Move(upload, state, outcome) for upload in exchange.waiting])

    def _shape(self, exchange: _Exchange) -> Shape:
        """Return the form in which this client is told that something went wrong."""
        raw_path = exchange.request.scope.get("raw_path") or b"/"
        route = self._kind.route(raw_path)
        accept = exchange.request.headers.get("accept", "")
        return shape_for(self._kind.shape, None if route is None else route.shape, accept)

    # --- handing on

    async def _pass(self, exchange: _Exchange, send: Send) -> Response | None:
        """Hand a request on as it comes; where its client goes away, nobody waits for the answer."""
        head, request = exchange.head, exchange.request
        leaving = _Leaving(request)

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

    async def _hand_on(self, exchange: _Exchange, package: Package) -> Reply:
        """Hand on what is whole in memory. That is finished whatever the client does: half an upload is none."""
        try:
            reply = await self._upstream.send(exchange.head, package.stream())
        except UpstreamError as error:
            if error.code == "upstream_down":
                self._move(exchange, UploadState.SETTLED, NOT_FOUND)
            raise
        if reply.status >= 400:
            self._move(exchange, UploadState.SETTLED, NOT_FOUND)
        return reply

    async def _answer(self, exchange: _Exchange, send: Send, reply: Reply, outcome: str) -> Response | None:
        """Send the server's answer back as it comes."""
        self._count(outcome)
        self._parts.metrics.upstream_seconds.labels(self.name).observe(time.monotonic() - exchange.started)
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

    # --- what went wrong

    async def _refused(self, exchange: _Exchange, error: Refusal) -> Response:
        self._parts.metrics.refusals.labels(error.code).inc()
        self._count("error")
        close = error.close or not await discard(exchange.request)
        self._note(exchange, error.code, error.why, kind=error.kind)
        text = None if error.code != "refused" else self._settings.refusal
        response = refusal(self._shape(exchange), error.code, status=error.status, text=text, upload=exchange.id)
        return last_word(response) if close else response

    def _failed(self, exchange: _Exchange, error: UpstreamError) -> Response:
        self._parts.metrics.refusals.labels(error.code).inc()
        self._count("error")
        self._note(exchange, error.code, f"gate.upstream.{self.name}: {error.detail}")
        response = refusal(self._shape(exchange), error.code, status=_STATUS[error.code], upload=exchange.id)
        return last_word(response)

    def _gone(self, exchange: _Exchange) -> Response:
        self._count("gone")
        logs.note("gone", id=exchange.id, sender=self.name, seconds=since(exchange.started))
        return Response(status_code=400)  # nobody reads it

    def _note(self, exchange: _Exchange, code: str, detail: str, *, kind: str = "") -> None:
        """Write one line: of each kind the first, and once a minute the sum of the others."""
        place = block(exchange.caller.address or self.name)
        self._parts.tally.note(code, place, detail, kind=kind or self.name, upload=exchange.id)

    def _count(self, outcome: str) -> None:
        self._parts.metrics.upstream_requests.labels(self.name, outcome).inc()


def _let_go(loop: asyncio.AbstractEventLoop, holding: Holding) -> None:
    with suppress(RuntimeError):  # the loop has ended
        loop.call_soon_threadsafe(holding.let_go)


class _Leaving:
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
