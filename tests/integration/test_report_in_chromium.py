"""The report's page in a real browser: it shows hostile names as text, keeps its style, runs and fetches nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedi_safety.core.ledger.history import Condemned
from fedi_safety.core.ledger.records import Figures, StoreFigures
from fedi_safety.core.sightings import Source, SourceKind
from fedi_safety.reports.facts import Report
from fedi_safety.reports.page import render
from support.servers.chromium import chromium

HOSTILE = (
    "<script>document.title='run'</script>.example",
    '"><img src=https://evil.example/x onerror="document.title=\'run\'">',
    "</style><style>@import url(https://evil.example/x)</style>",
    "a\x1b[31m\u202egpj.exe\n",
)


@pytest.mark.needs("chromium")
def test_hostile_names_are_text_and_nothing_is_run_or_fetched(tmp_path: Path) -> None:
    sources = {by: [Source(name, False, 3, 7, 1.8e9) for name in HOSTILE] for by in SourceKind}
    place = tmp_path / "report.html"
    place.write_text(render(Report(Figures([StoreFigures(HOSTILE[0], judged=7)]), {}, 1.8e9, "1", sources=sources)))
    with chromium() as browser:
        page = browser.page.context.browser.new_page()  # nothing of the page before it is told late
        complaints: list[str] = []
        fetched: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: fetched.append(request.url))
        page.goto(place.as_uri(), wait_until="load")
        section = page.locator("section", has_text="Where it came from")
        names = [cell.inner_text() for cell in section.locator("tbody td:first-child").all()]
        points = section.locator("svg.interval circle")
        fill = points.first.evaluate("circle => getComputedStyle(circle).fill")
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        title, count = page.title(), points.count()
    assert names == [*HOSTILE[:3], r"a\x1b[31m\u202egpj.exe\n"] * 2
    assert (complaints, fetched) == ([], [place.as_uri()])
    assert title == "fedi-safety report"
    assert (count, fill) == (2 * len(HOSTILE), "rgb(61, 120, 184)")
    assert wide == 0, "nothing sticks out of the page"


_SMALLEST = """() => Math.min(...[...document.querySelectorAll("svg text")]
  .filter(text => text.getClientRects().length)
  .map(text => parseFloat(getComputedStyle(text).fontSize) * text.ownerSVGElement.clientWidth
    / text.ownerSVGElement.viewBox.baseVal.width))"""


@pytest.mark.needs("chromium")
@pytest.mark.parametrize("width", [320, 390, 1000])
def test_the_words_of_charts_can_be_read_on_a_phone_and_nothing_sticks_out(tmp_path: Path, width: int) -> None:
    figures = Figures([StoreFigures("file:///srv/a", judged=7)], histograms={"face.minor": [10**6, *[3] * 19]})
    figures.judged_by_day = {f"2027-01-{n:02}": 10**n for n in range(1, 7)}
    figures.runs = [
        {"id": 7, "kind": "scan", "store": "file:///srv/a" * 9, "dry_run": True, "started_at": 0.0, "status": "done",
         "summary": {"listed": 1, "judged": 5}}
    ]  # fmt: skip
    hit = Condemned("file:///srv/a", "key " * 40, bytes(32), ("rule",), 1.8e9, None, "planned")
    place = tmp_path / "report.html"
    place.write_text(render(Report(figures, {}, 1.8e9, "1", condemned=[hit])))
    with chromium() as browser:
        page = browser.page.context.browser.new_page(viewport={"width": width, "height": 700})
        page.goto(place.as_uri(), wait_until="load")
        smallest = float(page.evaluate(_SMALLEST))
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert smallest >= 11.9
    assert wide == 0
