"""I9: the project carries no picture or clip at all: tests draw theirs or use harmless ones from packages."""

from __future__ import annotations

import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

from fedi_safety.core.enums import Reason
from fedi_safety.core.errors import Unscannable
from fedi_safety.media import sniff
from support.corpus.photos import jpeg_bytes

ROOT = Path(__file__).parent.parent.parent
SHAPES = {"svg", "title", "style", "g", "rect", "line", "circle", "path", "text"}
PAGE = {
    "body",
    "header",
    "main",
    "section",
    "h1",
    "h2",
    "h3",
    "p",
    "div",
    "span",
    "dl",
    "dt",
    "dd",
    "figure",
    "figcaption",
}
PAGE |= {"table", "thead", "tbody", "tr", "th", "td", "code", "i", "b", "ul", "li", "a", "details", "summary"}
PAGE |= {"br", "desc", "figcaption", "footer"}
DRAWN = {  # by code, of words and lines; what each may be made of
    "docs/benchmark.svg": SHAPES,
    "docs/terminal.svg": SHAPES,
    "docs/report.svg": SHAPES | PAGE | {"foreignObject"},
}
PAGES = {"docs/review-object.webp", "docs/review-phone.webp", "docs/review-queue.webp"}
"""Review pages as a browser shows them, by support/review_pictures.py: words and bars of stand-ins."""


def is_media(data: bytes) -> bool:
    try:
        sniff(data[:4096])
    except Unscannable as error:
        return error.reason not in (Reason.NOT_MEDIA, Reason.EMPTY)
    return True


def test_no_tracked_file_is_media() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.split(b"\0")
    paths = [ROOT / name.decode() for name in listed if name]
    assert len(paths) > 50
    assert is_media(jpeg_bytes("coffee"))
    found = [path for path in paths if path.is_file() and is_media(path.read_bytes())]
    assert set(found) == {ROOT / name for name in (*DRAWN, *PAGES)}


@pytest.mark.parametrize("name", DRAWN)
def test_what_is_drawn_shows_no_picture(name: str) -> None:
    used = {element.tag.rpartition("}")[2] for element in ElementTree.parse(ROOT / name).iter()}
    assert used <= DRAWN[name], used - DRAWN[name]
    assert "url(" not in (ROOT / name).read_text("utf-8")
