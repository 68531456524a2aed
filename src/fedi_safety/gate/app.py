"""The gate's endpoints: takes uploads in, has them judged, and tells two answers outside, within the deadline.

It joins the parts and decides nothing: who may ask is `admission`'s, what is judged `judging`'s and the workers', what
an answer means `responses`', what is remembered the ledger writer's.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route

from fedi_safety.config.schema import Gate
from fedi_safety.core.enums import MediaType, Reason
from fedi_safety.core.errors import Unscannable
from fedi_safety.core.ledger.uploads import Move, Told, UploadNote, UploadState
from fedi_safety.gate import responses
from fedi_safety.gate.admission import Admission, Caller, block, recognise
from fedi_safety.gate.backlog.backlog import Backlog
from fedi_safety.gate.backlog.writer import LedgerWriter
from fedi_safety.gate.body import Body
from fedi_safety.gate.body import read as read_body
from fedi_safety.gate.memory import Holding, Memory
from fedi_safety.gate.responses import Refusal, UploadResponse
from fedi_safety.gate.stream import LastWord, discard, left, pieces
from fedi_safety.gate.tally import Tally
from fedi_safety.judging import logs, metrics
from fedi_safety.judging.engine import EngineJudge
from fedi_safety.judging.types import Answer, Judge, Unjudged, Upload, unjudged

log = logging.getLogger(__name__)

_RECORD_S = 3.0  # of the deadline, for writing a waiting upload down
_BODY_SHARE = 0.6  # of the deadline, at most, for the body to arrive
_ANSWER_S = 0.1  # and for the answer itself
_SNIFFED_BYTES = 4096
_BY = "gate"
_OWN = frozenset({_BY, "engine", "ledger", "memory"})  # all others are workers
_OF_OVERLOAD, _PATIENT_S = frozenset({Unjudged.QUEUE_FULL, Unjudged.DEADLINE}), 2.0
# What was found wanting in the upload itself: another try by this version would end the same.
_LASTING = frozenset({Unjudged.UNSUPPORTED, Unjudged.NOT_MEDIA, Unjudged.EMPTY, Unjudged.DECODER_FAILED})


@dataclass(slots=True)
class Parts:
    """What the endpoints work with."""

    gate: Gate
    admission: Admission
    judge: Judge
    engine: EngineJudge | None
    writer: LedgerWriter
    backlog: Backlog
    metrics: metrics.Metrics
    memory: Memory
    sniff: Callable[[bytes], MediaType]
    more_routes: list[BaseRoute] = field(default_factory=list)
    description: dict[str, Any] = field(default_factory=dict)
    page: str = ""
    tally: Tally = field(default_factory=Tally)
    stopping: bool = False
    late_sources: Callable[[], bool] = lambda: False  # whether a source of a list was not read for too long


def create_app(parts: Parts) -> Starlette:
    """Return the application."""
    api = _Api(parts)
    routes = [
        Route("/api/v1/scan/{token}", api.upload, methods=["POST"]),
        Route("/validate", api.upload, methods=["POST"]),
        Route("/validate/{token}", api.upload, methods=["POST"]),
        Route("/healthz", api.healthz, methods=["GET"]),
        Route("/readyz", api.readyz, methods=["GET"]),
        Route("/metrics", api.metrics, methods=["GET"]),
        Route("/openapi.json", api.openapi, methods=["GET"]),
        Route("/docs", api.docs, methods=["GET"]),
        *parts.more_routes,
    ]
    handlers: dict[Any, Any] = {
        Refusal: api.refused,
        HTTPException: api.not_routed,
        ClientDisconnect: api.gone,
        Exception: api.bug,
    }
    app = Starlette(routes=routes, exception_handlers=handlers)
    app.router.redirect_slashes = False  # a token that is missing is no place, and the Host header none to go to
    return app


def new_id() -> str:
    """Return a request's id: 32 hex digits that sort by time."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"


