"""No look: a browser has no picture until it is asked for, has it once, and keeps nothing of it, script or none."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fedi_safety.core.enums import Verdict
from support.corpus.photos import jpeg_bytes
from support.review_browser import served
from support.reviewing import PASSWORD, Reviewing, reviewing
from support.servers.chromium import ARGUMENTS, profiled

SHOW, AWAY = re.compile("^Show it once"), "Do not show it"


class Watched:
    """A tab, every picture that it asked for with the answer, and what it complained of."""

    def __init__(self, context: Any, page: Any = None) -> None:
        self.page = page or context.new_page()
        self.pictures: list[tuple[str, int]] = []
        self.complaints: list[str] = []
        self.page.on("response", self._answered)
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _answered(self, response: Any) -> None:
        if response.request.resource_type == "image":
            self.pictures.append((response.url, response.status))

    def sign_in(self, root: str) -> None:
        self.page.goto(f"{root}/login")
        self.page.get_by_label("Name").fill("ada")
        self.page.get_by_label("Password").fill(PASSWORD)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.wait_for_url("**/queue/**")

    def ask(self, root: str, sha256: bytes) -> None:
        """Come to the page that asks first, and have it shown."""
        self.page.goto(f"{root}/object/{sha256.hex()}")
        self.page.get_by_role("link", name="Ask for a small grey picture").click()
        self.page.wait_for_url("**/look/**")
        self.page.wait_for_function(f"document.activeElement.textContent === '{AWAY}'")  # with the first frame drawn
        self.page.get_by_role("button", name=SHOW).click()
        self.page.wait_for_url("**/shown/**")

    def loaded(self) -> None:
        """Wait until the picture is there."""
        self.page.wait_for_function("document.images[0]?.complete")
        assert self.visible == 1

    @property
    def visible(self) -> int:
        """How many pictures the page shows now."""
        return int(self.page.evaluate("[...document.images].filter(i => i.complete && i.naturalWidth > 0).length"))


@contextmanager
def story(tmp_path: Path) -> Iterator[tuple[Reviewing, str, bytes]]:
    with reviewing(tmp_path, {"ada": ["looker", "reviewer"]}) as here, served(here) as root:
        yield here, root, here.put("one.jpg", Verdict.REVIEW, data=jpeg_bytes("astronaut"))


def views(here: Reviewing, sha256: bytes) -> int:
    found = here.ledger.show(sha256)
    assert found is not None
    return sum(event.kind == "viewed" for event in found.events)


@pytest.mark.long
@pytest.mark.needs("chromium")
def test_no_look(tmp_path: Path) -> None:
    """Nothing until asked, one GET an ask, gone by key, focus and time; none after back, forward, reload, restore."""
    given: list[bytes] = []
    profile = tmp_path / "profile"
    with story(tmp_path) as (here, root, sha256):
        note_what_is_made(here, given)
        with profiled(profile) as context:
            tab = Watched(context)
            page = tab.page
            tab.sign_in(root)
            for place in ("queue/review", f"object/{sha256.hex()}", "decisions", "views", f"look/{sha256.hex()}"):
                page.goto(f"{root}/{place}")
                for key in "jkcdrhut":
                    page.keyboard.press(key)
            assert tab.pictures == [], "no key and no page has a picture"
            tab.ask(root, sha256)
            tab.loaded()
            assert ([status for _, status in tab.pictures], views(here, sha256)) == ([200], 1)
            page.keyboard.press("Escape")
            assert (tab.visible, page.locator("#unseen").is_visible()) == (0, True)
            shown = page.url
            page.get_by_role("button", name="Away with it").click()
            page.wait_for_url("**/object/**")
            page.go_back()
            assert (tab.visible, page.url) == (0, shown)
            page.go_forward()
            page.goto(shown)
            page.reload()
            page.go_back()
            assert (tab.visible, len(tab.pictures)) == (0, 1), "one GET an ask"
            place = tab.pictures[0][0]
            assert context.request.get(place, headers={"Sec-Fetch-Dest": "image"}).status == 410
            tab.ask(root, sha256)
            tab.loaded()
            page.evaluate("dispatchEvent(new Event('blur'))")
            assert tab.visible == 0
            tab.ask(root, sha256)
            tab.loaded()
            page.wait_for_url("**/object/**", timeout=15_000)
            page.go_back()
            assert (tab.visible, views(here, sha256), len(tab.pictures)) == (0, 3, 3)
            assert [said for said in tab.complaints if not re.search("404|410", said)] == [], (
                "nothing breaks the pages' policy"
            )
        assert len(given) == 3
        is_not_on(profile, given)
        with profiled(profile, args=[*ARGUMENTS, "--restore-last-session"]) as context:
            again = [Watched(context, page) for page in context.pages]
            for tab in again:
                tab.page.wait_for_timeout(500)
            assert [(tab.visible, tab.pictures) for tab in again] == [(0, [])] * len(again)
        assert views(here, sha256) == 3


@pytest.mark.long
@pytest.mark.needs("chromium")
def test_no_look_without_javascript(tmp_path: Path) -> None:
    given: list[bytes] = []
    with story(tmp_path) as (here, root, sha256):
        note_what_is_made(here, given)
        with profiled(tmp_path / "profile", java_script_enabled=False) as context:
            tab = Watched(context)
            page = tab.page
            tab.sign_in(root)
            page.goto(f"{root}/look/{sha256.hex()}")
            assert page.locator("button:focus").text_content() == AWAY
            page.get_by_role("button", name=SHOW).click()
            page.wait_for_url("**/shown/**")
            assert page.locator("img").count() == 1
            page.wait_for_url("**/object/**", timeout=15_000)
            assert page.locator("img").count() == 0
            page.go_back()
            assert page.locator("img").count() == 0
            page.reload()
            assert ([status for _, status in tab.pictures], views(here, sha256)) == ([200], 1)
    is_not_on(tmp_path / "profile", given)


def note_what_is_made(here: Reviewing, given: list[bytes]) -> None:
    make = here.pages.looking.make

    def noted(*asked: Any) -> Any:
        made = make(*asked)
        given.append(made.picture.png)
        return made

    here.pages.looking.make = noted


def is_not_on(folder: Path, pictures: list[bytes]) -> None:
    """Hold the files of a profile to the bytes of what was shown: their compressed lines, which nothing else has."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    everything = b"".join(path.read_bytes() for path in files)
    assert len(everything) > 100_000, "the profile is somewhere else: this would not notice a leak"
    for png in pictures:
        for at in range(60, len(png) - 40, 97):
            assert png[at : at + 24] not in everything
