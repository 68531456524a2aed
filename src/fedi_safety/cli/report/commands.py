"""`report`: totals, coverage with its gaps named, verdicts, actions and runs; as tables, JSON, CSV or an HTML page."""

from __future__ import annotations

import csv
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from fedi_safety.cli.options import (
    ConfigOption,
    JsonOption,
    LedgerOption,
    LogLevelOption,
    QuietOption,
    SkippedOption,
    YesOption,
)
from fedi_safety.cli.output_file import checked_place, write_page
from fedi_safety.cli.shell import Shell, shell, write_json
from fedi_safety.core.errors import UsageError, printable

if TYPE_CHECKING:
    from fedi_safety.core.policy import Policy
    from fedi_safety.reports.facts import Report


def report(
    store: Annotated[
        str | None,
        typer.Argument(metavar="STORE", help="Only this store: a path, a URL or a configured name; left out, all."),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="7d|DATE", help="What happened since, in few lines: for a mail once a week."),
    ] = None,
    skipped_as_unscanned: SkippedOption = False,
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
    from fedi_safety.cli.report.figures import as_json, csv_rows
    from fedi_safety.cli.scan_cmd import parse_since

    sh = shell(config, ledger, log_level, quiet, yes)
    if json_output and csv_output:
        raise UsageError("--json and --csv", "only one can have standard output", "give one of them")
    place = None if html is None else checked_place(html)
    first = None if since is None else parse_since(since)
    found = _read(sh, store, first, histograms=json_output or place is not None, policy=place is not None)
    if skipped_as_unscanned:
        found.figures.take_skipped_as_unscanned()
    if place is not None:
        from fedi_safety.reports.page import render

        write_page(place, render(found))
    if json_output:
        write_json(as_json(found))
    elif csv_output:
        csv.writer(sys.stdout, lineterminator="\n").writerows(csv_rows(found))
    else:
        _print(sh, found, since)
    if place is not None:
        sh.err.print(f"wrote {printable(str(place))}", markup=False)
    return 0


def _print(sh: Shell, found: Report, since: str | None) -> None:
    from fedi_safety.cli.report.tables import print_tables
    from fedi_safety.cli.text.summary import ledger_line
    from fedi_safety.reports.period import lines

    if found.history is None or since is None:
        print_tables(sh, found)
    else:
        for line in lines(found, found.history, since):
            sh.say(line)
    sh.say(ledger_line(found.ledger))


def _read(sh: Shell, named: str | None, since: float | None, *, histograms: bool, policy: bool) -> Report:
    from fedi_safety import __version__
    from fedi_safety.app.known.figures import list_figures, source_figures
    from fedi_safety.app.ledger import open_settings_ledger
    from fedi_safety.cli.text.lookup import known_store
    from fedi_safety.core.sightings import SourceKind
    from fedi_safety.reports.facts import SHOWN_CONDEMNED, SHOWN_SOURCES, Report, thresholds_of

    chosen = _in_force(sh) if policy else None
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
            None if since is None else records.history(since, url),
            [one for one in records.under_way() if url in (None, one.store)],
            list_figures(sh.settings, records) if url is None else (),
            source_figures(sh.settings) if url is None else (),
            records.notice_figures() if url is None else (),
            records.condemned(since, url, limit=SHOWN_CONDEMNED) if policy else (),
        )
    finally:
        records.dispose()


def _in_force(sh: Shell) -> Policy:
    from fedi_safety.app.engine import measurable
    from fedi_safety.policies import load_policy

    return measurable(sh.settings).in_force(load_policy(sh.settings.policy))
