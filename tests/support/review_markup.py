"""A page of the review pages as a browser reads it: sound, confined to itself, and without what shows a picture."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"meta", "link", "input", "br"}


class Markup(HTMLParser):
    """Reads a page as a browser does and notes what it must not have."""

    def __init__(self) -> None:
        """Nothing was read yet."""
        super().__init__()
        self.open: list[str] = []
        self.problems: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in ("img", "picture", "video", "audio", "iframe", "object", "embed", "style", "image", "source"):
            self.problems.append(f"<{tag}>")
        if tag == "script" and not (given.get("src") or "").startswith("/review/"):
            self.problems.append("a script in the page")
        for name, value in attrs:
            if name.startswith("on") or name == "style":
                self.problems.append(f"{name} of <{tag}>")
            if name in ("href", "src", "action") and not (value or "").startswith(("/review/", "#")):
                self.problems.append(f"{name} {value!r}")
            if name in ("aria-label", "title", "alt", "placeholder"):
                self.text += f" {value} "
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.problems.append(f"</{tag}> closes something else")

    def handle_data(self, data: str) -> None:
        self.text += data


def read(page: str) -> Markup:
    """Return what was read of a page that has no more than it may."""
    found = Markup()
    found.feed(page)
    assert (found.problems, found.open) == ([], [])
    return found
