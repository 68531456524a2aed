"""Serves the pages: beside the gate as a mount, or at an address of their own by a server in a thread of its own."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route

from fedi_safety.app.ledger import SystemClock, open_settings_ledger
from fedi_safety.config.schema import Gate, Settings
from fedi_safety.gate.admission import Admission
from fedi_safety.gate.edge import Edge, Server, make_server
from fedi_safety.review.app import Pages, create_app
from fedi_safety.review.people import People

PLACE = "/review"
"""The path that the pages lie under."""
_CONNECTIONS = 128


@contextmanager
def opened(settings: Settings, people: People) -> Iterator[Pages]:
    """Give the pages of the configured ledger, and carry out what is decided on them while the block runs."""
    ledger = open_settings_ledger(settings)
    try:
        pages = Pages.of(settings, ledger, people, SystemClock())
        pages.carrier.start()
        try:
            yield pages
        finally:
            pages.close()
    finally:
        ledger.dispose()


def routes(pages: Pages) -> list[BaseRoute]:
    """Return the pages as what another application serves under their place."""
    place = Mount(PLACE, app=create_app(pages))
    place.path_regex = re.compile(place.path_regex.pattern, re.DOTALL)  # else an address with a line break is nobody's
    return [place, Route(PLACE, _with_slash, methods=["GET"])]


async def _with_slash(request: Request) -> Response:
    return RedirectResponse(f"{request.scope.get('root_path', '')}{PLACE}/")


def page_server(pages: Pages) -> Server:
    """Return a server of the pages alone."""
    review = pages.settings.review
    admission = Admission(Gate(networks=review.networks, trusted_proxies=review.trusted_proxies))
    return make_server(Starlette(routes=routes(pages)), Edge(_CONNECTIONS, admission.knows))


class OwnServer:
    """The pages at an address of their own, in a thread: a slow page is then nobody else's."""

    def __init__(self, pages: Pages, listener: socket.socket) -> None:
        """Take over the listening socket."""
        self._server = page_server(pages)
        self._listener = listener
        self._thread = threading.Thread(target=self._run, name="review-pages", daemon=True)

    def _run(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._listener]))

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def wait(self, stopped: Callable[[], bool]) -> None:
        """Wait until somebody says to stop, or the server ended by itself."""
        while self._thread.is_alive() and not stopped():
            self._thread.join(0.25)

    def stop(self) -> None:
        """Answer what was asked, and end."""
        self._server.should_exit = True
        self._thread.join()
