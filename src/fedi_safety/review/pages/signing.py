"""Signing in and out, and giving the password once more."""

from __future__ import annotations

from starlette.responses import Response

from fedi_safety.review.rules import Right, Rule
from fedi_safety.review.sessions import COOKIE
from fedi_safety.review.visit import Refused, Visit

_LONGEST = 1_024  # letters of a name or a password


def login(visit: Visit) -> Response:
    """Ask for name and password."""
    if visit.signed is not None:
        return visit.go("")
    return visit.page("login.html", wrong=False, local=visit.pages.people.key is not None)


def sign_in(visit: Visit) -> Response:
    """Begin a session for somebody with a password."""
    name, password = (visit.form.get(field, "")[:_LONGEST] for field in ("name", "password"))
    _not_too_often(visit, name)
    person = visit.pages.people.with_password(name, password)
    if person is None:
        visit.pages.attempts.failed(name, visit.address)
        return visit.page("login.html", 401, wrong=True, local=visit.pages.people.key is not None)
    visit.pages.attempts.succeeded(name, visit.address)
    _end_earlier(visit)
    visit.begun = visit.pages.sessions.begin(person)
    return visit.go("")


def enter(visit: Visit) -> Response:
    """Show what the one-time link opens; opening it is another request, so that a preview does not use it up."""
    return visit.page("enter.html", key=visit.query.get("key", ""))


def come_in(visit: Visit) -> Response:
    """Begin a session for whoever has the one-time key."""
    _not_too_often(visit, "")
    person = visit.pages.people.with_key(visit.form.get("key", ""))
    if person is None:
        visit.pages.attempts.failed("", visit.address)
        raise Refused(403, "This link was used already, or is too old", "Start the program again for another.")
    _end_earlier(visit)
    visit.begun = visit.pages.sessions.begin(person)
    return visit.go("")


def sign_out(visit: Visit) -> Response:
    """End the session."""
    _end_earlier(visit)
    visit.ended, visit.signed = True, None
    return visit.page("bye.html")


def prove(visit: Visit) -> Response:
    """Ask for the password once more."""
    return visit.page("prove.html", wrong=False)


def proved(visit: Visit) -> Response:
    """Note that the password was given once more."""
    name = visit.who.person.name
    _not_too_often(visit, name)
    if visit.pages.people.with_password(name, visit.form.get("password", "")[:_LONGEST]) is None:
        visit.pages.attempts.failed(name, visit.address)
        return visit.page("prove.html", 401, wrong=True)
    visit.pages.sessions.prove(visit.who)
    return visit.go("sealed")


def _not_too_often(visit: Visit, name: str) -> None:
    wait_s = visit.pages.attempts.wait_s(name, visit.address)
    if wait_s > 0:
        raise Refused(429, "Too many tries", "Wait a quarter of an hour, and try again.", retry_s=wait_s)


def _end_earlier(visit: Visit) -> None:
    secret = visit.request.cookies.get(COOKIE)
    if secret is not None:
        visit.pages.sessions.end(secret)


RULES = (
    Rule("/login", "GET", Right.OPEN, login),
    Rule("/login", "POST", Right.OPEN, sign_in),
    Rule("/enter", "GET", Right.OPEN, enter),
    Rule("/enter", "POST", Right.OPEN, come_in),
    Rule("/logout", "POST", Right.SEE, sign_out),
    Rule("/prove", "GET", Right.SEE, prove),
    Rule("/prove", "POST", Right.SEE, proved),
)
