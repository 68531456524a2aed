"""Shared by all tests: no configuration or ledger of the person who runs them, and the package for subprocesses."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import ledgers

SRC = Path(__file__).parent.parent / "src"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Try once more what failed among real servers and processes, where time is real; the summary counts it as rerun.

    What is wrong fails twice. Everything else must pass at once.
    """
    for item in items:
        if item.path.parent.name in ("integration", "e2e"):
            item.add_marker(pytest.mark.flaky(reruns=1, reruns_delay=2))


@pytest.fixture(autouse=True)
def empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give every test an empty home directory of its own and no variables that configure the program."""
    home = tmp_path / "home"
    home.mkdir()
    for name in list(os.environ):
        if name.startswith(
            ("FEDI_SAFETY_", "FEDIVERSE_SAFETY_", "XDG_", "PICTRS_", "KNOWN_PICTRS_", "SQLITE_FILENAME")
        ):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PYTHONPATH", str(SRC))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(home)
    return home


@pytest.fixture(params=ledgers.KINDS)
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ledgers.Opener]:
    """Open the test's ledger, on each kind of database that there is."""
    with ledgers.ledger_opener(str(request.param), tmp_path) as opener:
        yield opener
