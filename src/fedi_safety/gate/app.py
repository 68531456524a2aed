"""The gate's endpoints: takes uploads in, has them judged, and tells two answers outside, within the deadline.

It joins the parts and decides nothing: who may ask is `admission`'s, what is judged `judging`'s and the workers', what
an answer means `responses`', what is remembered the ledger writer's.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from fedi_safety.gate import responses
from fedi_safety.gate.admission import Admission, Caller, block, recognise
from fedi_safety.gate.answering import BODY_SHARE, Answering, Taken
from fedi_safety.gate.body import Body
from fedi_safety.gate.body import read as read_body
from fedi_safety.gate.memory import Holding
from fedi_safety.gate.parts import Parts
from fedi_safety.gate.responses import Refusal
from fedi_safety.gate.stream import discard, last_word, pieces
from fedi_safety.judging import logs, metrics

log = logging.getLogger(__name__)


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
        self._answering = Answering(parts)

    # --- uploads

    async def upload(self, request: Request) -> Response:
        """Judge one upload."""
        parts, gate = self._parts, self._parts.gate
        started, at = time.monotonic(), time.time()
        upload_id = request.scope["upload"] = logs.new_id()
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
            parts.metrics.upload_bytes.observe(body.size)
            upload = Taken(
                upload_id, at, caller, caller.name, body, started, started + gate.deadline_s, started + self._body_s
            )
            answers = await self._answering.answers(request, [upload])
            if answers is None:
                logs.note("gone", id=upload_id, sender=caller.name, bytes=body.size, seconds=logs.since(started))
                return Response(status_code=400)  # nobody reads it
            (answer,) = answers
            response = responses.response_for(answer, gate.unjudged)
            response = await self._answering.record(upload, answer, response)
        finally:
            if holding is not None:
                holding.let_go()
        self._answering.tell(upload, answer, response)
        return _json(response.status, responses.body(response, answer, upload_id), upload_id)

    @property
    def _body_s(self) -> float:
        """Return how long an upload may take to arrive, and then waits for a place in a queue."""
        return min(self._parts.gate.body_s, BODY_SHARE * self._parts.gate.deadline_s)

    async def _take_in(self, request: Request, holding: Holding) -> Body:
        return await read_body(
            pieces(request),
            request.headers.get("content-type", ""),
            request.headers.get("content-length"),
            holding,
            max_bytes=self._parts.gate.max_bytes,
            seconds=self._body_s,
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
        looked = (("debt", parts.backlog.overdue), ("sources", parts.late_sources()), ("notices", parts.late_notices()))
        alerts = [word for word, true in looked if true]
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
        upload_id = request.scope.get("upload") or logs.new_id()
        peer = None if request.client is None else request.client.host
        if "caller" in request.scope and error.code != "rate_limited":
            logs.note("error", level=logging.WARNING, id=upload_id, peer=peer, code=error.code, detail=error.why)
        else:
            self._parts.tally.note(error.code, block(peer or ""), error.why, kind=error.kind, upload=upload_id)
        headers = {"X-Request-Id": upload_id}
        if error.status == 503:
            headers["Retry-After"] = str(responses.RETRY_AFTER_S)
        said = {"code": error.code, "message": error.message, "id": upload_id}
        response = JSONResponse(said, error.status, headers)
        return last_word(response) if error.close else response

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


def _json(status: int, response: dict[str, Any], upload_id: str) -> JSONResponse:
    return JSONResponse(response, status, headers={"X-Request-Id": upload_id})
