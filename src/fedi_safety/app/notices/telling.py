"""What a command that ends does about notices: addresses are looked at first, and what waits is sent at the end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import field

from fedi_safety.app.ledger import open_settings_ledger
from fedi_safety.app.notices.channels import Line, checked
from fedi_safety.app.notices.conditions import say, say_error, say_heard
from fedi_safety.app.notices.sending import send_rest
from fedi_safety.config.schema import Settings
from fedi_safety.core.classes import dataclass
from fedi_safety.core.errors import FediSafetyError
from fedi_safety.core.notices.transitions import Condition
from fedi_safety.core.runs import RunReport

log = logging.getLogger(__name__)

WITHIN_S = 10.0
"""How long a command that has done its work goes on sending."""


@dataclass(slots=True)
class Telling:
    """One command's telling."""

    settings: Settings
    lines: Sequence[Line]
    well: bool = False  # every pass of the command was completed
    hurried: bool = False  # somebody interrupted it, and waits
    _errors: list[tuple[str, FediSafetyError | None]] = field(default_factory=list)
    _broken: list[str | None] = field(default_factory=list)

    def ended(self, about: str, error: FediSafetyError | None) -> None:
        """Note how the work on a store ended."""
        self._errors.append((about, error))

    def completed(self, reports: Sequence[RunReport]) -> None:
        """Note the passes of a command that had no error."""
        self.well = bool(reports) and all(report.status == "done" for report in reports)
        self.hurried = any(report.interrupted for report in reports)

    def chain(self, problem: str | None) -> None:
        """Note whether the ledger's chain holds."""
        self._broken.append(None if problem is None else "what the ledger says does not fit its chain of events")

    def finish(self, say_left: Callable[[str], None]) -> None:
        """Write what was noted, and send what waits."""
        if self.well and self.settings.notify.heartbeat_url is not None:
            from fedi_safety.notify.heartbeat import beat

            beat(self.settings.notify.heartbeat_url.get_secret_value())
        if not self.lines:
            return
        try:
            ledger = open_settings_ledger(self.settings)
        except FediSafetyError as error:
            log.warning("nobody is told: %s", error.line())
            return
        try:
            for about, ended in self._errors:
                say_error(ledger, about, ended)
            say_heard(ledger)
            for problem in self._broken:
                say(ledger, Condition.CHAIN_BROKEN, "", problem)
            if not self.hurried:
                send_rest(ledger, self.lines, self.settings.notify.name, WITHIN_S, say=say_left)
        except FediSafetyError as error:
            log.warning("notices wait for the next command: %s", error.line())
        finally:
            ledger.dispose()


@contextmanager
def telling(settings: Settings, say_left: Callable[[str], None]) -> Iterator[Telling]:
    """Run a command that may have something to tell. Raises `ConfigError` first where an address cannot be one.

    Whoever interrupts it does not wait: what is left is sent by the next command.
    """
    own = Telling(settings, checked(settings))
    try:
        yield own
    except FediSafetyError:
        own.finish(say_left)
        raise
    own.finish(say_left)
