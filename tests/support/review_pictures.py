"""The pictures of the review pages in the documentation: of a drawn ledger, as Chromium shows them.

`python -m support.review_pictures` makes docs/review-*.webp anew, and with a folder it puts there every page that the
table of routes has, light and dark, large and small, to be looked at. Nothing in them is of a real server, and no page
shows a picture.
"""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image

from fedi_safety.review.rules import ROLES
from support import needs
from support.review_browser import Watched, served
from support.review_filled import Names, fill
from support.review_routes import crawl
from support.reviewing import Reviewing, reviewing
from support.servers.chromium import chromium

DOCS = Path(__file__).parents[2] / "docs"
MOST_BYTES = 100_000
LARGE, SMALL = {"width": 1000, "height": 820}, {"width": 390, "height": 844}
_NO_PLACE = r"""() => {
  for (const each of document.querySelectorAll("main *"))
    for (const node of each.childNodes)
      if (node.nodeType === Node.TEXT_NODE)
        node.textContent = node.textContent.replace(/file:\/\/\/\S*?\/media\b/, "file:///srv/mastodon/system");
}"""


def shown(names: Names) -> dict[str, tuple[str, str, dict[str, int]]]:
    """Return the pictures of the documentation: address, scheme and window."""
    planned = names.planned.hex()
    return {
        "review-queue": ("/review/queue/planned", "light", LARGE),
        "review-object": (f"/review/object/{planned}?queue=planned", "light", LARGE),
        "review-phone": (f"/review/object/{planned}?queue=planned", "dark", SMALL),
    }


def taken(page: Any, whole: bool) -> bytes:
    """Return what a page looks like as WebP; places of this machine are not shown."""
    page.evaluate(_NO_PLACE)
    picture = Image.open(io.BytesIO(page.screenshot(full_page=whole, animations="disabled")))
    out = io.BytesIO()
    picture.convert("RGB").save(out, "WEBP", quality=80, method=6)
    return out.getvalue()


def every(browser: Any, here: Reviewing, root: str, folder: Path) -> None:
    """Put every page there is into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    places: dict[str, str] = {}
    for rule, place in crawl(here.signed_in("ada")).every():
        if "export" not in rule.path and rule.path != "/policy/file":
            places.setdefault(re.sub(r"[^a-z]+", "-", rule.path).strip("-") or "first", place)
    places |= {"nothing": "/review/nothing"}
    for scheme, size in (("light", LARGE), ("dark", SMALL), ("dark", LARGE)):
        ada = Watched(browser, here, "ada", color_scheme=scheme, viewport=size, locale="en-GB")
        for name, place in places.items():
            ada.page.goto(root.removesuffix("/review") + place)
            (folder / f"{name}-{scheme}-{size['width']}.webp").write_bytes(taken(ada.page, whole=True))
        ada.close()


def main(folder: str | None = None) -> None:
    """Make them."""
    needs.begin(None)
    with (
        TemporaryDirectory(prefix="pictures-") as temporary,
        reviewing(Path(temporary), {"ada": list(ROLES), "bea": ["reviewer"]}, undo_s=10) as here,
    ):
        names = fill(here)
        with served(here) as root, chromium() as browser:
            if folder is not None:
                every(browser, here, root, Path(folder))
                return
            for name, (place, scheme, size) in shown(names).items():
                bea = Watched(browser, here, "bea", color_scheme=scheme, viewport=size, locale="en-GB")
                bea.page.goto(root.removesuffix("/review") + place)
                data = taken(bea.page, whole=False)
                assert len(data) < MOST_BYTES, (name, len(data))
                (DOCS / f"{name}.webp").write_bytes(data)


if __name__ == "__main__":
    main(*sys.argv[1:2])
