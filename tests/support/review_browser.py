"""The review pages at an address of their own, and a browser before them that is watched."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fedi_safety.gate import edge
from fedi_safety.review.serving import OwnServer
from fedi_safety.review.sessions import COOKIE
from support.reviewing import Reviewing

CONFINED = ({"document", "stylesheet", "script"}, {"document", "stylesheet"})
"""What pages ask a browser to fetch: with JavaScript, and without."""
_TOLD = """document.addEventListener("securitypolicyviolation", (event) =>
  console.error(`violated: ${event.violatedDirective} ${event.blockedURI}`));"""


@contextmanager
def served(here: Reviewing) -> Iterator[str]:
    """The pages at an address of their own, and their decisions carried out."""
    here.pages.carrier.start()
    with edge.bind("127.0.0.1", 0) as listener:
        server = OwnServer(here.pages, listener)
        server.start()
        try:
            yield f"{edge.shown(listener)}/review"
        finally:
            server.stop()


class Watched:
    """A page of a browser, what it asked for, and what it complained of. `who`: somebody who is signed in there."""

    def __init__(self, browser: Any, here: Reviewing | None = None, who: str = "", **how: Any) -> None:
        self.context = browser.page.context.browser.new_context(**how)
        self.context.add_init_script(_TOLD)
        if here is not None and who:
            secret = here.pages.sessions.begin(here.pages.people.known[who])
            self.context.add_cookies([{"name": COOKIE, "value": secret, "domain": "127.0.0.1", "path": "/review/"}])
        self.page = self.context.new_page()
        self.kinds: set[str] = set()
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.kinds.add(request.resource_type))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    @property
    def wide(self) -> int:
        """By how much something sticks out of the page."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))

    def close(self) -> None:
        """Close the window."""
        self.context.close()
