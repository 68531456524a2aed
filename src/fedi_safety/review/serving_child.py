"""The process of the review pages beside a gate: `python -m` this module.

It is told over standard input what to serve. Connections come from the gate, each with the one request on it that is
for a page, and from the pages' own port where they have one. It ends when the gate that started it says so or is gone;
the decision in hand is finished first.
"""

from __future__ import annotations

import asyncio
import logging
import pickle
import signal
import socket
import sys
from dataclasses import dataclass

from fedi_safety.config.schema import Settings
from fedi_safety.core.errors import FediSafetyError
from fedi_safety.gate.in_hand import UploadsInHand
from fedi_safety.gate.moving import receive
from fedi_safety.judging import logs
from fedi_safety.review.app import Pages
from fedi_safety.review.people import People
from fedi_safety.review.serving import opened, page_server
from fedi_safety.service.priority import step_back

log = logging.getLogger(__name__)

_STEPS_BACK = 2  # judging is one behind who answers uploads; nobody's upload shall wait for a page


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be served: the pages of these settings, at descriptors of this process."""

    settings: Settings
    control: int
    listener: int | None
    in_hand: int | None
    level: int


async def serve(pages: Pages, control: socket.socket, listener: socket.socket | None) -> None:
    """Serve until the gate says to stop, or is gone."""
    loop, server = asyncio.get_running_loop(), page_server(pages)
    adopting: set[asyncio.Task[None]] = set()

    def come() -> None:
        try:
            came = receive(control)
        except BlockingIOError:
            return
        if came.connection is not None:
            task = loop.create_task(server.adopt(came.connection, came.first))
            adopting.add(task)
            task.add_done_callback(adopting.discard)
        elif not came.said:
            loop.remove_reader(control)
            server.should_exit = True

    control.setblocking(False)
    loop.add_reader(control, come)
    await server.serve(sockets=[] if listener is None else [listener])


def main() -> int:
    """Serve what standard input says."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the gate ends it, when it has ended its own
    for _ in range(_STEPS_BACK):
        step_back()
    wanted: Wanted = pickle.load(sys.stdin.buffer)  # from the process that started this one, and from nobody else
    logging.basicConfig(stream=sys.stderr, level=wanted.level)
    logs.set_up(wanted.settings.gate.log)
    listener = None if wanted.listener is None else socket.socket(fileno=wanted.listener)
    try:
        people = People.configured(wanted.settings.review)
        with socket.socket(fileno=wanted.control) as control, opened(wanted.settings, people) as pages:
            if wanted.in_hand is not None:
                pages.in_hand = UploadsInHand(wanted.in_hand)
            asyncio.run(serve(pages, control, listener))
    except FediSafetyError as error:
        log.error("the review pages: %s", error.line())
        return int(error.exit_code)
    return 0


if __name__ == "__main__":
    sys.exit(main())
