"""The review pages in a real browser: decided by keys and without JavaScript, nothing fetched that shows anything."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from fedi_safety.core.enums import Verdict
from fedi_safety.core.ledger.review import DecisionState, QueueKind
from fedi_safety.review.people import People
from support.review_browser import Watched, served
from support.reviewing import PASSWORD, reviewing
from support.servers.chromium import chromium

OBJECTS = 20
MOST_S = 60.0
PLACES = (
    *("queue/review", "queue/planned", "queue/failed", "decisions", "breaker", "sealed", "audit", "nothing"),
    *("coverage", "sources", "policy", "lists"),
)


@pytest.mark.long
@pytest.mark.needs("chromium")
def test_twenty_objects_are_decided_by_keys_alone_and_no_picture_is_asked_for(tmp_path: Path) -> None:
    with reviewing(tmp_path, {"ada": ["reviewer"]}) as here, served(here) as root, chromium() as browser:
        for number in range(OBJECTS):
            here.put(f"{number}.png", Verdict.BLOCK)
        ada = Watched(browser)
        page = ada.page
        page.goto(f"{root}/login")
        page.keyboard.type("ada")
        page.keyboard.press("Tab")
        page.keyboard.type(PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_url("**/queue/planned")
        began = time.monotonic()
        page.keyboard.press("j")
        page.keyboard.press("j")
        page.keyboard.press("k")
        page.keyboard.press("Enter")
        for number in range(OBJECTS):
            page.wait_for_url("**/object/**")
            shown = page.url
            page.keyboard.press("d" if number % 2 else "r")
            page.keyboard.press("Enter")
            page.wait_for_url(lambda url, shown=shown: url != shown)
        took = time.monotonic() - began
        page.wait_for_url("**/queue/planned?done=*")
        ended = {one.state for one in here.ledger.decisions(limit=OBJECTS)}
        while not ended <= {DecisionState.DONE}:
            assert not ended & {DecisionState.FAILED, DecisionState.LAPSED}
            page.wait_for_timeout(50)
            ended = {one.state for one in here.ledger.decisions(limit=OBJECTS)}
        assert here.ledger.queue_counts()[QueueKind.PLANNED] == 0
        left = sorted(int(path.stem) for path in here.folder.iterdir())
        assert len(left) == OBJECTS // 2, "every other one was removed, and the others stay"
        assert took < MOST_S
        assert (ada.complaints, ada.kinds) == ([], {"document", "stylesheet", "script"})


@pytest.mark.long
@pytest.mark.needs("chromium")
def test_every_page_fits_a_phone_in_both_languages_and_works_without_javascript(tmp_path: Path) -> None:
    with reviewing(tmp_path, undo_s=600) as here, served(here) as root, chromium() as browser:
        sha256 = here.put(f"{'long name ' * 12}.png", Verdict.BLOCK, "a rule with a name that does not end " * 4)
        here.put("two.png", Verdict.REVIEW, "<img src=x onerror=alert(1)>")
        here.pages.people = People.of_this_machine("me")
        for locale, scheme in (("en-GB", "light"), ("de-DE", "dark")):
            here.pages.people = People.of_this_machine("me")
            phone = Watched(browser, locale=locale, color_scheme=scheme, viewport={"width": 320, "height": 700})
            phone.page.goto(f"{root}/enter?key={here.pages.people.key}")
            phone.page.locator("form button").click()
            phone.page.wait_for_url("**/queue/planned")
            for place in (*PLACES, f"object/{sha256.hex()}", f"many?queue=planned&decision=dismiss&store={here.store}"):
                phone.page.goto(f"{root}/{place}")
                assert phone.wide == 0, place
                assert phone.page.locator("html").get_attribute("lang") == locale[:2]
            assert [said for said in phone.complaints if "404" not in said] == []
            assert phone.kinds <= {"document", "stylesheet", "script", "fetch"}
        here.pages.people = People.of_this_machine("me")
        plain = Watched(browser, java_script_enabled=False)
        page = plain.page
        page.goto(f"{root}/enter?key={here.pages.people.key}")
        page.locator("form button").click()
        page.locator("a.entry").first.click()
        page.get_by_role("button", name=re.compile("^Dismiss")).click()
        page.locator("section.notice button").first.click()
        assert [one.state for one in here.ledger.decisions()] == [DecisionState.UNDONE]
        assert plain.kinds == {"document", "stylesheet"}


@pytest.mark.long
@pytest.mark.needs("chromium")
@pytest.mark.parametrize("script", [True, False], ids=["with JavaScript", "without"])
def test_a_threshold_is_moved_and_what_would_change_is_shown(tmp_path: Path, script: bool) -> None:
    with reviewing(tmp_path) as here, served(here) as root, chromium() as browser:
        here.pages.settings = here.settings.model_copy(update={"policy": str(tmp_path / "mine.toml")})
        (tmp_path / "mine.toml").write_text(
            '[factors]\nred = ["pixels.red"]\n[[rules]]\nname = "red"\nwhen = { red = 0.5 }\nverdict = "block"\n'
        )
        for number in range(4):
            here.put(f"{number}.png", Verdict.BLOCK, value=0.9 if number else 0.1)
        here.pages.people = People.of_this_machine("me")
        me = Watched(browser, java_script_enabled=script)
        page = me.page
        page.goto(f"{root}/enter?key={here.pages.people.key}")
        page.locator("form button").click()
        page.goto(f"{root}/policy")
        field, slider = page.locator('input[name="t0.0"]'), page.locator("input[type=range]")
        assert slider.is_visible() is script
        shown = page.url
        if script:
            page.wait_for_selector("#would table", timeout=60_000)
            slider.focus()
            page.keyboard.press("End")
            page.keyboard.press("ArrowLeft")
            assert field.input_value() == "0.99"
            page.wait_for_selector('#would [data-threshold="0.99"]', state="attached", timeout=60_000)
            assert page.url == shown, "in place"
        else:
            field.fill("0.99")
            page.get_by_role("button", name="See what would change").click()
            until = time.monotonic() + 60
            while not page.locator("#would table").count() and time.monotonic() < until:
                page.get_by_role("link", name="Load again").click()
        rows = [row.inner_text().split("\t") for row in page.locator("#would table").first.locator("tbody tr").all()]
        assert ["condemned", "clear", "1"] in rows and ["–", "undecided", "3"] in rows, rows
        with page.expect_download() as download:
            page.get_by_role("button", name="Save as a file").click()
        assert "red = 0.99" in Path(download.value.path()).read_text()
        assert me.complaints == []


@pytest.mark.long
@pytest.mark.needs("chromium")
def test_older_entries_come_onto_the_same_page_and_the_first_of_them_has_the_focus(tmp_path: Path) -> None:
    with reviewing(tmp_path) as here, served(here) as root, chromium() as browser:
        for number in range(45):
            here.put(f"{number}.png", Verdict.BLOCK)
        here.pages.people = People.of_this_machine("me")
        me = Watched(browser)
        page = me.page
        page.goto(f"{root}/enter?key={here.pages.people.key}")
        page.locator("form button").click()
        page.wait_for_url("**/queue/planned")
        assert page.locator("a.entry").count() == 40
        page.get_by_role("link", name="Older").click()
        page.wait_for_function("document.querySelectorAll('a.entry').length === 45")
        page.wait_for_function("document.activeElement.textContent.includes('4.png')")
        assert page.get_by_role("link", name="Older").count() == 0
        page.keyboard.press("j")
        assert "3.png" in str(page.evaluate("document.activeElement.textContent"))
        assert (me.complaints, page.url.endswith("/queue/planned")) == ([], True)
