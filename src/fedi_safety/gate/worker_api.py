"""Where workers fetch work: the endpoints of pictrs-safety v1.2.2 as they are, and better ones for our own workers.

It turns HTTP into calls of the queue; what is lent to whom and which answer counts is the queue's. Media leaves only
towards who holds a worker's key.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from fedi_safety.clients.pictrs_safety import BETTER
from fedi_safety.core.enums import MediaType
from fedi_safety.core.errors import printable
from fedi_safety.gate.admission import Caller, block, recognise
from fedi_safety.gate.body import read_small
from fedi_safety.gate.keys import Keyring
from fedi_safety.gate.responses import Refusal
from fedi_safety.gate.tally import Tally
from fedi_safety.judging.messages import (
    MAX_WAIT_S,
    WORK_TYPE,
    JobHead,
    JobsHead,
    RenewAnswer,
    RenewRequest,
    ResultsAnswer,
    ResultsRequest,
    TakeRequest,
    bare_judgement,
)
from fedi_safety.judging.types import Answer, Unjudged
from fedi_safety.judging.worker_queue import Lease, WorkerQueue

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")

POP = "/api/v1/pop"
TAKE = "/api/v1/work"
RENEW = "/api/v1/work/renew"
RESULTS = "/api/v1/work/results"

MAX_WORK_BYTES = 32 << 20
"""More than one job goes into one answer only up to this size."""

_MAX_BODY_BYTES = 4 << 20
_BODY_S = 15.0
# What the predecessor's worker opens; of anything else it says nothing, and the uploader would wait in vain.
_OLD_KINDS = frozenset({MediaType.JPEG, MediaType.PNG, MediaType.GIF, MediaType.WEBP, MediaType.BMP, MediaType.TIFF})
# As pictrs-safety words it; the second half comes from its framework.
_NO_IMAGE = (
    "No image found waiting for this result. You have requested this URI [/api/v1/pop] but did you mean /api/v1/pop ?"
)
_INVALID = "Input payload validation failed"
_HEADERS = {"Access-Control-Allow-Origin": "*", "Fedi-Safety-API-Node": "fedi-safety", BETTER: TAKE}


class _OldRefusal(Exception):
    """An error in the words of pictrs-safety; carries the whole answer."""

    def __init__(self, response: Response) -> None:
        self.response = response
        super().__init__(str(response.status_code))


class WorkerApi:
    """The endpoints for workers, over one queue."""

    def __init__(self, queue: WorkerQueue, keys: Keyring, tally: Tally | None = None) -> None:
        """Speak for `queue` to holders of `keys`; `tally` notes those with a wrong one."""
        self._queue = queue
        self._keys = keys
        self._tally = tally or Tally()

    def routes(self) -> list[Route]:
        """Return the routes to mount at the root."""
        return [
            Route(POP, _guarded(self._pop), methods=["GET"]),
            Route(POP, _guarded(self._popped), methods=["POST"]),
            Route(TAKE, _guarded(self._take), methods=["POST"]),
            Route(RENEW, _guarded(self._renew), methods=["POST"]),
            Route(RESULTS, _guarded(self._results), methods=["POST"]),
        ]

    # --- pictrs-safety v1.2.2

    async def _pop(self, request: Request) -> Response:
        worker = self._old_worker(request)
        if request.method == "HEAD":  # it must not take a job that it cannot carry away
            return _old(204)
        leases = await self._queue.take(worker, 1, kinds=_OLD_KINDS, lease_s=self._queue.limits.old_lease_s)
        if not leases:
            return _old(204)
        lease = leases[0]
        subtype = lease.media_type.value.partition("/")[2]
        # The file name is the lease: the answer names it, and it can mean no other upload. Its worker wants no quotes.
        return _old(
            200,
            lease.upload.data,
            **{
                "Content-Type": f"image/{subtype}",
                "Content-Disposition": f"attachment; filename={lease.id}.{subtype}",
            },
        )

    async def _popped(self, request: Request) -> Response:
        worker = self._old_worker(request)
        said = _object(await _body(request))
        if said is None:
            return _old_json(400, {"message": "The body is not a JSON object"})
        for name in ("image", "is_csam", "is_nsfw"):
            if name not in said:
                return _invalid(name, "Missing required parameter in the JSON body")
        try:
            csam, nsfw = _flag("is_csam", said), _flag("is_nsfw", said)
        except ValueError as error:
            return _invalid(str(error), "Not a boolean")
        lease_id = str(said["image"]).partition(".")[0]
        upload = self._queue.lent(lease_id, worker)
        if upload is None:
            return _old_json(404, {"message": _NO_IMAGE})
        if csam is None:
            answer = Answer("unjudged", upload.sha256, worker, Unjudged.ENGINE_FAILED, detail="it had no verdict")
        else:
            judgement = bare_judgement(block=csam, nsfw=bool(nsfw))
            answer = Answer("block" if csam else "clear", upload.sha256, worker, judgement=judgement)
        self._queue.answer(lease_id, worker, answer)
        return _old_json(201, {"message": "OK"})

    def _old_worker(self, request: Request) -> str:
        key = request.headers.get("apikey")
        if key is None:
            raise _OldRefusal(_invalid("apikey", "The auth api key Missing required parameter in the HTTP headers"))
        holder = self._keys.holder(key)
        if holder is None:
            peer = "" if request.client is None else request.client.host
            self._tally.note("wrong_key", block(peer), "at /api/v1/pop", kind="pop")
            raise _OldRefusal(_old_json(403, {"message": "Access Denied"}))
        _let_in(request, holder)
        return holder

    # --- our own workers

    async def _take(self, request: Request) -> Response:
        worker = self._worker(request)
        wanted = _checked(TakeRequest, await _body(request))
        name = _named(worker, wanted.worker)
        taking = self._queue.take(name, wanted.room, min(wanted.wait_s, MAX_WAIT_S), max_bytes=MAX_WORK_BYTES)
        leases = await _unless_gone(request, taking)
        if leases is None:
            return Response(status_code=204)  # nobody reads it
        now = time.monotonic()
        jobs = [_head(lease, now) for lease in leases]
        over = self._queue.stopping and not jobs
        head = JobsHead(jobs=jobs, lease_s=self._queue.limits.renewed_s, stopping=over).model_dump_json() + "\n"
        parts = [head.encode(), *(lease.upload.data for lease in leases)]

        async def body() -> Any:
            for part in parts:
                yield part

        length = {"Content-Length": str(sum(map(len, parts)))}
        return StreamingResponse(body(), media_type=WORK_TYPE, headers=length | {"Cache-Control": "no-store"})

    async def _renew(self, request: Request) -> Response:
        worker = self._worker(request)
        wanted = _checked(RenewRequest, await _body(request))
        over = self._queue.renew(_named(worker, wanted.worker), wanted.holding)
        return _model(RenewAnswer(over=over))

    async def _results(self, request: Request) -> Response:
        worker = self._worker(request)
        wanted = _checked(ResultsRequest, await _body(request))
        name = _named(worker, wanted.worker)
        accepted: list[str] = []
        late: list[str] = []
        for result in wanted.results:
            found = self._queue.lent(result.id, name)
            if found is None:
                counted = False
            elif result.outcome == "returned":
                counted = self._queue.give_back(result.id, name)
            else:
                answer = result.answer(found.sha256, len(found.data), name)
                counted = self._queue.answer(result.id, name, answer)
            (accepted if counted else late).append(result.id)
        return _model(ResultsAnswer(accepted=accepted, late=late))

    def _worker(self, request: Request) -> str:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            key = request.headers.get("apikey", "")
        holder = self._keys.holder(key.strip())
        if holder is None:
            raise Refusal(403, "wrong_key", "the worker's key is missing or not known here")
        _let_in(request, holder)
        return holder


def _guarded(handler: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    async def guarded(request: Request) -> Response:
        try:
            return await handler(request)
        except _OldRefusal as refused:
            return refused.response

    return guarded


def _let_in(request: Request, holder: str) -> None:
    request.scope["caller"] = Caller(holder)
    recognise(request.scope)


def _named(holder: str, worker: str) -> str:
    """Return what a worker is called here: whose key it has, and what it calls itself."""
    own = printable(worker)[:40]
    return f"{holder}:{own}" if own else holder


def _head(lease: Lease, now: float) -> JobHead:
    upload = lease.upload
    return JobHead(
        id=lease.id,
        size=len(upload.data),
        sha256=upload.sha256.hex(),
        type=lease.media_type.value,
        left_s=round(upload.deadline - now, 3),
    )


async def _body(request: Request) -> bytes:
    return await read_small(request.stream(), max_bytes=_MAX_BODY_BYTES, seconds=_BODY_S)


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None


def _checked(model: type[M], body: bytes) -> M:
    try:
        return model.model_validate_json(body)
    except ValidationError as problem:
        first = problem.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "body"
        raise Refusal(400, "bad_request", printable(f"{where}: {first['msg']}")[:300]) from None


async def _unless_gone(request: Request, work: Coroutine[Any, Any, list[Lease]]) -> list[Lease] | None:
    """Return what it returns; cancel it and return None when the caller goes away meanwhile."""
    taking = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({taking, gone}, return_when=asyncio.FIRST_COMPLETED)
        return taking.result() if taking.done() else None
    finally:
        for task in (taking, gone):
            task.cancel()
        await asyncio.gather(taking, gone, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _flag(name: str, said: Mapping[str, Any]) -> bool | None:
    """Return true, false or null. pictrs-safety would take any text for true: a slip must not condemn a picture."""
    value = said[name]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float) and value in (0, 1):
        return bool(value)
    raise ValueError(name)


def _invalid(name: str, text: str) -> Response:
    return _old_json(400, {"errors": {name: text}, "message": _INVALID})


def _old(status: int, body: bytes = b"", **headers: str) -> Response:
    etag = {} if status == 204 else {"ETag": f'"{hashlib.sha1(body, usedforsecurity=False).hexdigest()}"'}
    return Response(body, status, headers=_HEADERS | etag | headers)


def _old_json(status: int, value: Mapping[str, Any]) -> Response:
    return _old(status, (json.dumps(value) + "\n").encode(), **{"Content-Type": "application/json"})


def _model(value: BaseModel) -> Response:
    return Response(value.model_dump_json() + "\n", media_type="application/json")
