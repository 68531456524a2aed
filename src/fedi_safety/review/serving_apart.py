"""The review pages in a process of their own, as the gate sees it: started, given connections, started anew, ended.

A page holds Python's lock for tens of milliseconds, and an upload would wait for that. So nothing of a page is computed
in the gate: it reads the head of a request and hands the connection over (`gate.moving`). Linux alone has that.
"""

from __future__ import annotations

import logging
import pickle
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from urllib.parse import unquote_to_bytes

from httptools import HttpParserInvalidURLError, parse_url
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from fedi_safety.config.schema import Settings
from fedi_safety.gate.in_hand import UploadsInHand
from fedi_safety.gate.moving import hand_over
from fedi_safety.review.app import HEADERS
from fedi_safety.review.serving import PLACE
from fedi_safety.review.serving_child import Wanted

log = logging.getLogger(__name__)

_MODULE = "fedi_safety.review.serving_child"
_AGAIN_S = 5.0  # after which a process that ended by itself is started anew
_END_S = 60.0  # for the decision in hand; what is killed then is finished by the next run
_PLACE = PLACE.encode()


class PagesProcess:
    """The process that has the pages of these settings, and their port where they have one.

    Its methods may be called in any thread. Where it ended by itself it is started anew a moment later; until then
    `routes` answer.
    """

    def __init__(
        self, settings: Settings, listener: socket.socket | None = None, in_hand: UploadsInHand | None = None
    ) -> None:
        """Start nothing yet. What is computed there waits for moments without an upload `in_hand`."""
        self._settings, self._listener = settings, listener
        self._in_hand = None if in_hand is None else in_hand.descriptor
        self._guard = threading.Lock()
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._closing = threading.Event()
        # The child is started by one lasting thread, which waits for its end.
        self._thread = threading.Thread(target=self._run, name="review-process", daemon=True)

    def start(self) -> None:
        """Begin; it takes connections at once, and answers them when it is there."""
        self._begin()
        self._thread.start()

    @property
    def pid(self) -> int | None:
        """Return its process id."""
        process = self._process
        return None if process is None else process.pid

    # --- what the gate asks

    def has(self, target: bytes) -> bool:
        """Whether a request for this target is one for a page, and the process is there."""
        try:
            path = unquote_to_bytes(parse_url(target).path or b"")  # as the server reads it
        except HttpParserInvalidURLError:
            return False
        return self._control is not None and (path == _PLACE or path.startswith(_PLACE + b"/"))

    def take(self, connection: int, first: bytes) -> bool:
        """Take a connection; see `hand_over`."""
        with self._guard:
            if self._control is None:
                raise BrokenPipeError
            return hand_over(self._control, connection, first)

    def routes(self) -> list[BaseRoute]:
        """Return what the gate itself answers in the place of the pages while the process is not there."""
        return [Route(place, _away, methods=["GET", "POST"]) for place in (PLACE, PLACE + "/{rest:path}")]

    # --- life

    def _begin(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener = None if self._listener is None else self._listener.fileno()
        passed = [fd for fd in (theirs.fileno(), listener, self._in_hand) if fd is not None]
        try:
            with theirs:
                process = subprocess.Popen(
                    [sys.executable, "-P", "-m", _MODULE],
                    stdin=subprocess.PIPE,
                    pass_fds=passed,
                    process_group=0,  # Ctrl-C is for the gate, which ends it in its order
                )
                level = logging.getLogger().level
                wanted = Wanted(self._settings, theirs.fileno(), listener, self._in_hand, level)
            assert process.stdin is not None
            with suppress(BrokenPipeError):
                pickle.dump(wanted, process.stdin)
                process.stdin.close()
        except OSError:
            ours.close()
            raise
        ours.setblocking(False)
        with self._guard:
            self._process, self._control = process, ours

    def _run(self) -> None:
        while True:
            process, began = self._process, time.monotonic()
            assert process is not None
            process.wait()
            with self._guard:
                control, self._control = self._control, None
                if control is not None:
                    control.close()
            if self._closing.is_set():
                return
            log.error("the process of the review pages ended by itself (%s) after %.0f s; it is started anew",
                      process.returncode, time.monotonic() - began)  # fmt: skip
            if not self._again():
                return

    def _again(self) -> bool:
        """Start it anew, as often as it takes; return false where it is to end meanwhile."""
        while not self._closing.wait(_AGAIN_S):
            try:
                self._begin()
            except OSError as error:
                log.error(
                    "the process of the review pages cannot be started: %s", error.strerror or type(error).__name__
                )
            else:
                return True
        return False

    def close(self) -> None:
        """Let it answer what it has in hand, and end."""
        self._closing.set()
        with self._guard:
            if self._control is not None:
                with suppress(OSError):
                    self._control.shutdown(socket.SHUT_WR)
        self._thread.join(_END_S)
        if self._thread.is_alive() and self._process is not None:
            self._process.kill()
            self._thread.join()


async def _away(_request: Request) -> Response:
    said = "The review pages are being started anew. Load this again in a few seconds.\n"
    return PlainTextResponse(said, 503, {**HEADERS, "Retry-After": str(round(_AGAIN_S))})
