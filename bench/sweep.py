"""A pass by Ray's workers on this machine beside the same pass by one process: what Ray costs, once and of a pass.

Both make `scan --dry-run` with the embedded detectors over the same files and a new SQLite ledger, by turns: few files
and many, and the many by one process twice, whose difference is this machine's noise. Compared are the passes, as their
records have them, less the seconds in which Ray's worker loaded what judges; and whole commands. What these take once
(starting Ray and its worker, loading networks twice, ending it) and of each object comes from the two lengths; a pass
is long enough where the former is a small share of it. The few are not too few: Ray starts on when a pass has begun.
What running costs is the difference of an object's two times; with the start, it is told of a pass of a stated size.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench.corpus import default_work, instance_corpus
from bench.measure import Spread, fedi_safety, machine, machine_line, run, write_result

GOAL = 0.10
STATED = 10_000  # objects: four minutes of one process with two processors
ONE, AGAIN, RAY = "one process", "one process again", "Ray"
WAYS: dict[str, tuple[str, ...]] = {ONE: (), AGAIN: (), RAY: ("--engine", "ray")}


@dataclass(frozen=True, slots=True)
class Line:
    """What passes of any length take, by two lengths: seconds once, and seconds an object."""

    once_s: float
    object_s: float

    def of(self, objects: float) -> float:
        """Return what a pass over so many objects takes, in seconds."""
        return self.once_s + self.object_s * objects


def line(few: int, few_s: Sequence[float], many: int, many_s: Sequence[float]) -> Line:
    """Return the line through the medians at two lengths."""
    each = (median(many_s) - median(few_s)) / (many - few)
    return Line(median(few_s) - each * few, each)


def long_enough(one: Line, ray: Line, goal: float = GOAL) -> float | None:
    """Return from how many objects on a pass by Ray takes less than `goal` more; None where none is long enough."""
    spare = (1 + goal) * one.object_s - ray.object_s
    if spare <= 0:
        return None
    return max(0.0, (ray.once_s - (1 + goal) * one.once_s) / spare)


@dataclass(frozen=True, slots=True)
class Swept:
    """What a pass took, in seconds: by its record, and as a whole command."""

    pass_s: float
    command_s: float
    judged: int


def swept(folder: Path, way: str) -> Swept:
    """Make a pass over a folder with a new ledger."""
    with tempfile.TemporaryDirectory() as place:
        ledger = Path(place) / "ledger.db"
        command = ("scan", str(folder), "--dry-run", "--json", "--quiet", "--ledger", str(ledger))
        done = run(fedi_safety(*command, *WAYS[way]), cwd=folder)
        with closing(sqlite3.connect(ledger)) as records:
            (summary,) = records.execute("SELECT summary FROM runs").fetchone()
    said = json.loads(done.out.strip().splitlines()[-1])
    waited = json.loads(summary)["stages"].get("wait for workers", 0.0)
    return Swept(said["seconds"] - waited, done.wall_s, said["judged"])


Taken = dict[str, dict[int, list[Swept]]]


def measured(folders: dict[int, Path], pairs: int) -> Taken:
    """Return what passes took, by way and number of files."""
    few, many = folders
    for way in (ONE, RAY):
        swept(folders[few], way)  # what is read from the disk the first time
    taken: Taken = {way: {files: [] for files in folders} for way in WAYS}
    for pair in range(pairs):
        for way in list(WAYS) if pair % 2 == 0 else list(reversed(WAYS)):
            for files in (many,) if way == AGAIN else (few, many):
                found = swept(folders[files], way)
                taken[way][files].append(found)
                told_of = f"{found.judged} judged in {found.pass_s:.1f} s, the command {found.command_s:.1f} s"
                print(f"pair {pair + 1}, {way}: {told_of}", flush=True)
    return taken


def told(taken: Taken, few: int, many: int) -> dict[str, Any]:
    """Print what came of it, and return it."""

    def commands(way: str, files: int) -> list[float]:
        return [each.command_s for each in taken[way][files]]

    def passes(way: str) -> Spread:
        return Spread(tuple(each.pass_s for each in taken[way][many]))

    lines = {way: line(few, commands(way, few), many, commands(way, many)) for way in (ONE, RAY)}
    one, ray = lines[ONE], lines[RAY]
    noise, passed = passes(AGAIN).over(passes(ONE)), passes(RAY).over(passes(ONE))
    overhead, once = passed.median - 1, ray.once_s - one.once_s
    running, whole = ray.object_s / one.object_s - 1, ray.of(STATED) / one.of(STATED) - 1
    enough = long_enough(one, ray)
    for way, found in lines.items():
        print(f"{way}: {found.once_s:.1f} s once, {1000 * found.object_s:.1f} ms an object")
    print(f"one process beside itself: {noise.text()}")
    print(f"Ray's overhead of a pass over {many} files: {overhead:+.1%}, {passed.text()} (goal below {GOAL:.0%})")
    print(f"once, for starting and ending it: {once:.1f} s; while it runs, an object takes {running:+.1%}")
    print(f"a whole command over {STATED:,} files, by these: {whole:+.1%}, {one.of(STATED):.0f} s of one process")
    if enough is None:
        print("no command is long enough for it to be below that as a whole")
    else:
        print(f"below that as a whole from {enough:,.0f} objects on, {one.of(enough):.0f} s of one process")
    return {
        "files": [few, many],
        "commands": {f"{way}, {n}": commands(way, n) for way in WAYS for n in (few, many)},
        "passes": {way: passes(way).as_json() for way in WAYS},
        "noise": noise.as_json(),
        "overhead": overhead,
        "once_s": once,
        "running": running,
        "stated": {"files": STATED, "overhead": whole},
        "lines": {way: [found.once_s, found.object_s] for way, found in lines.items()},
        "long_enough": enough,
    }


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--few", type=int, default=200)
    parser.add_argument("--files", type=int, default=800)
    parser.add_argument("--pairs", type=int, default=2)
    parser.add_argument("--work", type=Path, default=default_work())
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.few >= options.files:
        parser.error("--few must be less than --files")
    about = machine()
    print(machine_line(about))
    folders = {files: instance_corpus(options.work, files) for files in (options.few, options.files)}
    found = told(measured(folders, options.pairs), options.few, options.files)
    write_result("sweep", {"machine": about, **found}, options.out)
    return 0 if found["overhead"] < GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
