"""What a sweep takes, from a hundred thousand objects to a thousand million: hours, requests, bytes, money, and bends.

A discrete model (`scale_model`) of the program, fed by what this machine measures, is first held against real sweeps of
synthetic objects with a stand-in detector. Prices, other machines and their GPUs are inputs, and assumed.

    ./dev bench scale                       measure, hold against real sweeps of 20,000 objects, and tell
    ./dev bench scale --hold 100000 --only  hold against larger ones, and no more
    ./dev bench scale --hold 1000000 --runs tenth:2 --only  a tenth is new, the rest is known
    ./dev bench scale --costs FILE --hold 0 tell again, with other inputs
    ./dev bench scale --costs FILE --page   hold further sweeps beside those of the file, and write the page
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench.corpus import default_work, tiny_corpus
from bench.measure import ROOT, machine, machine_line, write_result
from bench.scale_model import Costs, Ledger, Machine, Store, Sweep, Swept, sweep
from bench.scale_runs import filled, known_sweep, measured_costs, picture_costs, swept
from bench.scale_tables import markdown, table, told_where, write_page

INPUTS = Path(__file__).with_name("scale_inputs.json")
PAGE = ROOT / "docs" / "scale-cost.md"
RUNS = ("new:1", "new:2", "known:1", "known:2")
NEW = {"new": 1.0, "tenth": 0.1, "known": 0.0}  # kinds of a sweep: the share of its objects that is new
HELD = 0.15  # how far a prediction may be from what was measured
OBJECTS = (1e6, 1e7, 1e8, 1e9)
WORKERS = (1, 2, 4, 8, 16, 32, 64)
TOLD_LOTS = 2000
NEW_LATER = 0.001  # of what is listed again is new


# --- held against real sweeps


def predicted(costs: Costs, cores: float, objects: int, run: str) -> Swept:
    """Return what the model says of a real sweep with the stand-in detector over small local pictures."""
    kind, jobs = kind_of(run)
    return sweep(costs, Machine(cores, 1, jobs), Store(), Ledger(), Sweep(objects, new=NEW[kind]))


def kind_of(run: str) -> tuple[str, int]:
    """Return a sweep's kind and its `--jobs`. Raises `SystemExit` for one that there is not."""
    kind, _, jobs = run.partition(":")
    if kind not in NEW or not jobs.isdecimal():
        raise SystemExit(f"--runs {run}: there is no such sweep; give {', '.join(NEW)}, a colon and a number of jobs")
    return kind, int(jobs)


def measured_now(work: Path, jobs: int = 1) -> tuple[Costs, float]:
    """Measure and tell what an object of a sweep with the stand-in detector takes; also how many processors others."""
    costs, more = measured_costs(work, jobs)
    told = told_of_costs(costs)
    print(f"stand-in detector, --jobs {jobs}: {told}; others used {more['others_cores']} processors", flush=True)
    return costs, more["others_cores"]


def mean(measured: Sequence[tuple[Costs, float]]) -> Costs:
    """Return costs measured several times, each as their mean."""
    names = [name for name, cost in asdict(measured[0][0]).items() if cost is not None]
    return Costs(**{name: statistics.fmean(getattr(costs, name) for costs, _ in measured) for name in names})


