"""How help looks: commands by task, options with what they take in a word, flags without one. Parses nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import typer

TASKS = {
    "Look through what is stored": ("scan", "apply", "watch"),
    "Judge uploads": ("serve", "worker", "gate-config"),
    "See what was found": ("report", "history", "list", "show", "try", "trace"),
    "Say what you think of it": ("review", "confirm", "dismiss"),
    "Open and keep sealed copies": ("restore", "unseal", "hold", "release", "filed"),
    "Tell an authority": ("evidence",),
    "Decide what is looked for": ("policy", "hashes", "calibrate", "concepts", "models"),
    "Set up and check": ("init", "doctor", "self-test", "notify", "ledger", "import-ledger", "completion"),
}
"""Every command that is not hidden, by what somebody wants to do; in this order help on the whole shows them."""

_WORDS = {"int": "N", "float": "X", "str": "TEXT", "Path": "PATH"}


def task_of(command: str) -> str | None:
    """Return the heading under which help on the whole shows a command, None for a hidden one."""
    return next((task for task, commands in TASKS.items() if command in commands), None)


class Command(typer.core.TyperCommand):
    """A command whose help names in one word what an option takes, and nothing for a flag or an argument."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return what the library has, each parameter with its word."""
        return [_worded(parameter) for parameter in super().get_params(ctx)]


class Group(typer.core.TyperGroup):
    """A group of commands whose own options are shown like those of a command."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command. Raises `typer.Abort` for Ctrl-C, of which the library makes an exit without a word."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise typer.Abort from error

    def get_params(self, ctx: Any) -> list[Any]:
        """Return what the library has, each parameter with its word."""
        return [_worded(parameter) for parameter in super().get_params(ctx)]


class _Late:
    """How what is given for a parameter is read: not at all where nothing, or a text that stays one, is given.

    The library makes what reads for every option, used or not, which loads and takes long.
    """

    def __init__(self, parameter: Any) -> None:
        self._reader = parameter.get_runtime_param

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the value as the library has it."""
        if value is None:
            return () if param.multiple or param.nargs == -1 else None
        kind, plain = param.type_descriptor.annotation, param.type_descriptor.parameter_info
        if kind is str and type(value) is str and plain.parser is None and param.nargs == 1 and not param.multiple:
            return value
        return self._reader().coerce(value, param=param, ctx=ctx)


def _worded(parameter: Any) -> Any:
    if "get_runtime_param" not in vars(parameter):
        late = _Late(parameter)
        parameter.get_runtime_param = lambda: late
    if isinstance(parameter, typer.core.TyperArgument):
        # Its name and its help say it; the library has no other way to leave the type out.
        parameter.display_type_rich = _nothing  # type: ignore[method-assign]
    elif parameter.is_flag:
        parameter.metavar = ""
    elif parameter.metavar is None and not parameter.type_descriptor.is_choice:
        parameter.metavar = _WORDS.get(parameter.bare_type())
    return parameter


def _nothing(ctx: Any) -> None:
    del ctx


def with_words(group: typer.Typer) -> typer.Typer:
    """Have a group, and its commands, show their help so."""
    group.info.cls = Group
    for info in group.registered_commands:
        info.cls = Command
    return group


# What the library imports for help in Markdown, and for tracebacks, neither of which is shown here: a quarter of the
# time that help takes.
_UNUSED = {"rich.markdown": "Markdown", "rich.traceback": "Traceback"}


@contextmanager
def light_pages() -> Iterator[None]:
    """Let what formats help be loaded without what it has no use for; whoever asks for that afterwards gets it."""
    stand_ins = {}
    for name, attribute in _UNUSED.items():
        if name not in sys.modules:
            sys.modules[name] = stand_ins[name] = ModuleType(name)
            setattr(stand_ins[name], attribute, type(attribute, (), {}))
    try:
        yield
    finally:
        for name in stand_ins:
            del sys.modules[name]
