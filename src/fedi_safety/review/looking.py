"""Views in the making: held in memory for seconds, given out once, and on record before a byte of them leaves.

An ask is a form that is good once. What it leads to is a page that is given once and a picture that is given once, both
to the session that asked, within `LIVES_S`. Loading any of them again shows nothing.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fedi_safety.app.viewing import SIZES, Still, still
from fedi_safety.config.schema import Settings
from fedi_safety.core.errors import printable
from fedi_safety.core.ledger.ports import WholeLedger
from fedi_safety.core.ledger.views import View
from fedi_safety.review.sessions import Signed

LIVES_S = 20.0
"""For how long a view can be fetched."""
SHOWN_S = 10
"""For how long it stays on the page."""
_ASK_S = 600.0  # how long a form is good, and how long a smaller size counts as seen
_MOST_ASKS, _MOST_HELD = 1_000, 8
_PATIENCE_S = 3.0  # how long one who asks waits for another


@dataclass(slots=True)
class Held:
    """A view that is ready. `session` is the digest of the one that asked for it."""

    sha256: bytes
    person: str
    session: bytes
    pixels: int
    still: Still
    until: float
    page_given: bool = False


@dataclass(slots=True)
class _Seen:
    """The largest size of a content that a person was shown lately."""

    pixels: int
    at: float


@dataclass(slots=True)
class Looking:
    """All views of one process. Nothing of them is ever written anywhere."""

    settings: Settings
    ledger: WholeLedger
    clock: Callable[[], float] = time.monotonic
    make: Callable[[Settings, WholeLedger, bytes, int], Still] = still
    _asks: OrderedDict[str, tuple[bytes, bytes, float]] = field(default_factory=OrderedDict)
    _held: OrderedDict[str, Held] = field(default_factory=OrderedDict)
    _seen: OrderedDict[tuple[str, bytes], _Seen] = field(default_factory=OrderedDict)
    _guard: threading.Lock = field(default_factory=threading.Lock)
    _one: threading.Lock = field(default_factory=threading.Lock)

    # --- asking

    def ask(self, who: Signed, sha256: bytes) -> str:
        """Return what makes a form good once."""
        word = secrets.token_urlsafe(16)
        with self._guard:
            self._asks[word] = who.session.digest, sha256, self.clock() + _ASK_S
            _cut(self._asks, _MOST_ASKS)
        return word

    def take_ask(self, who: Signed, sha256: bytes, word: str) -> bool:
        """Whether a form was good; it is not any more."""
        with self._guard:
            session, of, until = self._asks.pop(word, (b"", b"", 0.0))
        return (session, of) == (who.session.digest, sha256) and self.clock() < until

    def next_size(self, person: str, sha256: bytes) -> int | None:
        """Return the size that a person may ask for now: the smallest, else the next one; None at the end."""
        with self._guard:
            seen = self._seen.get((person, sha256))
        if seen is None or self.clock() - seen.at > _ASK_S:
            return SIZES[0]
        return next((size for size in SIZES if size > seen.pixels), None)

    # --- showing

    def prepare(self, who: Signed, sha256: bytes, pixels: int) -> str | None:
        """Make a view and hold it; return by what it is fetched, None where another is being made. Raises `ViewError`.

        Pages have few threads, and a store or a decoder may take its time.
        """
        if not self._one.acquire(timeout=_PATIENCE_S):
            return None
        try:
            made = self.make(self.settings, self.ledger, sha256, pixels)
        finally:
            self._one.release()
        word = secrets.token_urlsafe(32)
        with self._guard:
            self._forget(self.clock(), who.session.digest)
            until = self.clock() + LIVES_S
            self._held[word] = Held(sha256, who.person.name, who.session.digest, pixels, made, until)
            _cut(self._held, _MOST_HELD)
        late = threading.Timer(LIVES_S, self._drop, (word,))  # also where nobody asks for anything any more
        late.daemon = True
        late.start()
        return word

    def page(self, who: Signed, word: str) -> Held | None:
        """Return a view for its page, once."""
        with self._guard:
            self._forget(self.clock())
            held = self._held.get(word)
            if held is None or held.session != who.session.digest or held.page_given:
                return None
            held.page_given = True
            return held

    def picture(self, who: Signed, word: str) -> Held | None:
        """Take a view out, once, for the session that asked for it."""
        with self._guard:
            self._forget(self.clock())
            held = self._held.get(word)
            if held is None or held.session != who.session.digest:
                return None
            return self._held.pop(word)

    def record(self, held: Held) -> bool:
        """Commit that a view leaves now; whether it may. Raises `LedgerError`, and then it must not."""
        view = View(held.sha256, held.person, held.pixels, held.still.frame, held.still.whole)
        if not self.ledger.note_view(view, self.settings.review.views_per_day):
            return False
        with self._guard:
            self._seen[held.person, held.sha256] = _Seen(held.pixels, self.clock())
            _cut(self._seen, _MOST_ASKS)
        return True

    def close(self) -> None:
        """Forget all."""
        with self._guard:
            self._held.clear()
            self._asks.clear()

    def _drop(self, word: str) -> None:
        with self._guard:
            self._held.pop(word, None)

    def _forget(self, now: float, session: bytes | None = None) -> None:
        """Let go of what is too old, and of whatever else a session asked for before."""
        for word in [word for word, held in self._held.items() if now >= held.until or held.session == session]:
            del self._held[word]

    # --- how many

    def limit_of(self, person: str) -> int:
        """Return how many views a day a person may have."""
        own = self.ledger.view_limits().get(printable(person))
        return self.settings.review.views_per_day if own is None else own.most

    def counts(self) -> Mapping[str, int]:
        """Return how many views each person had within a day."""
        return self.ledger.views_of_day()


def _cut(held: OrderedDict[Any, Any], most: int) -> None:
    while len(held) > most:
        held.popitem(last=False)
