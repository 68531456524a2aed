"""How this program was called: the words that begin a command as whoever started it can type it again."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

from fedi_safety.core.wording.hints import PROGRAM

LAUNCHER = "FEDI_SAFETY_LAUNCHER"
"""The variable in which the launcher of a clone says as what it was called; no setting, and taken out at once."""


def program_name() -> str:
    """Return the program as it was called, quoted for a shell: by its name where that leads to it, else by its path.

    `./fedi-safety`, `fedi-safety`, `python -m fedi_safety`. A script of the predecessor's is not this program; then it
    is what lies beside the script.
    """
    try:
        return _program_name(os.environ.pop(LAUNCHER, ""))
    except OSError:  # the working directory is gone: nothing leads anywhere from here
        return PROGRAM


def _program_name(launcher: str) -> str:
    if launcher:
        return _typed(launcher)
    script = Path(sys.argv[0])
    if script.name == PROGRAM:
        return _typed(sys.argv[0])
    for at, word in enumerate(sys.orig_argv[1:], 1):
        if (sys.orig_argv[at - 1], word) == ("-m", "fedi_safety"):
            return shlex.join(sys.orig_argv[: at + 1])
    beside = script.absolute().with_name(PROGRAM)
    return _typed(str(beside)) if beside.is_file() else PROGRAM


def _typed(path: str) -> str:
    """Return how a program is typed: its name where the shell finds it by that, else what leads to it from here."""
    found = shutil.which(PROGRAM)
    if found is not None and os.path.realpath(found) == os.path.realpath(path):
        return PROGRAM
    here = Path(path).absolute().parent == Path.cwd()
    return f"./{Path(path).name}" if here else shlex.quote(path)
