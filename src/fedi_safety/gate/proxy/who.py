"""Asks the server behind the gate once whose credentials a refused upload came with. They are not kept."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

from fedi_safety.core.sightings import Certainty, Sighting, SightingKind, SightingWay
from fedi_safety.gate.proxy.connections import Headers
from fedi_safety.gate.proxy.forwarding import Head, Upstream, UpstreamError
from fedi_safety.gate.proxy.kinds import Who
from fedi_safety.gate.responses import Refusal

log = logging.getLogger(__name__)

_ASK_S = 3.0
_ANSWER_BYTES = 1 << 20
_MOST_NAME = 200
# Beside the credentials: by what the server knows for which of its hosts, and for whom, this is.
_PASSED_ON = frozenset({b"host", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-real-ip",
                        b"user-agent"})  # fmt: skip


async def uploader(upstream: Upstream, who: Who, head: Head, token: str | None) -> Sighting | None:
    """Return the account that a request's own credentials belong to, None where that is not learnt."""
    question = _question(who, head, token)
    if question is None:
        return None
    asked, body = question
    try:
        async with asyncio.timeout(_ASK_S):
            answer = await _ask(upstream, asked, body)
    except (TimeoutError, UpstreamError, Refusal):
        log.warning("whose a refused upload is was not learnt: the server gave no answer")
        return None
    name, own = _at(answer, who.name), _at(answer, who.id)
    if name is None and own is None:
        log.info("whose a refused upload is was not learnt: its credentials are nobody's there")
        return None
    return Sighting(SightingKind.UPLOAD, SightingWay.HOOK, Certainty.CERTAIN, person=name, local=True, person_id=own)


def _question(who: Who, head: Head, token: str | None) -> tuple[Head, bytes] | None:
    headers: Headers = [(n, v) for n, v in head.headers if n.lower() in _PASSED_ON]
    bearer = [(n, v) for n, v in head.headers if n.lower() == b"authorization"]
    headers += [(b"Accept", b"application/json"), (b"Accept-Encoding", b"identity")]
    if not who.by_token:
        if not bearer:
            return None
        return Head(who.method, who.path.encode(), headers + bearer), b""
    if token is None and bearer:
        scheme, _, secret = bearer[0][1].decode("latin-1").partition(" ")
        token = secret.strip() if scheme.lower() == "bearer" else None
    if not token:
        return None
    body = json.dumps({"i": token}).encode()
    headers += [(b"Content-Type", b"application/json"), (b"Content-Length", b"%d" % len(body))]
    return Head(who.method, who.path.encode(), headers), body


async def _ask(upstream: Upstream, asked: Head, body: bytes) -> Any:
    reply = await upstream.send(asked, _one(body) if body else None)
    try:
        found = b""
        async for piece in reply.pieces():
            found += piece
            if len(found) > _ANSWER_BYTES:
                raise UpstreamError("upstream_garbage", "its answer is too long")
    finally:
        reply.close()
    if reply.status != 200:
        return None
    try:
        return json.loads(found)
    except ValueError:
        raise UpstreamError("upstream_garbage", "its answer is no JSON") from None


async def _one(piece: bytes) -> AsyncIterator[bytes]:
    yield piece


def _at(answer: Any, path: tuple[str, ...]) -> str | None:
    for step in path:
        answer = answer.get(step) if isinstance(answer, dict) else None
    if isinstance(answer, bool) or not isinstance(answer, (str, int)):
        return None
    return str(answer)[:_MOST_NAME] or None
