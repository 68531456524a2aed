"""How many threads the pipeline should have: dry scans with other numbers of decoders, scorers, threads, and batches.

Every setting runs in a fresh process, in turns; models are loaded before the clock starts. Processor time is that of
the scan alone, decoders included.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench.corpus import default_work, instance_corpus
from bench.measure import Spread, machine, machine_line, run, write_result

from fedi_safety.app import scan
from fedi_safety.app.engine import Engine, caps
from fedi_safety.app.ledger import open_settings_ledger
from fedi_safety.app.stores import named_store
from fedi_safety.config.loading import load_settings
from fedi_safety.core.pipeline import Options
from fedi_safety.core.runs import ScanRequest
from fedi_safety.detectors import open_detectors
from fedi_safety.media import SandboxDecoder
from fedi_safety.policies import load_policy
from fedi_safety.service.cpus import cpu_count

SETTINGS: tuple[Mapping[str, int], ...] = (
    {},
    {"decoders": 1},
    {"scorers": 1},
    {"scorers": 1, "threads": 2},
    {"scorers": 3},
    {"decoders": 3},
    {"decoders": 3, "scorers": 3},
    {"decoders": 1, "scorers": 1},
    {"max_batch": 1},
    {"max_batch": 4},
    {"max_batch": 16},
    {"fetchers": 1},
    {"fetchers": 4},
)


def scan_with(changes: Mapping[str, int], folder: Path, ledger: Path, *, cascade: bool) -> dict[str, Any]:
    """Scan in this process with these changes to the usual numbers."""
    threads = changes.get("threads", 1)
    options = {name: value for name, value in changes.items() if name != "threads"}
    settings = load_settings(ledger=str(ledger))
    cores = cpu_count()

    def changed(**usual: Any) -> Options:
        return Options(**(usual | options))

    setattr(scan, "Options", changed)  # noqa: B010 - there is no setting for these, on purpose
    detectors = open_detectors(settings, threads).frames
    engine = Engine(SandboxDecoder(caps(settings), changes.get("decoders", cores)), detectors, "cpu", cores)
    store = named_store(settings, str(folder))
    records = open_settings_ledger(settings)
    before = _cpu_s()
    try:
        request = ScanRequest(store.url, dry_run=True, cascade=cascade)
        policy = load_policy(settings.policy)
        report = scan.scan(settings, request, ledger=records, store=store, engine=engine, policy=policy)
    finally:
        engine.close()
        records.dispose()
        store.close()
    count = report.tally.judged
    return {
        "images_per_second": count / report.seconds,
        "cpu_ms": 1000 * (_cpu_s() - before) / count,
        "stages": {name: round(1000 * seconds / count, 2) for name, seconds in report.stages.items()},
    }


def _cpu_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def main() -> None:
    """Compare the settings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-cascade", action="store_true", help="every detector sees every picture")
    parser.add_argument("--only", help="settings to compare, as JSON, e.g. '[{}, {\"scorers\": 3}]'")
    parser.add_argument("--work", type=Path, default=default_work(), help="folder for corpora (default: user's cache)")
    parser.add_argument("--out", type=Path, help="where the JSON goes (default: bench/results/)")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        changes, folder, ledger = options.child
        print(json.dumps(scan_with(json.loads(changes), Path(folder), Path(ledger), cascade=not options.no_cascade)))
        return
    settings: list[Mapping[str, int]] = json.loads(options.only) if options.only else list(SETTINGS)
    about = machine()
    print(machine_line(about))
    folder = instance_corpus(options.work, options.files)
    for path in folder.rglob("*.*"):
        path.read_bytes()  # fills the page cache
    found: dict[str, list[dict[str, Any]]] = {json.dumps(changes): [] for changes in settings}
    flags = ["--no-cascade"] if options.no_cascade else []
    for _ in range(options.rounds):
        for changes, results in found.items():
            with tempfile.TemporaryDirectory() as scratch:
                child = ("--child", changes, str(folder), str(Path(scratch) / "ledger.db"))
                command = [sys.executable, str(Path(__file__)), *flags, *child]
                results.append(json.loads(run(command, cwd=Path(scratch)).out))
    usual = Spread(tuple(r["images_per_second"] for r in next(iter(found.values()))))
    print(f"{'changed':36}{'images/s':>24}{'to first':>10}{'CPU ms/image':>22}")
    table: dict[str, Any] = {}
    for changes, results in found.items():
        rate = Spread(tuple(r["images_per_second"] for r in results))
        cpu = Spread(tuple(r["cpu_ms"] for r in results))
        # Each round's own ratio: what else the machine does then weighs on both.
        ratio = Spread(tuple(x / y for x, y in zip(rate.values, usual.values, strict=True)))
        print(f"{changes:36}{rate.text():>24}{ratio.median:>10.3f}{cpu.text(1):>22}")
        table[changes] = {
            "images_per_second": rate.as_json(),
            "to_first": ratio.as_json(),
            "cpu_ms": cpu.as_json(),
            "stages": results[-1]["stages"],
        }
    result = {"benchmark": "concurrency", "machine": about, "cascade": not options.no_cascade, "settings": table}
    write_result("concurrency", result | {"files": options.files, "rounds": options.rounds}, options.out)


if __name__ == "__main__":
    main()
