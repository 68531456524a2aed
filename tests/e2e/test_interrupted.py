"""Ctrl-C at any command: exit 130 and one calm line, never a traceback; the next call does what was left."""

from __future__ import annotations

import importlib
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from fedi_safety.cli import run
from fedi_safety.core.testcard import draw_test_card
from support.program import Done, check_one_line_error, command, program

KEPT = "interrupted; nothing is lost, and what was done is on record: the same command goes on from there"
UNCHANGED = "interrupted; nothing was changed"

# The command, where in its work the signal comes, and what it then says.
WORK = [
    ("scan media --dry-run", "fedi_safety.app.engine:open_engine", KEPT),
    ("scan media --recheck policy --dry-run", "fedi_safety.app.scan:scan", KEPT),
    ("apply media --act delete", "fedi_safety.app.apply:apply", KEPT),
    ("apply media --act delete --yes", "fedi_safety.app.apply:removables", KEPT),
    ("dismiss card.png", "fedi_safety.ledger.ledger:SqlLedger.dismiss", KEPT),
    ("import-ledger lemmy_safety.db --store media", "fedi_safety.ledger.ledger:SqlLedger.import_predecessor", KEPT),
    ("hashes import list.txt --kind sha256", "fedi_safety.app.known.lists:apply_lists", KEPT),
    ("watch media --once --dry-run", "fedi_safety.app.engine:open_engine", KEPT),
    ("report", "fedi_safety.app.known.figures:list_figures", UNCHANGED),
    ("list", "fedi_safety.ledger.reading.reader:PlainReader.list_objects", UNCHANGED),
    ("policy preview strict", "fedi_safety.app.replay:preview_ledger", UNCHANGED),
    ("ledger verify", "fedi_safety.ledger.ledger:SqlLedger.verify", UNCHANGED),
    ("ledger backup copy.db", "fedi_safety.ledger.database.sqlite:_between", UNCHANGED),
    ("self-test", "fedi_safety.app.engine:open_engine", UNCHANGED),
    ("doctor media", "fedi_safety.evaluation.speed:measure", UNCHANGED),
    ("try media/card.png", "fedi_safety.evaluation.trial:try_object", UNCHANGED),
]


@pytest.fixture
def home(empty_home: Path) -> Path:
    """A folder with a card that a dry run condemned, and what the commands read."""
    (empty_home / "media").mkdir()
    (empty_home / "media/card.png").write_bytes(draw_test_card())
    (empty_home / "list.txt").write_text(f"{sha256(b'a picture').hexdigest()}\n")
    with closing(sqlite3.connect(empty_home / "lemmy_safety.db")) as database:
        database.execute("CREATE TABLE images (id INTEGER, filename VARCHAR, nsfw BOOLEAN, csam BOOLEAN, created)")
        database.commit()
    assert program("scan", "media", "--dry-run", env={"FEDI_SAFETY_DETECTORS": "known"}).code == 0
    return empty_home


@pytest.mark.long
@pytest.mark.parametrize(("typed", "where", "said"), WORK, ids=[f"{typed} @{where}" for typed, where, _ in WORK])
def test_a_command_ends_in_one_calm_line(
    typed: str,
    where: str,
    said: str,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    path, _, name = where.partition(":")
    owner: Any = importlib.import_module(path)
    *classes, name = name.split(".")
    for each in classes:
        owner = getattr(owner, each)
    came = []

    def interrupt(*_: object, **__: object) -> None:
        came.append(where)
        raise KeyboardInterrupt

    before = sorted(path.name for path in home.iterdir())
    with monkeypatch.context() as patched:
        patched.setattr(owner, name, interrupt)
        code = run(typed.split())
    err = capfd.readouterr().err.splitlines()
    assert came, err
    assert (code, err[-1]) == (130, f"fedi-safety: {said}"), err
    assert not any("Traceback" in line or "rror" in line for line in err), err
    assert sorted(path.name for path in home.iterdir()) == before
    assert (home / "media/card.png").exists()
    monkeypatch.setenv("FEDI_SAFETY_DETECTORS", "known")
    assert run(["ledger", "verify"]) == 0
    assert run([*typed.split(), "--quiet"]) == 0, "and the same command does it the next time"


@pytest.mark.long
@pytest.mark.parametrize("typed", ["self-test", "doctor media"])
def test_threads_and_children_end_with_it(typed: str, home: Path) -> None:
    """The real program, once it has said its first word, with models, threads and decoders under way."""
    at_once = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command(*typed.split()), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=at_once
    ) as running:
        assert running.stdout is not None
        running.stdout.readline()
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=20)
    check_one_line_error(Done(running.returncode, "", err), 130, UNCHANGED)


def test_what_is_run_from_text_is_interrupted_like_all_else(tmp_path: Path) -> None:
    """By `-m`, CPython takes what comes out of `exec` for an interruption that nobody handled."""
    script = """
from fedi_safety import cli
def run(*_):
    try:
        exec("raise KeyboardInterrupt")
    except KeyboardInterrupt:
        print("heard", end="")
        return 130
cli.run = run
cli.main(["list"])
"""
    (tmp_path / "interrupted_in_exec.py").write_text(script)
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-m", "interrupted_in_exec"],
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (130, "heard", "")


def test_while_python_still_imports_it_ends_without_a_word(home: Path) -> None:
    """The first tenths of a second, in which there is nobody yet to say anything."""
    script = (
        "import os, signal, sys; sys.modules.pop('typer', None);"
        "sys.meta_path.insert(0, type('Gate', (), {'find_spec': staticmethod("
        "lambda name, *_: os.kill(os.getpid(), signal.SIGINT) if name == 'typer' else None)}));"
        "import runpy; runpy.run_module('fedi_safety', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")
