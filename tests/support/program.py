"""The program from outside: started as a process, judged by what it prints, returns, and leaves on the disk."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support import forked

# The stand-in policy: condemns faces. Harmless, and every detector and path is exercised by it.
FACES = """\
[factors]
face = ["face.present"]
sexual = ["nsfw.open_nsfw"]

[[rules]]
name = "a face"
when = { face = 0.5 }
verdict = "block"

[[rules]]
name = "explicit"
when = { sexual = 0.9 }
label = "nsfw"
"""

TIMEOUT_S = 120.0

ENVIRONMENT = {"LC_ALL": "C.UTF-8", "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
"""What every test has set, of what a process is given before Python begins."""

FIRST = ("--act", "delete", "--without-dry-run")
"""What a first real run on a store is told where no dry run was made."""


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The last line of the output, as JSON."""
        return json.loads(self.out.strip().splitlines()[-1])

    @property
    def lines(self) -> list[Any]:
        """Every line of the output, as JSON."""
        return [json.loads(line) for line in self.out.splitlines()]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", "fedi_safety", *arguments]


TYPED = shlex.join(command())
"""What begins the commands that the program tells somebody to type, where these tests have called it."""


def program(*arguments: str, env: dict[str, str] | None = None, prefix: tuple[str, ...] = ()) -> Done:
    """Run one command without a terminal and wait for it. `prefix` is a program that starts it.

    Its imports are made once for all commands (support/forked.py), but where START_EACH_COMMAND is set.
    """
    environment = {**os.environ, **(env or {})}
    if not prefix and "START_EACH_COMMAND" not in os.environ and forked.worth_it(environment):
        code, out, err = forked.run(command(*arguments), environment, TIMEOUT_S)
        return Done(code, *(text.decode(errors="surrogateescape").replace("\r\n", "\n") for text in (out, err)))
    done = subprocess.run(
        [*prefix, *command(*arguments)],
        capture_output=True,
        text=True,
        errors="surrogateescape",
        stdin=subprocess.DEVNULL,
        env=environment,
        timeout=TIMEOUT_S,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


_WITHOUT_POWER = """
import ctypes, os, sys
for capability in (1, 2, 3):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH and CAP_FOWNER leave the bounding set
    if ctypes.CDLL(None, use_errno=True).prctl(24, capability, 0, 0, 0) != 0:
        sys.exit("this root may not give up its power")
os.execv(sys.argv[1], sys.argv[1:])
"""


def without_power() -> tuple[str, ...]:
    """What starts a program as this user but bound by permissions, which root is not."""
    if os.geteuid() != 0:
        return ()
    return (sys.executable, "-c", _WITHOUT_POWER)


def on_disks(opened: Iterable[str]) -> set[str]:
    """Return which files that were opened for writing lie on some disk. A session's weight is told to the kernel."""
    return {path for path in opened if not re.fullmatch(r"/dev/null|/proc/\d+/autogroup", path)}


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every regular file below a folder."""
    import hashlib

    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and not p.is_symlink()
    }


def check_one_line_error(done: Done, code: int, *words: str) -> None:
    """An error is one line that names the thing, never a traceback, and nothing on the output."""
    assert done.code == code, done
    assert "Traceback" not in done.err
    lines = [line for line in done.err.splitlines() if line.strip()]
    assert len(lines) == 1, done.err
    for word in words:
        assert word in lines[0], (word, lines[0])
