"""The report's page: well-formed, harmless whatever the ledger holds, and with every mark where it belongs."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from fedi_safety.core.enums import Verdict
from fedi_safety.core.ledger.records import Figures, StoreActs, StoreFigures
from fedi_safety.core.policy import Policy, Rule
from fedi_safety.core.sightings import Source, SourceKind
from fedi_safety.reports import plots
from fedi_safety.reports.facts import (
    SHOWN_SOURCES,
    Report,
    coverage_text,
    list_command,
    percent,
    thresholds_of,
    warnings,
)
from fedi_safety.reports.page import SHOWN_DAYS, days_shown, render
from fedi_safety.reports.plots import Part

HOSTILE = "file:///srv/<script>alert(1)</script>&\"'`\x1b[31m\u202e\udcff\n[red]"
POLICY = Policy(
    "p",
    {"minor": ("face.minor",), "sexual": ("nsfw.open_nsfw", "clip.sexual"), "idle": ("face.present",)},
    (
        Rule("both", {"minor": 0.2, "sexual": 0.35}, Verdict.BLOCK),
        Rule("adult <b>", {"sexual": 0.8}, None, "nsfw"),
    ),
)
BINS = [1_000_000, 500, *[0] * 17, 1]


SOURCES = {
    by: [Source(f"{HOSTILE}{n}", local, 9 - n, 20, 1.8e9) for n, local in enumerate((False, True, None))]
    for by in SourceKind
}


def _report(url: str = HOSTILE, **figures: object) -> Report:
    store = StoreFigures(
        url,
        judged=3988,
        trusted=3,
        unscanned=Counter({"unsupported": 7, "corrupt": 5}),
        removed=4,
        history=2,
        verdicts=Counter({"clear": 3980, "review": 5, "block": 3}),
        labels=Counter({"nsfw": 11, "<i>": 1}),
        breaker="too many </section><script>x</script>",
    )
    run = {"id": 7, "kind": "scan", "store": url, "dry_run": True, "started_at": 0.0, "ended_at": None, "status": None}
    failed = run | {"status": "failed", "summary": {"error": "<script>2</script>"}}
    done = {"listed": 1234, "judged": 5, "unscanned": {"corrupt": 2}, "acted": 1, "images_per_second": 26.85}
    found = Figures(
        [store],
        runs=[failed, run | {"summary": None}, run | {"status": "done", "summary": done}],
        histograms={"face.minor": BINS, "face.present": [0] * 19 + [2], "nsfw.open_nsfw": [5] * 20, "x<y": [1] * 20},
        judged_by_day={"2027-01-15": 3988, "2027-01-18": 1},
        removed_by_day={"2027-01-16": 4},
    )
    for name, value in figures.items():
        setattr(found, name, value)
    acts = {url: StoreActs(Counter(done=4, failed=2, planned=1, started=1), Counter(done=4, failed=6))}
    return Report(
        found, acts, 1_800_000_000.0, "1", policy=POLICY.id, thresholds=thresholds_of(POLICY), sources=SOURCES
    )


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.links += [name for name, _ in attrs if name in ("href", "src", "action", "style") or name.startswith("on")]


def _tree(page: str) -> ElementTree.Element:
    return ElementTree.fromstring(page.removeprefix("<!DOCTYPE html>\n"))


def test_the_page_is_well_formed_and_nothing_in_it_runs_or_loads() -> None:
    page = render(_report())
    tree = _tree(page)
    seen = _Tags()
    seen.feed(page)
    assert not set(seen.tags) & {"script", "img", "link", "iframe", "object", "embed", "image", "b"}
    assert seen.tags["i"] == len(tree.findall(".//i[@class]")) and seen.links == []
    assert "url(" not in page and "@import" not in page
    assert "default-src 'none'" in tree.find(".//meta[@http-equiv]").attrib["content"]  # type: ignore[union-attr]
    assert "<script" not in page.lower() and "\x1b" not in page and "\u202e" not in page
    assert "\udcff" not in page and "\n[red]" not in page


def test_hostile_text_is_shown_as_text() -> None:
    texts = ["".join(heading.itertext()) for heading in _tree(render(_report())).iter("h2")]
    assert "file:///srv/<script>alert(1)</script>&\"'`\\x1b[31m\\u202e\\udcff\\n[red]" in texts


def test_every_plot_is_named_for_those_who_do_not_see_it() -> None:
    tree = _tree(render(_report()))
    plots_found = [plot for plot in tree.iter("svg") if plot.get("aria-hidden") is None]
    assert len(plots_found) == 2 + 2 * 2 + 2 * 4, "coverage and verdicts; days and scores, each for two widths"
    ids = [element.attrib["id"] for element in tree.iter() if "id" in element.attrib]
    assert len(ids) == len(set(ids))
    for plot in plots_found:
        assert plot.attrib["role"] == "img"
        title, description = plot.attrib["aria-labelledby"].split()
        assert plot.find(f"title[@id='{title}']") is not None
        assert "".join(plot.find(f"desc[@id='{description}']").itertext())  # type: ignore[union-attr]


def test_the_gaps_are_named_with_the_commands_that_list_them() -> None:
    page = "".join(_tree(render(_report("file:///srv/a"))).itertext())
    assert "Coverage 99.7 %: 12 objects have no verdict: 7 unsupported, 5 corrupt." in page
    assert "fedi-safety list --state unscanned --unscanned REASON" in page


def test_a_reason_is_escaped_like_everything_else() -> None:
    store = StoreFigures("file:///srv/a", judged=1, unscanned=Counter({"a</p><b>": 1}))
    page = "".join(_tree(render(Report(Figures([store]), {}, 0.0, "1"))).itertext())
    assert "1 object has no verdict: 1 a</p><b>." in page


def test_an_empty_ledger_makes_a_page_that_says_so() -> None:
    page = render(Report(Figures(), {}, 0.0, "1"))
    assert "The ledger is empty" in page and _tree(page).find(".//svg") is None


def test_a_store_without_objects_claims_no_coverage() -> None:
    page = render(Report(Figures([StoreFigures("file:///srv/a")]), {}, 0.0, "1"))
    text = "".join(_tree(page).itertext())
    assert "No object is known to be there." in text and "100.0 %" not in text


# --- facts


@pytest.mark.parametrize(
    ("share", "said"),
    [(1.0, "100.0 %"), (0.99999, "99.9 %"), (0.997, "99.7 %"), (0.29, "29.0 %"), (1e-7, "< 0.1 %"), (0.0, "0.0 %")],
)
def test_a_share_is_never_rounded_up_to_everything_or_down_to_nothing(share: float, said: str) -> None:
    assert percent(share) == said


def test_full_coverage_and_a_single_gap_read_well() -> None:
    assert coverage_text(StoreFigures("s", judged=2)) == "coverage 100.0 %: all media have a verdict"
    one = StoreFigures("s", judged=1, unscanned=Counter(corrupt=1))
    assert coverage_text(one) == "coverage 50.0 %: 1 object has no verdict: 1 corrupt"


def test_what_is_no_media_is_named_and_lowers_no_coverage() -> None:
    store = StoreFigures("s", judged=1, unscanned=Counter(corrupt=1), skipped=Counter(not_media=8, symlink=1))
    assert (store.present, store.media, store.coverage) == (11, 2, 0.5)
    said = "coverage 50.0 %: 1 object has no verdict: 1 corrupt; 9 objects skipped, no media"
    assert coverage_text(store) == said
    nothing = StoreFigures("s", skipped=Counter(not_media=1))
    assert coverage_text(nothing) == "no media is known to be there; 1 object skipped, no media"
    old = {"listed": 4, "unscanned": {"not_media": 2, "corrupt": 1}}
    run = {"id": 1, "kind": "scan", "store": "s", "dry_run": False, "started_at": 0.0, "status": "done", "summary": old}
    page = _tree(render(Report(Figures([store], runs=[run]), {}, 0.0, "1")))
    rows = {row[0].text or "".join(row[0].itertext()): [cell.text for cell in row] for row in page.iter("tr")}
    assert [rows[name][1:] for name in ("judged", "corrupt", "symlink (no media)")] == [
        ["1", "50.0 %"], ["1", "50.0 %"], ["1", "-"],
    ]  # fmt: skip
    assert rows["1"][6] == "1", "the first versions counted what is no media as unscanned"
    text = "".join(page.itertext())
    assert "fedi-safety list --state skipped --skipped REASON" in text


def test_a_command_names_and_quotes_the_store_where_there_are_several() -> None:
    several = Report(Figures(), {}, 0.0, "1", several_stores=True)
    command = "fedi-safety list 'file:///a b;rm' --state unscanned --unscanned corrupt"
    assert list_command(several, "file:///a b;rm", "corrupt") == command


def test_warnings_name_the_breaker_first_then_what_is_open() -> None:
    found = warnings(_report("file:///srv/a"))
    beginnings = ["The breaker has stopped the actions on file:///srv/a: too many", "2 objects of", "1 object of"]
    assert [w.startswith(b) for w, b in zip(found, [*beginnings, "1 object of"], strict=True)] == [True] * 4
    assert warnings(Report(Figures([StoreFigures("s", judged=1)]), {"s": StoreActs(Counter(done=3))}, 0, "1")) == []


def test_thresholds_reach_every_signal_of_a_factor_that_a_rule_uses() -> None:
    found = thresholds_of(POLICY)
    assert {name: [(m.value, m.effect) for m in marks] for name, marks in found.items()} == {
        "face.minor": [(0.2, "block")],
        "nsfw.open_nsfw": [(0.35, "block"), (0.8, "label nsfw")],
        "clip.sexual": [(0.35, "block"), (0.8, "label nsfw")],
    }


# --- plots


def _svg(markup: str, shown: str = "wide-plot") -> ElementTree.Element:
    """Return a plot; of one that is drawn twice, that for wide or for narrow screens."""
    tree = ElementTree.fromstring(f"<div>{markup}</div>")
    found = tree.find("svg") if tree.find("svg") is not None else tree.find(f"div[@class='{shown}']/svg")
    assert found is not None
    return found


def test_bins_stand_side_by_side_and_a_single_high_score_is_visible() -> None:
    svg = _svg(plots.histogram("h", "t", "d", BINS))
    bars = svg.findall("rect[@data-bin]")
    assert [int(bar.attrib["data-count"]) for bar in bars] == BINS
    for i, bar in enumerate(bars):
        x, width = float(bar.attrib["x"]), float(bar.attrib["width"])
        assert plots.x_of(i / 20) <= x < x + width <= plots.x_of((i + 1) / 20) + 0.01
    heights = [float(bar.attrib["height"]) for bar in bars]
    assert heights[0] == pytest.approx(150, abs=0.01) and heights[2:19] == [0.0] * 17
    assert heights[0] > heights[1] > heights[19] > 5
    grounds = {round(float(bar.attrib["y"]) + float(bar.attrib["height"]), 1) for bar in bars}
    assert len(grounds) == 1


def test_the_log_scale_is_one() -> None:
    steps = [plots.level(10**n, 10_000) for n in range(5)]
    assert steps[-1] == pytest.approx(1.0)
    widths = [b - a for a, b in pairwise(steps)]
    assert widths == pytest.approx([widths[0]] * 4)
    assert [plots.axis_top(n) for n in (0, 9, 10, 11, 100_001)] == [10, 10, 10, 100, 1_000_000]


def test_thresholds_are_lines_at_their_values() -> None:
    svg = _svg(plots.histogram("h", "t", "d", BINS, {0.35: "why <", 0.8: "b", 0.36: "c"}))
    groups = svg.findall("g[@data-threshold]")
    assert [g.attrib["data-threshold"] for g in groups] == ["0.35", "0.36", "0.8"]
    for group in groups:
        value = float(group.attrib["data-threshold"])
        for line in group.findall("line"):
            assert line.attrib["x1"] == line.attrib["x2"] == f"{plots.x_of(value):.1f}"
        assert group.find("text").text == f"{value:g}"  # type: ignore[union-attr]
    assert groups[0].find("title").text == "why <"  # type: ignore[union-attr]
    rows = [group.find("text").attrib["y"] for group in groups]  # type: ignore[union-attr]
    assert rows[0] == rows[2] != rows[1]  # two labels that would touch stand on different rows


def test_the_page_marks_thresholds_only_where_the_policy_looks() -> None:
    tree = _tree(render(_report()))
    marks = {}
    for svg in tree.iter("svg"):
        title = svg.findtext("title") or ""
        if title.startswith("Scores of "):
            marks[title.removeprefix("Scores of ")] = [g.attrib["data-threshold"] for g in svg.iterfind("g")]
    assert marks == {"face.minor": ["0.2"], "face.present": [], "nsfw.open_nsfw": ["0.35", "0.8"], "x<y": []}


def test_words_are_as_large_on_a_phone_as_on_a_desk_and_none_leaves_the_plot_or_runs_into_another() -> None:
    """A plot that is scaled down takes its words with it; 272 px is what a phone's page leaves."""
    bins = [10 ** (n % 6) for n in range(20)]
    days = [(f"2027-01-{n:02}", 10**6) for n in range(60)]
    drawn = [
        plots.histogram("h", "t", "d", bins, {0.2: "a", 0.25: "b", 1.0: "c"}),
        plots.columns("c", "t", "d", days, "bar"),
    ]
    for markup in drawn:
        svg = _svg(markup, "narrow-plot")
        width, height = map(float, svg.attrib["viewBox"].split()[2:])
        assert width <= 272
        boxes = []
        for text in svg.iter("text"):
            size = 7.0 * len(text.text or "")  # of 12 px, on the generous side
            x, y, anchor = float(text.attrib["x"]), float(text.attrib["y"]), text.attrib["text-anchor"]
            left = x - {"middle": size / 2, "end": size}[anchor]
            assert left >= 0 and left + size <= width and 8 <= y <= height, ElementTree.tostring(text)
            boxes.append((left, left + size, y))
        for number, (left, right, y) in enumerate(boxes):
            for other in boxes[number + 1 :]:
                assert right <= other[0] or other[1] <= left or abs(y - other[2]) >= 10, (number, other)


