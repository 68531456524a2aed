"""Lists of known images among the gate's figures, and on a report's page: those there are, and no others."""

from __future__ import annotations

import time

from fedi_safety.app.known.figures import ListFigures, SourceFigures
from fedi_safety.app.sharing.figures import PublisherFigures
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


def test_figures_by_source_tell_its_age_and_what_it_was_told_and_one_that_is_late() -> None:
    metrics = Metrics()
    gauges = ListGauges(metrics, list)
    read = SourceFigures("shield", "arachnid_shield", time.time() - 60, sends=True, calls=3, sent=130)
    failing = SourceFigures("friends", "url", None, 7, "it answered 500", late=True)
    gauges.show_sources([read, failing])
    assert gauges.late
    page = metrics.page().decode()
    labels = '{kind="arachnid_shield",source="shield"}'
    assert f"fedi_safety_gate_known_source_sent_hashes{labels} 130.0\n" in page
    assert f"fedi_safety_gate_known_source_calls{labels} 3.0\n" in page
    assert 'fedi_safety_gate_known_source_failures{kind="url",source="friends"} 7.0\n' in page
    assert 'age_seconds{kind="url"' not in page and 'calls{kind="url"' not in page
    gauges.show_sources([read])
    page = metrics.page().decode()
    assert "friends" not in page and not bool(gauges.late)


def test_figures_by_publisher_go_with_the_publisher() -> None:
    metrics = Metrics()
    gauges = ListGauges(metrics, list)
    read = PublisherFigures("one.example", time.time() - 60, "", 12, 5, 1)
    gauges.show_publishers([read, PublisherFigures("two.example", None, "it has a second history", 0, 0, 0)])
    page = metrics.page().decode()
    for name, value in (("entries", 12), ("waiting", 5), ("held", 1), ("failing", 0)):
        assert f'fedi_safety_gate_known_publisher_{name}{{publisher="one.example"}} {value:.1f}\n' in page
    assert 'known_publisher_failing{publisher="two.example"} 1.0\n' in page
    assert 60 <= float(page.split('publisher_age_seconds{publisher="one.example"} ')[1].split()[0]) < 6e4
    assert 'age_seconds{publisher="two.example"' not in page
    gauges.show_publishers([])
    assert "example" not in metrics.page().decode()


def test_a_reports_page_shows_where_they_are_from() -> None:
    figures = Figures([StoreFigures("file:///x", judged=1)])
    failing = SourceFigures("friends", "url", 1_700_000_000.0, 2, "source friends: <it> answered 500")
    page = render(Report(figures, {}, time.time(), "1", list_sources=[failing]))
    assert (
        "friends: url, read 2023-11-14 22:13 UTC; failed 2 times since: source friends: &lt;it&gt; answered 500" in page
    )


def test_a_reports_page_shows_them() -> None:
    figures = Figures([StoreFigures("file:///x", judged=1)])
    page = render(Report(figures, {}, time.time(), "1", lists=[FRIENDS]))
    assert "Lists of known images" in page and "1,200" in page and "2023-11-14" in page
    assert "friends &#34;&lt;b&gt;" in page
    assert "Lists of known images" not in render(Report(figures, {}, time.time(), "1"))
