"""Looking: nothing until it is asked for, once an ask, on record before a byte leaves, and not more than a day has."""

from __future__ import annotations

import io
import re
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fedi_safety.core.enums import Verdict
from fedi_safety.core.errors import LedgerError
from fedi_safety.core.ledger.records import PastEvent
from fedi_safety.core.ledger.views import VIEW_DAY_S, View
from fedi_safety.review.app import HEADERS
from fedi_safety.review.looking import LIVES_S, Looking
from support.corpus.photos import jpeg_bytes, picture
from support.fakes import FakeClock
from support.reviewing import Reviewing, form_of, reviewing, send

LOOKERS = {"ada": ["looker"], "bob": ["looker", "reviewer"], "boss": ["admin"], "eve": ["reviewer", "viewer"]}


def views_of(here: Reviewing, sha256: bytes) -> list[PastEvent]:
    found = here.ledger.show(sha256)
    assert found is not None
    return [event for event in found.events if event.kind == "viewed"]


def asked(browser: Any, sha256: bytes) -> dict[str, str]:
    """The form that a page offers before anything is shown."""
    page = browser.get(f"/review/look/{sha256.hex()}")
    assert page.status_code == 200
    assert "<img" not in page.text
    return form_of(page.text, "look")


def shown(browser: Any, form: dict[str, str]) -> str:
    """Ask, and return the page with the picture."""
    answer = send(browser, "look", form)
    assert answer.status_code == 303, answer.text
    page = browser.get(answer.headers["location"])
    assert page.status_code == 200
    return str(page.text)


def place_of(page: str) -> str:
    (place,) = re.findall(r'<img [^>]*src="([^"]+)"', page)
    return str(place)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """The time by which views end."""
    clock = FakeClock()
    monkeypatch.setattr("fedi_safety.review.looking.time.monotonic", clock.now)
    return clock


def test_a_picture_is_small_grey_given_once_and_on_record_first(tmp_path: Path) -> None:
    with reviewing(tmp_path, LOOKERS) as here:
        sha256 = here.put("one.jpg", Verdict.REVIEW, data=jpeg_bytes("astronaut"))
        ada = here.signed_in("ada")
        for pixels in (32, 64, 256):
            before = len(views_of(here, sha256))
            form = asked(ada, sha256)
            assert form["pixels"] == str(pixels), "the smallest first, and each by itself"
            page = shown(ada, form)
            assert len(views_of(here, sha256)) == before, "it was not shown yet"
            place = place_of(page)
            answer = ada.get(place)
            assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
            assert answer.headers["cache-control"] == "no-store"
            with Image.open(io.BytesIO(answer.content)) as image:
                assert (image.mode, max(image.size)) == ("L", pixels)
            assert ada.get(place).status_code == 410
            assert len(views_of(here, sha256)) == before + 1
        assert [event.payload["pixels"] for event in views_of(here, sha256)] == [32, 64, 256]
        assert {event.payload["by"] for event in views_of(here, sha256)} == {"ada"}
        assert "every size there is" in ada.get(f"/review/look/{sha256.hex()}").text
        assert here.ledger.verify().problem is None


def test_the_one_page_with_a_picture_may_load_it_leads_away_and_is_given_once(tmp_path: Path) -> None:
    with reviewing(tmp_path, LOOKERS) as here:
        sha256 = here.put("one.jpg", Verdict.REVIEW, data=jpeg_bytes("astronaut"))
        ada = here.signed_in("ada")
        before = ada.get(f"/review/look/{sha256.hex()}")
        assert before.headers["content-security-policy"] == HEADERS["Content-Security-Policy"]
        assert re.search(r"<button[^>]* autofocus>Do not show it<", before.text)
        assert "data-key" not in before.text.split("<footer>")[0]
        answer = send(ada, "look", form_of(before.text, "look"))
        page = ada.get(answer.headers["location"])
        assert "img-src 'self'" in page.headers["content-security-policy"]
        assert "unsafe" not in page.headers["content-security-policy"]
        assert page.headers["refresh"] == f"10; url=/review/object/{sha256.hex()}"
        assert page.text.count("<img") == 1
        assert ada.get(answer.headers["location"]).status_code == 410, "reload, back and forward bring nothing"
        again = send(ada, "look", form_of(before.text, "look"))
        assert (again.status_code, "asked already" in again.text) == (410, True)
        assert ada.get(place_of(page.text), headers={"Sec-Purpose": "prefetch"}).status_code == 410
        assert ada.head(place_of(page.text)).status_code == 410
        assert ada.get(place_of(page.text), headers={"Sec-Fetch-Dest": "document"}).status_code == 410
        assert views_of(here, sha256) == [], "none of these was shown anything"
        assert ada.get(place_of(page.text), headers={"Sec-Fetch-Dest": "image"}).status_code == 200


