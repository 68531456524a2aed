"""`| head`: who has read enough has gone, and that is no error; what has work to finish does it unheard."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from support.corpus.photos import jpeg_bytes
from support.program import command, program

TELLING = ("--help", "list --help", "list", "report", "report --csv", "show coffee.jpg", "policy show")
# Written as text of our own, by the table library, by the CSV writer, by the library for options.


@pytest.fixture
def ledger(tmp_path: Path) -> str:
    media = tmp_path / "media"
    media.mkdir()
    (media / "coffee.jpg").write_bytes(jpeg_bytes("coffee", size=200))
    place = str(tmp_path / "ledger.db")
    assert program("scan", str(media), "--dry-run", "--ledger", place).code == 0
    return place


def unread(*arguments: str, streams: tuple[str, ...] = ("stdout",)) -> tuple[int, str]:
    """Run a command while nobody reads these of its streams; return its code and what it says on the others."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        pipes = {name: writing if name in streams else subprocess.PIPE for name in ("stdout", "stderr")}
        done = subprocess.run(
            command(*arguments), **pipes, stdin=subprocess.DEVNULL, text=True, timeout=120, check=False
        )  # type: ignore[call-overload]
    finally:
        os.close(writing)
    return done.returncode, "".join(text for text in (done.stdout, done.stderr) if text)


@pytest.mark.long
def test_what_only_tells_something_ends_with_0(ledger: str) -> None:
    for line in TELLING:
        arguments = line.split()
        if arguments[0] in ("list", "report", "show", "ledger") and "--help" not in arguments:
            arguments += ["--ledger", ledger]
        assert unread(*arguments) == (0, ""), line


@pytest.mark.long
def test_work_is_finished_and_its_code_is_its_own(ledger: str, tmp_path: Path) -> None:
    (tmp_path / "media/notes.jpg").write_bytes(jpeg_bytes("coffee", size=200)[:300])  # cut short: a gap
    arguments = ("scan", str(tmp_path / "media"), "--dry-run", "--json", "--ledger", ledger)
    assert unread(*arguments, streams=("stdout", "stderr"))[0] == 1
    assert "\tnotes.jpg\t" in program("list", "--unscanned", "truncated", "--ledger", ledger).out, "it was judged"
    code, said = unread("dismiss", "nothing", "--ledger", ledger)
    assert code == 2 and "knows no such object" in said


@pytest.mark.long
def test_a_stream_that_was_closed_before_is_no_error(ledger: str) -> None:
    closed = ["sh", "-c", 'exec "$@" >&-', "sh", *command("list", "--ledger", ledger)]
    done = subprocess.run(closed, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