def held(work: Path, objects: int, runs: list[str]) -> tuple[list[dict[str, Any]], list[tuple[Costs, float]]]:
    """Sweep for real, each run beside what the model says of it; also return the costs with the most decoders.

    A machine is not as quick in one hour as in the next, so that costs are measured before and behind each sweep, with
    as many decoders as it has, and it is held against the mean of the two.
    """
    folder = tiny_corpus(work, objects)
    found = []
    with TemporaryDirectory(dir=work) as scratch:
        ledgers: dict[str, Path] = {}
        for kind in sorted({kind_of(run)[0] for run in runs} - {"new"}):
            ledgers[kind] = Path(scratch) / f"{kind}.db"
            filled(folder, ledgers[kind], round(1 / NEW[kind]) if NEW[kind] else 0)
        measured: dict[int, list[tuple[Costs, float]]] = {}
        before = 0  # decoders of the last measurement
        for number, run in enumerate(runs):
            kind, jobs = kind_of(run)
            ledger = Path(scratch) / f"{number}.db"
            if kind in ledgers:
                shutil.copyfile(ledgers[kind], ledger)
            if jobs != before:
                measured.setdefault(jobs, []).append(measured_now(work, jobs))
                before = jobs
            real = (swept if NEW[kind] else known_sweep)(folder, ledger, jobs)
            told = real["judged"], real["already_judged"]
            new = round(objects * NEW[kind])
            if told != (new, objects - new):
                raise SystemExit(f"{run}: {told[0]} judged, {told[1]} known of {objects} objects")
            cores = max(0.2, machine()["cores"] - real["others_cores"])
            measured[jobs].append(measured_now(work, jobs))
            model = predicted(mean(measured[jobs][-2:]), cores, objects, run)
            found.append(
                {
                    "run": run,
                    "objects": objects,
                    "measured_s": round(real["seconds"], 2),
                    "predicted_s": round(model.seconds, 2),
                    "off": round(model.seconds / real["seconds"] - 1, 3),
                    "measured_cpu_s": round(real["main_cpu_s"] + real["child_cpu_s"], 2),
                    "predicted_cpu_s": round(model.cpu_s, 2),
                    "others_cores": real["others_cores"],
                    "ledger_bytes_an_object": round(ledger.stat().st_size / objects, 1),
                    "bend": model.bend,
                }
            )
            ledger.unlink()
            print(told_of_run(found[-1]), flush=True)
    return found, measured[max(measured)]


