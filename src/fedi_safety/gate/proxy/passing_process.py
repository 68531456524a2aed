"""The process that answers what has no file, on the ports that stand in front of servers: `python -m` this module.

It is told over standard input what its ports are, judges nothing, opens no ledger, and ends when the gate that started
it says so or is gone. What may have files goes over to the gate with its connection, before anything is answered.
"""

from __future__ import annotations

import asyncio
import logging
import pickle
import signal
import socket
import sys
import time
from collections.abc import Callable

from starlette.types import ASGIApp

from fedi_safety.gate import edge
from fedi_safety.gate.proxy.forwarding import Head
from fedi_safety.gate.proxy.handover import Told, Wanted, hand_over
from fedi_safety.gate.proxy.passing import Passing
from fedi_safety.gate.proxy.upstreams import Ports
from fedi_safety.gate.responses import Refusal
from fedi_safety.gate.tally import Tally
from fedi_safety.judging import logs

_AGAIN_S = 0.005
_PATIENT_S = 30.0  # for which a connection waits for being taken over


class _Elsewhere(Exception):
    """A request is not for this process: the parser ends here."""


class PassingProtocol(edge.GateProtocol):
    """One connection. A request that may have files is handed over with it.

    That needs all bytes from its first one on: a request that began while another one was unanswered, which no web
    server sends, ends the connection after that answer instead.
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
        """Keep what only passes, and let go of all else. Raises `_Elsewhere`."""
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
        """Hand it over, once the answer before is sent and the gate has a moment."""
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


class _Port(Passing):
    """The application of one port, for what has no file."""

    def passes(self, head: Head) -> bool:
        """Whether a request surely has no file; what is in doubt is not for this process."""
        if not head.target.startswith(b"/"):
            return False
        try:
            return not self._may_have_files(head)
        except Refusal:
            return False


async def serve(wanted: Wanted, control: socket.socket) -> None:
    """Serve until the gate says to stop, or is gone."""
    loop = asyncio.get_running_loop()
    told, tally = Told(control), Tally()
    listeners = [socket.socket(fileno=fd) for fd in wanted.listeners]
    ports = {
        listener.getsockname()[1]: _Port(name, wanted.gate.upstream[name], wanted.gate, told, tally)
        for listener, name in zip(listeners, wanted.listeners.values(), strict=True)
    }
    guard = edge.Edge(
        edge.affordable(wanted.gate.connections),
        lambda peer: any(port.knows(peer) for port in ports.values()),
        frozenset(ports),
    )
    server = edge.make_server(
        Ports(_nowhere, ports),
        guard,
        PassingProtocol,
        passes=staticmethod(lambda port, head: ports[port].passes(head)),
        take=staticmethod(lambda connection, first: hand_over(control, connection, first)),
    )

    def stop() -> None:
        loop.remove_reader(control)
        server.should_exit = True

    control.setblocking(False)
    loop.add_reader(control, stop)  # nothing is said but the end
    await server.serve(sockets=listeners)
    for port in ports.values():
        await port.close()
    tally.close()
    told.tell()


_nowhere: ASGIApp = Ports(None, {})  # type: ignore[arg-type]  # all ports are some server's


def main() -> int:
    """Serve what standard input says."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the gate ends it, when it has ended its own
    wanted: Wanted = pickle.load(sys.stdin.buffer)  # from the process that started this one, and from nobody else
    logging.basicConfig(stream=sys.stderr, level=wanted.level)
    logs.access.setLevel(wanted.answers_level)
    logs.set_up(wanted.gate.log)
    with socket.socket(fileno=wanted.control) as control:
        asyncio.run(serve(wanted, control))
    return 0


if __name__ == "__main__":
    sys.exit(main())
