"""Programs of the operator's own, run with a notice as JSON on standard input. No shell, no secret of ours, no wait
without an end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from fedi_safety.core.ledger.notices import Sent
from fedi_safety.core.notices.text import Words

_ENVIRONMENT = ("HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "TZ", "USER")
_END_S = 5.0


class HookSender:
    """One program. What it writes goes to our standard error; 0 is well, and everything else is tried again."""

    def __init__(self, command: Sequence[str], limit_s: float) -> None:
        """Take the program, by its whole path, and its arguments."""
        self._command = tuple(command)
        self._limit_s = limit_s

    def send(self, said: Words, facts: Mapping[str, Any]) -> Sent:  # noqa: ARG002
        """Run the program to its end, or kill it with its children when its time is over."""
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        try:
            process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=2,
                env=environment,
                cwd="/",
                start_new_session=True,
                close_fds=True,
            )
        except OSError as error:
            return Sent(False, f"it cannot be run: {error.strerror or type(error).__name__}")
        try:
            process.communicate(json.dumps(facts).encode() + b"\n", timeout=self._limit_s)
        except subprocess.TimeoutExpired:
            return Sent(False, f"it did not end within {self._limit_s:g} s and was killed", lost=True)
        finally:
            if process.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_END_S)
        if process.returncode == 0:
            return Sent(True)
        how = f"signal {-process.returncode}" if process.returncode < 0 else f"exit code {process.returncode}"
        return Sent(False, f"it ended with {how}")
