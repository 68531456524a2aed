"""One port of the gate that stands in front of a server: uploads are judged on their way, all else passes.

Where uploads come in, the body is read into memory, every file in it judged, and the request handed on as it came, or
refused in the server's own form. Which server that is, is the port's to say: nothing that a client sends chooses it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from starlette.responses import Response
from starlette.types import Send

from fedi_safety.config.upstream import GateUpstream
from fedi_safety.core.ledger.uploads import NOT_FOUND, Move, UploadState
from fedi_safety.gate import responses
from fedi_safety.gate.admission import block
from fedi_safety.gate.answering import BODY_SHARE, Answering, Taken, may_be_judged
from fedi_safety.gate.memory import Holding
from fedi_safety.gate.parts import Parts
from fedi_safety.gate.proxy.forwarding import Head, Reply, UpstreamError
from fedi_safety.gate.proxy.media_type import BodyKind, MediaTypeHeader, content_type
from fedi_safety.gate.proxy.package import Package, take_in
from fedi_safety.gate.proxy.passing import Exchange, Passing
from fedi_safety.gate.proxy.refusals import REFUSED, UNCHECKED, UNJUDGED, refusal
from fedi_safety.gate.proxy.who import uploader
from fedi_safety.gate.responses import Refusal, UploadResponse
from fedi_safety.gate.stream import pieces
from fedi_safety.judging import logs
from fedi_safety.judging.types import Answer, Unjudged


class UpstreamProxy(Passing):
    """The application of one port. It belongs to one event loop."""

    def __init__(self, name: str, settings: GateUpstream, parts: Parts) -> None:
        """Stand in front of the server of these settings, and judge with these parts."""
        super().__init__(name, settings, parts.gate, parts.metrics, parts.tally)
        self._parts = parts
        self._answering = Answering(parts)

    # --- what may have files

    async def _judge(self, exchange: Exchange, send: Send) -> Response | None:
        head, request = exchange.head, exchange.request
        if any(value.strip().lower() not in (b"", b"identity") for value in head.values(b"content-encoding")):
            raise Refusal(415, "packed", "it is packed by Content-Encoding", close=True)
        header = content_type(head.values(b"content-type"))
        self._check_length(head, header)
        turn = f"{self.name} {block(exchange.caller.address or '')}"
        holding = self._parts.memory.hold(turn)
        try:
            package = await take_in(
                pieces(request), header, holding, max_bytes=self._gate.max_bytes, seconds=self._settings.body_s
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
        most = self._gate.max_bytes + (1 << 20 if header.kind is BodyKind.FORM else 0)
        if length.isdigit() and int(length) > most:
            raise Refusal(413, "too_large", f"more than {most} bytes", close=True)

    async def _judged(self, exchange: Exchange, package: Package, turn: str) -> Response | None:
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

    def _taken(self, exchange: Exchange, package: Package, turn: str) -> list[Taken]:
        """Return the files of a request as uploads, whose time begins now that they are here."""
        gate, now = self._gate, time.monotonic()
        patience = now + min(gate.body_s, BODY_SHARE * gate.deadline_s)
        for body in package.files:
            self._parts.metrics.upload_bytes.observe(body.size)
        return [
            Taken(
                exchange.id if not n else logs.new_id(), exchange.at, exchange.caller, turn, body, now,
                now + gate.deadline_s, patience, self._kind.reencodes,
            )
            for n, body in enumerate(package.files)
        ]  # fmt: skip

    def _said(self, answer: Answer) -> UploadResponse:
        if answer.reason is Unjudged.NOT_MEDIA:  # servers that take music and the like are no worse for it
            accepted = self._settings.other_files == "accept"
            return UploadResponse(accepted, answer.reason.value, "it is no media")
        return responses.response_for(answer, self._gate.unjudged)

    def _tell(self, taken: Sequence[Taken], answers: Sequence[Answer], said: Sequence[UploadResponse]) -> None:
        for upload, answer, response in zip(taken, answers, said, strict=True):
            self._answering.tell(upload, answer, response)

    def _refusal(self, exchange: Exchange, refused: Sequence[UploadResponse]) -> Response:
        """Return what refuses a request, in the server's form: whether by a verdict, and nothing more."""
        self._count("refused")
        if any(response.code == "block" for response in refused):
            return refusal(self._shape(exchange), REFUSED, text=self._settings.refusal, upload=exchange.id)
        return refusal(self._shape(exchange), UNJUDGED, text=UNCHECKED, upload=exchange.id)

    def _move(self, exchange: Exchange, state: UploadState, outcome: str | None = None) -> None:
        """Note that nothing of a request was let in after all: the server did not take it."""
        exchange.unseen = []
        self._parts.writer.enqueue_moves([Move(upload, state, outcome) for upload in exchange.waiting])

    # --- handing on

    async def _hand_on(self, exchange: Exchange, package: Package) -> Reply:
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


def _let_go(loop: asyncio.AbstractEventLoop, holding: Holding) -> None:
    with suppress(RuntimeError):  # the loop has ended
        loop.call_soon_threadsafe(holding.let_go)
