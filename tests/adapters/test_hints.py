"""Commands that messages tell a person to type: made in one place, as they can be pasted, and such as there are."""

from __future__ import annotations

import ast
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from fedi_safety.cli import _COMMANDS, build, run
from fedi_safety.cli.called import LAUNCHER, program_name
from fedi_safety.core.wording.hints import Called, call, command, hint

SOURCES = Path(__file__).parents[2] / "src/fedi_safety"
ANY = "|".join(map(re.escape, _COMMANDS))
BY_HAND = re.compile(rf"fedi-safety ({ANY})\b|`({ANY})(?=[ `]|$)|`fedi-safety|`\./fedi-safety")
TITLES = ("fedi-safety report", "fedi-safety report: ")  # of a page: nobody types them
LASTING = "config/writing.py"  # a comment in a file, which outlives the way that the program was called once
HELP = "cli/text/words.py"  # what commands say of themselves, which in their own files are docstrings


def spoken(source: str) -> Iterator[tuple[int, str]]:
    """Every text of a module that may be said to somebody: no docstring, and no help, whose commands are named alone.

    What an f-string puts in is `{NAME}` for a constant, else nothing.
    """
    tree = ast.parse(source)
    apart: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            apart.add(id(node.value))
        if isinstance(node, ast.keyword) and node.arg in ("help", "description"):
            apart |= {id(inner) for inner in ast.walk(node.value)}
        if isinstance(node, ast.JoinedStr):
            apart |= {id(part) for part in node.values}
    for node in ast.walk(tree):
        if id(node) in apart:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
        elif isinstance(node, ast.JoinedStr):
            yield node.lineno, _shape(node).replace("{PROGRAM}", "fedi-safety")


def _shape(text: ast.expr) -> str:
    """A text as it is written; of what an f-string puts in, bare names alone, between braces."""
    if isinstance(text, ast.Constant):
        return str(text.value)
    assert isinstance(text, ast.JoinedStr), f"line {text.lineno}: a hint is written where it is made"
    return "".join(
        str(part.value)
        if isinstance(part, ast.Constant)
        else f"{{{part.value.id}}}"
        if isinstance(part, ast.FormattedValue) and isinstance(part.value, ast.Name)
        else ""
        for part in text.values
    )


def hints(source: str) -> Iterator[str]:
    """What follows the program's name in every hint that a module makes."""
    if not re.search(r"\b(hint|command|list_of)\(", source):  # to parse takes time
        return
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id in ("hint", "command"):
                yield re.sub(r"\{\w+\}", "", _shape(node.args[0]))
            elif node.func.id == "list_of":
                yield "list " + re.sub(r"\{\w+\}", "", _shape(node.args[2]))


def modules() -> Iterator[tuple[str, str]]:
    for path in sorted(SOURCES.rglob("*.py")):
        yield path.relative_to(SOURCES).as_posix(), path.read_text("utf-8")


@pytest.mark.long
def test_no_hint_is_written_by_hand() -> None:
    """It would lack how the program is called here, and the configuration and ledger that were named."""
    found = [
        f"{name}:{line}: {text}"
        for name, source in modules()
        for line, text in spoken(source)
        if BY_HAND.search(text) and text not in TITLES and name not in (LASTING, HELP)
    ]
    assert not found, "write these with `hint` or `command` of core/wording/hints.py:\n" + "\n".join(found)


@pytest.mark.parametrize(
    "written",
    ['say("see `fedi-safety list`")', 'say(f"{x}; `scan --recheck all` helps")', 'say("run ./fedi-safety scan")',
     'REMEDY = "then `doctor`"', 'say(f"`{PROGRAM} apply` does it")', 'log.error("x; `fedi-safety %s`", y)'],
)  # fmt: skip
def test_the_check_sees_what_is_written_by_hand(written: str) -> None:
    assert any(BY_HAND.search(text) for _, text in spoken(written))


