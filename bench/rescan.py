"""A second scan where nothing is new: objects a second, and that not one file of the store is opened; and start-up.

The ledger is filled through its own port with a clear verdict for every listed object, then
`scan --dry-run --recheck policy` runs as a program of its own under an audit hook that sees every `open` of Python.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench.corpus import default_work, tiny_corpus
from bench.measure import ROOT, Spread, environment, fedi_safety, machine, machine_line, run, write_result

from fedi_safety.app.ledger import open_settings_ledger
from fedi_safety.app.stores import named_store
from fedi_safety.config.loading import load_settings
from fedi_safety.core.enums import MediaType
from fedi_safety.core.policy import judge
from fedi_safety.core.types import Content, Judged, Object, Scores, Signal
from fedi_safety.policies import load_policy

OBJECTS_PER_S = 20_000.0
START_S = 0.3
_CONTROL = 5  # files that the control run reads, to show that the hook sees what is opened
_NAME = "media-"  # how every file of the corpus is called


def fill(folder: Path, ledger: Path, without: int = 0) -> int:
    """Record a verdict for every object of the store, as a scan would have, but for each `without`th; return how many.

    With 0 it is every object.
    """
    settings = load_settings(ledger=str(ledger))
    policy = load_policy(settings.policy)
    store = named_store(settings, str(folder))
    records = open_settings_ledger(settings)
    scores = Scores({"nsfw.open_nsfw": Signal(0.001)}, {"open_nsfw": "filled by the benchmark"})
    judgement = judge(policy, scores.signals)
    objects = (item for item in store.list() if isinstance(item, Object))
    listing = (obj for number, obj in enumerate(objects, 1) if not without or number % without)
    count = 0
    run_id = records.begin_run("scan", store.url, {"dry_run": True})
    while chunk := list(islice(listing, 5000)):
        results = [
            Judged(
                obj,
                Content(hashlib.sha256(obj.key.encode()).digest(), obj.size, MediaType.JPEG, 64, 48, 1, scores),
                judgement,
            )
            for obj in chunk
        ]
        records.record(run_id, store.url, results)
        count += len(chunk)
    records.end_run(run_id, "done", {})
    records.dispose()
    store.close()
    return count


def audited(arguments: list[str]) -> int:
    """Run the program in this process and print on standard error how many files it opened."""
    opened = dict.fromkeys(("store", "folders", "other"), 0)

    def hook(event: str, values: tuple[object, ...]) -> None:
        if event == "open":
            path, _mode, flags = values
            if isinstance(flags, int) and flags & os.O_DIRECTORY:
                opened["folders"] += 1
            else:
                name = os.fsdecode(path) if isinstance(path, str | bytes) else ""
                opened["store" if os.path.basename(name).startswith(_NAME) else "other"] += 1  # noqa: PTH119

    sys.addaudithook(hook)
    from fedi_safety.cli import run as run_program

    code = run_program(arguments)
    # Decoders are children; none may have been started for a scan that has nothing to decode.
    print(json.dumps(opened | {"children": _children()}))
    return code


def _children() -> int:
    """Return whether any child process was ever waited for, by the processor time that they left."""
    usage = os.times()
    return int(usage.children_user + usage.children_system > 0)


def second_scans(options: argparse.Namespace) -> dict[str, Any]:
    """Fill a ledger and scan again, several times; return the rates."""
    folder = tiny_corpus(options.work, options.files)
    rates, walls, opened = [], [], {}
    stages: dict[str, float] = {}
    with tempfile.TemporaryDirectory(dir=options.work) as scratch:
        ledger = Path(scratch) / "ledger.db"
        start = time.monotonic()
        count = fill(folder, ledger)
        size = ledger.stat().st_size / 1e6
        print(f"ledger with {count} objects filled in {time.monotonic() - start:.0f} s, {size:.0f} MB")
        arguments = ("scan", str(folder), "--dry-run", "--json", "--quiet", "--ledger", str(ledger))
        command = [sys.executable, str(Path(__file__)), "--audited", *arguments]
        # What is filled may have been judged under another policy than is in force here: it is decided anew once.
        run([*command, "--limit", "1"], cwd=Path(scratch))
        for number in range(options.rounds):
            finished = run(command, cwd=Path(scratch))
            report, opened = (json.loads(text) for text in finished.out.rsplit("\n", 2)[:2])
            if report["already_judged"] != count:
                raise SystemExit(f"{report['already_judged']} of {count} objects were known")
            rates.append(count / report["seconds"])
            walls.append(finished.wall_s)
            print(f"round {number + 1}: {rates[-1]:,.0f} objects/s ({report['seconds']} s)", flush=True)
        stages = _stages(ledger)
        control = control_opened(folder, ledger)
    rate, wall = Spread(tuple(rates)), Spread(tuple(walls))
    print(f"second scan of {count} objects: {rate.text(0)} objects/s; with loading the models {wall.text()} s")
    print(f"opened: {opened}; stages {stages}; in a scan that reads {_CONTROL} files the hook saw {control}")
    return {
        "objects": count,
        "objects_per_second": rate.as_json(),
        "wall_s": wall.as_json(),
        "opened": opened,
        "opened_by_control": control,
        "stages": stages,
        "kept": rate.median >= OBJECTS_PER_S and opened["store"] == 0 and control == _CONTROL,
    }


def control_opened(folder: Path, ledger: Path) -> int:
    """Return how many files the hook sees in a scan that must read `_CONTROL` of them."""
    arguments = ("scan", str(folder), "--dry-run", "--json", "--ledger", str(ledger), "--recheck", "all")
    command = [sys.executable, str(Path(__file__)), "--audited", *arguments, "--limit", str(_CONTROL)]
    return int(json.loads(run(command, cwd=ledger.parent).out.splitlines()[-1])["store"])


def _stages(ledger: Path) -> dict[str, float]:
    import sqlite3

    connection = sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)
    try:
        (text,) = connection.execute("SELECT summary FROM runs ORDER BY id DESC LIMIT 1").fetchone()
    finally:
        connection.close()
    return {name: round(seconds, 3) for name, seconds in json.loads(text)["stages"].items()}


def start_up(times: int) -> dict[str, Any]:
    """Time `--help`, as a module and through the launcher, in turns."""
    ways = {"module": fedi_safety("--help"), "launcher": [str(ROOT / "fedi-safety"), "--help"]}
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(times + 1):
        for way, command in ways.items():
            start = time.monotonic()
            subprocess.run(command, env=environment(), stdout=subprocess.DEVNULL, check=True)
            taken[way].append(time.monotonic() - start)
    spreads = {way: Spread(tuple(values[1:])) for way, values in taken.items()}  # the first one fills caches
    for way, spread in spreads.items():
        print(f"--help, {way}: {spread.text(3)} s")
    return {way: spread.as_json() for way, spread in spreads.items()}


def main() -> None:
    """Measure a second scan and the start-up."""
    if sys.argv[1:2] == ["--audited"]:
        sys.exit(audited(sys.argv[2:]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--starts", type=int, default=10, help="how often --help is timed")
    parser.add_argument("--work", type=Path, default=default_work(), help="folder for corpora (default: user's cache)")
    parser.add_argument("--out", type=Path, help="where the JSON goes (default: bench/results/)")
    options = parser.parse_args()
    about = machine()
    print(machine_line(about))
    start = start_up(options.starts)
    scans = second_scans(options)
    kept = scans["kept"] and start["module"]["median"] < START_S
    print(f"targets (>= {OBJECTS_PER_S:,.0f}/s, no file opened, start < {START_S} s): {'kept' if kept else 'MISSED'}")
    write_result(
        "rescan", {"benchmark": "rescan", "machine": about, "start_s": start, "second_scan": scans}, options.out
    )


if __name__ == "__main__":
    main()
