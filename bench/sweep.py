"""A pass by Ray's workers on this machine beside the same pass by one process: what Ray costs of a pass.

Both make `scan --dry-run` with the embedded detectors over the same files and a new SQLite ledger, in pairs, one after
the other. Compared are the seconds of the pass as its record has them, less those in which the worker loaded what
judges: one process does that before its pass begins. Starting Ray and its worker, which every pass pays once, is given
beside them.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench.corpus import default_work, instance_corpus
from bench.measure import Spread, fedi_safety, machine, machine_line, run, write_result

GOAL = 0.10


def one(folder: Path, ledger: Path, *engine: str) -> tuple[float, float, int]:
    """Make a pass; return its own seconds, those of the whole command, and how many objects were judged."""
    command = fedi_safety("scan", str(folder), "--dry-run", "--json", "--quiet", "--ledger", str(ledger), *engine)
    done = run(command, cwd=folder)
    said = json.loads(done.out.strip().splitlines()[-1])
    with closing(sqlite3.connect(ledger)) as records:
        (summary,) = records.execute("SELECT summary FROM runs").fetchone()
    waited = json.loads(summary)["stages"].get("wait for workers", 0.0)
    return said["seconds"] - waited, done.wall_s, said["judged"]


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=600)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--work", type=Path, default=default_work())
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    about = machine()
    print(machine_line(about))
    folder = instance_corpus(options.work, options.files)
    ways: dict[str, tuple[str, ...]] = {"one process": (), "Ray": ("--engine", "ray")}
    passes: dict[str, list[float]] = {way: [] for way in ways}
    whole: dict[str, list[float]] = {way: [] for way in ways}
    for pair in range(options.pairs):
        order = list(ways) if pair % 2 == 0 else list(reversed(ways))
        for way in order:
            with tempfile.TemporaryDirectory() as place:
                seconds, wall, judged = one(folder, Path(place) / "ledger.db", *ways[way])
            passes[way].append(seconds)
            whole[way].append(wall)
            print(f"pair {pair + 1}, {way}: pass {seconds:.1f} s, command {wall:.1f} s, {judged} judged")
    ratios = [ours / alone for ours, alone in zip(passes["Ray"], passes["one process"], strict=True)]
    overhead = median(ratios) - 1
    starts = (
        median(whole["Ray"]) - median(passes["Ray"]) - (median(whole["one process"]) - median(passes["one process"]))
    )
    print(f"Ray's overhead of a pass: {overhead:+.1%} (median of {len(ratios)} pairs; goal below {GOAL:.0%})")
    print(f"starting and ending Ray and its worker, once a pass: {starts:.1f} s")
    result = {
        "machine": about,
        "files": options.files,
        "passes": {way: Spread(tuple(each)).as_json() for way, each in passes.items()},
        "ratios": ratios,
        "overhead": overhead,
        "start_s": starts,
    }
    write_result("sweep", result, options.out)
    return 0 if overhead < GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
