"""Nobody is kept out of the review pages: axe, small windows, forced colours, little movement, and keys alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedi_safety.review.rules import ROLES
from support.review_browser import Watched, served
from support.review_filled import fill
from support.review_routes import crawl
from support.reviewing import Reviewing, reviewing
from support.servers import axe
from support.servers.chromium import chromium

pytestmark = [pytest.mark.long, pytest.mark.needs("chromium")]
EVERYTHING = {"all": list(ROLES)}
SMALL, LARGE = {"width": 320, "height": 640}, {"width": 1280, "height": 900}
LOOKS = (("light", SMALL, "en-GB"), ("dark", SMALL, "de-DE"), ("dark", LARGE, "en-GB"), ("light", LARGE, "de-DE"))


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Reviewing]:
    with reviewing(tmp_path, EVERYTHING, undo_s=600) as found:
        fill(found)
        yield found


def pages_of(here: Reviewing) -> list[str]:
    """The address of each page with each kind of query, and of one that there is not; without the leading place."""
    found: dict[tuple[str, str], str] = {}
    for rule, place in crawl(here.signed_in("all")).every(5):
        if "export" not in rule.path and rule.path != "/policy/file":
            path, _, query = place.removeprefix("/review").partition("?")
            names = "&".join(sorted(part.partition("=")[0] for part in query.split("&")))
            found.setdefault((path if "{sha256}" not in rule.path else rule.path, names), place.removeprefix("/review"))
    return [*found.values(), "/nothing"]


@pytest.mark.needs("axe")
def test_axe_finds_nothing_on_any_page_light_or_dark_small_or_large(here: Reviewing) -> None:
    places = pages_of(here)
    assert len(places) > 12
    with served(here) as root, chromium() as browser:
        for scheme, size, locale in LOOKS:
            all_ = Watched(browser, here, "all", color_scheme=scheme, viewport=size, locale=locale)
            nobody = Watched(browser, color_scheme=scheme, viewport=size, locale=locale)
            found: Counter[axe.Violation] = Counter()
            for watched, shown in ((all_, places), (nobody, ["/login", "/enter?key=none"])):
                for place in shown:
                    watched.page.goto(f"{root}{place}")
                    found.update(axe.violations(watched.page))
                    assert watched.wide == 0, (place, size)
                assert [said for said in watched.complaints if "404" not in said] == []
                watched.close()
            assert found == Counter(), (scheme, size)


def test_what_the_pages_forbid_is_blocked_and_told_or_no_test_would_see_it(here: Reviewing) -> None:
    planted = """() => {
      document.body.append(Object.assign(document.createElement("style"), {textContent: "body { color: red }"}));
      document.body.append(Object.assign(document.createElement("script"), {textContent: "document.title = 'run'"}));
      document.body.append(Object.assign(document.createElement("img"), {src: "/review/style.css"}));
    }"""
    with served(here) as root, chromium() as browser:
        all_ = Watched(browser, here, "all")
        all_.page.goto(f"{root}/audit")
        assert all_.complaints == []
        all_.page.evaluate(planted)
        all_.page.wait_for_timeout(200)
        told = " ".join(all_.complaints)
        assert all(f"violated: {each}" in told for each in ("style-src-elem", "script-src-elem", "img-src")), told
        assert all_.page.title() != "run"


def test_no_page_moves_by_itself_and_where_less_movement_is_asked_for_nothing_does(here: Reviewing) -> None:
    moving = """() => [...document.querySelectorAll("*")].filter((each) => {
      const style = getComputedStyle(each);
      return style.animationName !== "none" || style.transitionDuration.split(",").some((s) => parseFloat(s) > 0);
    }).map((each) => each.outerHTML.slice(0, 100))"""
    animated = "() => document.getAnimations().length"
    with served(here) as root, chromium() as browser:
        still = Watched(browser, here, "all", reduced_motion="reduce")
        for place in pages_of(here):
            still.page.goto(f"{root}{place}")
            assert still.page.evaluate(moving) == [], place
            assert still.page.evaluate(animated) == 0, place
        usual = Watched(browser, here, "all", reduced_motion="no-preference")
        usual.page.goto(f"{root}/breaker")
        assert usual.page.evaluate(moving) != [], "else the first half shows nothing"


def test_nothing_is_said_by_colour_alone(here: Reviewing) -> None:
    """Where the reader's own few colours are forced, and without any style at all, every word is there as before."""
    words = "() => document.querySelector('main').innerText"
    told = """() => [...document.querySelectorAll(".verdict, .state, .warn, .wrong, [aria-current], .bar")]
      .filter((each) => each.getClientRects().length && !each.innerText?.trim() && !each.getAttribute("aria-label"))
      .map((each) => each.outerHTML.slice(0, 100))"""
    bars = """() => [...document.querySelectorAll(".bar")].map((bar) =>
      ["track", "value", "bound"].map((name) => getComputedStyle(bar.querySelector(`.${name}`)).fill))"""
    seen = 0
    with served(here) as root, chromium() as browser:
        usual = Watched(browser, here, "all")
        forced = Watched(browser, here, "all", forced_colors="active")
        for place in pages_of(here):
            usual.page.goto(f"{root}{place}")
            forced.page.goto(f"{root}{place}")
            assert forced.page.evaluate(words) == usual.page.evaluate(words), place
            assert usual.page.evaluate(told) == [], "what has a colour has a word as well"
            for fills in forced.page.evaluate(bars):
                assert len(set(fills)) == len(fills), (place, "a bar's parts look alike", fills)
                seen += 1
    assert seen > 0


def test_all_that_a_mouse_can_do_the_keyboard_can_and_shows_where_it_is(here: Reviewing) -> None:
    wanted = """() => [...document.querySelectorAll("a[href], button, select, summary, input:not([type=hidden])")]
      .filter((each) => each.getClientRects().length && !each.disabled).length"""
    focused = """() => {
      const each = document.activeElement;
      if (each === document.body || each === document.documentElement) return null;
      const all = [...document.querySelectorAll("*")], style = getComputedStyle(each);
      const box = each.getBoundingClientRect();
      return [all.indexOf(each), parseFloat(style.outlineWidth), box.width * box.height > 0,
        each.outerHTML.slice(0, 90)];
    }"""
    with served(here) as root, chromium() as browser:
        all_ = Watched(browser, here, "all", viewport=LARGE)
        page = all_.page
        for place in pages_of(here):
            page.goto(f"{root}{place}")
            page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
            page.evaluate("document.activeElement.blur()")
            met: dict[int, str] = {}
            for _ in range(page.evaluate(wanted) + 3):  # from wherever the page puts it, and around once
                page.keyboard.press("Tab")
                if (found := page.evaluate(focused)) is not None:
                    which, outline, visible, shown = found
                    assert outline >= 2 and visible, (place, shown)
                    met[which] = shown
            assert len(met) >= page.evaluate(wanted), (place, met)
        assert "Skip" in page.locator("a.skip").inner_text()
