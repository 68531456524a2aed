"""Memory of a whole scan, decoders included, over few and over many small files: it must not grow with the store (I8).

Of 20 files 2 are pictures of their own, 8 have the bytes of such a picture, 10 are no media; other shares by option.
With `--stand-in` a detector that looks at colours takes the networks' place, so that every file can be a picture.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench.corpus import default_work, tiny_corpus
from bench.measure import Finished, Memory, fedi_safety, machine, machine_line, run, write_result

GROWTH = 0.10
MOST_MB = 900.0


def scan_once(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Scan into a fresh ledger and return the highest memory and what was scanned."""
    with tempfile.TemporaryDirectory(dir=options.work) as scratch:
        ledger = Path(scratch) / "ledger.db"
        if options.stand_in:
            command = [sys.executable, str(Path(__file__).with_name("stand_in_scan.py")), str(folder), str(ledger)]
        else:
            arguments = ("--ledger", str(ledger), "--dry-run", "--json", "--quiet", *options.arguments.split())
            command = fedi_safety("scan", str(folder), *arguments)
        finished = run(command, cwd=Path(scratch), watch=True)
        ledger_mb = ledger.stat().st_size / 1e6
    return figures(finished, ledger_mb)


def figures(finished: Finished, ledger_mb: float) -> dict[str, Any]:
    """Return what one scan took."""
    report = json.loads(finished.out)
    memory = finished.memory or Memory()
    return memory.as_json() | {
        "listed": report["listed"],
        "judged": report["judged"],
        "unscanned": report["unscanned"],
        "seconds": report["seconds"],
        "files_per_second": round(report["listed"] / report["seconds"], 1),
        "ledger_mb": round(ledger_mb, 1),
    }


def main() -> None:
    """Compare the memory of a small and a large scan."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--few", type=int, default=2_000)
    parser.add_argument("--files", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--pictures", type=float, help="share of pictures (default 0.1; 1 with --stand-in)")
    parser.add_argument("--copies", type=float, help="share of files with another's bytes (default 0.4; 0)")
    parser.add_argument("--stand-in", action="store_true", help="no networks")
    parser.add_argument("--arguments", default="", help="more arguments for the scan")
    parser.add_argument("--work", type=Path, default=default_work(), help="folder for corpora (default: user's cache)")
    parser.add_argument("--out", type=Path, help="where the JSON goes (default: bench/results/)")
    options = parser.parse_args()
    pictures = options.pictures if options.pictures is not None else 1.0 if options.stand_in else 0.1
    copies = options.copies if options.copies is not None else 0.0 if options.stand_in else 0.4
    about = machine()
    print(machine_line(about))
    found: dict[int, list[dict[str, Any]]] = {options.few: [], options.files: []}
    for _ in range(options.rounds):
        for files, results in found.items():
            folder = tiny_corpus(options.work, files, pictures=pictures, copies=copies)
            result = scan_once(folder, options)
            results.append(result)
            print(
                f"{files:>8} files ({result['judged']} judged, {result['files_per_second']}/s): peak RSS "
                f"{result['peak_rss_mb']} MB, PSS {result['peak_pss_mb']} MB, main process "
                f"{result['peak_main_rss_mb']} MB; ledger {result['ledger_mb']} MB",
                flush=True,
            )
    peaks = {name: growth(found, options, name) for name in ("peak_rss_mb", "peak_pss_mb", "peak_main_rss_mb")}
    most = max(r["peak_rss_mb"] for results in found.values() for r in results)
    kept = peaks["peak_rss_mb"] < GROWTH and most < MOST_MB
    print("growth: " + ", ".join(f"{name} {share:+.1%}" for name, share in peaks.items()))
    print(f"target (RSS: growth < {GROWTH:.0%}, peak < {MOST_MB:.0f} MB): {'kept' if kept else 'MISSED'}")
    result = {
        "benchmark": "memory",
        "machine": about,
        "stand_in": options.stand_in,
        "pictures": pictures,
        "copies": copies,
        "runs": {str(files): results for files, results in found.items()},
        "growth": {name: round(share, 4) for name, share in peaks.items()},
        "kept": kept,
    }
    write_result("memory", result, options.out)


def growth(found: dict[int, list[dict[str, Any]]], options: argparse.Namespace, name: str) -> float:
    """Return by which share the highest of the large scans is above the highest of the small ones."""
    few, many = (max(r[name] for r in found[files]) for files in (options.few, options.files))
    return float(many / few - 1)


if __name__ == "__main__":
    main()