def test_it_dies_after_twenty_seconds_and_is_nobody_elses(tmp_path: Path, clock: FakeClock) -> None:
    with reviewing(tmp_path, LOOKERS) as here:
        here.pages.looking.clock = clock.now
        sha256 = here.put("one.jpg", Verdict.REVIEW, data=jpeg_bytes("astronaut"))
        ada, bob, eve = (here.signed_in(name) for name in ("ada", "bob", "eve"))
        place = place_of(shown(ada, asked(ada, sha256)))
        for other, status in ((bob, 410), (eve, 403), (here.signed_in("ada"), 410)):
            assert other.get(place).status_code == status
        clock.advance(LIVES_S)
        assert ada.get(place).status_code == 410
        place = place_of(shown(ada, asked(ada, sha256)))
        clock.advance(LIVES_S - 1)
        assert ada.get(place).status_code == 200
        answer = send(bob, "look", asked(bob, sha256))
        clock.advance(LIVES_S)
        assert bob.get(answer.headers["location"]).status_code == 410, "the page as well"
        assert [event.payload["by"] for event in views_of(here, sha256)] == ["ada"]


def test_what_cannot_be_written_down_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with reviewing(tmp_path, LOOKERS) as here:
        sha256 = here.put("one.jpg", Verdict.REVIEW, data=jpeg_bytes("astronaut"))
        ada = here.signed_in("ada")
        place = place_of(shown(ada, asked(ada, sha256)))

        def full(*_: object) -> bool:
            raise LedgerError("ledger.db", "no space is left")

        monkeypatch.setattr(here.ledger, "note_view", full)
        answer = ada.get(place)
        assert (answer.status_code, "no space is left" in answer.text) == (503, True)
        assert not answer.content.startswith(b"\x89PNG")
        assert ada.get(place).status_code == 410, "nor later"


def test_a_day_has_a_limit_that_people_lower_and_an_admin_sets(tmp_path: Path) -> None:
    with reviewing(tmp_path, LOOKERS, views_per_day=2) as here:
        sha256s = [here.put(f"{n}.jpg", Verdict.REVIEW, data=jpeg_bytes("astronaut") + bytes(n)) for n in range(4)]
        ada, boss = here.signed_in("ada"), here.signed_in("boss")
        last = asked(ada, sha256s[3])
        for sha256 in sha256s[:2]:
            assert ada.get(place_of(shown(ada, asked(ada, sha256)))).status_code == 200
        assert "Views within a day: 2 of 2." in ada.get(f"/review/look/{sha256s[2].hex()}").text
        refused = send(ada, "look", asked(ada, sha256s[2]))
        assert (refused.status_code, "Enough for today" in refused.text) == (429, True)
        higher = send(ada, "views/lower", form_of(ada.get("/review/views").text, "views/lower") | {"most": "3"})
        assert (higher.status_code, "Only an admin" in higher.text) == (403, True)
        form = form_of(boss.get("/review/views").text, "views/set", person="ada")
        for most in ("", "-1", "1001", "x"):
            assert send(boss, "views/set", form | {"most": most}).status_code == 400
        assert send(boss, "views/set", form | {"most": "4", "person": "nobody"}).status_code == 404
        assert send(boss, "views/set", form | {"most": "4"}).status_code == 303
        place = place_of(shown(ada, last))
        lower = form_of(ada.get("/review/views").text, "views/lower")
        assert send(ada, "views/lower", lower | {"most": "1"}).status_code == 303
        late = ada.get(place)
        assert (late.status_code, late.content[:4] == b"\x89PNG") == (429, False), "the limit of when it leaves counts"
        page = ada.get("/review/views").text
        assert "2 of 1 within a day" in page
        assert "set by ada" in page
        assert send(ada, "views/lower", lower | {"most": "2"}).status_code == 403
        assert here.ledger.verify().problem is None


