"""One request to the pages: who asks, by which way, in which language, with which form; and how it is answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from starlette.responses import HTMLResponse, RedirectResponse, Response

from fedi_safety.review.rules import Right
from fedi_safety.review.templating import rendered
from fedi_safety.review.words import Words

if TYPE_CHECKING:
    from starlette.requests import Request

    from fedi_safety.review.app import Pages
    from fedi_safety.review.sessions import Signed


class Refused(Exception):
    """A request that is not answered as it was asked, with the status, the cause, and the way on."""

    def __init__(self, status: int, title: str, cause: str, *, way: str = "", retry_s: float | None = None) -> None:
        """Name what a person reads: in English; the page translates it."""
        super().__init__(title)
        self.status, self.title, self.cause, self.way, self.retry_s = status, title, cause, way, retry_s


@dataclass(slots=True)
class Visit:
    """A request with what was found out about it. `form` is empty unless it changes something."""

    request: Request
    pages: Pages
    address: str
    scheme: str
    words: Words
    signed: Signed | None = None
    form: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    begun: str | None = None  # the secret of a session that this answer begins
    ended: bool = False  # whether it ends the session

    @property
    def root(self) -> str:
        """Return the path that all pages lie under, as the browser knows it."""
        return str(self.request.scope.get("root_path", ""))

    def path(self, *parts: str, **query: Any) -> str:
        """Return the address of a page; what is None in the query is left out."""
        asked = {name: value for name, value in query.items() if value is not None}
        place = "/".join(quote(part, safe="") for part in parts)
        return f"{self.root}/{place}" + (f"?{urlencode(asked, errors='backslashreplace')}" if asked else "")

    @property
    def who(self) -> Signed:
        """Return who is signed in; only for pages that ask for a right."""
        assert self.signed is not None, "the rule of this page lets nobody else in"
        return self.signed

    def may(self, right: str) -> bool:
        """Whether who asks has this right."""
        return self.signed is not None and Right(right) in self.signed.person.rights

    def say(self, text: str, **values: Any) -> str:
        """Return a sentence in the reader's language."""
        return self.words.say(text, **values)

    def page(self, template: str, status: int = 200, **values: Any) -> Response:
        """Return a page made of a template."""
        text = rendered(template, self, values)
        return HTMLResponse(text.encode("utf-8", "backslashreplace"), status)  # a name need not be UTF-8

    def go(self, *parts: str, **query: Any) -> Response:
        """Return the way to another page, after a change."""
        return RedirectResponse(self.path(*parts, **query), 303)
