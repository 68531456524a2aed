"""Sessions: a secret in the browser, its hash in the ledger, and two limits on its life.

A session is written when it begins, and again at most once a minute while it is used: the ledger's writer has other
work. With other rights, another password or another role than it began with, it is over.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace

from fedi_safety.core.ledger.review import ReviewLedger, Session
from fedi_safety.core.ports import Clock
from fedi_safety.review.people import Person

COOKIE = "fedi_safety_review"
_WRITTEN_S = 60.0
_PROVED_S = 600.0  # for how long a password counts as given


@dataclass(frozen=True, slots=True)
class Signed:
    """Somebody who is signed in, and the token that every change by them must bring."""

    person: Person
    session: Session
    token: str


def digest_of(secret: str) -> bytes:
    """Return by what a session is found."""
    return hashlib.sha256(secret.encode()).digest()


def token_of(secret: str) -> str:
    """Return the token against forged requests that belongs to a session; the secret does not follow from it."""
    return hmac.new(secret.encode(), b"review form", hashlib.sha256).hexdigest()


class Sessions:
    """All sessions of one ledger."""

    def __init__(self, ledger: ReviewLedger, clock: Clock, *, idle_s: float, session_s: float) -> None:
        """Keep them in this ledger."""
        self._ledger, self._clock = ledger, clock
        self._idle_s, self._session_s = idle_s, session_s

    def begin(self, person: Person) -> str:
        """Begin a session and return its secret. What is long over is forgotten on the way."""
        secret = secrets.token_urlsafe(32)
        now = self._clock.now()
        self._ledger.end_sessions(seen_before=now - max(self._idle_s, _WRITTEN_S) - _WRITTEN_S)
        self._ledger.put_session(Session(digest_of(secret), person.name, person.stamp, now, now, now))
        return secret

    def find(self, secret: str, known: Mapping[str, Person]) -> Signed | None:
        """Return who is signed in with this secret; a session that is over is forgotten."""
        session = self._ledger.session(digest_of(secret))
        if session is None:
            return None
        now = self._clock.now()
        person = known.get(session.person)
        fresh = now - session.seen_at < self._idle_s and now - session.begun_at < self._session_s
        if person is None or not fresh or not hmac.compare_digest(person.stamp, session.stamp):
            self._ledger.end_sessions(digest=session.digest)
            return None
        if now - session.seen_at >= min(_WRITTEN_S, self._idle_s / 4):
            session = replace(session, seen_at=now)
            self._ledger.put_session(session)
        return Signed(person, session, token_of(secret))

    def prove(self, signed: Signed) -> None:
        """Note that the password was given again."""
        self._ledger.put_session(replace(signed.session, proved_at=self._clock.now()))

    def proved(self, signed: Signed) -> bool:
        """Whether the password was given lately, or there is none that could be."""
        return not signed.person.proves or self._clock.now() - signed.session.proved_at < _PROVED_S

    def end(self, secret: str) -> None:
        """End a session."""
        self._ledger.end_sessions(digest=digest_of(secret))
