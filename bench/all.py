"""All figures of README in one run: the benchmarks one after the other, their figures on one page.

Each part is a benchmark of its own, run as its command line says, by itself. What comes out is docs/figures.json; out
of that, and nothing else, docs/figures.md and the blocks between `<!-- figures: PART -->` in README.md are written
(`--page` does this alone). A part that is not run, or that cannot run here, keeps the figures that it had, with their
day, commit and machine. `clip` needs a Python with torch (`./dev parity` makes one) for the loop in the predecessor's
shape.

A quiet machine is needed: each part says the load that it began with, and above --load none begins.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench.figures_page import FIGURES, write_pages
from bench.measure import ROOT, environment


@dataclass(frozen=True, slots=True)
class Part:
    """A benchmark with its arguments; `quick` are those that tell whether it runs at all."""

    script: str
    arguments: tuple[str, ...]
    quick: tuple[str, ...]

    def command(self) -> str:
        """Return what a person types for the same."""
        return " ".join(("./dev bench", self.script, *self.arguments))


PARTS = {
    "scan": Part("scan", ("--files", "600", "--rounds", "3"), ("--quick",)),
    "clip": Part("clip", (), ("--quick",)),
    "stores": Part("stores", ("--files", "200", "--rounds", "5"), ("--files", "20", "--rounds", "1")),
    "rescan": Part("rescan", ("--files", "200000", "--rounds", "3"), ("--files", "500", "--rounds", "1")),
    "gate": Part("gate", ("--seconds", "60", "--only", "steady", "--only", "beside"), ("--quick", "--only", "steady")),
    "media": Part("media", ("jpeg", "moving", "sandbox"), ("jpeg", "--quick")),
}


def measure(part: Part, arguments: Sequence[str]) -> dict[str, Any] | None:
    """Run a benchmark and return its figures; None where it failed, of which its own output tells."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "figures.json"
        command = [sys.executable, str(ROOT / "bench" / f"{part.script}.py"), *arguments, "--out", str(out)]
        done = subprocess.run(command, env=environment() | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'tests'}"})
        return dict(json.loads(out.read_text())) if done.returncode == 0 and out.is_file() else None


def commit() -> str:
    """Return the commit of these sources, with a mark where files differ from it."""
    words = ["git", "describe", "--always", "--dirty", "--exclude", "*"]
    return subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def wait_for_quiet(load: float, seconds: float) -> None:
    """Wait until no more than `load` processes run on the mean of the last minute; leave after `seconds`."""
    until = time.monotonic() + seconds
    while os.getloadavg()[0] > load:
        if time.monotonic() > until:
            raise SystemExit(f"the machine's load stays above {load:g} (see --load): end what runs beside")
        time.sleep(5)


def main() -> None:
    """Measure the parts that were asked for and write the pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help=f"parts with commas between: {', '.join(PARTS)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="little of everything: does it run; no page is written")
    parser.add_argument("--page", action="store_true", help="write the pages from docs/figures.json, measure nothing")
    parser.add_argument("--load", type=float, default=0.5, help="the load at which a part may begin (default: 0.5)")
    parser.add_argument("--wait", type=float, default=180.0, metavar="SECONDS", help="how long that is waited for")
    parser.add_argument("--out", type=Path, default=FIGURES, help="where the JSON goes (default: docs/figures.json)")
    options = parser.parse_args()
    chosen = options.only.split(",") if options.only else list(PARTS)
    if unknown := sorted({*chosen} - PARTS.keys()):
        parser.error(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    if options.page:
        write_pages()
        return
    figures: dict[str, Any] = json.loads(options.out.read_text()) if options.out.is_file() else {}
    failed, of = [], commit()  # before the first part's figures make the sources differ from it
    for name in chosen:
        part = PARTS[name]
        if not options.quick:
            wait_for_quiet(options.load, options.wait)
        print(f"--- {name}: {part.command()}", flush=True)
        found = measure(part, part.quick if options.quick else part.arguments)
        if found is None:
            failed.append(name)
            continue
        figures[name] = {
            "command": part.command(),
            "day": time.strftime("%Y-%m-%d"),
            "commit": of,
            "figures": found,
        }
        options.out.write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n")
    if options.out == FIGURES and not options.quick:
        write_pages()
    if failed:
        raise SystemExit(f"no figures of {', '.join(failed)}: see above")


if __name__ == "__main__":
    main()
