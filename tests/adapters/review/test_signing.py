"""Signing in: passwords, the one-time key, a proxy's word, limits on guessing, and the life of a session."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fedi_safety.config.review import Review
from fedi_safety.core.errors import ConfigError
from fedi_safety.review import people
from fedi_safety.review.people import Attempts, People, check
from fedi_safety.review.sessions import Sessions, digest_of
from support.fakes import FakeClock, TickingClock
from support.reviewing import PASSWORD, form_of, reviewing, send


def test_name_and_password_begin_a_session_that_the_browser_alone_knows(tmp_path: Path) -> None:
    with reviewing(tmp_path) as here:
        browser = here.browser()
        answer = send(browser, "login", {"name": "viewer", "password": PASSWORD})
        assert (answer.status_code, answer.headers["location"]) == (303, "/review/")
        cookie = answer.headers["set-cookie"].lower()
        assert {"httponly", "samesite=strict", "path=/review/"} <= {part.strip() for part in cookie.split(";")}
        assert "secure" not in cookie, "not over TLS, a browser would not send it"
        secret = browser.cookies["fedi_safety_review"]
        assert browser.get("/review/queue/review").status_code == 200
        assert secret.encode() not in (tmp_path / "ledger.db").read_bytes() + (tmp_path / "ledger.db-wal").read_bytes()
        assert send(browser, "logout", form_of(browser.get("/review/audit").text, "logout")).status_code == 200
        assert here.ledger.session(digest_of(secret)) is None
        browser.cookies.set("fedi_safety_review", secret)
        assert browser.get("/review/audit").status_code == 303


def test_a_cookie_over_tls_is_never_sent_in_the_clear(tmp_path: Path) -> None:
    with reviewing(tmp_path, trusted_proxies=["127.0.0.1/32"], names=["safety.example"]) as here:
        browser = here.browser(base="http://safety.example")
        headers = {"Origin": "https://safety.example", "X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.7"}
        form = {"name": "viewer", "password": PASSWORD}
        answer = browser.post("/review/login", data=form, headers=headers)
        assert answer.status_code == 303
        assert "secure" in answer.headers["set-cookie"].lower()


@pytest.mark.parametrize(
    "form",
    [
        {"name": "viewer", "password": "wrong"},
        {"name": "nobody", "password": PASSWORD},
        {"name": "viewer", "password": ""},
        {"name": "viewer"},
        {},
    ],
)
def test_what_is_wrong_does_not_say_which_half(tmp_path: Path, form: dict[str, str]) -> None:
    with reviewing(tmp_path) as here:
        answer = send(here.browser(), "login", form)
        assert answer.status_code == 401
        assert "This name and this password do not belong together." in answer.text
        assert "set-cookie" not in answer.headers


def test_an_unknown_name_is_held_against_a_hash_as_well(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with reviewing(tmp_path) as here:
        asked: list[str] = []
        hasher = people._hasher()

        class Watched:
            def verify(self, hash_: str, password: str) -> bool:
                asked.append(hash_.split("$")[3])  # what the work costs
                return hasher.verify(hash_, password)

        monkeypatch.setattr(people, "_nobodys_hash", lambda: hasher.hash("nobody's"))
        monkeypatch.setattr(people, "_hasher", Watched)
        send(here.browser(), "login", {"name": "nobody", "password": "x"})
        send(here.browser(), "login", {"name": "viewer", "password": "x"})
        assert len(asked) == 2
        assert asked[0] == asked[1]


def test_guessing_ends_after_a_few_tries_for_this_name_here_and_not_for_others(tmp_path: Path) -> None:
    with reviewing(tmp_path) as here:
        tries = [send(here.browser(), "login", {"name": "viewer", "password": "x"}).status_code for _ in range(7)]
        assert tries == [401] * 5 + [429] * 2
        late = send(here.browser(), "login", {"name": "viewer", "password": PASSWORD})
        assert late.status_code == 429, "the right one neither"
        assert int(late.headers["retry-after"]) > 800
        assert send(here.browser(), "login", {"name": "admin", "password": PASSWORD}).status_code == 303
        elsewhere = here.browser(address="127.0.0.2")
        assert send(elsewhere, "login", {"name": "viewer", "password": PASSWORD}).status_code == 303


def test_one_address_cannot_try_many_names() -> None:
    clock = TickingClock()
    attempts = Attempts(clock.monotonic)
    for number in range(20):
        assert attempts.wait_s(f"name {number}", "192.0.2.1") == 0
        attempts.failed(f"name {number}", "192.0.2.1")
    assert attempts.wait_s("another", "192.0.2.1") > 0
    assert attempts.wait_s("another", "192.0.2.2") == 0
    clock.advance(901)
    assert attempts.wait_s("another", "192.0.2.1") == 0


def test_the_key_of_this_machine_is_good_once_and_not_for_long(tmp_path: Path) -> None:
    with reviewing(tmp_path) as here:
        here.pages.people = People.of_this_machine("me")
        key = here.pages.people.key or ""
        browser = here.browser()
        page = browser.get(f"/review/enter?key={key}")
        assert browser.get(f"/review/enter?key={key}").status_code == 200, "looking at the link does not use it up"
        form = form_of(page.text, "enter")
        assert send(here.browser(), "enter", {"key": "another"}).status_code == 403
        assert send(browser, "enter", form).status_code == 303
        assert browser.get("/review/breaker").status_code == 200
        assert send(here.browser(), "enter", form).status_code == 403
        assert send(here.browser(), "login", {"name": "me", "password": ""}).status_code == 401
        here.pages.people = People.of_this_machine("me")
        assert browser.get("/review/breaker").status_code == 303, "a session ends with the process that began it"
        clock = TickingClock()
        old = People.of_this_machine("me", clock.monotonic)
        clock.advance(601)
        assert old.with_key(old.key or "") is None


def test_a_session_ends_by_idleness_by_age_and_with_other_rights(tmp_path: Path) -> None:
    with reviewing(tmp_path) as here:
        clock, known = FakeClock(), here.pages.people.known
        viewer = known["viewer"]
        sessions = Sessions(here.ledger, clock, idle_s=600, session_s=3000)
        idle = sessions.begin(viewer)
        clock.advance(599)
        assert sessions.find(idle, known) is not None, "used in time"
        clock.advance(599)
        assert sessions.find(idle, known) is not None, "... and again"
        clock.advance(601)
        assert sessions.find(idle, known) is None
        old = sessions.begin(viewer)
        for _ in range(5):
            clock.advance(590)
            assert sessions.find(old, known) is not None
        clock.advance(100)
        assert sessions.find(old, known) is None, "however busy"
        promoted = sessions.begin(viewer)
        assert sessions.find(promoted, {**known, "viewer": replace(viewer, stamp="another")}) is None
        assert sessions.find(promoted, known) is None, "once over, it stays so"
        gone = sessions.begin(viewer)
        assert sessions.find(gone, {}) is None


def test_a_session_in_use_is_not_written_at_every_request(tmp_path: Path) -> None:
    with reviewing(tmp_path) as here:
        clock, known = FakeClock(), here.pages.people.known
        sessions = Sessions(here.ledger, clock, idle_s=1800, session_s=3600)
        secret = sessions.begin(known["viewer"])
        seen = set()
        for _ in range(13):
            clock.advance(10)
            sessions.find(secret, known)
            session = here.ledger.session(digest_of(secret))
            assert session is not None
            seen.add(session.seen_at)
        assert len(seen) == 3


def test_a_trusted_proxy_says_who_it_is_and_nobody_else_does(tmp_path: Path) -> None:
    trust: dict[str, Any] = {"trusted_proxies": ["127.0.0.9/32"], "user_header": "Remote-User"}
    with reviewing(tmp_path, **trust) as here:
        through = here.browser(address="127.0.0.9", **{"Remote-User": "reviewer"})
        assert through.get("/review/queue/review").status_code == 200
        assert "reviewer" in through.get("/review/queue/review").text
        as_other = through.get("/review/breaker", headers={"Remote-User": "admin"})
        assert ">admin<" in as_other.text, "whoever the proxy names now"
        assert here.browser(address="127.0.0.9", **{"Remote-User": "nobody"}).get("/review/").status_code == 303
        untrusted = here.browser(address="127.0.0.1", **{"Remote-User": "admin"})
        assert untrusted.get("/review/breaker").status_code == 303


def test_pages_are_for_listed_addresses_under_known_names(tmp_path: Path) -> None:
    with reviewing(tmp_path, names=["safety.example"]) as here:
        assert here.browser(address="192.0.2.1").get("/review/login").status_code == 403
        for host, status in (
            ("localhost", 200), ("localhost:9999", 200), ("127.0.0.1:80", 200), ("[::1]:80", 200),
            ("safety.example", 200), ("SAFETY.example:443", 200), ("evil.example", 421), ("", 421),
            ("localhost.evil.example", 421), ("[::1]evil", 421),
        ):  # fmt: skip
            assert here.browser().get("/review/login", headers={"Host": host}).status_code == status, host


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"enabled": True}, "nobody who could sign in"),
        ({"people": {"a": {"password": "plain text"}}}, "is no hash"),
        ({"people": {"a": {}}}, "no proxy tells who"),
        ({"user_header": "Remote-User"}, "nobody is believed"),
        ({"networks": ["0.0.0.0/0"]}, "open to the world"),
        ({"trusted_proxies": ["::/0"]}, "open to the world"),
    ],
)
def test_settings_that_let_in_anybody_or_nobody_are_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check(Review.model_validate(given))