def test_a_stacked_bar_fills_its_width_and_hides_no_part() -> None:
    parts = [Part("clear", 10_000_000, "clear"), Part("review", 0, "review"), Part("block", 1, "block")]
    svg = _svg(plots.stacked_bar("b", "t", "d", parts))
    rects = svg.findall("rect")
    assert [rect.attrib["class"] for rect in rects] == ["clear", "block"]
    assert float(rects[1].attrib["width"]) >= 4
    assert float(rects[1].attrib["x"]) + float(rects[1].attrib["width"]) == pytest.approx(plots.WIDE_PX, abs=0.01)
    even = _svg(plots.stacked_bar("b", "t", "d", [Part("a", 1, "clear"), Part("b", 3, "gap")])).findall("rect")
    assert float(even[1].attrib["x"]) == pytest.approx(plots.WIDE_PX / 4)
    assert _svg(plots.stacked_bar("b", "t", "d", [Part("a", 0, "clear")])).find("rect[@class='empty']") is not None


@pytest.mark.parametrize("shown", ["wide-plot", "narrow-plot"])
@pytest.mark.parametrize("days", [0, 1, 2, 8, 9, 60])
def test_columns_stay_inside_the_plot(days: int, shown: str) -> None:
    svg = _svg(plots.columns("c", "t", "d", [(f"2027-01-{n:02}", n) for n in range(days)], "bar"), shown)
    width = plots.WIDE_PX if shown == "wide-plot" else plots.NARROW_PX
    assert len(svg.findall("rect")) == days
    names = [float(t.attrib["x"]) for t in svg.findall("text") if (t.text or "").startswith("2027")]
    assert len(names) == min(days, len(names)) <= 8 and (days == 0 or names)
    assert all(b - a > 70 for a, b in pairwise(names))
    assert all(40 < x < width - 40 for x in names)


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "0"), (999, "999"), (1000, "1k"), (1999, "1.9k"), (99_999, "99k"), (999_999, "999k"), (12_345_678, "12M")],
)
def test_compact_counts_are_never_rounded_up(count: int, said: str) -> None:
    assert plots.compact(count) == said


