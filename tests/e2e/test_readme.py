"""The README's commands do what the README says: same exit codes, same output."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from support.corpus.photos import jpeg_bytes
from support.program import Done

ROOT = Path(__file__).parents[2]
PLACE = "/path/to/files"
RUN = re.compile(r"^<!-- run: exits (\d+) -->\n```console\n\$ ([^\n]+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def documented() -> list[tuple[int, str, str]]:
    """Return the exit code, command and output of every marked block, in order."""
    found = RUN.findall((ROOT / "README.md").read_text("utf-8"))
    return [(int(code), command, output) for code, command, output in found]


def launch(command: str) -> Done:
    """Run a command of the README from the clone, with a path's stand-in already replaced."""
    words = shlex.split(command)
    assert words[0] == "./fedi-safety", command
    done = subprocess.run(
        words, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=240, check=False
    )
    return Done(done.returncode, done.stdout, done.stderr)


def comparable(text: str, folder: str) -> list[str]:
    """Return the lines without what differs from machine to machine: widths, speed, device, the folder."""
    text = text.replace(folder, PLACE).replace(os.environ["HOME"], "/path/to/home")
    lines = [re.sub(r"[ \t]+", " ", line).strip() for line in text.splitlines()]
    speed = re.compile(r"[\d,.]+ a second on \w+|seconds [\d,.]+")
    return [speed.sub("SPEED", line) for line in lines if line]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make what the README describes: five harmless photographs and one file that is no picture."""
    place = tmp_path / "files"
    place.mkdir()
    for name in ("astronaut", "chelsea", "china", "coffee", "flower"):
        (place / f"{name}.jpg").write_bytes(jpeg_bytes(name))
    (place / "export.csv").write_text("a,b\n1,2\n")
    return place


def test_the_readme_shows_the_whole_way() -> None:
    commands = [shlex.split(command)[1] for _, command, _ in documented()]
    assert commands == ["self-test", "scan", "list", "dismiss", "apply"]


def test_every_console_block_is_run() -> None:
    assert (ROOT / "README.md").read_text("utf-8").count("```console") == len(documented())


def test_commands_end_and_print_as_documented(folder: Path) -> None:
    for code, command, output in documented():
        done = launch(command.replace(PLACE, shlex.quote(str(folder))))
        assert done.code == code, (command, done)
        assert comparable(done.out, str(folder)) == comparable(output, str(folder)), command
        removals = re.findall(r"WARNING fedi_safety\.acted: removed (.+?):.*\n", done.err)
        assert removals == (["card.png (test card)"] if " apply " in command else []), (command, done.err)
        assert done.err.count("\n") == len(removals), (command, done.err)
    assert sorted(p.name for p in folder.iterdir()) == [
        "astronaut.jpg", "chelsea.jpg", "china.jpg", "coffee.jpg", "export.csv", "flower.jpg",
    ]  # fmt: skip


def test_the_first_command_of_the_readme_removes_nothing(folder: Path) -> None:
    """The block that people copy first, but for the clone: it must be harmless and work from a fresh home."""
    blocks = re.findall(r"^```sh\n(.*?)^```", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)
    clone, enter, scan = blocks[0].splitlines()
    assert clone.startswith("git clone ")
    assert enter == "cd fedi-safety"
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    done = launch(scan.replace(PLACE, shlex.quote(str(folder))))
    assert done.code == 1, done
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
