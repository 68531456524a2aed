"""The process that answers what has no file, on the ports that stand in front of servers: `python -m` this module.

It is told over standard input what its ports are, judges nothing, opens no ledger, and ends when the gate that started
it says so or is gone. What may have files goes over to the gate with its connection, before anything is answered.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import pickle
import signal
import socket
import sys

from starlette.types import ASGIApp

from fedi_safety.gate import edge
from fedi_safety.gate.moving import MovingProtocol, hand_over
from fedi_safety.gate.proxy.forwarding import Head
from fedi_safety.gate.proxy.handover import Told, Wanted
from fedi_safety.gate.proxy.passing import Passing
from fedi_safety.gate.proxy.upstreams import Ports
from fedi_safety.gate.responses import Refusal
from fedi_safety.gate.tally import Tally
from fedi_safety.judging import logs
from fedi_safety.service.priority import come_first
from fedi_safety.service.real_time import RealTime


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
        MovingProtocol,
        passes=staticmethod(lambda port, head: ports[port].passes(head)),
        take=staticmethod(lambda connection, first: hand_over(control, connection, first)),
    )

    def stop() -> None:
        loop.remove_reader(control)
        server.should_exit = True

    control.setblocking(False)
    loop.add_reader(control, stop)  # nothing is said but the end
    gc.collect()
    gc.freeze()  # what is there now stays: to go through all of it takes 30 ms, in which nobody is answered
    await server.serve(sockets=listeners)
    for port in ports.values():
        await port.close()
    tally.close()
    told.tell()


_nowhere: ASGIApp = Ports(None, {})  # type: ignore[arg-type]  # all ports are some server's


async def _serve_first(wanted: Wanted, control: socket.socket) -> None:
    first = RealTime()
    first.begin()  # where it may: else it stands behind who judges now and then, amid an answer
    try:
        await serve(wanted, control)
    finally:
        first.end()


def main() -> int:
    """Serve what standard input says."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the gate ends it, when it has ended its own
    come_first()
    wanted: Wanted = pickle.load(sys.stdin.buffer)  # from the process that started this one, and from nobody else
    logging.basicConfig(stream=sys.stderr, level=wanted.level)
    logs.access.setLevel(wanted.answers_level)
    logs.set_up(wanted.gate.log)
    with socket.socket(fileno=wanted.control) as control:
        asyncio.run(_serve_first(wanted, control))
    return 0


if __name__ == "__main__":
    sys.exit(main())
