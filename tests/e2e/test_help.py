"""Help that is shown without parsing is the help that parsing would show, and loads little."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from importlib import import_module
from inspect import cleandoc
from pathlib import Path

import pytest
import typer

from fedi_safety import cli
from fedi_safety.cli.text.words import COMMANDS, GROUPS
from support.corpus.photos import jpeg_bytes

NAMES = [[], *([name] for name in cli._COMMANDS), ["ledger", "verify"], ["policy", "check"], ["models", "fetch"]]
HEAVY = ("pydantic", "ray", "numpy", "PIL", "onnxruntime", "sqlalchemy", "alembic", "dlib", "asyncio", "httpx", "ssl",
         "fedi_safety.core.types", "fedi_safety.core.ledger.records")  # fmt: skip


@pytest.mark.sampled(6)
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


def test_the_words_of_the_whole_are_the_commands_own() -> None:
    said: dict[str, str] = {}
    for name, place in cli._COMMANDS.items():
        module, _, attribute = place.partition(":")
        command = getattr(import_module(f"fedi_safety.cli.{module}"), attribute)
        text = command.info.help if isinstance(command, typer.Typer) else command.__doc__
        if not module.startswith("predecessor"):
            said[name] = " ".join(cleandoc(str(text)).split("\n\n")[0].split())
    groups = {name for name in said if cli._COMMANDS[name].endswith(":commands")}
    assert said == {**COMMANDS, **GROUPS}
    assert set(GROUPS) == groups


@pytest.mark.parametrize("asked", ["--help", "--version"])
def test_what_is_asked_of_the_whole_loads_no_command(asked: str) -> None:
    code = f"import sys; from fedi_safety.cli import run; run(['{asked}']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.splitlines()[-1].split()
    commands = {f"fedi_safety.cli.{place.partition(':')[0]}" for place in cli._COMMANDS.values()}
    assert commands & set(loaded) == {"fedi_safety.cli.completion_cmd"}  # which the program asks itself
    assert not {"pydantic", "json", "fedi_safety.config"} & set(loaded)


def test_what_is_left_at_the_end_is_not_looked_through() -> None:
    """What is registered first is called last, when the program itself has ended."""
    code = (
        "import atexit, gc; atexit.register(lambda: print(gc.get_freeze_count())); import fedi_safety.cli as program\n"
    )
    done = subprocess.run([sys.executable, "-c", f"{code}program.main(['--version'])"], capture_output=True, check=True)
    assert int(done.stdout.split()[-1]) > 10_000


def test_help_of_no_such_command_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["sacn", "--help"]) == 2
    assert "sacn" in capsys.readouterr().err


@pytest.mark.sampled(2)
@pytest.mark.parametrize("names", [[], ["scan"], ["serve"], ["ledger", "verify"]], ids=" ".join)
def test_help_loads_nothing_that_parsing_or_working_needs(names: list[str]) -> None:
    asked = [*names, "--help"]
    code = f"import sys; from fedi_safety.cli import run; run({asked}); print(*set({HEAVY}) & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == ""


# What no short command needs, and what each of them does without besides.
OTHERS = {
    "alembic", "pydantic_settings", "dotenv", "httpx", "botocore", "obstore", "asyncssh", "psycopg", "apprise",
    "jinja2", "starlette", "dlib", "tokenizers", "av", "imagecodecs", "sqlalchemy.dialects.postgresql",
    "sqlalchemy.orm",
}  # fmt: skip
NETWORKS = {"numpy", "onnxruntime", "PIL"}
# What asks a ledger's file a little does it by SQLite's driver alone; the rest is what the ledger does not say.
ASKS_A_LITTLE = {
    "sqlalchemy", "asyncio", "fedi_safety.ledger.ledger", "fedi_safety.ledger.schema", "fedi_safety.core.types",
    "fedi_safety.core.ledger.records", "fedi_safety.core.ledger.ports", "fedi_safety.judging",
}  # fmt: skip
NEEDLESS = {
    "list": OTHERS
    | NETWORKS
    | ASKS_A_LITTLE
    | {"rich", "fedi_safety.cli.scan_cmd", "fedi_safety.app.stores", "fedi_safety.stores"},
    "show": OTHERS | NETWORKS | ASKS_A_LITTLE | {"rich"},
    "report": OTHERS | NETWORKS,
    "scan": OTHERS | {"rich"},
    "quiet scan": OTHERS | {"rich", "PIL.BmpImagePlugin", "PIL.GifImagePlugin", "PIL.PngImagePlugin"},  # of a JPEG
}

# What checks the configuration is built once, as a whole; a section is never built by itself besides.
COUNTED = """
import pydantic
built, rebuild = [], pydantic.BaseModel.model_rebuild.__func__
def count(model, **options):
    built.append(model.__name__)
    return rebuild(model, **options)
pydantic.BaseModel.model_rebuild = classmethod(count)
from typer import _adapters
readers, read = [], _adapters.try_build_adapter
def reader(*given, **named):
    readers.append(given)
    return read(*given, **named)
_adapters.try_build_adapter = reader
import os, sys
threads = []
class Noted:
    def find_spec(name, *_):
        if name == "numpy":
            threads.append(os.environ.get("OPENBLAS_NUM_THREADS"))
sys.meta_path.insert(0, Noted)
"""


@pytest.mark.long
@pytest.mark.parametrize("name", NEEDLESS)
def test_a_command_loads_nothing_that_it_does_not_need(name: str, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "notes.txt").write_text("no picture")
    if name == "quiet scan":
        (tmp_path / "store" / "one.jpg").write_bytes(jpeg_bytes("coffee"))
    scan = ["scan", str(tmp_path / "store"), "--dry-run", "--quiet", "--json"]
    asked = {"quiet scan": scan[:-1], "show": ["show", "notes.txt"]}
    for command in [scan] if name == "scan" else [scan, asked.get(name, [name])]:
        arguments = [*command, "--ledger", str(tmp_path / "ledger.db")]
        code = (
            f"{COUNTED}import sys; from fedi_safety.cli import run; run({arguments})\n"
            f"print('numpy', *threads)\nprint('built', *built, len(readers)); "
            f"print('loaded', *{NEEDLESS[name]} & sys.modules.keys())"
        )
        clean = {key: value for key, value in os.environ.items() if not key.startswith("FEDI_SAFETY_")}
        done = subprocess.run(
            [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path, env=clean
        )
    assert "notes.txt" in done.stdout or '"listed": 1' in done.stdout or name in ("report", "quiet scan")
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as ledger:
        assert ledger.execute("SELECT count(*) FROM contents").fetchone() == (int(name == "quiet scan"),)
    *_, numpy, built, loaded = done.stdout.splitlines()
    assert numpy == ("numpy 1" if name in ("scan", "quiet scan") else "numpy")  # its threads spin while they start
    assert built.rpartition(" ")[0] == "built Settings"
    assert int(built.rpartition(" ")[2]) <= 2  # of some 30 options
    assert loaded == "loaded"