def test_what_cannot_be_shown_has_a_cause_and_a_way_on(tmp_path: Path) -> None:
    with reviewing(tmp_path, LOOKERS) as here:
        gone = here.put("gone.jpg", Verdict.REVIEW, data=jpeg_bytes("astronaut"))
        other = here.put("other.jpg", Verdict.REVIEW, data=jpeg_bytes("coffee"))
        broken = here.put("broken.jpg", Verdict.REVIEW, data=b"\xff\xd8\xff\xe0 no picture at all")
        bob = here.signed_in("bob")
        (here.folder / "gone.jpg").unlink()
        (here.folder / "other.jpg").write_bytes(jpeg_bytes("rocket"))
        told = {gone: (410, "No store has it any more"), other: (409, "is not what was judged"),
                broken: (422, "Nothing in it could be decoded")}  # fmt: skip
        for sha256, (status, said) in told.items():
            answer = send(bob, "look", asked(bob, sha256))
            assert (answer.status_code, said in answer.text) == (status, True), answer.text
            assert f"/review/object/{sha256.hex()}" in answer.text
            assert views_of(here, sha256) == [], "nothing was shown"
        here.folder.rename(tmp_path / "elsewhere")
        answer = send(bob, "look", asked(bob, other))
        assert (answer.status_code, "could not be reached" in answer.text) == (503, True), answer.text
        assert bob.get(f"/review/look/{'0' * 64}").status_code == 404
        for change in ({"pixels": "64"}, {"pixels": "4000"}, {"pixels": "x"}, {"word": "x"}, {"sha256": "x"}):
            assert send(bob, "look", asked(bob, gone) | change).status_code in (400, 404, 410), change


def test_one_picture_is_made_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedi_safety.review.looking._PATIENCE_S", 0.01)
    with reviewing(tmp_path, LOOKERS) as here:
        sha256 = here.put("one.jpg", Verdict.REVIEW)
        ada = here.signed_in("ada")
        form = asked(ada, sha256)
        with here.pages.looking._one:
            assert send(ada, "look", form).status_code == 503


def test_an_animation_is_a_still_of_the_frame_that_the_verdict_rests_on(tmp_path: Path) -> None:
    with reviewing(tmp_path, LOOKERS) as here:
        body = io.BytesIO()
        frames = [picture(name, 96) for name in ("astronaut", "coffee", "rocket")]
        frames[0].save(body, "GIF", save_all=True, append_images=frames[1:], duration=500)
        sha256 = here.put("moving.gif", Verdict.REVIEW, data=body.getvalue(), frame=2)
        ada = here.signed_in("ada")
        page = shown(ada, asked(ada, sha256))
        assert "it is the nearest there is" not in page
        assert "at 0:01.00" in page
        assert ada.get(place_of(page)).content.startswith(b"\x89PNG")
        (seen,) = views_of(here, sha256)
        assert (seen.payload["frame"], seen.payload["whole"]) == (2, False)


def test_nothing_of_it_stays_in_memory_once_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with reviewing(tmp_path, LOOKERS) as here:
        sha256 = here.put("one.jpg", Verdict.REVIEW, data=jpeg_bytes("astronaut"))
        ada = here.signed_in("ada")
        place_of(shown(ada, asked(ada, sha256)))
        place = place_of(shown(ada, asked(ada, sha256)))
        looking: Looking = here.pages.looking
        assert len(looking._held) == 1, "an ask takes the place of the one before"
        ada.get(place)
        assert not looking._held
        monkeypatch.setattr("fedi_safety.review.looking.LIVES_S", 0.05)
        send(ada, "look", asked(ada, sha256))
        time.sleep(0.3)
        assert not looking._held, "nor of one that nobody fetched"


def test_views_are_found_by_their_index_however_long_the_chain_is(tmp_path: Path) -> None:
    from sqlalchemy import text

    from fedi_safety.ledger.events import Kind
    from fedi_safety.ledger.followup.views import _events

    with reviewing(tmp_path, LOOKERS) as here, here.ledger.database.read() as connection:  # type: ignore[attr-defined]
        for kind in (Kind.VIEWED, Kind.VIEW_LIMIT):
            words = str(_events(kind).compile(connection, compile_kwargs={"literal_binds": True}))
            plan = [row[3] for row in connection.execute(text(f"EXPLAIN QUERY PLAN {words}"))]
            assert any("ix_events_of_views" in step for step in plan), plan


def test_a_limit_is_of_a_day_and_each_is_on_record(tmp_path: Path) -> None:
    with reviewing(tmp_path, LOOKERS) as here:
        sha256 = here.put("one.jpg", Verdict.REVIEW)
        clock = FakeClock(1_900_000_000.0)
        here.ledger.clock = clock  # type: ignore[attr-defined]
        view = View(sha256, "ada\u202e", 32, 0, True)
        assert [here.ledger.note_view(view, 2) for _ in range(3)] == [True, True, False]
        assert here.ledger.note_view(View(sha256, "bob", 32, 0, True), 2)
        here.ledger.set_view_limit("ada\u202e", 3, "boss")
        assert [here.ledger.note_view(view, 2) for _ in range(2)] == [True, False]
        assert dict(here.ledger.views_of_day()) == {"ada\\u202e": 3, "bob": 1}
        clock.advance(VIEW_DAY_S + 1)
        assert here.ledger.note_view(view, 2)
        assert dict(here.ledger.views_of_day()) == {"ada\\u202e": 1}
        assert len(views_of(here, sha256)) == 5
        assert here.ledger.verify().problem is None
