"""`report`: totals, coverage with its gaps named, verdicts, actions and runs; as tables, JSON, CSV or an HTML page."""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedi_safety.cli.options import ConfigOption, JsonOption, LedgerOption, LogLevelOption, QuietOption, YesOption
from fedi_safety.cli.output_file import checked_place, write_page
from fedi_safety.cli.shell import Shell, shell, write_json
from fedi_safety.core.errors import UsageError, printable

if TYPE_CHECKING:
    from rich.table import Table

    from fedi_safety.core.ledger.records import StoreActs, StoreFigures
    from fedi_safety.core.ledger.uploads import UploadFigures
    from fedi_safety.core.sightings import Source, SourceKind
    from fedi_safety.reports.facts import Report

_VERDICTS = ("clear", "review", "block")
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def report(
    store: Annotated[
        str | None,
        typer.Argument(metavar="STORE", help="Only this store: a path, a URL or a configured name; left out, all."),
    ] = None,
    json_output: JsonOption = False,
    csv_output: Annotated[bool, typer.Option("--csv", help="Print a row for every figure of every store.")] = False,
    html: Annotated[
        str | None,
        typer.Option("--html", metavar="FILE", help="Also write a page with plots that needs nothing but a browser."),
    ] = None,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Show totals, coverage and its gaps, verdicts, actions and the last runs. Changes nothing, opens no media."""
    sh = shell(config, ledger, log_level, quiet, yes)
    if json_output and csv_output:
        raise UsageError("--json and --csv", "only one can have standard output", "give one of them")
    place = None if html is None else checked_place(html)
    found = _read(sh, store, histograms=json_output or place is not None, policy=place is not None)
    if place is not None:
        from fedi_safety.reports.page import render

        write_page(place, render(found))
    if json_output:
        write_json(as_json(found))
    elif csv_output:
        csv.writer(sys.stdout, lineterminator="\n").writerows(csv_rows(found))
    else:
        _print_tables(sh, found)
        from fedi_safety.cli.text.summary import ledger_line

        sh.say(ledger_line(found.ledger))
    if place is not None:
        sh.err.print(f"wrote {printable(str(place))}", markup=False)
    return 0


def _read(sh: Shell, named: str | None, *, histograms: bool, policy: bool) -> Report:
    from fedi_safety import __version__
    from fedi_safety.app.engine import measurable
    from fedi_safety.app.ledger import open_settings_ledger
    from fedi_safety.cli.text.lookup import known_store
    from fedi_safety.core.sightings import SourceKind
    from fedi_safety.policies import load_policy
    from fedi_safety.reports.facts import SHOWN_SOURCES, Report, thresholds_of

    chosen = measurable(sh.settings).in_force(load_policy(sh.settings.policy)) if policy else None
    records = open_settings_ledger(sh.settings, readonly=True)
    try:
        url = known_store(sh.settings, records, named)
        now = time.time()
        gate = records.upload_figures(now)
        return Report(
            records.figures(url, histograms=histograms),
            {name: acts for name, acts in records.acts_by_store().items() if url in (None, name)},
            now,
            __version__,
            url,
            len(records.store_urls()) > 1,
            "" if chosen is None else chosen.id,
            {} if chosen is None else thresholds_of(chosen),
            gate if gate.any and url is None else None,
            sh.settings.gate.alert_s,
            records.name,
            {by: records.sources(by, url, limit=SHOWN_SOURCES + 1) for by in SourceKind},
        )
    finally:
        records.dispose()


# --- JSON and CSV


def as_json(found: Report) -> dict[str, Any]:
    """Return the report as one JSON object; its fields are a promise to scripts."""
    from fedi_safety.cli.text.sources import source_json
    from fedi_safety.core.ledger.records import BINS
    from fedi_safety.core.sightings import SourceKind
    from fedi_safety.reports.facts import sources_shown, summed

    stores = found.figures.stores
    present, judged = sum(s.present for s in stores), sum(s.judged for s in stores)
    acts = found.acts.values()
    return {
        "version": found.version,
        "generated_at": datetime.fromtimestamp(found.made_at, UTC).isoformat(timespec="seconds"),
        "ledger": found.ledger,
        "store": found.store,
        "stores": [_store_json(store, found.acts.get(store.store)) for store in stores],
        "totals": {
            "present": present,
            "judged": judged,
            "trusted": sum(s.trusted for s in stores),
            "partly": sum(s.partly for s in stores),
            "coverage": judged / present if present else None,
            "unscanned": _sorted(summed(s.unscanned for s in stores)),
            "verdicts": _verdicts(summed(s.verdicts for s in stores)),
            "labels": _sorted(summed(s.labels for s in stores)),
            "removed": sum(s.removed for s in stores),
            "gone": sum(s.gone for s in stores),
            "history": sum(s.history for s in stores),
            "plans": _sorted(summed(a.plans for a in acts)),
            "open_plans": sum(a.open_plans for a in acts),
            "acts": _sorted(summed(a.acts for a in acts)),
            "failed_acts": sum(a.acts["failed"] for a in acts),
            "dismissed": found.figures.dismissed,
        },
        "gate": None if found.gate is None else _gate_json(found.gate),
        "sources": {by.value: [source_json(by, one) for one in sources_shown(found, by)[0]] for by in SourceKind},
        "runs": found.figures.runs,
        "bins": BINS,
        "histograms": found.figures.histograms,
        "judged_by_day": found.figures.judged_by_day,
        "removed_by_day": found.figures.removed_by_day,
    }


def _gate_json(gate: UploadFigures) -> dict[str, Any]:
    return {
        "judged": gate.judged,
        "blocked": gate.blocked,
        "refused": _sorted(gate.refused),
        "refused_day": gate.refused_day,
        "owed": _sorted(gate.owed),
        "condemned": gate.condemned,
        "held": _sorted(gate.held),
        "settled": _sorted(gate.settled),
        "oldest_debt_at": None
        if gate.oldest_at is None
        else datetime.fromtimestamp(gate.oldest_at, UTC).isoformat(timespec="seconds"),
    }


def _store_json(store: StoreFigures, acts: StoreActs | None) -> dict[str, Any]:
    return {
        "store": store.store,
        "present": store.present,
        "judged": store.judged,
        "trusted": store.trusted,
        "partly": store.partly,
        "coverage": store.coverage if store.present else None,
        "unscanned": _sorted(store.unscanned),
        "verdicts": _verdicts(store.verdicts),
        "labels": _sorted(store.labels),
        "removed": store.removed,
        "gone": store.gone,
        "history": store.history,
        "plans": {} if acts is None else _sorted(acts.plans),
        "open_plans": 0 if acts is None else acts.open_plans,
        "acts": {} if acts is None else _sorted(acts.acts),
        "failed_acts": 0 if acts is None else acts.acts["failed"],
        "breaker": store.breaker,
        "actions": _sorted(store.actions),
        "action_breaker": store.action_breaker,
    }


def _sorted(counts: dict[str, int]) -> dict[str, int]:
    return {name: count for name, count in sorted(counts.items()) if count}


def _verdicts(counts: dict[str, int]) -> dict[str, int]:
    return {verdict: counts.get(verdict, 0) for verdict in _VERDICTS}


def csv_rows(found: Report) -> Iterator[tuple[str, str, str, str]]:
    """Yield `store,figure,name,value`; `name` is empty unless the figure has several values.

    `store` is empty for the gate's figures, and for sources unless the report is of one store.
    """
    from fedi_safety.core.sightings import SourceKind
    from fedi_safety.reports.facts import sources_shown

    yield ("store", "figure", "name", "value")
    for store in found.figures.stores:
        yield from _csv_figures(store.store, _store_json(store, found.acts.get(store.store)))
    if found.gate is not None:
        gate = _gate_json(found.gate)
        yield from _csv_figures("", {f"gate {figure}": value for figure, value in gate.items()})
    for by in SourceKind:
        counts = {source.name: source.contents for source in sources_shown(found, by)[0]}
        yield from _csv_figures(found.store or "", {f"condemned by {by.value}": counts})


def _csv_figures(store: str, figures: dict[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    for figure, value in figures.items():
        if figure == "store":
            continue
        named = value if isinstance(value, dict) else {"": value}
        for name, one in named.items():
            yield (cell(store), figure, cell(name), cell("" if one is None else str(one)))


def cell(value: str) -> str:
    """Return a text that no spreadsheet takes for a formula and any terminal can show."""
    shown = printable(value)
    return f"'{shown}" if value.lstrip(" ").startswith(_FORMULA_STARTS) else shown


# --- tables for people


def _print_tables(sh: Shell, found: Report) -> None:
    from rich.text import Text

    from fedi_safety.cli.text.runs import print_runs
    from fedi_safety.reports.facts import gate_rows, list_command, sources_command, sources_shown, warnings

    out = sh.out
    if not found.figures.stores and found.gate is None:
        out.print("The ledger is empty: nothing was scanned yet.")
        return
    for warning in warnings(found):
        out.print(Text(printable(warning), style="bold red"), soft_wrap=True)
    if found.gate is not None:
        out.print(Text("the gate", style="bold underline"))
        out.print(_rows_table(gate_rows(found.gate, found.made_at)))
        out.print()
    for store in found.figures.stores:
        out.print(Text(printable(store.store), style="bold underline"), soft_wrap=True)
        out.print(_store_table(found, store))
        if store.unscanned.total():
            # Not in the table: a command that is broken over two cells cannot be copied.
            command = list_command(found, store.store, "REASON")
            out.print(Text(f"the objects without a verdict: {command}"), soft_wrap=True)
        out.print()
    for by in found.sources:
        shown, more = sources_shown(found, by)
        if shown:
            out.print(_sources_table(by, shown))
            if more:
                out.print(Text(f"more: {sources_command(found, by)}"), soft_wrap=True)
            out.print()
    if found.figures.runs:
        print_runs(out, found.figures)


def _sources_table(by: SourceKind, shown: Sequence[Source]) -> Table:
    from rich.table import Table
    from rich.text import Text

    from fedi_safety.reports.facts import source_cells

    title = f"where condemned contents came from, by {by.value}"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for heading in ("condemned", "share at 95 %"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("last traced", no_wrap=True)
    table.add_column("from", no_wrap=True)
    table.add_column(by.value, overflow="fold")
    for source in shown:
        table.add_row(*map(Text, source_cells(source)))
    return table


def _rows_table(rows: Iterable[tuple[str, int | str, str]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(style="dim", overflow="fold")
    for name, count, note in rows:
        shown = f"{count:,}" if isinstance(count, int) else count
        table.add_row(Text(printable(name)), Text(shown), Text(printable(note)))
    return table


def _store_table(found: Report, store: StoreFigures) -> Table:
    from fedi_safety.reports.facts import actions_text, by_count, coverage_text

    rows: list[tuple[str, int | str, str]] = []

    def row(name: str, count: int | str, note: str = "") -> None:
        rows.append((name, count, note))

    acts = found.acts.get(store.store)
    row("present", store.present)
    row("judged", store.judged, coverage_text(store))
    if store.partly:
        row("  in part", store.partly, "see `fedi-safety list --partly`")
    row("unscanned", store.unscanned.total())
    for reason, count in by_count(store.unscanned):
        row(f"  {reason}", count)
    for verdict in _VERDICTS:
        row("condemned" if verdict == "block" else verdict, store.verdicts[verdict])
    for label, count in by_count(store.labels):
        row(f"  label {label}", count)
    row("removed", store.removed)
    if store.gone:
        row("gone", store.gone, "not there any more, by other hands")
    if store.history or store.trusted:
        row("history", store.history, "condemned by the predecessor, not met here yet")
        row("imported", store.trusted, "passed by the predecessor, never scored here")
    open_plans = acts.open_plans if acts else 0
    failed = acts.acts["failed"] if acts else 0
    row("open plans", open_plans, "`fedi-safety apply` does it" if open_plans else "")
    row("failed actions", failed, "see `fedi-safety list --act failed`" if acts and acts.plans["failed"] else "")
    row("breaker", "stopped" if store.breaker else "ready", store.breaker or "")
    if store.actions:
        row("through the app", f"{store.actions['done']:,}", actions_text(store))
    return _rows_table(rows)