def presented(request: Request) -> str | None:
    """Return the token of a request: in the path, or as a bearer's."""
    token = request.path_params.get("token")
    if token is not None:
        return str(token)
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else None


def admitted(admission: Admission, request: Request) -> Caller:
    """Return who asks. Raises `Refusal`."""
    peer = request.client.host if request.client is not None else None
    address = admission.address(peer, request.headers)
    caller = admission.admit(presented(request), address, peer)
    request.scope["caller"] = caller
    recognise(request.scope)
    return caller


class _Api:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    # --- uploads

    async def upload(self, request: Request) -> Response:
        """Judge one upload."""
        parts, gate = self._parts, self._parts.gate
        started, at = time.monotonic(), time.time()
        upload_id = request.scope["upload"] = new_id()
        holding: Holding | None = None
        try:
            try:
                caller = admitted(parts.admission, request)
                parts.admission.slow_down(caller)
                holding = parts.memory.hold(caller.name)
                body = await self._take_in(request, holding)
            except Refusal as refusal:
                refusal.close = refusal.code in ("body_timeout", "busy") or not await discard(request)
                raise
            deadline = started + gate.deadline_s
            parts.metrics.upload_bytes.observe(body.size)
            answer = await self._answer(request, upload_id, caller, body, started)
            if answer is None:
                logs.note("gone", id=upload_id, sender=caller.name, bytes=body.size, seconds=_since(started))
                return Response(status_code=400)  # nobody reads it
            response = responses.response_for(answer, gate.unjudged)
            response = await self._record(upload_id, at, caller, body, answer, response, deadline)
        finally:
            if holding is not None:
                holding.let_go()
        self._tell(upload_id, caller, body, answer, response, started)
        return _json(response.status, responses.body(response, answer, upload_id), upload_id)

    @property
    def _body_s(self) -> float:
        """Return how long an upload may take to arrive, and then waits for a place in a queue."""
        return min(self._parts.gate.body_s, _BODY_SHARE * self._parts.gate.deadline_s)

    async def _take_in(self, request: Request, holding: Holding) -> Body:
        return await read_body(
            pieces(request),
            request.headers.get("content-type", ""),
            request.headers.get("content-length"),
            holding,
            max_bytes=self._parts.gate.max_bytes,
            seconds=self._body_s,
        )

    async def _answer(
        self, request: Request, upload_id: str, caller: Caller, body: Body, started: float
    ) -> Answer | None:
        """Have it judged; None if the uploader went away meanwhile.

        Trouble here is no reason to let in what is no medium: that is told of every upload, whatever the trouble is.
        """
        parts = self._parts
        if not body.size:
            return unjudged(body.sha256, _BY, Unjudged.EMPTY)
        until = started + parts.gate.deadline_s - min(_RECORD_S, parts.gate.deadline_s / 4)
        patience = started + self._body_s
        upload = Upload(upload_id, caller.name, body.data, body.claimed_type, body.sha256, started, until, patience)
        answer = await self._judged(request, upload)
        if answer is None or answer.reason is None or not (answer.reason.passing or answer.reason is Unjudged.DEADLINE):
            return answer
        try:
            parts.sniff(body.data[:_SNIFFED_BYTES])
        except Unscannable as error:
            reason = Unjudged.UNSUPPORTED if error.reason is Reason.UNSUPPORTED else Unjudged.NOT_MEDIA
            return unjudged(body.sha256, _BY, reason, error.detail)
        if responses.accepts(parts.gate.unjudged, answer.reason):
            self._later(upload)
        return answer

    async def _judged(self, request: Request, upload: Upload) -> Answer | None:
        """Ask the judge; None if the uploader went away meanwhile."""
        parts = self._parts
        if parts.stopping:
            return unjudged(upload.sha256, _BY, Unjudged.STOPPING)
        judging = asyncio.ensure_future(parts.judge.judge(upload))
        leaving = asyncio.ensure_future(left(request))
        try:
            await asyncio.wait({judging, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not judging.done():
                return None
            return judging.result()
        except Exception as error:  # noqa: BLE001 - a bug in judging is no verdict, and the uploader gets an answer
            log.error("judging failed: %s", logs.named(error))
            return unjudged(upload.sha256, _BY, Unjudged.ENGINE_FAILED, type(error).__name__)
        finally:
            for task in (judging, leaving):
                task.cancel()
            await asyncio.gather(judging, leaving, return_exceptions=True)

    def _later(self, upload: Upload) -> None:
        """Keep in memory what will be let in without a verdict, if there is room, to be judged when there is time."""
        if self._parts.engine is not None and not self._parts.stopping:
            self._parts.engine.later(upload)

    async def _record(
        self,
        upload_id: str,
        at: float,
        caller: Caller,
        body: Body,
        answer: Answer,
        response: UploadResponse,
        deadline: float,
    ) -> UploadResponse:
        """Write a refusal, or a waiting upload, down before it is told. What passes with a verdict needs no note."""
        if answer.judgement is not None and answer.content is not None and answer.by not in _OWN:
            self._parts.writer.enqueue_verdict(
                answer.content, answer.judgement, True
            )  # a worker's; ours records its own
        if response.accepted and not response.owed:
            return response
        state = UploadState.REFUSED
        if response.owed:
            state = UploadState.HELD if answer.reason in _LASTING else UploadState.OWED
        note = _note(upload_id, at, caller, body, answer, response, state, self._parts.backlog.decoder)
        patient = answer.reason in _OF_OVERLOAD and deadline - time.monotonic() > _PATIENT_S
        writing = self._parts.writer.enqueue_note(note, patient=patient)
        if await _written(writing, deadline):
            return response
        if not response.owed:
            return response
        other = responses.unrecorded(response, self._parts.gate.unjudged)
        if other.accepted:
            _when_failed(writing, lambda: self._parts.writer.enqueue_kept_note(note))
        else:
            # The writing may still succeed behind our back; then it is no waiting upload.
            _when_done(writing, lambda: self._parts.writer.enqueue_moves([Move(upload_id, UploadState.REFUSED)]))
        return other

    def _tell(
        self, upload_id: str, caller: Caller, body: Body, answer: Answer, response: UploadResponse, started: float
    ) -> None:
        verdict = "none" if answer.judgement is None else answer.judgement.verdict.value
        by = answer.by if answer.by in _OWN else "worker"
        counted = "accepted" if response.accepted else "refused"
        self._parts.metrics.answers.labels(verdict, answer.reason or "", by, counted).inc()
        self._parts.metrics.seconds.labels(verdict).observe(time.monotonic() - started)
        rules = None if answer.judgement is None else ", ".join(hit.rule for hit in answer.judgement.reasons) or None
        logs.note(
            counted,
            level=logging.INFO if response.accepted and not response.owed else logging.WARNING,
            id=upload_id,
            sender=caller.name,
            code=response.code,
            rules=rules,
            by=answer.by,
            bytes=body.size,
            sha256=answer.sha256.hex(),
            seconds=_since(started),
            detail=answer.detail or None,
        )

    # --- the gate itself

    async def healthz(self, _request: Request) -> Response:
        """Say that it is alive."""
        return JSONResponse({"status": "alive"})

    async def readyz(self, _request: Request) -> Response:
        """Say whether uploads can be judged and waiting uploads written down, and what needs a look."""
        parts = self._parts
        why = "stopping" if parts.stopping else parts.judge.ready()
        if why is None and parts.writer.failing is not None:
            why = "ledger_failing"
        # Of a source anybody may know that there is one which is late, and not which.
        alerts = [word for word, true in (("debt", parts.backlog.overdue), ("sources", parts.late_sources())) if true]
        response = {"ready": why is None, "code": why or "ready", "alerts": alerts}
        return JSONResponse(response, 200 if why is None else 503)

    async def metrics(self, request: Request) -> Response:
        """Give the figures to those who may ask for anything."""
        admitted(self._parts.admission, request)
        return Response(self._parts.metrics.page(), headers={"Content-Type": metrics.CONTENT_TYPE})

    async def openapi(self, _request: Request) -> Response:
        """Describe the endpoints for programs."""
        return JSONResponse(self._parts.description)

    async def docs(self, _request: Request) -> Response:
        """Describe the endpoints for people."""
        return HTMLResponse(
            self._parts.page, headers={"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
        )

    # --- errors

    async def refused(self, request: Request, error: Exception) -> Response:
        """Tell an error of the caller's, or of the moment."""
        assert isinstance(error, Refusal)
        self._parts.metrics.refusals.labels(error.code).inc()
        upload_id = request.scope.get("upload") or new_id()
        peer = None if request.client is None else request.client.host
        if "caller" in request.scope and error.code != "rate_limited":
            logs.note("error", level=logging.WARNING, id=upload_id, peer=peer, code=error.code, detail=error.why)
        else:
            self._parts.tally.note(error.code, block(peer or ""), error.why, kind=error.kind, upload=upload_id)
        kind = LastWord if error.close else JSONResponse
        headers = {"X-Request-Id": upload_id}
        if error.status == 503:
            headers["Retry-After"] = str(responses.RETRY_AFTER_S)
        return kind({"code": error.code, "message": error.message, "id": upload_id}, error.status, headers)

    async def not_routed(self, request: Request, error: Exception) -> Response:
        """Tell that there is no such place, or no such method."""
        assert isinstance(error, HTTPException)
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "bad_request")
        close = not await discard(request)
        response = await self.refused(request, Refusal(error.status_code, code, error.detail.lower(), close=close))
        response.headers.update(error.headers or {})
        return response

    async def gone(self, _request: Request, _error: Exception) -> Response:
        """Answer nobody: the caller went away in the middle of its request."""
        return Response(status_code=400)

    async def bug(self, request: Request, error: Exception) -> Response:
        """Tell that something went wrong here. Nothing was accepted."""
        log.error("internal error: %s", logs.named(error))
        return await self.refused(request, Refusal(500, "internal", "something went wrong here", close=True))


def _note(
    upload_id: str,
    at: float,
    caller: Caller,
    body: Body,
    answer: Answer,
    response: UploadResponse,
    state: UploadState,
    decoder: str | None,
) -> UploadNote:
    rules = "" if answer.judgement is None else ", ".join(hit.rule for hit in answer.judgement.reasons)
    return UploadNote(
        upload_id,
        at,
        caller.name,
        state,
        response.code,
        answer.by,
        answer.sha256,
        body.size,
        body.claimed_type,
        detail=rules or answer.detail,
        decoder=decoder if state is UploadState.HELD else None,
        told=Told(caller.address, body.file_name),
    )


async def _written(writing: Future[None], deadline: float) -> bool:
    """Wait until it is durable; return false where it is not by the deadline."""
    waiting = asyncio.wrap_future(writing)
    waiting.add_done_callback(lambda done: done.cancelled() or done.exception())  # the writer has said why
    await asyncio.wait({waiting}, timeout=max(0.0, deadline - _ANSWER_S - time.monotonic()))
    return waiting.done() and not waiting.cancelled() and waiting.exception() is None


def _when_failed(writing: Future[None], then: Callable[[], object]) -> None:
    writing.add_done_callback(lambda done: then() if done.cancelled() or done.exception() is not None else None)


def _when_done(writing: Future[None], then: Callable[[], object]) -> None:
    if not writing.cancel():
        writing.add_done_callback(lambda done: then() if not done.cancelled() and done.exception() is None else None)


def _json(status: int, response: dict[str, Any], upload_id: str) -> JSONResponse:
    return JSONResponse(response, status, headers={"X-Request-Id": upload_id})


def _since(started: float) -> float:
    return round(time.monotonic() - started, 3)


__all__ = ["Parts", "admitted", "create_app", "new_id", "presented"]
