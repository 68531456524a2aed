"""Real sweeps for the model of them: what they took, and what each part of one takes by itself.

All is measured on the machine where it runs: how much more of the processor a small sweep takes than a smaller one,
thread by thread, with as many decoders: two take a tenth more of it for an object than one. Actions, and what the disk
takes, are measured by themselves. Pictures are harmless ones.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench.corpus import instance_corpus, tiny_corpus
from bench.measure import run
from bench.rescan import fill
from bench.scale_model import Costs, Ledger, Machine, Store, Sweep, sweep

FEW, MANY = 500, 8000  # objects of the two small sweeps of small pictures
# Of those of which all is known. By 2,000 and 20,000 an object took a third less than in a sweep of a million.
KNOWN_FEW, KNOWN_MANY = 20_000, 100_000
KNOWN_TIMES = 3  # how often each of these is made: single ones, seconds long, are up to a fifth apart
PICTURES_FEW, PICTURES_MANY = 20, 120  # of those with the size of what people upload
STAGES = ("list", "fetch", "decode", "score")  # the threads of `core.pipeline`; what is left is its caller's
_ACTS, _GROUP = 400, 32  # plans that are made, and how many of them are started together
_DISK_TRIES = 20
_NARROWED = 8  # how often the waits for the interpreter are halved: to a half percent of what an object takes
_lock = threading.Lock()


def sweep_once(folder: Path, ledger: Path, jobs: int, detectors: str, limit: int | None) -> dict[str, Any]:
    """Sweep a folder dry in this process; return its report and what processor time it took, start left out."""
    from bench.stand_in_scan import Redness

    from fedi_safety.app.engine import Engine, caps, open_engine
    from fedi_safety.app.ledger import open_settings_ledger
    from fedi_safety.app.scan import scan
    from fedi_safety.app.stores import named_store
    from fedi_safety.config.loading import load_settings
    from fedi_safety.core.runs import ScanRequest
    from fedi_safety.media import SandboxDecoder
    from fedi_safety.policies import load_policy

    settings = load_settings(ledger=str(ledger), jobs=jobs)
    store = named_store(settings, str(folder))
    records = open_settings_ledger(settings)
    if detectors == "stand-in":
        engine = Engine(SandboxDecoder(caps(settings), jobs), [Redness()], "none", jobs)
    else:
        engine = open_engine(settings)
    policy = load_policy(settings.policy)
    threads = _watched_threads()
    before = time.process_time()
    try:
        request = ScanRequest(store.url, dry_run=True, limit=limit)
        report = scan(settings, request, ledger=records, store=store, engine=engine, policy=policy)
        main_s = time.process_time() - before
    finally:
        engine.close()
        records.dispose()
        store.close()
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    listing, looking = report.stages.get("list", 0.0), report.stages.get("look up", 0.0)
    return report.as_json() | {
        **{name: threads.get(name, 0.0) for name in STAGES},
        "list_share": listing / ((listing + looking) or 1.0),
        "main_cpu_s": main_s,
        "child_cpu_s": children.ru_utime + children.ru_stime,
    }


def _watched_threads() -> dict[str, float]:
    """Return the processor time that the pipeline's threads will have taken, by stage, once it has run."""
    from fedi_safety.core.pipeline import Pipeline

    taken: dict[str, float] = {}
    original: Callable[..., None] = Pipeline._guarded

    def watched(self: Pipeline, *arguments: Any) -> None:
        original(self, *arguments)
        stage = threading.current_thread().name.partition("-")[0]
        with _lock:
            taken[stage] = taken.get(stage, 0.0) + time.thread_time()

    setattr(Pipeline, "_guarded", watched)  # noqa: B010 - there is no other way to see it, on purpose
    return taken


