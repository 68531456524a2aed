"""Lists of known images among the gate's figures, and on a report's page: those there are, and no others."""

from __future__ import annotations

import time

from fedi_safety.app.known.figures import ListFigures
from fedi_safety.core.known.types import Effect
from fedi_safety.core.ledger.matches import ListHits
from fedi_safety.core.ledger.records import Figures, StoreFigures
from fedi_safety.gate.list_gauges import ListGauges
from fedi_safety.judging.metrics import Metrics
from fedi_safety.reports.facts import Report
from fedi_safety.reports.page import render

NAME = 'friends "<b>'
FRIENDS = ListFigures(NAME, Effect.BLOCK, 1200, 1_700_000_000.0, ListHits(7, 2, 3))


def test_figures_by_list_go_with_the_list() -> None:
    metrics = Metrics()
    gauges = ListGauges(metrics, list)
    gauges.show([FRIENDS, ListFigures("gone", Effect.REVIEW, 1, time.time(), ListHits())])
    gauges.show([FRIENDS])
    page = metrics.page().decode()
    labels = '{effect="block",list="friends \\"<b>"}'
    for name, value in (("entries", 1200), ("hits", 7), ("confirmed", 2), ("dismissed", 3)):
        assert f"fedi_safety_gate_known_{name}{labels} {value:.1f}\n" in page
    assert float(page.split(f"fedi_safety_gate_known_age_seconds{labels} ")[1].split()[0]) > 1e6
    assert "gone" not in page


def test_a_reports_page_shows_them() -> None:
    figures = Figures([StoreFigures("file:///x", judged=1)])
    page = render(Report(figures, {}, time.time(), "1", lists=[FRIENDS]))
    assert "Lists of known images" in page and "1,200" in page and "2023-11-14" in page
    assert "friends &quot;&lt;b&gt;" in page
    assert "Lists of known images" not in render(Report(figures, {}, time.time(), "1"))