def with_earlier(earlier: list[dict[str, Any]], found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return sweeps that were held before with those of now, which replace the same ones; the shortest first."""
    rows = {(run["run"], run["objects"]): run for run in (*earlier, *found)}
    return sorted(
        rows.values(), key=lambda run: (list(NEW).index(run["run"].partition(":")[0]), run["objects"], run["run"])
    )


def told_of_run(found: Mapping[str, Any]) -> str:
    """Return a line about one real sweep."""
    cpu = found["predicted_cpu_s"] / found["measured_cpu_s"] - 1
    return (
        f"{found['run']:8} {found['objects']:>9,} objects: measured {found['measured_s']:8.1f} s, predicted "
        f"{found['predicted_s']:8.1f} s ({found['off']:+.0%}); processor time {cpu:+.0%}; "
        f"{found['others_cores']} processors were others'"
    )


# --- told of what nobody has run


def of_machine(
    costs: Costs, about: Mapping[str, Any], inputs: Mapping[str, Any], detectors: str, size: float, work: Sweep
) -> dict[str, Any]:
    """Return what a sweep takes on one machine with the ledger in a file, and what it costs."""
    gpu_s = about.get("embedded_gpu_s")
    if detectors == "clip":
        if gpu_s is not None:
            gpu_s += about["clip_gpu_s"]
        costs = Costs(**(asdict(costs) | {"score": costs.score + inputs["clip_core_s"]["value"]}))
    place = Machine(about["cores"], about["processes"], about["jobs"], about["speed"], gpu_s, about["bytes_a_s"])
    file = inputs["ledger_file"]
    ledger = Ledger(
        object_bytes=size,
        memory_bytes=about["memory_bytes"],
        index_bytes=file["index_bytes"],
        read_s=file["read_s"],
        known_objects=work.objects * (1 - work.new),
    )
    found = sweep(costs, place, store_of(inputs, about), ledger, work, TOLD_LOTS)
    return facts(found, work, inputs["prices"], about["an_hour"])


def store_of(inputs: Mapping[str, Any], about: Mapping[str, Any]) -> Store:
    """Return the store of the inputs, of which a process of this machine fetches so much at once."""
    return Store(**{n: v for n, v in inputs["store"].items() if n != "source"}, fetchers=about["fetchers"])


def facts(found: Swept, work: Sweep, prices: Mapping[str, Any], an_hour: float) -> dict[str, Any]:
    """Return hours, requests, bytes and money of a sweep."""
    hours = found.seconds / 3600
    gets, lists = found.counts.get("fetched", 0.0), found.counts["pages"]
    moved = found.counts.get("bytes", 0.0) / 1e9
    money = {
        "machines": hours * an_hour,
        "requests": gets / 1000 * prices["get_a_thousand"] + lists / 1000 * prices["list_a_thousand"],
        "transfer": moved * prices["out_a_gb"],
    }
    return {
        "objects": work.objects,
        "hours": hours,
        "objects_a_s": work.objects / found.seconds,
        "requests": gets + lists,
        "gb": moved,
        "ledger_gb": found.ledger_bytes / 1e9,
        "money": money,
        "a_million": {name: spent / work.objects * 1e6 for name, spent in money.items()},
        "bend": found.bend,
    }


def by_machine(costs: Costs, inputs: Mapping[str, Any], size: float, bytes_each: float, objects: list[float]) -> Any:
    """Return every machine's sweeps: all new, and nothing new but a thousandth."""
    found = []
    for name, about in inputs["machines"].items():
        for detectors in ("embedded", "clip"):
            for many in objects:
                for new in (1.0, NEW_LATER) if detectors == "embedded" else (1.0,):
                    work = Sweep(round(many), new=new, bytes=bytes_each, shards=about["processes"] * 4)
                    told = of_machine(costs, about, inputs, detectors, size, work)
                    found.append({"machine": name, "detectors": detectors, "new": new, **told})
    return found


def by_workers(costs: Costs, inputs: Mapping[str, Any], bytes_each: float, objects: float) -> list[dict[str, Any]]:
    """Return what more and more machines of 16 cores reach with one ledger on a server, and what holds them up."""
    about, server = inputs["machines"]["16 cores"], inputs["server"]
    ledger = Ledger(**{name: server[name] for name in server.keys() & {f.name for f in fields(Ledger)}})
    costs = replace(
        costs, record=costs.record * server["record_times"], look_up=costs.look_up * server["look_up_times"]
    )
    found = []
    for workers in WORKERS:
        place = Machine(
            about["cores"], about["processes"], about["jobs"], about["speed"], None, about["bytes_a_s"], workers
        )
        for new in (1.0, 0.0):
            work = Sweep(round(objects), new=new, bytes=bytes_each, shards=workers * about["processes"] * 4)
            told = sweep(costs, place, store_of(inputs, about), ledger, work, lots=max(TOLD_LOTS, 200 * workers))
            an_hour = workers * about["an_hour"] + server["an_hour"]
            found.append({"machines": workers, "new": new, **facts(told, work, inputs["prices"], an_hour)})
    return found


# --- the command


def costs_of(path: Path) -> dict[str, Any]:
    """Return what an earlier run wrote. Raises `SystemExit` where it holds no costs."""
    found: dict[str, Any] = json.loads(path.read_text())
    if "costs" not in found or "others_cores" not in found:
        raise SystemExit(f"--costs {path}: it has no costs; give a JSON file that ./dev bench scale wrote")
    return found


def with_pictures(found: dict[str, Any], work: Path) -> dict[str, Any]:
    """Return it with what pictures take with the embedded detectors, measured where it does not say so yet."""
    if "picture_costs" in found:
        return found
    pictures, more = picture_costs(Costs(**found["costs"]), work)
    print(f"embedded detectors: {told_of_costs(pictures)}; {more['bytes']:,.0f} bytes", flush=True)
    return found | {"picture_costs": asdict(pictures), "picture_bytes": more["bytes"]}


def told_of_costs(costs: Costs) -> str:
    """Return what an object takes, in millionths of a second."""
    told = {name: cost for name, cost in asdict(costs).items() if "start" not in name}
    return ", ".join(f"{name} {1e6 * cost:,.0f}" for name, cost in told.items()) + " us"


def read_inputs(options: argparse.Namespace) -> dict[str, Any]:
    """Return the inputs, with what the command line says otherwise. Raises `SystemExit` for a name that is none."""
    inputs: dict[str, Any] = json.loads(options.inputs.read_text())
    for text in options.set:
        path, _, value = text.partition("=")
        *parents, name = path.split("/")
        place = inputs
        for parent in parents:
            place = place.get(parent, {})
        if name not in place or not value:
            raise SystemExit(f"--set {text}: there is no such input; give NAME/NAME=NUMBER as in {options.inputs.name}")
        place[name] = float(value)
    return inputs


def measured_server(server: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return what is said of the ledger's server, with what `bench/ledger_postgresql.py` measured of it."""
    told = json.loads(path.read_text())
    record, look_up = told["record"], told["lookups"]
    found = {
        "record_s": record["server_us"]["median"] / 1e6,
        "record_times": 1 / record["to_sqlite_cpu"]["median"],
        "look_up_s": look_up["server_us"]["median"] / 1e6,
        "look_up_times": look_up["one_cpu_us"]["median"] / look_up["sqlite_cpu_us"]["median"],
    }
    if "large" in told:
        found["object_bytes"] = told["large"]["bytes"]["database"]
    return server | found | {"source": f"{', '.join(found)} as measured; the rest assumed: {server['source']}"}


def main() -> None:
    """Measure, hold, and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hold", type=int, default=20_000, help="objects of the real sweeps; 0 for none")
    parser.add_argument("--runs", nargs="+", default=list(RUNS), metavar="KIND:JOBS", help=f"default: {' '.join(RUNS)}")
    parser.add_argument("--only", action="store_true", help="hold, and tell nothing")
    parser.add_argument("--costs", type=Path, help="a JSON file of this benchmark: its costs go into the tables")
    parser.add_argument("--inputs", type=Path, default=INPUTS, help="what is assumed (default: scale_inputs.json)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME/NAME=NUMBER", help="another assumption")
    parser.add_argument("--server", type=Path, help="the JSON of ./dev bench ledger_postgresql: what its server takes")
    parser.add_argument("--objects", type=float, nargs="+", default=list(OBJECTS))
    parser.add_argument("--page", action="store_true", help="write the tables into docs/scale-cost.md too")
    parser.add_argument("--work", type=Path, default=default_work(), help="folder for corpora (default: user's cache)")
    parser.add_argument("--out", type=Path, help="where the JSON goes (default: bench/results/)")
    options = parser.parse_args()
    inputs = read_inputs(options)
    if options.server:
        inputs["server"] = measured_server(inputs["server"], options.server)
    options.work.mkdir(parents=True, exist_ok=True)
    print(machine_line(machine()))
    result: dict[str, Any] = {"benchmark": "scale", "machine": machine()}
    result |= costs_of(options.costs) if options.costs else {}
    measured: list[tuple[Costs, float]] = []
    if options.hold:
        found, measured = held(options.work, options.hold, options.runs)
        result["held"] = with_earlier(result.get("held", []), found)
        off = max(abs(run["off"]) for run in result["held"])
        print(f"furthest off: {off:.0%}   target {HELD:.0%}: {'kept' if off <= HELD else 'MISSED'}")
    if not options.costs:
        measured = measured or [measured_now(options.work)]
        result |= {"costs": asdict(mean(measured)), "others_cores": [others for _, others in measured]}
    if not options.only:
        result = with_pictures(result, options.work)
        size = result.get("held", [{}])[0].get(
            "ledger_bytes_an_object", inputs["ledger_file"].get("object_bytes", 420.0)
        )
        pictures = Costs(**result["picture_costs"])
        result["inputs"] = inputs
        result["machines"] = by_machine(pictures, inputs, size, result["picture_bytes"], options.objects)
        result["workers"] = by_workers(pictures, inputs, result["picture_bytes"], max(options.objects))
        print(table(result))
        if options.page:
            write_page(PAGE, markdown(result), told_where(result))
    write_result("scale", result, options.out)


if __name__ == "__main__":
    main()
