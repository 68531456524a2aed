"""The picture of a report in the documentation: of drawn shapes, judged by the stand-in policy (red circles).

`python -m support.report_picture` makes docs/report.svg anew: it draws shapes, scans them as the command line does, and
puts the top of the page, as Chromium understands it, into an SVG. Nothing in it is of a real server.
"""

from __future__ import annotations

import random
from pathlib import Path
from tempfile import TemporaryDirectory

from fedi_safety.cli.called import LAUNCHER
from support import needs, stand_in
from support.corpus import shapes
from support.program import program
from support.servers.chromium import chromium

PICTURE = Path(__file__).parents[2] / "docs/report.svg"
_PICTURES, _SEED = 160, 15
_WIDTH, _HEIGHT = 1000, 1180
_WHOLE = """() => {
  const body = document.createElement("body");
  body.append(...document.querySelectorAll("style"), ...document.body.children);
  return new XMLSerializer().serializeToString(body);
}"""


def fill(folder: Path) -> None:
    """Draw pictures where a Mastodon keeps them; every twentieth is a red circle, some files are no pictures."""
    draw = random.Random(_SEED)
    things = [thing for thing in shapes.THINGS if thing != ("red", "circle")]
    for number in range(_PICTURES):
        scene = (("red", "circle"),) if number % 20 == 7 else (draw.choice(things),)
        kind = "cache/media_attachments/files" if number % 3 else "accounts/avatars"
        place = folder / kind / f"109/876/543/210/{number // 40:03}/{number % 40:03}/original/{number:016x}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(shapes.png_bytes(shapes.scene(number, scene)))
    (folder / "backup.csv").write_text("a,b\n1,2\n")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(200))


def main() -> None:
    """Write the picture."""
    needs.begin(None)
    with TemporaryDirectory(prefix="report-") as temporary:
        folder = Path(temporary)
        fill(folder / "system")
        trace = '[trace]\nserver = "mastodon"\nurl = "https://social.example"\n'
        config = stand_in.write_config(folder, folder / "system", trace)
        about = ("--config", str(config), "--ledger", str(folder / "ledger.db"))
        for words in (("scan", "--dry-run", "--act", "delete"), ("apply", "--act", "delete", "--yes")):
            done = program(*words, *about)
            assert done.code in (0, 1), done
        page = folder / "report.html"
        assert program("report", "--html", str(page), *about, env={LAUNCHER: "./fedi-safety"}).code == 0
        page.write_text(page.read_text("utf-8").replace(str(folder), "/path/to"), "utf-8")
        with chromium() as browser:
            browser.page.set_viewport_size({"width": _WIDTH, "height": _HEIGHT})
            browser.page.goto(page.as_uri(), wait_until="load")
            inside = browser.page.evaluate(_WHOLE)
        PICTURE.write_text(
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">\n'
            "<title>The top of a report of drawn shapes</title>\n"
            f'<foreignObject width="{_WIDTH}" height="{_HEIGHT}">{inside}</foreignObject>\n</svg>\n',
            "utf-8",
        )


if __name__ == "__main__":
    main()
