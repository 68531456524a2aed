"""The last runs as people read them: a table for each store, and below it why a run ended otherwise than it should.

No URL stands in a cell: in a narrow terminal it would be broken over lines, and could not be copied.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from fedi_safety.core.errors import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from fedi_safety.core.ledger.records import Figures

_NUMBERS = ("run", "listed", "judged", "a second")


def print_runs(out: Console, figures: Figures, under_way: Collection[int] = ()) -> None:
    """Print the last runs of each store, the latest first; those `under_way` are known to run now."""
    from rich.text import Text

    by_store: dict[str, list[Mapping[str, Any]]] = {}
    for one in figures.runs:
        by_store.setdefault(one["store"], []).append(one)
    several = len(figures.stores) > 1
    for store, runs in by_store.items():
        title = f"last runs of {store}" if several else "last runs"
        out.print(Text(printable(title), style="italic"), soft_wrap=True)
        out.print(_table(runs, under_way))
        for run in runs:
            if why := _why(run):
                out.print(Text(printable(f"run {run['id']}: {why}")), soft_wrap=True)


def _table(runs: Sequence[Mapping[str, Any]], under_way: Collection[int]) -> Table:
    from rich.table import Table
    from rich.text import Text

    from fedi_safety.reports.runs import run_kind, run_rate, run_status

    table = Table(box=None, pad_edge=False)
    for heading in ("run", "began (UTC)", "kind", "status", *_NUMBERS[1:]):
        table.add_column(heading, justify="right" if heading in _NUMBERS else "left", no_wrap=heading in _NUMBERS)
    for run in runs:
        summary = run["summary"] or {}
        counts = [f"{summary[name]:,}" if name in summary else "" for name in ("listed", "judged")]
        began = f"{datetime.fromtimestamp(run['started_at'], UTC):%Y-%m-%d %H:%M}"
        status = run_status({**run, "summary": None}, under_way)
        cells = [str(run["id"]), began, run_kind(run), str(status), *counts, run_rate(summary)]
        table.add_row(*(Text(printable(one)) for one in cells))
    return table


def _why(run: Mapping[str, Any]) -> str:
    from fedi_safety.reports.runs import run_status

    _, colon, why = run_status(run).partition(": ")
    return why if colon else ""