def test_every_hint_is_a_command_that_there_is() -> None:
    """With options that it has, and able to take the configuration and the ledger that every hint carries."""
    whole = typer.main.get_command(build())
    seen = 0
    for name, source in modules():
        if name in ("core/wording/hints.py", "cli/__init__.py"):
            continue  # they pass on what somebody else wrote
        for text in hints(source):
            found, rest = whole, text.replace("{}", " X ").split()
            while rest and isinstance(found, typer.core.TyperGroup):
                word = rest.pop(0)
                assert word in found.commands, f"{name}: {text}"
                found = found.commands[word]
            options = {option for parameter in found.params for option in parameter.opts}
            assert {word for word in rest if word.startswith("--") and word != "--"} <= options, f"{name}: {text}"
            assert {"--config", "--ledger"} <= options, f"{name}: {text}"
            seen += 1
    assert seen > 50, "hints are found"


def test_a_hint_carries_what_was_named_quoted_for_a_shell() -> None:
    before = call(Called("./fedi-safety", "/etc/my files/c.toml", "$led'ger"))
    try:
        said = command("apply {} --resume-acts", "a b;rm")
        assert hint("list") == f"`{command('list')}`"
        assert command("completion bash") == "./fedi-safety completion bash"
    finally:
        call(before)
    assert shlex.split(said) == ["./fedi-safety", "apply", "a b;rm", "--resume-acts", "--config",
                                 "/etc/my files/c.toml", "--ledger", "$led'ger"]  # fmt: skip
    assert command("list") == "fedi-safety list"
    with pytest.raises(ValueError, match="2 values for the 1 places"):
        command("apply {}", "a", "b")


def test_what_one_command_was_called_with_is_forgotten_by_the_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "c.toml"
    config.write_text("")
    assert run(["models", "verify", "--model-dir", str(tmp_path), "--config", str(config)], "./fedi-safety") == 2
    assert f"see `./fedi-safety models fetch --config {config}`" in capsys.readouterr().err
    assert command("models fetch") == "fedi-safety models fetch"


def test_the_programs_name_is_the_one_it_was_called_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = [tmp_path / "clone", tmp_path / "bin", tmp_path / "elsewhere"]
    for place in places:
        place.mkdir()
        (place / "fedi-safety").write_text("#!/bin/sh\n")
        (place / "fedi-safety").chmod(0o755)
    clone, there, elsewhere = places
    monkeypatch.chdir(clone)
    monkeypatch.setenv("PATH", str(there))

    def named(script: str, *, launcher: str = "", original: tuple[str, ...] = ()) -> str:
        monkeypatch.setattr(sys, "argv", [script, "list"])
        monkeypatch.setattr(sys, "orig_argv", [*original, "list"])
        if launcher:
            monkeypatch.setenv(LAUNCHER, launcher)
        return program_name()

    module = "/x/fedi_safety/__main__.py"
    assert named(module, launcher="./fedi-safety") == "./fedi-safety"
    assert named(module, launcher=str(clone / "fedi-safety")) == "./fedi-safety"
    assert named(module, launcher=str(elsewhere / "fedi-safety")) == str(elsewhere / "fedi-safety")
    assert named(module, launcher=str(there / "fedi-safety")) == "fedi-safety"
    assert named(module, original=("python3", "-m", "fedi_safety")) == "python3 -m fedi_safety"
    assert named(module, original=("my venv/python", "-P", "-m", "fedi_safety")) == "'my venv/python' -P -m fedi_safety"
    assert named(str(there / "fedi-safety")) == "fedi-safety"
    assert named("../elsewhere/fedi-safety") == "../elsewhere/fedi-safety"
    assert named(str(there / "fedi_safety_local_storage")) == "fedi-safety", "the program beside the script"
    assert named("/nowhere/pytest") == "fedi-safety"
    (there / "fedi-safety").unlink()
    assert named(module, launcher="bash-was-told/fedi-safety") == "bash-was-told/fedi-safety"
    monkeypatch.chdir(elsewhere)
    (elsewhere / "fedi-safety").unlink()
    elsewhere.rmdir()
    assert named("../bin/fedi-safety") == "fedi-safety", "nothing leads anywhere from a place that is gone"


def test_the_launcher_says_how_it_was_called() -> None:
    launcher = (SOURCES.parents[1] / "fedi-safety").read_text("utf-8")
    assert f"{LAUNCHER}=$0 " in launcher
