"""What every command shares: the common options, settings from them, consoles, logging, confirmation."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from fedi_safety.core.classes import dataclass
from fedi_safety.core.errors import ExitCode, UsageError, printable
from fedi_safety.core.wording import hints

if TYPE_CHECKING:
    from rich.console import Console

    from fedi_safety.config.schema import Settings


@dataclass(frozen=True, slots=True)
class Shell:
    """The settings of one command and how it may speak."""

    settings: Settings
    quiet: bool
    yes: bool
    config: str | None = None  # the file that was named

    @property
    def err(self) -> Console:
        """The console for people: progress and notes go to standard error, so that data can be piped."""
        from rich.console import Console

        return Console(stderr=True, quiet=self.quiet, highlight=False, soft_wrap=True)

    @property
    def out(self) -> Console:
        """The console for results."""
        from rich.console import Console

        return Console(highlight=False, quiet=self.quiet)

    def say(self, text: str) -> None:
        """Print one line of a result, unwrapped; control characters become visible."""
        if not self.quiet:
            sys.stdout.write(printable(text) + "\n")

    def note(self, text: str) -> None:
        """Print one line for people beside the result, on standard error."""
        if not self.quiet:
            sys.stderr.write(printable(text) + "\n")

    def warn(self, text: str) -> None:
        """Print one line that must not be missed, on standard error, even with --quiet."""
        sys.stderr.write(printable(text) + "\n")

    def confirm(self, question: str, remedy: str) -> None:
        """Ask on a terminal. Raises `UsageError` with `remedy` where nobody can answer or the answer is no."""
        if self.yes:
            return
        if not self.can_ask:
            raise UsageError("not confirmed", question, remedy)
        if not self.agreed(f"{question}. Go on?"):
            raise UsageError("not confirmed", "nothing was done", remedy)

    @property
    def can_ask(self) -> bool:
        """Whether a person sits at a terminal who can be asked."""
        return sys.stdin.isatty() and sys.stderr.isatty()

    def agreed(self, question: str) -> bool:
        """Ask, whatever `--yes` says; everything but yes is no."""
        return self.answer(f"{question} [y/N]") in ("y", "yes")

    def answer(self, question: str) -> str:
        """Ask, and return the answer in small letters; nothing where there is none."""
        return self.typed(question).strip().lower()

    def typed(self, question: str, *, secret: bool = False) -> str:
        """Ask, and return the line as it was typed, its end included; "" where there is none.

        What is `secret` is not shown on the terminal.
        """
        if secret:
            from fedi_safety.cli.text.hidden import unseen
        with unseen() if secret else nullcontext():
            sys.stderr.write(f"{printable(question)} ")
            sys.stderr.flush()
            return sys.stdin.readline()


def shell(
    config: str | None,
    ledger: str | None,
    log_level: str | None,
    quiet: bool,
    yes: bool,
    **overrides: Any,
) -> Shell:
    """Load the settings, set up logging, and return the shell of a command. Raises `ConfigError`.

    `overrides` are settings by name; a section is a dict. What is None, there or in a section, overrides nothing.
    """
    from fedi_safety.config.loading import load_settings
    from fedi_safety.config.locations import ledger_name, with_password

    for name, value in overrides.items():
        if isinstance(value, dict):
            overrides[name] = {k: v for k, v in value.items() if v is not None}
    spoken = None if ledger is None else ledger_name(ledger)
    hints.call(hints.Called(hints.called().program, config, spoken))
    settings = load_settings(config, ledger=ledger, log_level=log_level, **overrides)
    logging.basicConfig(
        level=logging.WARNING,  # of libraries; their chatter is not the operator's concern
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        force=True,
    )
    logging.getLogger("fedi_safety").setLevel(settings.log_level.upper())
    made = Shell(settings, quiet, yes, config)
    if spoken is not None and with_password(ledger or ""):
        made.warn("note: everybody on this machine can read the password in --ledger; put it into ~/.pgpass, or the "
                  "URL into the configuration")  # fmt: skip
    return made


@contextmanager
def on_stop(handler: Callable[[], None]) -> Iterator[None]:
    """Call `handler` on SIGINT and SIGTERM, instead of dying, while the block runs."""
    before = {s: signal.signal(s, lambda _number, _frame: handler()) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def worst(codes: Iterable[int]) -> int:
    """Return the code that counts where several stores ended with different ones (docs/exit-codes.md)."""
    graver = (ExitCode.USAGE, ExitCode.INTERRUPTED, ExitCode.BREAKER, ExitCode.OUTSIDE)
    order = (*graver, ExitCode.CONDEMNED, ExitCode.UNSCANNED)
    had = set(codes)
    return next((code for code in order if code in had), ExitCode.DONE)


def write_json(value: object) -> None:
    """Write one JSON object on one line to standard output. Keys that are not UTF-8 keep lone surrogates as escapes."""
    import json

    sys.stdout.write(json.dumps(value, ensure_ascii=True, allow_nan=False) + "\n")
