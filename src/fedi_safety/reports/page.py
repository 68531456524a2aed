"""The report as one HTML page that stands alone: no script, no network, no picture but plots drawn from numbers.

Pure: a `Report` in, text out, by the templates that the review pages share. The page is also well-formed XML, which
makes a forgotten escape a failing test.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from fedi_safety.core.wording.hints import command
from fedi_safety.reports import cells, plots
from fedi_safety.reports.facts import (
    actions_text,
    by_count,
    coverage_text,
    gaps_of,
    gate_rows,
    list_command,
    objects_text,
    percent,
    sources_command,
    sources_shown,
    warnings,
)
from fedi_safety.reports.period import HEADINGS, day_cells, happened_rows, span_of
from fedi_safety.reports.plots import Part, text
from fedi_safety.reports.progress import counts_text, how_far, under_way_parts
from fedi_safety.reports.runs import run_kind, run_rate, run_status
from fedi_safety.reports.style import report_style
from fedi_safety.reports.templating import english, environment, rendered

if TYPE_CHECKING:
    from fedi_safety.core.ledger.records import StoreFigures
    from fedi_safety.core.ledger.uploads import UploadFigures
    from fedi_safety.reports.facts import Report, Threshold

SHOWN_DAYS = 60
_CODE, _AS_CODE = re.compile("`([^`]*)`"), r"<code>\1</code>"
_VERDICTS = ("clear", "review", "block")
# The page needs nothing but its own style; should an escape ever fail, the browser still fetches and runs nothing.
_CSP = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def render(report: Report) -> str:
    """Return the whole page."""
    title = "fedi-safety report" if report.store is None else f"fedi-safety report: {report.store}"
    body = [_header(report, title), _under_way(report), _warnings(report), _period(report)]
    if report.gate is not None:
        body.append(_gate(report.gate, report.made_at))
    if report.figures.stores:
        body += [_tiles(report), *(_store(report, i) for i in range(len(report.figures.stores)))]
        body += [_condemned(report), _sources(report), _lists(report), _days(report), _histograms(report)]
        body.append(_runs(report))
    elif report.gate is None:
        body.append("<section><p>The ledger is empty: nothing was scanned yet. Begin with <code>")
        body.append(f"{text(command('scan STORE --dry-run'))}</code>.</p></section>")
    body.append(
        "<footer>Made from the ledger alone. It holds counts, scores and names, never pictures. Times and days are UTC."
        "</footer>"
    )
    return page(title, body)


def page(title: str, body: Sequence[str]) -> str:
    """Return a page that stands alone, of ready markup; empty parts are left out."""
    parts = [Markup(part) for part in body if part]
    return rendered("page.html", title=title, policy=_CSP, style=Markup(report_style()), body=parts)


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "", *, stack: bool = False) -> str:
    """Return a table of ready markup. A heading that ends in `#` stands over numbers.

    With `stack` its rows become cards on a phone; without it scrolls where it is too wide.
    """
    made = _macro("table", headings, [[Markup(cell) for cell in row] for row in rows], caption, stack=stack)
    return made if stack else f'<div class="scroll">{made}</div>'


def _macro(name: str, *values: Any, **named: Any) -> str:
    """Return a part that the review pages have as well, in English."""
    part = getattr(environment().get_template("figures.html").module, name)
    return str(part(*values, **named))


def _header(report: Report, title: str) -> str:
    policy = f", thresholds of policy {report.policy}" if report.policy else ""
    ledger = f", ledger {report.ledger}" if report.ledger else ""
    return (
        f"<header><h1>{text(title)}</h1>"
        f'<p class="dim">{_moment(report.made_at)} UTC, fedi-safety {text(report.version)}{text(policy)}'
        f"{text(ledger)}</p></header>"
    )


def _under_way(report: Report) -> str:
    sections = []
    for one in report.under_way:
        heading, where, since = under_way_parts(one, report.made_at)
        bar = "" if one.share is None else f'<progress aria-label="done" max="1" value="{one.share:.4f}"></progress>'
        beside = "<br/>".join(text(line) for line in (*filter(None, (counts_text(one),)), where, since))
        sections.append(
            f'<section class="now"><h2>{text(heading)}</h2><p><strong>{text(how_far(one))}</strong></p>{bar}'
            f'<p class="dim">{beside}</p></section>'
        )
    return "".join(sections)


def _warnings(report: Report) -> str:
    found = warnings(report)
    if not found:
        return ""
    items = "".join(f"<li>{_CODE.sub(_AS_CODE, text(warning))}</li>" for warning in found)
    return f'<section class="warn"><h2>To look at</h2><ul>{items}</ul></section>'


def _period(report: Report) -> str:
    if report.history is None:
        return ""
    rows = [[text(name), f"{count:,}", text(note)] for name, count, note in happened_rows(report.history)]
    days = [[text(cell) for cell in day_cells(day, of_day)] for day, of_day in report.history.days.items()]
    by_day = (
        f"<h3>Day by day</h3>{table([HEADINGS[0], *(f'{h}#' for h in HEADINGS[1:])], days, stack=True)}" if days else ""
    )
    span = f'<p class="dim">{text(span_of(report.history, report.made_at))}</p>'
    return f"<section><h2>What happened</h2>{span}{table(('what', 'count#', ''), rows)}{by_day}</section>"


def _gate(gate: UploadFigures, now: float) -> str:
    rows = [
        [text(name.strip()) if name == name.strip() else f'<span class="dim">{text(name.strip())}</span>', f"{count:,}",
         text(note)]
        for name, count, note in gate_rows(gate, now)
    ]  # fmt: skip
    return f"<section><h2>The gate</h2>{table(('uploads', 'count#', ''), rows)}</section>"


def _tiles(report: Report) -> str:
    stores = report.figures.stores
    media, judged = sum(s.media for s in stores), sum(s.judged for s in stores)
    tiles = [
        ("objects present", f"{sum(s.present for s in stores):,}"),
        ("coverage of media", _share(judged, media)),
        ("without a verdict", f"{media - judged:,}"),
        ("skipped, no media", f"{sum(s.skipped.total() for s in stores):,}"),
        ("condemned, present", f"{sum(s.verdicts['block'] for s in stores):,}"),
        ("removed", f"{sum(s.removed for s in stores):,}"),
        ("dismissed contents", f"{report.figures.dismissed:,}"),
    ]
    return _macro("tiles", tiles)


def _store(report: Report, index: int) -> str:
    store = report.figures.stores[index]
    return (
        f"<section><h2>{text(store.store)}</h2><p>{text(_sentence(coverage_text(store)))}</p>"
        + _coverage(report, store, f"coverage{index}")
        + _verdicts(store, f"verdicts{index}")
        + _rest(report, store)
        + "</section>"
    )


def _sentence(said: str) -> str:
    return said[0].upper() + said[1:] + "."


def _coverage(report: Report, store: StoreFigures, name: str) -> str:
    gaps, skipped = by_count(store.unscanned), by_count(store.skipped)
    parts = [Part("judged", store.judged, "clear"), *(Part(reason, count, "gap") for reason, count in gaps)]
    parts += [Part(f"{reason} (no media)", count, "skipped") for reason, count in skipped]
    plot = plots.stacked_bar(name, f"Coverage of {store.store}", coverage_text(store), parts)
    listed = _macro("parts_table", parts, store.media, ("state", "objects", "of media"))
    how = "".join(
        f'<p class="dim">{what}: <code>{text(list_command(report, store.store, "REASON", state))}</code></p>'
        for what, state, there in (("Lists a gap", "unscanned", gaps), ("Lists what is no media", "skipped", skipped))
        if there
    )
    return f"<h3>Coverage and gaps</h3><figure>{plot}</figure>{listed}{how}"


def _verdicts(store: StoreFigures, name: str) -> str:
    parts = [Part(verdict, store.verdicts[verdict], verdict) for verdict in _VERDICTS]
    said = ", ".join(f"{part.count:,} {part.name}" for part in parts)
    plot = plots.stacked_bar(name, f"Verdicts in {store.store}", f"Of {objects_text(store.judged)}: {said}", parts)
    listed = _macro("parts_table", parts, store.judged, ("verdict", "objects", "share"))
    caption = "<figcaption>A part that exists is drawn at least a few pixels wide.</figcaption>"
    labels = [[text(label), f"{count:,}", _share(count, store.judged)] for label, count in by_count(store.labels)]
    side = table(("label", "objects#", "share#"), labels) if labels else '<p class="dim">No labels.</p>'
    return f'<h3>Verdicts and labels</h3><figure>{plot}{caption}</figure><div class="pair">{listed}{side}</div>'


def _rest(report: Report, store: StoreFigures) -> str:
    acts = report.acts.get(store.store)
    plans = by_count(acts.plans) if acts else []
    attempts = by_count(acts.acts) if acts else []
    rows = [
        ["removed", f"{store.removed:,}", "not in the store any more"],
        ["gone", f"{store.gone:,}", "not in the store any more either, by other hands"],
        ["open plans", f"{acts.open_plans if acts else 0:,}", _all("all plans", plans)],
        ["failed actions", f"{acts.acts['failed'] if acts else 0:,}", _all("all attempts", attempts)],
        ["history", f"{store.history:,}", "condemned by the predecessor, not met here yet"],
        ["imported and trusted", f"{store.trusted:,}", "passed by the predecessor, never scored here"],
        ["breaker", "stopped" if store.breaker else "ready", text(store.breaker or "")],
    ]
    if store.actions:
        rows.append(["through the app", f"{store.actions['done']:,}", text(actions_text(store))])
    return "<h3>Actions and history</h3>" + table(("figure", "count#", "detail"), rows)


def _all(what: str, counts: Sequence[tuple[str, int]]) -> str:
    return text(f"{what}: {', '.join(f'{n:,} {name}' for name, n in counts)}") if counts else ""


def _condemned(report: Report) -> str:
    if not report.condemned:
        return ""
    told = "" if report.history is None else f" since {_moment(report.history.since)}"
    return (
        f'<section><h2>Condemned and removed</h2><p class="dim">The newest{told}, with when each was condemned and '
        f"when its removal was verified.</p>{_macro('hits_table', report.condemned, english)}</section>"
    )


def _sources(report: Report) -> str:
    parts = []
    for by in report.sources:
        shown, more = sources_shown(report, by)
        if not shown:
            continue
        listed = _macro("sources_table", by.value, english, cells.sources(shown, english))
        command = f'<p class="dim">There are more: <code>{text(sources_command(report, by))}</code></p>' if more else ""
        parts.append(f"<h3>By {by.value}</h3>{listed}{command}")
    if not parts:
        return ""
    return (
        '<section><h2>Where it came from</h2><p class="dim">Condemned contents that nobody dismissed, as far as they '
        "were traced. A content that was seen at several places counts at each. The interval is where the true share "
        f"lies at 95 %: few contents say little.</p>{''.join(parts)}</section>"
    )


def _lists(report: Report) -> str:
    if not (report.lists or report.list_sources):
        return ""
    listed = _macro("lists_table", english, cells.lists(report.lists))
    return (
        '<section><h2>Lists of known images</h2><p class="dim">Hits are contents in the ledger that met an entry, '
        f"removed ones as well; people confirmed or dismissed some of them.</p>{listed}{_fetched(report)}</section>"
    )


def _fetched(report: Report) -> str:
    said = [f"<li>{text(each.name)}: {text(each.line())}</li>" for each in report.list_sources]
    return f"<p>Fetched from:</p><ul>{''.join(said)}</ul>" if said else ""


def _days(report: Report) -> str:
    found = report.figures
    window = days_shown(found.judged_by_day, found.removed_by_day)
    if not window:
        return ""
    pictures = [
        ("judged", "Judged by day", found.judged_by_day, "bar", "by the day of the latest verdict"),
        ("removed", "Removed by day", found.removed_by_day, "removed", "by the day the removal was verified"),
    ]
    parts = []
    for name, title, counts, style, note in pictures:
        shown = [(day, counts.get(day, 0)) for day in window]
        earlier = sum(count for day, count in counts.items() if day < window[0])
        total = sum(count for _, count in shown)
        said = f"{objects_text(total)} from {window[0]} to {window[-1]}, {note}"
        before = f"; {earlier:,} before {window[0]}" if earlier else ""
        if not counts:
            parts.append(f"<h3>{title}</h3><p>Nothing.</p>")
            continue
        plot = plots.columns(f"days-{name}", title, said + before, shown, style)
        parts.append(f"<h3>{title}</h3><figure>{plot}<figcaption>{said}{before}; log scale.</figcaption></figure>")
    rows = [
        [day, f"{found.judged_by_day.get(day, 0):,}", f"{found.removed_by_day.get(day, 0):,}"]
        for day in reversed(window)
        if found.judged_by_day.get(day) or found.removed_by_day.get(day)
    ]
    listed = f"<details><summary>as a table</summary>{table(('day', 'judged#', 'removed#'), rows)}</details>"
    return f"<section><h2>Day by day</h2>{''.join(parts)}{listed}</section>"


def days_shown(*counts: Mapping[str, int]) -> list[str]:
    """Return the last days without a gap, at most `SHOWN_DAYS`, up to the last on which anything happened."""
    days = sorted({day for counter in counts for day in counter})
    if not days:
        return []
    last = date.fromisoformat(days[-1])
    first = max(date.fromisoformat(days[0]), last - timedelta(days=SHOWN_DAYS - 1))
    return [(first + timedelta(days=n)).isoformat() for n in range((last - first).days + 1)]


def _histograms(report: Report) -> str:
    found = report.figures.histograms
    if not found:
        return ""
    parts = [
        _histogram(f"signal{i}", name, bins, report.thresholds.get(name, ()))
        for i, (name, bins) in enumerate(found.items())
    ]
    unmeasured = sorted(set(report.thresholds) - set(found))
    note = f" The policy also looks at {', '.join(unmeasured)}, of which there is no score." if unmeasured else ""
    return (
        '<section><h2>Scores</h2><p class="dim">Every content counts once, removed ones too, in each signal that was '
        "measured on it; a detector that the policy did not need was left out. Counts are on a log scale, so that a "
        f"single high score shows. Dashed lines are the thresholds of the policy.{text(note)}</p>"
        f"{''.join(parts)}</section>"
    )


def _histogram(name: str, signal: str, bins: Sequence[int], marks: Sequence[Threshold]) -> str:
    lines: dict[float, str] = {}
    for mark in marks:
        said = f"rule {mark.rule} ({mark.effect}), factor {mark.factor}"
        lines[mark.value] = f"{lines[mark.value]}; {said}" if mark.value in lines else said
    total = sum(bins)
    high = sum(bins[len(bins) // 2 :])
    description = f"{total:,} scores in {len(bins)} equal bins from 0 to 1; {high:,} of them 0.5 or higher"
    plot = plots.histogram(name, f"Scores of {signal}", description, bins, lines)
    legend = "".join(f"<li>from {value:g}: {text(why)}</li>" for value, why in sorted(lines.items()))
    rows = [[label, f"{count:,}"] for label, count in zip(plots.bin_names(len(bins)), bins, strict=True) if count]
    return (
        f'<h3>{text(signal)}</h3><div class="pair"><figure>{plot}</figure><div><p class="dim">{description}.</p>'
        + (f'<p class="dim">Thresholds:</p><ul class="marks">{legend}</ul>' if legend else "")
        + f"<details><summary>as a table</summary>{table(('score', 'contents#'), rows)}</details></div></div>"
    )


def _runs(report: Report) -> str:
    if not report.figures.runs:
        return ""
    rows = []
    for run in report.figures.runs:
        summary: Mapping[str, Any] = run["summary"] or {}
        rate = run_rate(summary)
        rows.append(
            [
                str(run["id"]),
                f'<span class="named">{_moment(run["started_at"])}</span><br/>{text(run_kind(run))}',
                text(run["store"]),
                text(run_status(run, {one.run for one in report.under_way})),
                *(_number(summary.get(field)) for field in ("listed", "judged")),
                _number(gaps_of(summary)),
                _number(summary.get("acted")),
                rate,
            ]
        )
    headings = ("run#", "began", "store", "status", "listed#", "judged#", "unscanned#", "removed#", "per s#")
    return f"<section><h2>Last runs</h2>{table(headings, rows, stack=True)}</section>"


def _number(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else ""


def _share(count: int, whole: int) -> str:
    return text(percent(count / whole)) if whole else "-"


def _moment(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}"
