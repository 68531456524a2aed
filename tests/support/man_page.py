"""The manual page, made of the help's own words: `python -m support.man_page` writes packaging/fedi-safety.1 anew."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from fedi_safety.cli import build
from fedi_safety.cli.text.help import TASKS
from fedi_safety.core.errors import ExitCode

PAGE = Path(__file__).parents[2] / "packaging/fedi-safety.1"
_FILES = (
    ("/etc/fedi-safety/config.toml", "The configuration of this machine; else ~/.config/fedi-safety/config.toml."),
    ("/var/lib/fedi-safety/ledger.db", "The ledger of this machine; else ~/.local/share/fedi-safety/ledger.db."),
)


def page() -> str:
    """Return the page: what the program is, every command with its options, files and exit codes."""
    program = typer.main.get_command(build())
    assert isinstance(program, typer.core.TyperGroup)
    lines = [
        '.TH FEDI-SAFETY 1 "" "" "User commands"',
        ".SH NAME",
        _text("fedi-safety - keeps illegal imagery off fediverse servers"),
        ".SH SYNOPSIS",
        r".B fedi\-safety",
        r".I COMMAND",
        "[options]",
        ".SH DESCRIPTION",
        _text(str(program.help)),
        _text("A dry run removes nothing. The first real run of a store needs one, and an action that somebody chose."),
    ]
    for task, names in TASKS.items():
        lines.append(f".SH {_text(task).upper()}")
        for name in names:
            lines += _command(program, program.commands[name], f"fedi-safety {name}")
    lines.append(".SH FILES")
    for path, what in _FILES:
        lines += [".TP", f".I {_text(path)}", _text(what)]
    lines.append(".SH EXIT STATUS")
    for code in ExitCode:
        lines += [".TP", f".B {code.value}", _text(code.name.lower().replace("_", " "))]
    return "\n".join(lines) + "\n"


def _command(parent: Any, command: Any, name: str) -> Iterator[str]:
    context = command.context_class(command, info_name=name, parent=None)
    if isinstance(command, typer.core.TyperGroup):
        for inner in command.commands.values():
            yield from _command(command, inner, f"{name} {inner.name}")
        return
    yield f".SS {_text(' '.join([name, *command.collect_usage_pieces(context)]))}"
    yield _text(_plain(command.help or ""))
    for parameter in command.get_params(context):
        if parameter.param_type_name == "option" and not parameter.hidden and "--help" not in parameter.opts:
            taken = parameter.metavar or ""
            if not taken and parameter.type_descriptor.is_choice:
                taken = parameter.display_type(context).strip("<>")
            names = ", ".join([*parameter.opts, *parameter.secondary_opts])
            yield ".TP"
            yield f".B {_text(f'{names} {taken}'.strip())}"
            yield _text(_plain(parameter.help or ""))


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def _text(text: str) -> str:
    """Return words as roff takes them: no word of theirs is an order to it."""
    text = text.replace("\\", r"\e").replace("-", r"\-").replace("`", r"\(ga")
    return "\\&" + text if text.startswith((".", "'")) else text


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
