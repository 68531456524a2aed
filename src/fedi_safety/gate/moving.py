"""Connections that move to another process, with what was read of them, before anything of a request is answered.

The process that accepts a connection reads the head of a request. If the request is another process' to answer, that
one gets the connection by its descriptor and reads the request from its first byte, as if it had accepted it: no byte
of a body goes through two processes, and where the request comes from needs nobody's word.

Both ends are here: `MovingProtocol` and `hand_over` let go, `receive` takes. They speak over a pair of sockets of
datagrams in order (SOCK_SEQPACKET) that no other process has.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from fedi_safety.gate import edge
from fedi_safety.gate.proxy.forwarding import Head

AVAILABLE = sys.platform.startswith("linux")
"""Whether it can be had: what is read of a connection goes over in memory that has no name, which others lack."""

_CONNECTION = b"c"
_MESSAGE_BYTES = 64 << 10
_AGAIN_S = 0.005
_PATIENT_S = 30.0  # for which a connection waits for being taken over


class Elsewhere(Protocol):
    """Another process that answers some paths of a port."""

    def has(self, target: bytes) -> bool:
        """Whether a request for this target is its own to answer, and it can be handed over now."""

    def take(self, connection: int, first: bytes) -> bool:
        """Take a connection by its descriptor, as `hand_over` does."""


def hand_over(control: socket.socket, connection: int, first: bytes) -> bool:
    """Hand a connection over, of which so much was read; return false where it has to be tried again.

    Raises `OSError` where nobody takes it any more. The caller keeps its own descriptor, and is to close it.
    """
    read = os.memfd_create("request")
    try:
        with os.fdopen(os.dup(read), "wb") as memory:
            memory.write(first)
        socket.send_fds(control, [_CONNECTION], [connection, read])
    except BlockingIOError:
        return False
    finally:
        os.close(read)
    return True


@dataclass(frozen=True, slots=True)
class Received:
    """What came from the other process: `said`, or a connection and what was read of it; nothing at all at its end."""

    said: bytes
    connection: socket.socket | None = None
    first: bytes = b""


def receive(control: socket.socket) -> Received:
    """Return what came. Raises `BlockingIOError` where nothing did."""
    try:
        said, fds, _, _ = socket.recv_fds(control, _MESSAGE_BYTES, 2, socket.MSG_CMSG_CLOEXEC)
    except BlockingIOError:
        raise
    except OSError:
        return Received(b"")
    if said != _CONNECTION or len(fds) != 2:
        return Received(said)
    connection, read = fds
    try:
        first = os.pread(read, os.fstat(read).st_size, 0)  # memory gives all at once
    finally:
        os.close(read)
    return Received(said, socket.socket(fileno=connection), first)


class _Elsewhere(Exception):
    """A request is not for this process: the parser ends here."""


class MovingProtocol(edge.GateProtocol):
    """One connection. A request that does not pass here moves elsewhere with it.

    That needs all bytes from its first one on: a request that began while another one was unanswered, which no web
    server and no browser sends, ends the connection after that answer instead.
    """

    passes: Callable[[int, Head], bool]
    take: Callable[[int, bytes], bool]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._read: list[bytes] | None = None  # of a request that may yet be handed over
        self._whole = True  # the last request has come to its end
        self._goes = self._over = False
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._over:
            return
        if not self._in_head:
            self._read = [] if self._idle and self._whole else None
        if self._read is not None:
            self._read.append(data)
        if not self._goes:
            super().data_received(data)
        if self._goes and not self._over:
            self._go(time.monotonic() + _PATIENT_S)

    def on_message_begin(self) -> None:
        if not (self._idle and self._whole):
            self._read = None
        self._whole = False
        super().on_message_begin()

    def on_message_complete(self) -> None:
        self._whole = True
        super().on_message_complete()

    def _look_at_head(self) -> None:
        """Keep what passes here, and let go of all else. Raises `_Elsewhere`."""
        head = Head(self.parser.get_method().decode("ascii"), bytes(self.url), list(self._raw_headers))
        port = int((self.server or ("", 0))[1] or 0)
        if self.passes(port, head):
            self._read = None
            return
        if self._read is None:
            self._over = True
            if self._idle:
                self.transport.close()
            else:
                self.cycle.keep_alive = False
        else:
            self._goes = True
        raise _Elsewhere

    def send_400_response(self, msg: str) -> None:
        if not (self._goes or self._over):
            super().send_400_response(msg)

    def _go(self, until: float) -> None:
        """Hand it over, once the answer before is sent and the other process has a moment."""
        if self.transport.is_closing():
            return
        self.transport.pause_reading()
        assert self._read is not None
        try:
            gone = not self.transport.get_write_buffer_size() and self.take(
                self.transport.get_extra_info("socket").fileno(), b"".join(self._read)
            )
        except OSError:
            gone = True  # nobody takes it any more
        if gone or time.monotonic() >= until:
            self._over = True
            self.transport.abort()  # which closes this process' descriptor alone
        else:
            self.loop.call_later(_AGAIN_S, self._go, until)
