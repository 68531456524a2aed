"""SQLite against PostgreSQL as a ledger's database: recording, two writers at once, and lookups, by turns.

Batches are those of `bench.ledger`. PostgreSQL is this machine's own, started for this with fsync on, over loopback;
what it does beside the writer is on the same cores. Rates are by the clock on the wall.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import chain, count
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench.corpus import default_work
from bench.ledger import BATCH, STORE, _Clock, drawn_batches
from bench.measure import ROOT, Spread, environment, machine, machine_line, write_result

LEAST = 0.8
LOOKUPS_S = 20_000
_ASKED = 1_000  # objects that are looked up at once


def _record(place: str, contents: int, seed: int) -> dict[str, float]:
    """Record so many objects; return the seconds on the wall, and of this process."""
    from fedi_safety.core.enums import ActKind, Verdict
    from fedi_safety.core.types import Judged
    from fedi_safety.ledger.ledger import open_ledger

    batches = list(drawn_batches(contents, seed))
    records = open_ledger(place, clock=_Clock())
    store = f"{STORE}/{seed}"
    run = records.begin_run("scan", store, {"dry_run": False, "whole": True, "chosen_act": "delete"})
    start, busy = time.monotonic(), time.process_time()
    for batch in batches:
        records.record(run, store, batch)
        judged = (r for r in batch if isinstance(r, Judged) and r.judgement.verdict is Verdict.BLOCK)
        records.plan(run, store, [(r.object, r.content.sha256) for r in judged], ActKind.DELETE)
    found = {"wall_s": time.monotonic() - start, "busy_s": time.process_time() - busy}
    records.dispose()
    return found


def _look_up(place: str, contents: int, seed: int) -> dict[str, float]:
    from fedi_safety.ledger.ledger import open_ledger

    objects = list(chain.from_iterable([r.object for r in batch] for batch in drawn_batches(contents, seed)))
    records = open_ledger(place, clock=_Clock(), readonly=True)
    store = f"{STORE}/{seed}"
    records.lookup(store, objects[:BATCH], None)
    start, busy = time.monotonic(), time.process_time()
    for at in range(0, len(objects), _ASKED):
        known = records.lookup(store, objects[at : at + _ASKED], None)
        if None in known:
            raise SystemExit("what was recorded is not found")
    found = {"wall_s": time.monotonic() - start, "busy_s": time.process_time() - busy}
    records.dispose()
    return found


def _begun(*words: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(Path(__file__)), "--child", *words]
    told = environment() | {"PYTHONPATH": str(ROOT / "src")}
    return subprocess.Popen(command, env=told, stdout=subprocess.PIPE, text=True)


def _ended(*processes: subprocess.Popen[str]) -> list[dict[str, float]]:
    said = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise SystemExit("a writer failed")
    return [json.loads(text.splitlines()[-1]) for text in said]


def _pairs(places: dict[str, Any], pairs: int, contents: int) -> dict[str, Any]:
    """Let each kind record, look up and take two writers, by turns; return ratios and rates."""
    ratios: list[float] = []
    doubled: dict[str, list[float]] = {kind: [] for kind in places}
    looked: dict[str, list[float]] = {kind: [] for kind in places}
    for number in range(pairs):
        rates: dict[str, float] = {}
        for kind in sorted(places, reverse=bool(number % 2)):
            place = places[kind]()
            (one,) = _ended(_begun("record", place, str(contents), "1"))
            rates[kind] = contents / one["wall_s"]
            (asked,) = _ended(_begun("look up", place, str(contents), "1"))
            looked[kind].append(contents / asked["wall_s"])
            place = places[kind]()
            half = str(contents // 2)
            both = _ended(*[_begun("record", place, half, str(seed)) for seed in (2, 3)])
            doubled[kind].append(sum(contents // 2 / each["wall_s"] for each in both) / rates[kind])
            print(
                f"pair {number + 1}, {kind}: {rates[kind]:,.0f} objects/s recorded, of the time "
                f"{one['busy_s'] / one['wall_s']:.0%} here, {looked[kind][-1]:,.0f} looked up, two writers {doubled[kind][-1]:.2f} times one",
                flush=True,
            )
        ratios.append(rates["postgresql"] / rates["sqlite"])
    print(f"recording: PostgreSQL {Spread(tuple(ratios)).text(3)} times SQLite's rate (wanted: {LEAST})")
    return {
        "recorded": Spread(tuple(ratios)).as_json(),
        "two_writers": {kind: Spread(tuple(found)).as_json() for kind, found in doubled.items()},
        "looked_up_per_s": {kind: Spread(tuple(found)).as_json() for kind, found in looked.items()},
    }


def child(words: Sequence[str]) -> None:
    """Do what the parent process asked for."""
    what, place, contents, seed = words
    work = _record if what == "record" else _look_up
    print(json.dumps(work(place, int(contents), int(seed))))


def main() -> None:
    """Measure both kinds of database."""
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--contents", type=int, default=20_000, help="objects a writer, or two writers together")
    parser.add_argument("--work", type=Path, default=default_work(), help="folder for SQLite (default: user's cache)")
    parser.add_argument("--out", type=Path, help="where the JSON goes (default: bench/results/)")
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT / "tests"))
    from support.servers.postgresql import postgresql_server

    about = machine()
    print(machine_line(about))
    options.work.mkdir(parents=True, exist_ok=True)
    numbers = count(1)
    with tempfile.TemporaryDirectory(dir=options.work) as folder, postgresql_server(durable=True) as server:

        def database() -> str:
            name = f"ledger_{next(numbers)}"
            server.execute(f"CREATE DATABASE {name}")
            return server.dsn(database=name)

        places = {"sqlite": lambda: str(Path(folder) / f"{next(numbers)}.db"), "postgresql": database}
        result = {"benchmark": "ledger_kinds", "machine": about, "contents": options.contents}
        result |= _pairs(places, options.pairs, options.contents)
    write_result("ledger_kinds", result, options.out)


if __name__ == "__main__":
    main()
