"""The tables of the model of a sweep: for a terminal, and as Markdown for docs/scale-cost.md. Computes nothing new."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

_BEGIN, _END = "<!-- figures: ./dev bench scale --page -->", "<!-- end of figures -->"

_OF_MACHINE = (
    "machine",
    "objects",
    "new",
    "hours",
    "objects/s",
    "requests",
    "GB moved",
    "ledger GB",
    "a million: machine",
    "requests",
    "transfer",
    "held up by",
)
_OF_WORKERS = ("machines of 16 cores", "new", "hours", "objects/s", "a million: machines", "held up by")
KINDS = {"new": "all new", "tenth": "a tenth new", "known": "nothing new"}
_OF_RUN = (
    "sweep",
    "objects",
    "measured s",
    "predicted s",
    "off",
    "processor s measured",
    "predicted",
    "others' processors",
)


def number(value: float) -> str:
    """Return a number with three digits that count."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.3g}"


def rows_of_machines(result: Mapping[str, Any], detectors: str) -> Iterator[list[str]]:
    """Yield a row for each machine and number of objects."""
    for found in result["machines"]:
        if found["detectors"] == detectors:
            million = found["a_million"]
            yield [
                found["machine"],
                number(found["objects"]),
                f"{found['new']:.1%}",
                *(number(found[name]) for name in ("hours", "objects_a_s", "requests", "gb", "ledger_gb")),
                *(number(million[name]) for name in ("machines", "requests", "transfer")),
                found["bend"],
            ]


def rows_of_workers(result: Mapping[str, Any]) -> Iterator[list[str]]:
    """Yield a row for each number of machines."""
    for found in result["workers"]:
        yield [
            str(found["machines"]),
            f"{found['new']:.0%}",
            number(found["hours"]),
            number(found["objects_a_s"]),
            number(found["a_million"]["machines"]),
            found["bend"],
        ]


def rows_of_runs(result: Mapping[str, Any]) -> Iterator[list[str]]:
    """Yield a row for each real sweep."""
    for found in result.get("held", ()):
        kind, _, jobs = found["run"].partition(":")
        yield [
            f"{KINDS[kind]}, --jobs {jobs}",
            f"{found['objects']:,}",
            f"{found['measured_s']:.1f}",
            f"{found['predicted_s']:.1f}",
            f"{found['off']:+.0%}",
            f"{found['measured_cpu_s']:.1f}",
            f"{found['predicted_cpu_s']:.1f}",
            f"{found['others_cores']:.2f}",
        ]


def told_where(result: Mapping[str, Any]) -> str:
    """Return on what it was measured, with what else ran there."""
    about = result["machine"]
    others = [*result["others_cores"], *(run["others_cores"] for run in result.get("held", ()))]
    return (
        f"Measured by `./dev bench scale --page` on {time.strftime('%Y-%m-%d')}: {about['processor']}, "
        f"{about['cores']} cores, {about['system']}, Python {about['python']}. Other work took {min(others):.1f} to "
        f"{max(others):.1f} of its processors meanwhile; the model of a real sweep is given what was left."
    )


def write_page(page: Path, tables: str, where: str) -> None:
    """Write the tables between a page's marks."""
    before, _, rest = page.read_text("utf-8").partition(_BEGIN)
    _, _, after = rest.partition(_END)
    page.write_text(f"{before}{_BEGIN}\n\n{where}\n\n{tables}\n{_END}{after}", "utf-8")


def parts(result: Mapping[str, Any]) -> Iterator[tuple[str, Sequence[str], list[list[str]]]]:
    """Yield each table: its title, its heads, its rows."""
    yield "Held against real sweeps", _OF_RUN, list(rows_of_runs(result))
    if "machines" in result:
        yield "One machine, embedded detectors", _OF_MACHINE, list(rows_of_machines(result, "embedded"))
        yield "One machine, with `clip` on every picture", _OF_MACHINE, list(rows_of_machines(result, "clip"))
        objects = number(result["workers"][0]["objects"])
        yield f"One ledger on PostgreSQL, {objects} objects", _OF_WORKERS, list(rows_of_workers(result))


def table(result: Mapping[str, Any]) -> str:
    """Return all tables for a terminal."""
    lines: list[str] = []
    for title, heads, rows in parts(result):
        widths = [max(len(row[at]) for row in [list(heads), *rows]) for at in range(len(heads))]
        lines += ["", title]
        lines += [
            "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in [heads, *rows]
        ]
    return "\n".join(lines)


def markdown(result: Mapping[str, Any]) -> str:
    """Return all tables as Markdown."""
    lines: list[str] = []
    for title, heads, rows in parts(result):
        lines += [f"### {title}", "", f"| {' | '.join(heads)} |", f"|{' --: |' * len(heads)}"]
        lines += [f"| {' | '.join(row)} |" for row in rows]
        lines.append("")
    return "\n".join(lines)
