"""The README's commands do what the README says: same exit codes, same output."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from support.corpus.photos import jpeg_bytes
from support.program import Done
from support.readme import README, ROOT, comparable, documented, runs

PLACES = ("/path/to/files", "/path/to/system")
AVATAR = "cache/accounts/avatars/000/123/456/original/c0ffee.png"


def launch(command: str, variables: Mapping[str, str] = MappingProxyType({})) -> Done:
    """Run a command of the README from the clone, with a path's stand-in already replaced."""
    words = shlex.split(command)
    assert words[0] == "./fedi-safety", command
    done = subprocess.run(
        words,
        cwd=ROOT,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **variables},
        timeout=240,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


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
    commands = [shlex.split(step.command)[1] for step in documented()]
    assert commands[:5] == ["self-test", "scan", "list", "dismiss", "apply"]
    assert commands[5:] == ["self-test", "scan", "apply", "trace", "list"], "one picture condemned, removed and traced"


def test_every_console_block_is_run() -> None:
    # The others are followed by tests/e2e/test_readme_known.py.
    assert README.count("```console") == len(runs()) + len(runs("with pict-rs"))
    assert re.findall(r"^\$ (?!export |\./fedi-safety ).*", README, re.MULTILINE) == []


@pytest.mark.long
def test_commands_end_and_print_as_documented(folder: Path) -> None:
    folders = dict(zip(PLACES, (folder, folder.with_name("system")), strict=True))
    (folders[PLACES[1]] / AVATAR).parent.mkdir(parents=True)
    for step in documented():
        command = step.command
        for place, there in folders.items():
            command = command.replace(place, shlex.quote(str(there)))
        done = launch(command, step.variables)
        assert done.code == step.code, (command, done)
        assert comparable(done.out, folders) == comparable(step.output, folders), command
        removals = re.findall(r"WARNING fedi_safety\.acted: removed (.+?):.*\n", done.err)
        key = AVATAR if PLACES[1] in step.command else "card.png"
        assert removals == ([f"{key} (test card)"] if " apply " in command else []), (command, done.err)
        condemned = re.findall(r"WARNING fedi_safety\.acted: condemned (.+?), sha256 ", done.err)
        assert condemned == ([f"{key} (test card)"] if " scan " in command else []), (command, done.err)
        pressed = done.err.count("by hand: ")  # what a Mastodon takes no call for
        assert pressed == (" apply " in command and key == AVATAR), (command, done.err)
        named = ["by", "test card", "namely:", key] if " apply " in command else []  # before it is removed
        lines = done.err.splitlines()
        assert [line.endswith(word) for line, word in zip(lines, named, strict=False)] == [True] * len(named), done.err
        assert len(lines) == len(named) + len(condemned) + len(removals) + pressed, (command, done.err)
    assert not (folders[PLACES[1]] / AVATAR).exists()
    shown = launch(f"./fedi-safety show {AVATAR} --json").json
    before, asked = shown["traces"]
    assert before["sightings"] == asked["sightings"] != []
    kinds = [event["kind"] for event in shown["events"]]
    assert "act.started" in kinds[kinds.index("traced") :], "it was traced before it was removed"
    assert sorted(p.name for p in folder.iterdir()) == [
        "astronaut.jpg", "chelsea.jpg", "china.jpg", "coffee.jpg", "export.csv", "flower.jpg",
    ]  # fmt: skip


def test_the_first_command_of_the_readme_removes_nothing(folder: Path) -> None:
    """The block that people copy first, but for the clone: it must be harmless and work from a fresh home."""
    blocks = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    clone, enter, scan = blocks[0].splitlines()
    assert clone.startswith("git clone ")
    assert enter == "cd fedi-safety"
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    done = launch(scan.replace(PLACES[0], shlex.quote(str(folder))))
    assert done.code == 0, done
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
