"""What commands cost before and beside their work: processor time, children included, of the whole command.

Every command's help, what only asks the ledger, and a scan of one picture. With `--beside FOLDER`, a checkout of
another commit (`git worktree add FOLDER COMMIT`), both take turns in the same run. The least of the rounds counts: what
else the machine does only adds to it. Beside the commands stand the libraries that they cannot do without.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from bench.measure import ROOT, fedi_safety, machine, machine_line, run, write_result

from fedi_safety.cli import _COMMANDS
from support.corpus.photos import jpeg_bytes

AIMS = {"help": 0.2, "list": 0.35, "show": 0.35, "scan": 0.8}
LIBRARIES = ("pass", "import typer", "import pydantic.main", "import sqlalchemy", "import numpy", "import onnxruntime")


def commands(short: bool) -> dict[str, tuple[str, ...]]:
    """Return by name the arguments of what is measured; `LEDGER` stands for a ledger that knows one picture."""
    names = (
        ["scan", "serve"] if short else [name for name in _COMMANDS if not _COMMANDS[name].startswith("predecessor")]
    )
    ledger = ("--ledger", "LEDGER")
    return {
        "--version": ("--version",),
        "--help": ("--help",),
        **{f"{name} --help": (name, "--help") for name in names},
        "list": ("list", *ledger),
        "show": ("show", "a.jpg", *ledger),
        "scan of one file": ("scan", "media", "--dry-run", "--quiet", "--recheck", "all", *ledger),
    }


def of_tree(tree: Path, *arguments: str) -> list[str]:
    """Return the command line of a tree's program."""
    return ["env", f"PYTHONPATH={tree}/src", *fedi_safety(*arguments)]


def aim_of(name: str) -> float | None:
    """Return what the project aims at, in seconds; None where it aims at nothing."""
    return AIMS["help"] if name.endswith("--help") else AIMS.get(name.partition(" ")[0])


def main() -> None:
    """Measure both trees in turns, and print a line for each command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--beside", type=Path, help="a checkout of another commit")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--short", action="store_true", help="the help of two commands instead of all")
    parser.add_argument("--out", type=Path, help="where the JSON goes (default: bench/results/)")
    options = parser.parse_args()
    trees = {"this": ROOT} | ({"beside": options.beside.resolve()} if options.beside else {})
    about = machine()
    print(machine_line(about))
    least: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        (place / "media").mkdir()
        (place / "media/a.jpg").write_bytes(jpeg_bytes("coffee"))
        for number in range(options.rounds + 1):
            for name, arguments in commands(options.short).items():
                for tree, source in trees.items():
                    given = [f"{tree}.db" if argument == "LEDGER" else argument for argument in arguments]
                    if not number and name in ("list", "show"):
                        continue  # the first round makes the ledger, and compiles what is not
                    _lower(least, name, tree, run(of_tree(source, *given), cwd=place).cpu_s)
            for code in LIBRARIES:
                _lower(least, f"python -c '{code}'", "this", run([sys.executable, "-c", code], cwd=place).cpu_s)
    for name, seconds in least.items():
        aim = aim_of(name)
        verdict = "" if aim is None else f"   aim {aim}: {'kept' if seconds['this'] < aim else 'MISSED'}"
        beside = f"   beside {seconds['beside']:.2f} s" if "beside" in seconds else ""
        print(f"{name:34} {seconds['this']:.2f} s{beside}{verdict}")
    result: dict[str, Any] = {"machine": about, "rounds": options.rounds, "least_s": least}
    write_result("startup", result, options.out)


def _lower(least: dict[str, dict[str, float]], name: str, tree: str, seconds: float) -> None:
    found = least.setdefault(name, {})
    found[tree] = round(min(seconds, found.get(tree, seconds)), 3)


if __name__ == "__main__":
    main()
