"""Review pages over a real ledger and a real directory, asked without a socket: harmless bytes that rules condemn."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from argon2 import PasswordHasher
from starlette.applications import Starlette
from starlette.testclient import TestClient

from fedi_safety.app.ledger import SystemClock, open_settings_ledger
from fedi_safety.config.schema import Settings
from fedi_safety.core.enums import ActKind, MediaType, Verdict
from fedi_safety.core.ledger.ports import WholeLedger
from fedi_safety.core.types import Content, FactorHit, Judged, Judgement, Object, RuleHit, Scores, Signal
from fedi_safety.review import people as people_of
from fedi_safety.review.app import Pages
from fedi_safety.review.people import People, hashed
from fedi_safety.review.serving import PLACE, routes
from fedi_safety.stores import canonical_url, open_store

PASSWORD = "a harmless pass phrase"
CIRCLE, SQUARE = "red circle", "blue square"
HERE = "http://localhost"


@dataclass
class Reviewing:
    """The pages with what lies behind them."""

    settings: Settings
    ledger: WholeLedger
    pages: Pages
    store: str
    folder: Path

    def browser(self, address: str = "127.0.0.1", base: str = HERE, **headers: str) -> TestClient:
        """A browser that nobody is signed in with."""
        app = Starlette(routes=routes(self.pages))
        return TestClient(app, base_url=base, client=(address, 50_000), headers=headers, follow_redirects=False)

    def signed_in(self, name: str, **more: Any) -> TestClient:
        """A browser in which somebody is signed in."""
        browser = self.browser(**more)
        person = self.pages.people.known[name]
        browser.cookies.set("fedi_safety_review", self.pages.sessions.begin(person))
        return browser

    def put(
        self, key: str, verdict: Verdict, rule: str = CIRCLE, *, value: float = 0.9, data: bytes = b"", frame: int = 0
    ) -> bytes:
        """Put an object into the store that was judged so; return its content."""
        data = data or f"harmless {key}".encode("utf-8", "surrogateescape")
        place = self.folder / key
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        store = open_store(self.store, self.settings)
        try:
            obj = next(o for o in store.list() if isinstance(o, Object) and o.key == key)
        finally:
            store.close()
        sha256 = hashlib.sha256(data).digest()
        signal = "pixels.red"
        scores = Scores({signal: Signal(value)}, {"fake": "fake 1"})
        hits: tuple[RuleHit, ...] = ()
        if verdict is not Verdict.CLEAR:
            hits = (RuleHit(rule, verdict, None, (FactorHit("red", 0.5, value, signal, frame),)),)
        content = Content(sha256, len(data), MediaType("image/png"), 40, 30, 1, scores)
        run = self.ledger.begin_run("scan", self.store, {"dry_run": True, "whole": True})
        self.ledger.record(run, self.store, [Judged(obj, content, Judgement(verdict, (), hits, "stand-in-1"))])
        if verdict is Verdict.BLOCK:
            self.ledger.plan(run, self.store, [(obj, sha256)], ActKind.DELETE)
        self.ledger.end_run(run, "done", {}, complete=True)
        return sha256


def _cheap() -> PasswordHasher:
    """Hashes as the real one does, at a thousandth of the work."""
    return PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@contextmanager
def reviewing(
    folder: Path, roles: Mapping[str, Sequence[str]] | None = None, *, place: str | Path | None = None, **review: Any
) -> Iterator[Reviewing]:
    """Give pages for these people, each with the password of the tests; nothing is carried out by itself.

    The ledger is at `place`; left out, it is `ledger.db` in the folder.
    """
    with (
        patch.object(people_of, "_hasher", _cheap),
        patch.object(people_of, "_nobodys_hash", lambda: hashed("nobody")),
        _reviewing(folder, roles, str(place or folder / "ledger.db"), review) as found,
    ):
        yield found


@contextmanager
def _reviewing(
    folder: Path, roles: Mapping[str, Sequence[str]] | None, place: str, review: dict[str, Any]
) -> Iterator[Reviewing]:
    media = folder / "media"
    media.mkdir()
    everybody = roles or {role: [role] for role in ("viewer", "reviewer", "looker", "admin")}
    hash_ = hashed(PASSWORD)
    people = {name: {"password": hash_, "roles": list(has)} for name, has in everybody.items()}
    given: dict[str, Any] = {"enabled": True, "people": people, "undo_s": 0, **review}
    breaker = {"min_judged": 1, "max_removed_share": 1.0}
    settings = Settings.model_validate(
        {"store": str(media), "ledger": place, "act": "delete", "review": given, "breaker": breaker}
    )
    ledger = open_settings_ledger(settings)
    try:
        pages = Pages.of(settings, ledger, People.configured(settings.review), SystemClock())
        try:
            yield Reviewing(settings, ledger, pages, canonical_url(str(media), settings), media)
        finally:
            pages.close()
    finally:
        ledger.dispose()


def form_of(page: str, action: str, **more: str) -> dict[str, str]:
    """Return the hidden fields of the form on a page that goes to `action`, with what a person puts in."""
    forms = re.findall(r"<form\b[^>]*action=\"([^\"]*)\"[^>]*>(.*?)</form>", page, flags=re.DOTALL)
    found: list[dict[str, str]] = []
    for place, inner in forms:
        if place == f"{PLACE}/{action}":
            fields = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', inner)
            found.append(dict(fields))
    wanted = [form for form in found if all(form.get(name, value) == value for name, value in more.items())]
    assert wanted, f"no form to {action} with {more}"
    return wanted[0] | more


def send(browser: TestClient, action: str, form: dict[str, str], *, origin: str | None = HERE) -> Any:
    """Send a form as a browser does, with the origin of the page."""
    headers = {} if origin is None else {"Origin": origin}
    return browser.post(f"{PLACE}/{action}", data=form, headers=headers)
