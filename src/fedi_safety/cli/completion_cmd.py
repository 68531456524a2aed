"""`completion`: what a shell needs to complete commands, options and their words. Installs nothing."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated

import typer

from fedi_safety.core.wording.hints import PROGRAM

VARIABLE = "_FEDI_SAFETY_COMPLETE"
"""Where a shell says what it wants to have completed."""


class ShellName(StrEnum):
    """The shells that are known."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion(
    shell: Annotated[ShellName, typer.Argument(metavar="SHELL", help="bash, zsh or fish.")],
) -> None:
    """Print what a shell is to read so that it completes commands and options."""
    from typer._completion_shared import get_completion_script

    script = get_completion_script(prog_name=PROGRAM, complete_var=VARIABLE, shell=shell.value)
    sys.stdout.write(script + "\n")


def complete(program: typer.Typer) -> int:
    """Print what could come next, for the shell that asks by `VARIABLE`; return the exit code."""
    from typer._completion_classes import completion_init

    completion_init()
    try:
        program(args=[], prog_name=PROGRAM, complete_var=VARIABLE, standalone_mode=False)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    return 0
