"""The pages as an application: each request goes through the same doors, whichever page it is for.

In this order: an address that is served, a host that is ours, somebody who is signed in and may, and for a change the
right origin and the session's token. Only then a page is asked. Pages run in a few threads of their own, so that what
else the process does waits for none of them.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from importlib import resources
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fedi_safety.config.schema import Gate, Settings
from fedi_safety.core.errors import FediSafetyError
from fedi_safety.core.ledger.ports import WholeLedger
from fedi_safety.core.ledger.review import QueueKind
from fedi_safety.core.ports import Clock
from fedi_safety.gate.admission import Admission, parse
from fedi_safety.gate.in_hand import UploadsInHand
from fedi_safety.reports.style import SHARED, style
from fedi_safety.review.carrying import Carrier
from fedi_safety.review.checking import Checker
from fedi_safety.review.counted import Counted
from fedi_safety.review.looking import Looking
from fedi_safety.review.pages import RULES
from fedi_safety.review.people import Attempts, People, Person
from fedi_safety.review.previewing import Previews
from fedi_safety.review.rules import Right, Rule
from fedi_safety.review.sessions import COOKIE, Sessions, Signed
from fedi_safety.review.templating import environment
from fedi_safety.review.visit import Refused, Visit
from fedi_safety.review.words import preferred

log = logging.getLogger(__name__)

_THREADS = 4
_TURN_S = 1.0  # that a page waits, at most, for a moment without an upload: longer than a burst of them
_COUNTED_S = 15.0  # how old counts may be that are made of many rows
_MOST_FORM_BYTES = 64 << 10
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^:\[\]/@\s]+)(?::[0-9]*)?")
_OWN_NAMES = ("localhost", "127.0.0.1", "[::1]")
_FORWARDED_PROTO = "x-forwarded-proto"
_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not `no-referrer`: under that a browser says `null` where a form is sent, and where it comes from is checked.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "X-Robots-Tag": "noindex",
}
"""What every answer of the pages has."""
_SCRIPT = "text/javascript; charset=utf-8"
_FILES = {
    "style.css": "text/css; charset=utf-8",
    "keys.js": _SCRIPT,
    "sliders.js": _SCRIPT,
    "look.js": _SCRIPT,
    "htmx.min.js": _SCRIPT,
    "htmx.LICENSE": "text/plain; charset=utf-8",
}


@dataclass(slots=True)
class Pages:
    """What the pages work with."""

    settings: Settings
    ledger: WholeLedger
    people: People
    clock: Clock
    carrier: Carrier
    checker: Checker
    sessions: Sessions
    counted: Counted
    previews: Previews
    looking: Looking
    attempts: Attempts = field(default_factory=Attempts)
    names: frozenset[str] = frozenset(_OWN_NAMES)
    in_hand: UploadsInHand | None = None  # of the gate beside them
    threads: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(_THREADS, thread_name_prefix="review")
    )
    _counts: dict[str, tuple[float, dict[str, int]]] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Settings, ledger: WholeLedger, people: People, clock: Clock) -> Pages:
        """Put them together; `close` ends what they began."""
        review = settings.review
        return cls(
            settings, ledger, people, clock, Carrier(settings, ledger, clock), Checker(ledger, clock),
            Sessions(ledger, clock, idle_s=review.idle_s, session_s=review.session_s),
            Counted(clock), Previews(settings, clock), Looking(settings, ledger),
            names=frozenset(_OWN_NAMES) | {name.lower() for name in review.names},
        )  # fmt: skip

    def rules_of(self, kind: QueueKind) -> dict[str, int]:
        """Return how many entries of a queue each rule has, as it was a few seconds ago."""
        return self._lately(f"rules {kind}", lambda: self.ledger.queue_rules(kind))

    def waiting_plans(self) -> dict[str, int]:
        """Return how many open plans each store has, by its URL, as it was a few seconds ago."""
        return self._lately("plans", self.ledger.waiting_plans)

    def _lately(self, what: str, count: Callable[[], dict[str, int]]) -> dict[str, int]:
        made_at, counts = self._counts.get(what, (float("-inf"), {}))
        now = time.monotonic()
        if now - made_at > _COUNTED_S:
            counts = count()
            self._counts[what] = now, counts
        return counts

    def close(self) -> None:
        """End in order: the decision in hand is finished, the others wait in the ledger."""
        self.carrier.close()
        self.previews.close()
        self.counted.close()
        self.looking.close()
        self.threads.shutdown(wait=True, cancel_futures=True)


def create_app(pages: Pages, rules: Sequence[Rule] = RULES) -> Starlette:
    """Return the application, to be mounted, or served by itself."""
    for name in environment().list_templates():
        environment().get_template(name)  # else the first who opens a page waits for it to be compiled
    door = _Door(pages)
    by_path: dict[str, dict[str, Rule]] = {}
    for rule in rules:
        by_path.setdefault(rule.path, {})[rule.method] = rule
    routes = [Route(path, door.asked_for(of_path), methods=list(of_path)) for path, of_path in by_path.items()]
    app = Starlette(routes=[*routes, Route("/{name}", door.file, methods=["GET"])])
    app.router.redirect_slashes = False
    app.add_exception_handler(404, door.nowhere)
    app.add_exception_handler(405, door.nowhere)
    return app


class _Door:
    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        review = pages.settings.review
        # The gate's own reading of who a request comes from, with the proxies of the pages.
        self._admission = Admission(Gate(networks=review.networks, trusted_proxies=review.trusted_proxies))
        static = resources.files("fedi_safety.review") / "static"
        self._files = {name: (static / name).read_bytes() for name in _FILES}
        self._files["style.css"] = style(*SHARED).encode() + self._files["style.css"]
        self._tags = {name: f'"{hashlib.sha256(data).hexdigest()[:32]}"' for name, data in self._files.items()}

    def asked_for(self, rules: Mapping[str, Rule]) -> Any:
        """Return what answers the requests of one path."""

        async def endpoint(request: Request) -> Response:
            rule = rules.get("GET" if request.method == "HEAD" else request.method)
            return await self._answer(request, rule)

        return endpoint

    async def nowhere(self, request: Request, _error: Exception) -> Response:
        """Answer what is no page."""
        return await self._answer(request, None)

    async def file(self, request: Request) -> Response:
        """Give the style sheet or the script: the same for everybody, and nothing in them is anybody's."""
        name = request.path_params["name"]
        if name not in self._files:
            return await self._answer(request, None)
        # Kept by the browser, which asks each time whether it is still the same.
        headers = HEADERS | {"Cache-Control": "no-cache", "Content-Type": _FILES[name], "ETag": self._tags[name]}
        if request.headers.get("if-none-match") == self._tags[name]:
            return Response(status_code=304, headers=headers)
        return Response(self._files[name], headers=headers)

    async def _answer(self, request: Request, rule: Rule | None) -> Response:
        visit = self._visit(request)
        loop = asyncio.get_running_loop()
        try:
            form = await self._form(visit) if rule is not None and rule.method == "POST" else {}
            response = await loop.run_in_executor(self._pages.threads, partial(self._in_turn, visit, rule, form))
        except Refused as refused:
            response = _refusal(visit, refused)
        response = _whole_page(visit, response)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        self._set_cookie(visit, response)
        return response

    # --- what a request is

    def _visit(self, request: Request) -> Visit:
        peer = "" if request.client is None else request.client.host
        trusted = self._trusts(peer)
        address = self._admission.address(peer, request.headers)
        scheme = request.url.scheme
        if trusted and (said := request.headers.get(_FORWARDED_PROTO)):
            scheme = "https" if said.strip().lower() == "https" else "http"
        words = preferred(request.headers.get("accept-language", ""))
        return Visit(request, self._pages, str(address or peer), scheme, words, query=dict(request.query_params))

    def _trusts(self, peer: str) -> bool:
        address = parse(peer)
        proxies = self._pages.settings.review.trusted_proxies
        return address is not None and any(address in network for network in proxies)

    async def _form(self, visit: Visit) -> dict[str, str]:
        body = b""
        async for piece in visit.request.stream():
            body += piece
            if len(body) > _MOST_FORM_BYTES:
                raise Refused(413, "This is too much", "A form of these pages has at most 64 KB.")
        from urllib.parse import parse_qsl

        try:
            return dict(parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="replace", max_num_fields=200))
        except ValueError as error:
            raise Refused(400, "This form cannot be read", "It is not one of these pages'.") from error

    # --- the doors, one behind another

    def _in_turn(self, visit: Visit, rule: Rule | None, form: dict[str, str]) -> Response:
        """Let a moment pass while an upload is judged: both want the same processors, and the upload goes first."""
        if self._pages.in_hand is not None:
            self._pages.in_hand.wait_for_none(_TURN_S)
        return self._through(visit, rule, form)

    def _through(self, visit: Visit, rule: Rule | None, form: dict[str, str]) -> Response:
        try:
            self._check_place(visit)
            visit.signed = self._signed(visit)
            if rule is None:
                raise Refused(404, "There is no such page", "It may have been spelt otherwise.")
            if rule.method == "POST":
                self._check_origin(visit)
            if rule.right is not Right.OPEN:
                if visit.signed is None:
                    return self._to_sign_in(visit, rule)
                if not visit.may(rule.right):
                    raise Refused(403, "This is not yours to do", "Your roles do not allow it.")
                if rule.method == "POST":
                    self._check_token(visit, form)
                if rule.proved and not self._pages.sessions.proved(visit.signed):
                    raise Refused(403, "Your password is needed once more", "This asks for it again.", way="prove")
            visit.form = form
            return rule.answer(visit)
        except Refused as refused:
            return _refusal(visit, refused)
        except FediSafetyError as error:
            log.warning("the review pages: %s", error.line())
            visit.query = {}  # by which a page would ask the ledger again
            return visit.page("error.html", 409 if error.exit_code == 2 else 503, title=visit.say("It was not done"),
                              cause=error.line(), way="")  # fmt: skip
        except Exception:
            log.exception("the review pages failed")
            return _refusal(visit, Refused(500, "Something went wrong here", "Nothing was done. The log says more."))

    def _check_place(self, visit: Visit) -> None:
        request = visit.request
        peer = parse("" if request.client is None else request.client.host)
        review = self._pages.settings.review
        served = (*review.networks, *review.trusted_proxies)
        if peer is not None and not any(peer in network for network in served):
            raise Refused(403, "Not from here", "These pages answer listed networks alone (review.networks).")
        if _host_name(request.headers.get("host", "")) not in self._pages.names:
            raise Refused(421, "Not under this name", "These pages are not known by it (review.names).")

    def _check_origin(self, visit: Visit) -> None:
        """Refuse what was not sent by a page of ours: browsers say with every form where it comes from."""
        host = visit.request.headers.get("host", "")
        if visit.request.headers.get("origin") != f"{visit.scheme}://{host}":
            raise Refused(403, "This did not come from these pages", "Go back, load the page anew, and try again.")

    def _check_token(self, visit: Visit, form: Mapping[str, str]) -> None:
        if not hmac.compare_digest(form.get("token", "").encode(), visit.who.token.encode()):
            raise Refused(403, "This page is too old", "You signed in anew since it was made. Load it again.")

    def _signed(self, visit: Visit) -> Signed | None:
        secret = visit.request.cookies.get(COOKIE)
        signed = None if secret is None else self._pages.sessions.find(secret, self._pages.people.known)
        named = self._named(visit)
        if named is None or (signed is not None and signed.person.name == named.name):
            return signed
        if secret is not None:
            self._pages.sessions.end(secret)
        visit.begun = self._pages.sessions.begin(named)
        return self._pages.sessions.find(visit.begun, self._pages.people.known)

    def _named(self, visit: Visit) -> Person | None:
        """Return whom a trusted proxy let in."""
        header = self._pages.settings.review.user_header
        request = visit.request
        if header is None or request.client is None or not self._trusts(request.client.host):
            return None
        names = request.headers.getlist(header)
        return self._pages.people.known.get(names[0]) if len(names) == 1 else None

    def _to_sign_in(self, visit: Visit, rule: Rule) -> Response:
        if rule.method == "POST":
            raise Refused(401, "You are not signed in any more", "Nothing was done.", way="login")
        return visit.go("login")

    def _set_cookie(self, visit: Visit, response: Response) -> None:
        where = {"path": f"{visit.root}/", "httponly": True, "samesite": "strict", "secure": visit.scheme == "https"}
        if visit.begun is not None:
            response.set_cookie(COOKIE, visit.begun, **where)  # type: ignore[arg-type]
        elif visit.ended:
            response.delete_cookie(COOKIE, **where)  # type: ignore[arg-type]


def _host_name(host: str) -> str:
    """Return a Host header without its port; empty where it is none."""
    found = _HOST.fullmatch(host.strip().lower())
    return "" if found is None else found[1]


def _whole_page(visit: Visit, response: Response) -> Response:
    """Send what asked for a part of a page, and gets a refusal or another page, there as a whole."""
    if "hx-request" not in visit.request.headers or response.status_code < 300:
        return response
    there = response.headers.get("location") or str(visit.request.url.replace(scheme="", netloc=""))
    return Response(status_code=204, headers={"HX-Redirect": there})


def _refusal(visit: Visit, refused: Refused) -> Response:
    visit.query = {}
    response = visit.page(
        "error.html", refused.status, title=visit.say(refused.title), cause=visit.say(refused.cause), way=refused.way
    )
    if refused.retry_s is not None:
        response.headers["Retry-After"] = str(int(refused.retry_s) + 1)
    return response
