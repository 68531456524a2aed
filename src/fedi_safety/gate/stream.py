"""A request's body as it comes, and what is done with what is still coming when the answer is known already.

A connection that is closed while its caller still sends is a reset to that caller, and the answer may be lost with it.
It keeps nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

_DISCARD_BYTES, _DISCARD_S = 1 << 20, 1.0
_LAST_WORD_S, _SILENT_S = 5.0, 1.0  # who still sends may send on for so long, unless it pauses


async def pieces(request: Request) -> AsyncIterator[bytes]:
    """Yield the body. Raises `ClientDisconnect` where the caller goes away."""
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        more = message.get("more_body", False)
        request.scope["whole"] = not more
        yield message.get("body", b"")


async def left(request: Request) -> None:
    """Return when the caller, whose body is read, has gone away."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def discard(request: Request) -> bool:
    """Read a little of what is still coming, so that the caller is done sending and can read the answer.

    Returns whether that was all, so that the connection can be used again.
    """
    if request.scope.get("whole") or not _has_body(request):
        return True
    return await _read_on(request.receive, _DISCARD_S, most_bytes=_DISCARD_BYTES)


def last_word(response: Response) -> Response:
    """Return an answer to a request whose body may still be coming, after which the connection is closed.

    What comes is let go of for a moment after the answer is sent: the caller can read it before it sees the end.
    """
    return _LastWord(response)


class _LastWord(Response):
    def __init__(self, said: Response) -> None:
        super().__init__(said.body, said.status_code)
        self.raw_headers = said.raw_headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer, let come what still comes, and end."""
        self.headers["Connection"] = "close"
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        if not scope.get("whole"):
            await _read_on(receive, _LAST_WORD_S)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _read_on(receive: Receive, seconds: float, *, most_bytes: float = float("inf")) -> bool:
    """Read until the body's end, or the caller's; return whether that was reached."""
    size = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while size < most_bytes:
                async with asyncio.timeout(_SILENT_S):
                    message = await receive()
                size += len(message.get("body", b""))
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return True
    return False


def _has_body(request: Request) -> bool:
    return "transfer-encoding" in request.headers or request.headers.get("content-length", "0") != "0"
