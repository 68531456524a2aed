"""The HTTP server's edge: uvicorn with what it lacks against callers that hold on to connections.

Time-outs and limits for the head of a request and what follows its body, a limit on connections altogether, from all
strangers and from one, errors as JSON. Who was let in once is no stranger. What a request means is `app`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import resource
import socket
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from fedi_safety.core.errors import UsageError
from fedi_safety.gate.admission import FORWARDED_FOR, PROXY_SIGNS, RECOGNISED, block
from fedi_safety.gate.proxy.forwarding import RAW_HEAD
from fedi_safety.gate.responses import RETRY_AFTER_S

log = logging.getLogger(__name__)

_HEAD_S = 10.0
_HEAD_BYTES = 64 << 10
# Longer than callers keep an idle connection themselves (pict-rs 90 s): one that is closed as they begin to use it
# again would cost an upload.
_KEEP_ALIVE_S = 120
_STRANGERS_KEEP_ALIVE_S = 5
_REMEMBERED, _REMEMBERED_S = (
    1000,
    3600.0,
)  # addresses that were let in, and for how long their next connections are known
_BETWEEN_BYTES = 4  # a colon, a blank, and the end of the line
_BACKLOG = 512
_OTHER_FILES = 256  # the ledger, decoders with their memory, stores
# Who is turned away may send on for so long, and the answer reaches it: closed at once, it would see a reset instead.
_LINGER_S = 2.0
_LINGERING, _STRANGERS_LINGERING = 160, 64
_STOP_S = 9  # a little more than the judges take; containers are killed after ten


@dataclass(slots=True)
class Edge:
    """How many connections there may be; `listed` tells whose number is not limited by itself.

    A quarter of the places is kept for those who are listed, or were let in lately: strangers never have it.
    """

    connections: int
    listed: Callable[[str], bool]
    handed_on: frozenset[int] = frozenset()  # ports whose requests go on to another server as they came
    held: int = 0  # but for those that are turned away and may send on for a moment: these are `lingering`
    lingering: int = 0
    strangers: Counter[str] = field(default_factory=Counter)  # of those that are held, by `block`
    _let_in: OrderedDict[str, float] = field(default_factory=OrderedDict)

    @property
    def of_strangers(self) -> int:
        """Return how many connections all unknown addresses together may hold."""
        return self.connections - self.connections // 4

    @property
    def of_stranger(self) -> int:
        """Return how many connections one unknown address may hold."""
        return max(4, min(64, self.connections // 4))

    def full(self, stranger: str | None) -> str:
        """Return why there is no place for one more connection; empty where there is. `stranger`: of this block."""
        all_strangers = stranger is not None and self.strangers.total() >= self.of_strangers
        if self.held >= self.connections or all_strangers:
            return "the gate holds as many connections as it may"
        if stranger is not None and self.strangers[stranger] >= self.of_stranger:
            return "too many connections from one address"
        return ""

    def no_stranger(self, stranger: str) -> None:
        """Count one of this block no longer among the strangers."""
        self.strangers[stranger] -= 1
        if not self.strangers[stranger]:
            del self.strangers[stranger]

    def knows(self, peer: str) -> bool:
        """Whether an address is listed, or somebody there was let in lately."""
        return self.listed(peer) or time.monotonic() - self._let_in.get(peer, float("-inf")) < _REMEMBERED_S

    def remember(self, peer: str) -> None:
        """Note that somebody at this address was let in."""
        self._let_in[peer] = time.monotonic()
        self._let_in.move_to_end(peer)
        while len(self._let_in) > _REMEMBERED:
            self._let_in.popitem(last=False)


_OF_PROXIES = frozenset(name.encode() for name in (FORWARDED_FOR, *PROXY_SIGNS))


class GateProtocol(HttpToolsProtocol):
    """One connection. What another process has read of it already is its `first`; such a one has a single request."""

    edge: Edge
    first = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._head_timer: asyncio.TimerHandle | None = None
        self._idle_bytes = 0  # of reads that brought no whole head, and of a body nothing
        self._head_bytes = 0  # of names and values
        self._too_large = False
        self._in_head = False
        self._body_came = False
        self._between = False  # in a body, behind the size of a chunk: what comes may be the last one's trailer
        self.lingers = False
        super().connection_made(transport)
        self._peer = self.client[0] if self.client else ""
        known = self.edge.knows(self._peer)
        self._stranger = None if known else block(self._peer)
        self.timeout_keep_alive = _KEEP_ALIVE_S if known else _STRANGERS_KEEP_ALIVE_S
        full = self.edge.full(self._stranger)
        self.edge.held += 1
        if self._stranger is not None:
            self.edge.strangers[self._stranger] += 1
        if full:
            self._turn_away(503, "too_many_connections", full, linger=True)
        if not self.lingers:
            self._await_head()
        if self.first:
            self.data_received(self.first)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        if self.lingers:
            self.edge.lingering -= 1
        else:
            self._leave()
        super().connection_lost(exc)

    def _leave(self) -> None:
        """Count it no longer among those that are held."""
        self.edge.held -= 1
        self._known()

    def _known(self) -> None:
        """Count it no longer among the strangers'."""
        if self._stranger is not None:
            self.edge.no_stranger(self._stranger)
            self._stranger = None

    def data_received(self, data: bytes) -> None:
        if self.lingers or self.transport.is_closing():
            return
        if self._idle:
            self._await_head()
        self._body_came = False
        super().data_received(data)
        if (self._in_head or self._between) and not self._body_came and not self.transport.is_closing():
            self._idle_bytes += len(data)
            if self._idle_bytes > _HEAD_BYTES:
                self._head_too_large()

    def on_message_begin(self) -> None:
        self._in_head, self._between = True, False
        self._idle_bytes = self._head_bytes = 0
        super().on_message_begin()
        headers = self.headers
        self.scope["state"][RECOGNISED] = lambda: self._recognise(headers)
        self._raw_headers: list[tuple[bytes, bytes]] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value) + _BETWEEN_BYTES
        if self._head_bytes > _HEAD_BYTES:
            self._too_large = True
            raise ValueError  # which ends the parser, and comes back as an error of the request's
        if self._in_head:  # a trailer is nobody's to read
            self._raw_headers.append((name, value))
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._stop_timer()
        handed_on = self.server is not None and self.server[1] in self.edge.handed_on
        if handed_on:
            self.scope["state"][RAW_HEAD] = self.url, self._raw_headers
        self._look_at_head()
        super().on_headers_complete()
        if handed_on:  # the answer has a date of its own
            self.cycle.default_headers = []
        if self.first:
            self.cycle.default_headers = [*self.cycle.default_headers, (b"connection", b"close")]

    def _look_at_head(self) -> None:
        """Do nothing more than what is done about every request."""

    def on_chunk_header(self) -> None:
        """Note that the size of a chunk was read; httptools calls it."""
        self._between = True
        self._idle_bytes = 0

    def on_body(self, body: bytes) -> None:
        self._between = False
        self._body_came = True
        super().on_body(body)

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing of it: no stranger writes the log. What asks for one is answered as any other request."""

    def _recognise(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Take the caller for known from now on: it was let in."""
        if not self.lingers:
            self._known()
        self.timeout_keep_alive = _KEEP_ALIVE_S
        if not any(name in _OF_PROXIES for name, _ in headers):  # else others may come from the same address
            self.edge.remember(self._peer)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - the text is our own
        if self._too_large:
            self._head_too_large()
        else:
            self._turn_away(400, "bad_http", "this is not a valid HTTP request")

    def _head_too_large(self) -> None:
        self._turn_away(431, "head_too_large", "the head of the request, or its trailer, is too large")

    @property
    def _idle(self) -> bool:
        """Whether no request is being answered, so that what comes is the head of one."""
        return self.cycle is None or self.cycle.response_complete

    def _await_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(_HEAD_S, self._too_slow)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _too_slow(self) -> None:
        if self._idle and not self.transport.is_closing():
            self._turn_away(408, "head_timeout", f"the head of a request must come within {_HEAD_S:g} s")

    def _turn_away(self, status: int, code: str, message: str, *, linger: bool = False) -> None:
        if self.pipeline or (not self._idle and self.cycle.response_started):
            self.transport.close()  # amid another answer
            return
        body = json.dumps({"code": code, "message": message}).encode() + b"\n"
        head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n" % len(body)
        again = b"retry-after: %d\r\n" % RETRY_AFTER_S if status == 503 else b""
        self.transport.write(STATUS_LINE[status] + head + again + b"\r\n" + body)
        if linger and self.edge.lingering < (_LINGERING if self._stranger is None else _STRANGERS_LINGERING):
            self._leave()
            self.lingers = True  # what it still sends is let go of
            self.edge.lingering += 1
            self.transport.write_eof()
            self.loop.call_later(_LINGER_S, self.transport.close)
        else:
            self.transport.close()


