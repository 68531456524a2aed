"""A report's figures as tables for people, and the runs below them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from fedi_safety.core.errors import printable
from fedi_safety.core.wording.hints import command

if TYPE_CHECKING:
    from rich.table import Table

    from fedi_safety.app.known.figures import ListFigures
    from fedi_safety.cli.shell import Shell
    from fedi_safety.core.ledger.records import StoreFigures
    from fedi_safety.core.sightings import Source, SourceKind
    from fedi_safety.reports.facts import Report

_VERDICTS = ("clear", "review", "block")


def print_tables(sh: Shell, found: Report) -> None:
    """Print all of it to standard output."""
    from rich.text import Text

    from fedi_safety.cli.text.runs import print_runs
    from fedi_safety.reports.facts import gate_rows, sources_command, sources_shown, warnings
    from fedi_safety.reports.progress import under_way_lines

    out = sh.out
    for line in under_way_lines(found):
        out.print(Text(line, style="bold"), soft_wrap=True)
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
        for line in _commands(found, store):
            out.print(Text(line), soft_wrap=True)
        out.print()
    for by in found.sources:
        shown, more = sources_shown(found, by)
        if shown:
            out.print(_sources_table(by, shown))
            if more:
                out.print(Text(f"more: {sources_command(found, by)}"), soft_wrap=True)
            out.print()
    if found.lists:
        out.print(_lists_table(found.lists))
        out.print()
    for source in found.list_sources:
        out.print(Text(printable(f"source {source.name}: {source.line()}")), soft_wrap=True)
    if found.list_sources:
        out.print()
    if found.figures.runs:
        print_runs(out, found.figures, {one.run for one in found.under_way})


def _commands(found: Report, store: StoreFigures) -> Iterator[str]:
    """Yield the commands that tell more of a store's figures, or change them, a line each.

    They are not in the table: a command that is broken over two cells cannot be copied.
    """
    from fedi_safety.reports.facts import list_command, list_of

    acts = found.acts.get(store.store)
    if store.partly:
        yield f"what was judged in part: {list_of(found, store.store, '--partly')}"
    if store.unscanned.total():
        yield f"the media without a verdict: {list_command(found, store.store, 'REASON')}"
    if store.skipped.total():
        yield f"what is no media: {list_command(found, store.store, 'REASON', 'skipped')}"
    if acts and acts.open_plans:
        yield f"to carry out the open plans: {command('apply {}', store.store)}"
    if acts and acts.plans["failed"]:
        yield f"the failed actions: {list_of(found, store.store, '--act failed')}"


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


def _lists_table(lists: Sequence[ListFigures]) -> Table:
    from rich.table import Table
    from rich.text import Text

    from fedi_safety.reports.facts import LIST_HEADINGS, list_cells

    table = Table(title="lists of known images", title_justify="left", box=None, pad_edge=False)
    for heading in LIST_HEADINGS[:-2]:
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column(LIST_HEADINGS[-2], no_wrap=True)
    table.add_column(LIST_HEADINGS[-1], overflow="fold")
    for each in lists:
        table.add_row(*map(Text, list_cells(each)))
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
        row("  in part", store.partly)
    row("unscanned", store.unscanned.total())
    for reason, count in by_count(store.unscanned):
        row(f"  {reason}", count)
    row("skipped", store.skipped.total(), "no media" if store.skipped.total() else "")
    for reason, count in by_count(store.skipped):
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
    row("open plans", acts.open_plans if acts else 0)
    row("failed actions", acts.acts["failed"] if acts else 0)
    row("breaker", "stopped" if store.breaker else "ready", store.breaker or "")
    if store.actions:
        row("through the app", f"{store.actions['done']:,}", actions_text(store))
    return _rows_table(rows)
