"""`history`: what happened, day by day."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Annotated

import typer

from fedi_safety.cli.options import ConfigOption, JsonOption, LedgerOption, LogLevelOption, QuietOption, YesOption
from fedi_safety.cli.shell import shell, write_json

_DAY_S = 86_400.0
_DAYS = 30


def history(
    store: Annotated[
        str | None,
        typer.Argument(metavar="STORE", help="Only this store: a path, a URL or a configured name; left out, all."),
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="7d|DATE", help=f"From then on; left out, {_DAYS} days.")
    ] = None,
    json_output: JsonOption = False,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    log_level: LogLevelOption = None,
    quiet: QuietOption = False,
    yes: YesOption = False,
) -> int:
    """Show by day how many runs began, and what was judged, condemned, removed and dismissed. Changes nothing."""
    from fedi_safety.app.ledger import open_settings_ledger
    from fedi_safety.cli.scan_cmd import parse_since
    from fedi_safety.cli.text.lookup import iso_time, known_store
    from fedi_safety.cli.text.summary import ledger_line

    sh = shell(config, ledger, log_level, quiet, yes)
    first = (time.time() // _DAY_S - _DAYS + 1) * _DAY_S if since is None else parse_since(since)
    records = open_settings_ledger(sh.settings, readonly=True)
    try:
        found = records.history(first, known_store(sh.settings, records, store))
    finally:
        records.dispose()
    if json_output:
        days = {day: asdict(happened) for day, happened in found.days.items()}
        said = {"since": iso_time(found.since), "days": days, "total": asdict(found.total), "rules": dict(found.rules)}
        write_json({"ledger": records.name} | said)
        return 0
    if found.days:
        from rich.table import Table

        from fedi_safety.reports.period import HEADINGS, day_cells

        table = Table(box=None, pad_edge=False)
        for heading in HEADINGS:
            table.add_column(heading, justify="left" if heading == "day" else "right", no_wrap=True)
        for day, happened in found.days.items():
            table.add_row(*day_cells(day, happened))
        table.add_section()
        table.add_row(*day_cells("in all", found.total), style="bold")
        sh.out.print(table)
    else:
        sh.say(f"nothing happened since {iso_time(found.since)}")
    sh.say(ledger_line(records.name))
    return 0