class Server(uvicorn.Server):
    """uvicorn's server without its signal handlers: the gate stops in an order of its own, and leaves nothing open."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End as uvicorn does; then close what it leaves open, having been forced or waited long enough."""
        await super().shutdown(sockets)
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)  # a transport that is aborted closes its socket in the loop's next round

    def _protocol(self, first: bytes = b"") -> GateProtocol:
        made = self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        assert isinstance(made, GateProtocol)
        made.first = first
        return made

    async def _begun(self) -> None:
        while not self.started:
            await asyncio.sleep(0.01)

    async def adopt(self, accepted: socket.socket, first: bytes) -> None:
        """Serve one request of a connection that another process accepted, and read so much of."""
        accepted.setblocking(False)
        await self._begun()
        try:
            await asyncio.get_running_loop().connect_accepted_socket(partial(self._protocol, first), accepted)
        except OSError:  # its client is gone
            accepted.close()

    async def listen(self, sockets: Iterable[socket.socket]) -> None:
        """Serve these as well from now on."""
        await self._begun()
        for listener in sockets:
            server = await asyncio.get_running_loop().create_server(self._protocol, sock=listener, backlog=_BACKLOG)
            self.servers.append(server)


def make_server(app: Any, edge: Edge, kind: type[GateProtocol] = GateProtocol, **named: Any) -> Server:
    """Return a server for `app`; `serve(sockets=...)` runs it. `named` are what that kind of connections has."""
    protocol = type(kind.__name__, (kind,), {"edge": edge, **named})
    config = uvicorn.Config(
        app,
        http=cast("Any", protocol),
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_config=None,
        access_log=False,
        proxy_headers=False,  # who is believed about addresses is `admission`'s to say
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_STOP_S,
    )
    return Server(config)


def affordable(connections: int) -> int:
    """Return how many of these connections the process has descriptors for, its limit raised as far as it goes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _OTHER_FILES
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft >= wanted:
        return connections
    fewer = max(1, soft - _OTHER_FILES)
    log.warning("only %d of %d connections: the process may have %d open files", fewer, connections, soft)
    return fewer


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises `UsageError` if that cannot be had."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        cause = (error.strerror or str(error)).lower()
        raise UsageError(f"listening on {host}", cause, "give an address of this machine") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)  # `::` takes IPv4 as well
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        cause = (error.strerror or str(error)).lower()
        raise UsageError(
            f"listening on {host}:{port}", cause, "give another address or port, or stop the program that has it"
        ) from error
    return listener


def shown(listener: socket.socket) -> str:
    """Return where a socket listens, as a URL."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
