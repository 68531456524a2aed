"""The README's commands as they stand: which ones there are, and what of their output is the same on every machine."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
_RUN = re.compile(r"^<!-- run(?: ([a-z -]+))?: exits (\d+) -->\n```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"^\$ ([^\n]+)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
_VARYING = re.compile(r"[\d,.]+ a second on \w+|seconds [\d,.]+|\b20\d\d-\d\d-\d\d(T[\d:]+\+00:00)?\b")


@dataclass(frozen=True)
class Step:
    """A command of a marked block, with the variables that the block has set before it, and what it says of it."""

    code: int
    command: str
    output: str
    variables: dict[str, str]


def runs(how: str = "") -> list[tuple[int, str]]:
    """Return the marked blocks that are run so, with the exit code that all of their commands have."""
    return [(int(code), text) for said, code, text in _RUN.findall(README) if said == how]


def documented(how: str = "") -> list[Step]:
    """Return every command of the marked blocks, in order."""
    steps = []
    for code, block in runs(how):
        variables: dict[str, str] = {}
        for command, output in _COMMAND.findall(block):
            if command.startswith("export "):
                variables |= dict(word.split("=", 1) for word in shlex.split(command)[1:])
            else:
                steps.append(Step(code, command, output, dict(variables)))
    return steps


def comparable(text: str, folders: Mapping[str, Path]) -> list[str]:
    """Return the lines without what differs from machine to machine: widths, speed, device, day, the folders."""
    for place, folder in folders.items():
        text = text.replace(str(folder), place)
    text = text.replace(os.environ["HOME"], "/path/to/home")
    lines = [re.sub(r"[ \t]+", " ", line).strip() for line in text.splitlines()]
    return [_VARYING.sub("VARYING", line) for line in lines if line]