def test_the_days_shown_have_no_hole_and_end_with_the_last() -> None:
    assert days_shown({"2026-12-31": 1}, {"2027-01-02": 2}) == ["2026-12-31", "2027-01-01", "2027-01-02"]
    assert days_shown({}, {}) == []
    long = days_shown({"2019-05-05": 1, "2027-01-02": 1})
    assert len(long) == SHOWN_DAYS and long[-1] == "2027-01-02"


def test_days_before_the_window_are_not_forgotten() -> None:
    page = render(_report("file:///a", judged_by_day={"2019-05-05": 41, "2027-01-18": 1}, removed_by_day={}))
    assert re.search(r"1 object from 2026-11-20 to 2027-01-18, [^<]*; 41 before 2026-11-20", page)
    assert "<h3>Removed by day</h3><p>Nothing.</p>" in page


# --- where it came from


def _sources(page: str) -> list[list[str]]:
    """Return the rows below "Where it came from", as their cells' texts."""
    (section,) = [one for one in _tree(page).iter("section") if one.findtext("h2") == "Where it came from"]
    return [
        ["".join(cell.itertext()) for cell in row.iter("td")]
        for body in section.iter("tbody")
        for row in body.iter("tr")
    ]


def test_the_page_shows_where_it_came_from_most_first_with_intervals() -> None:
    rows = _sources(render(_report()))
    assert [row[2] for row in rows] == ["9 of 20", "8 of 20", "7 of 20"] * 2
    assert [row[1] for row in rows[:3]] == ["remote", "local", ""]
    assert [row[3] for row in rows[:2]] == ["25.8 % to 65.7 %", "21.8 % to 61.3 %"]
    assert [row[5] for row in rows[:1]] == ["2027-01-15"]


def test_the_page_shows_no_more_than_it_must_and_says_where_the_rest_is() -> None:
    many = [Source(f"{n}.example", False, 1, 99, 1.8e9) for n in range(SHOWN_SOURCES + 1)]
    page = render(replace(_report(), sources={SourceKind.INSTANCE: many, SourceKind.PERSON: many[:-1]}))
    assert len(_sources(page)) == 2 * SHOWN_SOURCES
    assert "fedi-safety list --by instance" in page and "fedi-safety list --by person" not in page
    assert "Where it came from" not in render(replace(_report(), sources={by: [] for by in SourceKind}))


def test_an_interval_is_drawn_within_its_cell() -> None:
    for low, share, high in ((0.0, 0.0, 0.5), (0.2065, 1.0, 1.0), (0.3, 0.4, 0.5)):
        svg = ElementTree.fromstring(plots.interval(low, share, high))
        width = float(svg.attrib["viewBox"].split()[2])
        span, point = svg.findall("line")[1], svg.find("circle")
        assert point is not None
        at = [float(span.attrib["x1"]), float(point.attrib["cx"]), float(span.attrib["x2"])]
        assert at == sorted(at) and at[0] > 0 and at[2] < width