def swept(
    folder: Path, ledger: Path, jobs: int = 1, detectors: str = "stand-in", limit: int | None = None
) -> dict[str, Any]:
    """Sweep in a process of its own; return what it told, and how many processors others used meanwhile."""
    told = {"folder": str(folder), "ledger": str(ledger), "jobs": jobs, "detectors": detectors, "limit": limit}
    busy, began = _busy_s(), time.monotonic()
    finished = run([sys.executable, __file__, "--child", json.dumps(told)], cwd=ledger.parent)
    others = (_busy_s() - busy - finished.cpu_s) / (time.monotonic() - began)
    found: dict[str, Any] = json.loads(finished.out.splitlines()[-1])
    return found | {"others_cores": round(max(0.0, others), 2)}


def _busy_s() -> float:
    """Return the processor time that the machine has used since it was started, stolen time included."""
    numbers = [int(n) for n in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    user, nice, system, _idle, _io, irq, soft, steal, *_ = numbers
    return (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK")


# --- what an object takes


def measured_costs(work: Path, jobs: int = 1) -> tuple[Costs, dict[str, float]]:
    """Measure what an object of a sweep with the stand-in detector takes; the second is what else was found."""
    folders = {n: tiny_corpus(work, n) for n in (KNOWN_FEW, KNOWN_MANY)}
    with TemporaryDirectory(dir=work) as scratch:
        few, many = (swept(folders[KNOWN_FEW], Path(scratch) / f"{n}.db", jobs, limit=n) for n in (FEW, MANY))
        again = []
        for n, folder in folders.items():
            filled(folder, Path(scratch) / f"known-{n}.db")
            again.append(known_sweep(folder, Path(scratch) / f"known-{n}.db"))
        further = acting(folders[KNOWN_FEW], Path(scratch))
    new = {name: slope(few, many, name, MANY - FEW) for name in (*STAGES, "main_cpu_s", "child_cpu_s")}
    known = {name: slope(again[0], again[1], name, KNOWN_MANY - KNOWN_FEW) for name in (*STAGES, "main_cpu_s")}
    costs = Costs(
        start=max(0.0, few["main_cpu_s"] - FEW * new["main_cpu_s"]),
        start_known=max(0.0, again[0]["main_cpu_s"] - KNOWN_FEW * known["main_cpu_s"]),
        list=known["list"] * again[1]["list_share"],
        look_up=known["list"] * (1 - again[1]["list_share"]),
        known=max(0.0, known["main_cpu_s"] - known["list"]),
        fetch=new["fetch"],
        hand_over=new["decode"],
        decode=new["child_cpu_s"],
        judge=new["score"],
        score=0.0,
        record=max(0.0, new["main_cpu_s"] - sum(new[name] for name in STAGES)),
        act=further["act"],
        commit=further["commit"],
    )
    cores = max(0.2, len(os.sched_getaffinity(0)) - many["others_cores"])
    costs = with_turns(costs, cores, many["seconds"] - few["seconds"], jobs)
    more = {"main_s": new["main_cpu_s"], "known_main_s": known["main_cpu_s"], "others_cores": many["others_cores"]}
    return costs, more


def filled(folder: Path, ledger: Path, without: int = 0) -> None:
    """Make a ledger that knows every object but each `without`th, as a sweep leaves it; 0 for all of them.

    The first sweep behind it decides all contents anew: without the other detectors another policy is in force.
    """
    fill(folder, ledger, without)
    swept(folder, ledger, limit=1)


def known_sweep(folder: Path, ledger: Path, jobs: int = 1) -> dict[str, Any]:
    """Sweep a folder of which the ledger knows all, several times; return the run that took the median time."""
    runs = [swept(folder, ledger, jobs) for _ in range(KNOWN_TIMES)]
    return sorted(runs, key=lambda run: float(run["seconds"]))[KNOWN_TIMES // 2]


def with_turns(costs: Costs, cores: float, seconds: float, jobs: int = 1) -> Costs:
    """Return the costs with the waits that make the model take the time of the small sweep, where it takes less.

    A thread that calls the kernel lets go of the interpreter, and one that computes keeps it for 5 ms: a decoder's
    thread, with a dozen calls an object, gets less than an even share. With few decoders everything waits for them.
    """

    def takes(turn: float) -> float:
        """Return how much longer the larger of the two sweeps takes than the smaller one."""
        place, each = Machine(cores, jobs=jobs), replace(costs, turn=turn)
        many, few = (sweep(each, place, Store(), Ledger(), Sweep(n), n // 5).seconds for n in (MANY, FEW))
        return many - few

    least, most = 0.0, seconds / (MANY - FEW)
    for _ in range(_NARROWED):
        turn = (least + most) / 2
        least, most = (turn, most) if takes(turn) < seconds else (least, turn)
    return replace(costs, turn=least)


def picture_costs(costs: Costs, work: Path) -> tuple[Costs, dict[str, float]]:
    """Measure the same with the embedded detectors and pictures of the usual size; the second is their bytes."""
    folder = instance_corpus(work, PICTURES_MANY)
    with TemporaryDirectory(dir=work) as scratch:
        few, many = (
            swept(folder, Path(scratch) / f"{n}.db", detectors="embedded", limit=n)
            for n in (PICTURES_FEW, PICTURES_MANY)
        )
    objects = PICTURES_MANY - PICTURES_FEW
    new = {name: slope(few, many, name, objects) for name in (*STAGES, "child_cpu_s")}
    # What larger pictures add (reading, hashing, networks) lets go of the interpreter: it is in the decoder's figure.
    more = sum(max(0.0, new[stage] - less) for stage, less in (("fetch", costs.fetch), ("decode", costs.hand_over)))
    found = replace(costs, decode=new["child_cpu_s"] + more, score=max(0.0, new["score"] - costs.judge))
    return found, {"bytes": many["bytes"] / max(1, many["judged"]), "others_cores": many["others_cores"]}


def slope(few: Mapping[str, Any], many: Mapping[str, Any], name: str, objects: int) -> float:
    """Return what each further object took."""
    return max(0.0, float(many[name] - few[name]) / objects)


def acting(folder: Path, scratch: Path) -> dict[str, float]:
    """Return what an action takes in the ledger, of an object that is not touched, and what a commit waits for."""
    from fedi_safety.app.ledger import open_settings_ledger
    from fedi_safety.app.stores import named_store
    from fedi_safety.config.loading import load_settings
    from fedi_safety.core.enums import ActKind, PlanState
    from fedi_safety.core.types import Object, Outcome

    ledger = scratch / f"known-{KNOWN_FEW}.db"
    settings = load_settings(ledger=str(ledger))
    store, records = named_store(settings, str(folder)), open_settings_ledger(settings)
    try:
        objects = [item for item in islice(store.list((), None), _ACTS) if isinstance(item, Object)]
        known = records.lookup(store.url, objects, None, None)
        wanted = [(o, k.sha256) for o, k in zip(objects, known, strict=True) if k is not None and k.sha256 is not None]
        number = records.begin_run("scan", store.url, {"dry_run": False})
        before = time.thread_time()
        plans = records.plan(number, store.url, wanted, ActKind.DELETE)
        for at in range(0, len(plans), _GROUP):
            started = records.start(number, plans[at : at + _GROUP])
            records.close(number, [Outcome(plan, PlanState.DONE) for plan in started])
        taken = time.thread_time() - before
    finally:
        records.dispose()
        store.close()
    return {"act": taken / len(wanted), "commit": _commit_s(scratch)}


def _commit_s(folder: Path) -> float:
    """Return how long the disk takes for what a transaction waits for: some pages and one sync."""
    path, taken = folder / "disk", []
    with path.open("wb", buffering=0) as file:
        for _ in range(_DISK_TRIES):
            began = time.monotonic()
            file.write(bytes(1 << 16))
            os.fsync(file.fileno())
            taken.append(time.monotonic() - began)
    return statistics.median(taken)


def main() -> None:
    """Do what the parent process asked for."""
    told = json.loads(sys.argv[2])
    folder, ledger = Path(told["folder"]), Path(told["ledger"])
    print(json.dumps(sweep_once(folder, ledger, told["jobs"], told["detectors"], told["limit"])))


if __name__ == "__main__":
    main()
