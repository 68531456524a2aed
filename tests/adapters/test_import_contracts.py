"""The contracts that keep the house: each refuses what it is there to refuse, planted in a copy of the source."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONTRACTS = [
    c["name"] for c in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
]


def add(module: str, line: str) -> Callable[[Path], None]:
    """Plant a line at the end of a module."""

    def plant(source: Path) -> None:
        file = source / f"{module.replace('.', '/')}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"{file.read_text()}\n\n{line}\n" if file.exists() else f"{line}\n")

    return plant


PLANTED: dict[str, tuple[str, Callable[[Path], None]]] = {
    "policies reach for stores": ("Imports go down only", add("policies/__init__", "import fedi_safety.stores")),
    "a sample reaches for the gate": ("Imports go down only", add("evaluation/frames", "import fedi_safety.gate.app")),
    "lazily": ("Imports go down only", add("ledger/statistics", "def late():\n    import fedi_safety.cli.shell")),
    "a store reaches for its neighbour": (
        "Imports go down only",
        add("stores/local", "import fedi_safety.ledger.ledger"),
    ),
    "a tracer reaches for the acts": (
        "Imports go down only",
        add("tracing/__init__", "import fedi_safety.acts.delete"),
    ),
    "a module without a floor": ("Imports go down only", add("helpers", "VALUE = 1")),
    "judging reaches for enforcement": (
        "The core is layered",
        add("core/examine", "import fedi_safety.core.enforcement"),
    ),
    "a file of the core without a floor": ("The core is layered", add("core/helpers", "VALUE = 1")),
    "a record asks": (
        "What is said to the ledger is layered",
        add("core/ledger/records", "import fedi_safety.core.ledger.ports"),
    ),
    "a rule reads pictures": ("Judging is layered", add("core/policy/rules", "import fedi_safety.core.policy.word")),
    "a command opens its own ledger": (
        "The ledger is behind its ports",
        add("cli/list_cmd", "def late():\n    from fedi_safety.ledger.ledger import open_ledger"),
    ),
    "a use case knows how it is made": (
        "The ledger is behind its ports",
        add("app/scan", "import fedi_safety.ledger.database.sqlite"),
    ),
    "a notification reports to an authority": (
        "Nothing is sent to an authority but by a person's command",
        add("watch/daemon", "def late():\n    from fedi_safety.app.cybertip import send"),
    ),
    "a scan speaks with an authority": (
        "Nothing is sent to an authority but by a person's command",
        add("app/scan", "import fedi_safety.clients.cybertipline"),
    ),
    "a command shows a picture": (
        "A view is the one way a pixel leaves the process",
        add("cli/show_cmd", "def late():\n    from fedi_safety.media.thumbnail import thumbnail"),
    ),
    "the core counts": ("The core uses the standard library only", add("core/policy/rules", "import numpy")),
    "the parent decodes": (
        "The parent never decodes",
        add("media/pool", "import fedi_safety.media.decoder.formats.images"),
    ),
    "the parent opens pictures": ("The parent never decodes", add("media/sniff", "def late():\n    import PIL.Image")),
    "the child reads settings": (
        "The child knows nothing but the core and its bounds",
        add("media/decoder/main", "import fedi_safety.config.loading"),
    ),
}


def lint(folder: Path) -> str:
    """Return what import-linter says of a copy of the source in `folder`."""
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [program, "--no-cache", "--config", ROOT / "pyproject.toml"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Contracts:" in done.stdout, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "src/fedi_safety", tmp_path / "fedi_safety", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_every_contract_is_kept_today(copy: Path) -> None:
    said = lint(copy)
    assert f"{len(CONTRACTS)} kept, 0 broken" in said


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_violation_is_refused(name: str, copy: Path) -> None:
    contract, plant = PLANTED[name]
    plant(copy / "fedi_safety")
    assert f"{contract} BROKEN" in lint(copy)


def test_every_contract_is_tried() -> None:
    assert {contract for contract, _ in PLANTED.values()} == set(CONTRACTS)


def circle(source: Path) -> list[str]:
    """Return modules that import each other in a circle, lazy imports counted; none where there is no circle."""
    modules = {
        ".".join(path.relative_to(source).with_suffix("").parts).removesuffix(".__init__"): path
        for path in source.rglob("*.py")
    }
    graph = {name: imports(path, modules) - {name} for name, path in modules.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def imports(path: Path, modules: Mapping[str, Path]) -> set[str]:
    """Return which of the modules a file imports anywhere but for types alone."""
    tree = ast.parse(path.read_text())
    typing = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    found: set[str] = set()
    for node in (node for node in ast.walk(tree) if id(node) not in typing):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found.update(
                name if (name := f"{node.module}.{alias.name}") in modules else node.module for alias in node.names
            )
    return found & modules.keys()


@pytest.mark.long
def test_no_files_need_each_other(copy: Path) -> None:
    assert circle(copy) == []
    late = copy / "fedi_safety/core/types.py"
    late.write_text(f"{late.read_text()}\n\ndef late() -> None:\n    import fedi_safety.core.policy\n")
    assert "fedi_safety.core.types" in circle(copy)
