"""The documentation as a site: every page and link is there, it is built strictly, and it asks nobody for anything."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from support.needs import needs
from support.servers import site

LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src", "video": "src"}
"""What a browser fetches by itself when it shows a page; a link is fetched by who follows it."""


@pytest.fixture(scope="module")
@needs("site")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("site")
    site.build(folder)
    yield folder


class Loads(HTMLParser):
    """Collects what a page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "link" and values.get("rel") in ("canonical", "next", "prev", "alternate"):
            return
        if (value := values.get(LOADED.get(tag, ""))) is not None:
            self.found.append(value)


def loads(html: str) -> list[str]:
    parser = Loads()
    parser.feed(html)
    return parser.found


def test_every_page_is_built_and_loads_nothing_from_elsewhere(pages: Path) -> None:
    built = {path.relative_to(pages).parent.as_posix() for path in pages.rglob("index.html")}
    names = [p.relative_to(site.ROOT / "docs").with_suffix("") for p in (site.ROOT / "docs").rglob("*.md")]
    wanted = {n.parent.as_posix() if n.name in ("index", "README") else n.as_posix() for n in names}
    assert built >= wanted
    for path in pages.rglob("*.html"):
        from_elsewhere = [one for one in loads(path.read_text("utf-8")) if re.match(r"(?:\w+:)?//", one)]
        assert from_elsewhere == [], path
    for path in pages.rglob("*.css"):
        assert not re.search(r"url\(\s*['\"]?(?:\w+:)?//|@import\s+['\"](?:\w+:)?//", path.read_text("utf-8")), path


def test_a_page_that_loads_something_from_elsewhere_would_be_found() -> None:
    assert loads('<script src="https://far.example/a.js"></script>') == ["https://far.example/a.js"]
    assert loads('<link rel="stylesheet" href="//far.example/a.css">') == ["//far.example/a.css"]
    assert loads('<a href="https://far.example/">there</a>') == []
