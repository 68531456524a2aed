"""A command that is forked from a process with its imports made does what a command does that is started."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from support import forked, program
from support.corpus.photos import jpeg_bytes

COMMANDS = {
    "help": ("scan", "--help"),
    "misuse": ("scan", "--no-such-option"),
    "no ledger": ("list", "--ledger", "{folder}/none.db"),
    "a scan": ("scan", "{folder}/media", "--dry-run", "--yes", "--ledger", "{folder}/ledger.db"),
    "no folder": ("scan", "{folder}/none", "--dry-run", "--json"),
}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_fork_ends_and_prints_as_a_start(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "media").mkdir()
    (tmp_path / "media/a.jpg").write_bytes(jpeg_bytes("coffee"))
    arguments = [argument.format(folder=tmp_path) for argument in COMMANDS[name]]
    program.program("--version")
    done = program.program(*arguments)
    for left in tmp_path.glob("ledger.db*"):
        left.unlink()
    monkeypatch.setenv("START_EACH_COMMAND", "1")
    started = program.program(*arguments)
    assert (done.code, done.err) == (started.code, started.err)
    assert _without_times(done.out) == _without_times(started.out)
    assert done.out or done.err


def _without_times(text: str) -> list[str]:
    return [line for line in text.splitlines() if "second" not in line]


@pytest.mark.long
def test_what_is_given_before_python_begins_is_given_to_a_fork(tmp_path: Path) -> None:
    posix = {"LC_ALL": "POSIX", "PYTHONUTF8": "0"}  # in which the program begins once more, in UTF-8
    started, one, other = (program.program("list", "--ledger", str(tmp_path), env=posix) for _ in range(3))
    assert started == one == other
    assert started.code == 2


def test_a_fork_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    command = program.command("watch", str(tmp_path), "--ledger", str(tmp_path / "ledger.db"), "--act", "report")
    with pytest.raises(subprocess.TimeoutExpired):
        forked.run(command, dict(os.environ), 2.0)
