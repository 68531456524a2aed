"""Help by task, words for what options take, completion for three shells, and a manual page of the same words."""

from __future__ import annotations

import re

import pytest
import typer

from fedi_safety import cli
from fedi_safety.cli.completion_cmd import VARIABLE
from fedi_safety.cli.text.help import TASKS
from support.man_page import PAGE, page


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert cli.run([*arguments, "--help"]) == 0
    return capsys.readouterr().out


def commands() -> list[list[str]]:
    """Return the words of every command that help shows."""
    program = typer.main.get_command(cli.build())
    assert isinstance(program, typer.core.TyperGroup)
    found: list[list[str]] = []
    for name, command in program.commands.items():
        if not command.hidden:
            inner = command.commands if isinstance(command, typer.core.TyperGroup) else {}
            found += [[name], *([name, one] for one in inner)]
    return found


def test_every_command_is_shown_under_a_task_once(capsys: pytest.CaptureFixture[str]) -> None:
    named = [name for names in TASKS.values() for name in names]
    assert sorted(named) == sorted(words[0] for words in commands() if len(words) == 1)
    text = shown(capsys)
    assert [task for task in TASKS if f" {task} " in text] == list(TASKS)
    assert " Commands " not in text


@pytest.mark.sampled(16)
@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_types_are_words_of_the_field(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, *words)
    assert not re.search(r"<(?:bool|str|int|float|file|path|directory)[ >]", text), text
    assert "range>" not in text and "[[" not in text


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("shell", "asked", "heard"),
    [
        ("bash", {"COMP_WORDS": "fedi-safety sc", "COMP_CWORD": "1"}, "scan\n"),
        ("bash", {"COMP_WORDS": "fedi-safety scan --without", "COMP_CWORD": "2"}, "--without-dry-run\n"),
        ("bash", {"COMP_WORDS": "fedi-safety scan --recheck ", "COMP_CWORD": "3"}, "never\npolicy\nall\n"),
        ("bash", {"COMP_WORDS": "fedi-safety ledger ver", "COMP_CWORD": "2"}, "verify\n"),
        ("zsh", {"_TYPER_COMPLETE_ARGS": "fedi-safety self"}, "self-test"),
        ("fish", {"_TYPER_COMPLETE_ARGS": "fedi-safety dis", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}, "dismiss"),
    ],
)
def test_a_shell_hears_what_could_come_next(
    shell: str,
    asked: dict[str, str],
    heard: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in {**asked, VARIABLE: f"complete_{shell}"}.items():
        monkeypatch.setenv(name, value)
    assert cli.run([]) == 0
    assert heard in capsys.readouterr().out
    monkeypatch.delenv(VARIABLE)
    assert cli.run(["completion", shell]) == 0
    assert VARIABLE in capsys.readouterr().out


def test_an_unknown_shell_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["completion", "csh"]) == 2
    assert cli.run(["completion"]) == 2
    wrong, missing = capsys.readouterr().err.splitlines()
    assert "'csh' is not one of 'bash', 'zsh', 'fish'" in wrong
    assert "Missing argument 'SHELL'. Choose from: bash, zsh, fish" in missing


def test_the_manual_page_is_of_the_help_as_it_stands() -> None:
    assert PAGE.read_text("utf-8") == page(), "write it anew: python -m support.man_page"
