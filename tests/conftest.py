"""Shared by all tests: no configuration or ledger of the person who runs them, and the package for subprocesses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SRC = Path(__file__).parent.parent / "src"


@pytest.fixture(autouse=True)
def empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give every test an empty home directory of its own and no variables that configure the program."""
    home = tmp_path / "home"
    home.mkdir()
    for name in list(os.environ):
        if name.startswith(("FEDI_SAFETY_", "XDG_", "PICTRS_", "SQLITE_FILENAME")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PYTHONPATH", str(SRC))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(home)
    return home
