"""Help that is shown without parsing is the help that parsing would show, and loads little."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress

import pytest
import typer

from fedi_safety import cli

NAMES = [[], *([name] for name in cli._COMMANDS), ["ledger", "verify"], ["policy", "check"], ["models", "fetch"]]
HEAVY = ("pydantic", "numpy", "PIL", "onnxruntime", "sqlalchemy", "alembic", "dlib", "asyncio", "httpx", "ssl",
         "fedi_safety.core.types", "fedi_safety.core.ledger.records")  # fmt: skip


@pytest.mark.parametrize("names", NAMES, ids=" ".join)
def test_help_is_what_the_parser_shows(names: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([*names, "--help"]) == 0
    shown = capsys.readouterr().out
    assert cli.run([*names, "-h"]) == 0
    assert shown == capsys.readouterr().out
    with suppress(typer.Exit):
        cli.build()(args=[*names, "--help"], prog_name="fedi-safety", standalone_mode=False)
    assert shown == capsys.readouterr().out
    assert len(shown.splitlines()) > 5


def test_help_of_no_such_command_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["sacn", "--help"]) == 2
    assert "sacn" in capsys.readouterr().err


@pytest.mark.parametrize("names", [[], ["scan"], ["serve"], ["ledger", "verify"]], ids=" ".join)
def test_help_loads_nothing_that_parsing_or_working_needs(names: list[str]) -> None:
    asked = [*names, "--help"]
    code = f"import sys; from fedi_safety.cli import run; run({asked}); print(*set({HEAVY}) & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == ""
