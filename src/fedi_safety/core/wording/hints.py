"""Commands of this program that a message tells a person to type, as they can be pasted into the same shell.

The one place that writes them: with the program as it was called here, and with the configuration and the ledger that
were named for the command that speaks. The command line says once what these are.
"""

from __future__ import annotations

import shlex

from fedi_safety.core.classes import dataclass

PROGRAM = "fedi-safety"
"""What the program is called where nobody said otherwise."""

_BARE = ("completion",)  # commands that take neither --config nor --ledger


@dataclass(frozen=True, slots=True)
class Called:
    """How this program was called: as shell words that are quoted already, and what was named with it, unquoted."""

    program: str = PROGRAM
    config: str | None = None
    ledger: str | None = None


_called = Called()


def called() -> Called:
    """Return how this program was called."""
    return _called


def call(as_this: Called) -> Called:
    """Have the commands of all that is said from now on, by any thread, begin and end so; return what was before."""
    global _called
    before, _called = _called, as_this
    return before


def command(text: str, *values: str) -> str:
    """Return a command line of this program, ready to be pasted.

    `text` is what follows the program's name: `apply {} --resume-acts`; each `{}` becomes the next of `values`, quoted.
    """
    parts = text.split("{}")
    quoted = [shlex.quote(value) for value in values]
    if len(parts) != len(quoted) + 1:
        raise ValueError(f"{len(quoted)} values for the {len(parts) - 1} places of {text!r}")
    line = "".join(part + value for part, value in zip(parts, [*quoted, ""], strict=True))
    named: list[tuple[str, str | None]] = [("--config", _called.config), ("--ledger", _called.ledger)]
    bare = text.partition(" ")[0] in _BARE
    options = [f"{option} {shlex.quote(value)}" for option, value in named if value is not None and not bare]
    return " ".join([_called.program, line, *options])


def hint(text: str, *values: str) -> str:
    """Return the same between backticks, as it stands within a sentence."""
    return f"`{command(text, *values)}`"
