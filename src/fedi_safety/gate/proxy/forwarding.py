"""Hands a request on to the server behind the gate, and its answer back: the same bytes, hop by hop headers aside.

No redirect is followed, no cookie kept, nothing unpacked, no proxy of the environment asked.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx
from starlette.types import Scope

from fedi_safety.gate.proxy.connections import Broken, Connection, Headers, Malformed, Place, Pool, Slow
from fedi_safety.gate.proxy.media_type import ambiguous
from fedi_safety.gate.responses import Refusal

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


@dataclass(slots=True)
class Reply:
    """The beginning of the server's answer; `pieces` streams the rest, and it is to be closed."""

    status: int
    headers: Headers
    _connection: Connection
    _pool: Pool
    _seconds: float
    _closed: bool = False

    @property
    def whole(self) -> bool:
        """Whether all of it has come."""
        return self._connection.whole

    async def piece(self) -> bytes:
        """Return more of the body, empty at its end. Raises `UpstreamError`."""
        try:
            return await self._connection.piece(self._seconds)
        except Slow:
            raise UpstreamError("upstream_slow", "it stopped in the middle of its answer") from None
        except Broken as error:
            raise UpstreamError("upstream_garbage", f"its answer broke off: {error}") from None

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the body as it is sent. Raises `UpstreamError`."""
        while piece := await self.piece():
            yield piece

    def close(self) -> None:
        """Let go of the connection."""
        if not self._closed:
            self._closed = True
            self._pool.give_back(self._connection)


class Upstream:
    """The server behind the gate. It belongs to one event loop."""

    def __init__(self, url: str, seconds: float, connections: int) -> None:
        """Hand on to `url`, each step of which may take `seconds`, by at most so many connections at once."""
        parts = urlsplit(url)
        self._host = parts.netloc.encode("idna" if not parts.netloc.isascii() else "ascii")
        self._seconds = seconds
        tls = httpx.create_ssl_context(trust_env=False) if parts.scheme == "https" else None
        place = Place(parts.hostname or "", parts.port or (80 if tls is None else 443), tls)
        self._pool = Pool(place, connections, _KEPT, _KEPT_S)

    async def send(self, head: Head, pieces: AsyncIterator[bytes] | None) -> Reply:
        """Hand a request on, and return the beginning of the answer. Raises `UpstreamError` and `Refusal`."""
        headers = onward(head)
        chunked = bool(head.values(b"transfer-encoding"))
        if chunked:
            headers.append((b"Transfer-Encoding", b"chunked"))
        if not head.values(b"host"):
            headers.insert(0, (b"Host", self._host))
        lines = b"".join([b"%s: %s\r\n" % header for header in headers])
        wire = b"%s %s HTTP/1.1\r\n%s\r\n" % (head.method.encode("latin-1"), head.target, lines)
        length = None if chunked else int(next(iter(head.values(b"content-length")), b"0"))
        again = pieces is None and head.method in _SAFE
        while True:
            connection = await self._connected()
            try:
                await connection.exchange(wire, pieces, length, self._seconds, of_head=head.method == "HEAD")
                break
            except BaseException as error:  # noqa: BLE001 - a client that leaves, too: what is half sent goes nowhere
                connection.close()  # the request may be half sent
                self._pool.give_back(connection)
                if again and isinstance(error, Broken):  # most likely a kept connection that it closed
                    again = False
                    continue
                raise _told(error) from None
        reply = Reply(connection.status, _backward(connection), connection, self._pool, self._seconds)
        if not 200 <= reply.status < 600:
            connection.close()
            reply.close()
            raise UpstreamError("upstream_garbage", f"it answered {reply.status}")
        return reply

    async def _connected(self) -> Connection:
        try:
            return await self._pool.take(min(_CONNECT_S, self._seconds), self._seconds)
        except Slow:
            raise UpstreamError("upstream_slow", "all connections to it are in use") from None
        except TimeoutError:
            raise UpstreamError("upstream_down", "it cannot be reached in time") from None
        except OSError as error:
            raise UpstreamError("upstream_down", f"it cannot be reached ({type(error).__name__})") from None

    async def close(self) -> None:
        """Close all connections."""
        self._pool.close()


def _told(error: BaseException) -> BaseException:
    """Return what a failed exchange is to the proxy."""
    match error:
        case Slow():
            return UpstreamError("upstream_slow", "it did not answer in time")
        case Broken():
            return UpstreamError("upstream_garbage", f"its answer makes no sense: {error}")
        case Malformed():
            return Refusal(400, "bad_http", "its head is not valid HTTP", close=True)
        case _:
            return error


def _backward(answer: Connection) -> Headers:
    headers = answer.headers
    connection = [value for name, value in headers if name.lower() == b"connection"]
    dropped = _HOP_BY_HOP | (_taken_away(connection) - _NEVER_TAKEN)
    if answer.status in (204, 304):
        dropped |= {b"content-length"}  # of the answer that it is in the place of
    return [(name, value) for name, value in headers if name.lower() not in dropped]
