"""Hands a request on to the server behind the gate, and its answer back: the same bytes, hop by hop headers aside.

By httpx' transport alone: no redirect is followed, no cookie kept, nothing unpacked, no proxy of the environment asked.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, cast
from urllib.parse import urlsplit

import httpx
from starlette.types import Scope

from fedi_safety.gate.proxy.media_type import ambiguous
from fedi_safety.gate.responses import Refusal

log = logging.getLogger(__name__)

Headers = list[tuple[bytes, bytes]]

RAW_HEAD = "raw_head"
"""Where the server's edge leaves a request's target and headers as they came, in its state."""

_CONNECT_S = 5.0
_KEPT_S = 1.5  # shorter than any server keeps an idle connection: one that it closes as we use it costs an upload
_KEPT = 64
_HOPS = 16
# Of one connection alone (RFC 9110, 7.6.1), and trailers, which are not handed on.
_HOP_BY_HOP = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"te", b"transfer-encoding", b"upgrade",
                         b"trailer"})  # fmt: skip
# What `Connection` may not take away: the server would read another request than was judged, or of somebody else.
_NEVER_TAKEN = frozenset({b"host", b"content-type", b"content-length", b"content-encoding", b"authorization", b"cookie",
                          b"expect", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-real-ip",
                          b"forwarded"})  # fmt: skip
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class UpstreamError(Exception):
    """The server behind the gate gave no answer that can be handed back. `code` says which way it failed."""

    def __init__(self, code: str, detail: str) -> None:
        """Say it for the log."""
        self.code = code
        self.detail = detail
        super().__init__(detail)


@dataclass(frozen=True, slots=True)
class Head:
    """A request's first lines, as they came. `headers` have their case and order."""

    method: str
    target: bytes
    headers: Headers
    _named: dict[bytes, list[bytes]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Find the headers by their names."""
        named: dict[bytes, list[bytes]] = {}
        for name, value in self.headers:
            named.setdefault(name.lower(), []).append(value)
        object.__setattr__(self, "_named", named)

    def values(self, name: bytes) -> list[bytes]:
        """Return the values of all headers of this name, which is in small letters."""
        return self._named.get(name, [])

    @property
    def path(self) -> bytes:
        """Return the target without its query."""
        return self.target.partition(b"?")[0]

    @property
    def query(self) -> bytes:
        """Return what of the target comes behind its path."""
        return self.target.partition(b"?")[2]

    @property
    def has_body(self) -> bool:
        """Whether a body comes with it."""
        return bool(self.values(b"transfer-encoding")) or any(v.strip() != b"0" for v in self.values(b"content-length"))


def head_of(scope: Scope) -> Head:
    """Return a request's head. Raises `Refusal` for one that two servers can read in two ways."""
    kept = (scope.get("state") or {}).get(RAW_HEAD)
    target, headers = kept or (_target(scope), list(scope["headers"]))
    if not target.startswith(b"/"):  # the absolute form, which is for proxies that are asked for other hosts
        target = _target(scope)
    head = Head(scope["method"], bytes(target), list(headers))
    encodings = head.values(b"transfer-encoding")
    if encodings and [value.strip().lower() for value in encodings] != [b"chunked"]:
        raise ambiguous("its Transfer-Encoding is not chunked alone")
    if encodings and head.values(b"content-length"):
        raise ambiguous("it has a length, and none")
    if len(head.values(b"host")) > 1:
        raise ambiguous("it has several hosts")
    if taken := sorted(_taken_away(head.values(b"connection")) & _NEVER_TAKEN):
        raise ambiguous(f"its Connection header takes {taken[0].decode()} away")
    hops = sum(value.count(b",") + 1 for value in head.values(b"x-forwarded-for"))
    if hops > _HOPS:
        raise Refusal(508, "loop", f"it came through more than {_HOPS} proxies", close=True)
    return head


def _target(scope: Scope) -> bytes:
    query = scope.get("query_string", b"")
    return bytes(scope.get("raw_path") or b"/") + (b"?" + query if query else b"")


def onward(head: Head) -> Headers:
    """Return the headers that go on, in their order."""
    dropped = _HOP_BY_HOP | _taken_away(head.values(b"connection"))
    return [header for header in head.headers if header[0].lower() not in dropped]


def _taken_away(connection: Sequence[bytes]) -> set[bytes]:
    """Return the names that the values of `Connection` headers take away, in small letters."""
    return {word.strip().lower() for value in connection for word in value.split(b",") if word.strip()}


class _Stream(httpx.AsyncByteStream):
    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._pieces:
            if piece:
                yield piece


@dataclass(slots=True)
class Reply:
    """The beginning of the server's answer; `response` streams the rest, and is to be closed."""

    status: int
    headers: Headers
    response: httpx.Response

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the body as it is sent. Raises `UpstreamError`."""
        stream = self.response.stream
        assert isinstance(stream, httpx.AsyncByteStream)
        try:
            async for piece in stream:
                yield piece
        except httpx.TimeoutException:
            raise UpstreamError("upstream_slow", "it stopped in the middle of its answer") from None
        except httpx.TransportError as error:
            raise UpstreamError("upstream_garbage", f"its answer broke off ({type(error).__name__})") from None

    async def close(self) -> None:
        """Let go of the connection."""
        await self.response.aclose()


class Upstream:
    """The server behind the gate. It belongs to one event loop."""

    def __init__(self, url: str, seconds: float, connections: int) -> None:
        """Hand on to `url`, each step of which may take `seconds`, by at most so many connections at once."""
        parts = urlsplit(url)
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._host = parts.netloc.encode("idna" if not parts.netloc.isascii() else "ascii")
        self._timeout = httpx.Timeout(seconds, connect=min(_CONNECT_S, seconds))
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=_KEPT, keepalive_expiry=_KEPT_S)
        self._transport = httpx.AsyncHTTPTransport(trust_env=False, limits=limits)
        if "sniffio" not in sys.modules and find_spec("sniffio") is None:
            # httpcore asks four times a request for this module, which nothing needs, and it is looked for on disk.
            cast("dict[str, Any]", sys.modules)["sniffio"] = None

    async def send(self, head: Head, pieces: AsyncIterator[bytes] | None) -> Reply:
        """Hand a request on, and return the beginning of the answer. Raises `UpstreamError` and `Refusal`."""
        headers = onward(head)
        if head.values(b"transfer-encoding"):
            headers.append((b"Transfer-Encoding", b"chunked"))
        if not head.values(b"host"):
            headers.insert(0, (b"Host", self._host))
        again = pieces is None and head.method in _SAFE
        try:
            return await self._send(head, headers, pieces)
        except UpstreamError as error:
            if not (again and error.code == "upstream_garbage"):  # most likely a kept connection that it closed
                raise
            return await self._send(head, headers, None)

    async def _send(self, head: Head, headers: Headers, pieces: AsyncIterator[bytes] | None) -> Reply:
        extensions = {"timeout": self._timeout.as_dict(), "target": head.target}
        stream = httpx.ByteStream(b"") if pieces is None else _Stream(pieces)
        request = httpx.Request("GET", self._origin, headers=headers, stream=stream, extensions=extensions)
        request.method = head.method
        try:
            response = await self._transport.handle_async_request(request)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise UpstreamError("upstream_down", f"it cannot be reached ({type(error).__name__})") from None
        except httpx.TimeoutException as error:
            raise UpstreamError("upstream_slow", f"it did not answer in time ({type(error).__name__})") from None
        except httpx.LocalProtocolError:
            raise Refusal(400, "bad_http", "its head is not valid HTTP", close=True) from None
        except httpx.TransportError as error:
            raise UpstreamError("upstream_garbage", f"its answer makes no sense ({type(error).__name__})") from None
        if not 200 <= response.status_code < 600:
            await response.aclose()
            raise UpstreamError("upstream_garbage", f"it answered {response.status_code}")
        return Reply(response.status_code, _backward(response), response)

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.aclose()


def _backward(response: httpx.Response) -> Headers:
    headers = list(response.headers.raw)
    connection = [value for name, value in headers if name.lower() == b"connection"]
    dropped = _HOP_BY_HOP | (_taken_away(connection) - _NEVER_TAKEN)
    if response.status_code in (204, 304):
        dropped |= {b"content-length"}  # of the answer that it is in the place of
    return [(name, value) for name, value in headers if name.lower() not in dropped]
