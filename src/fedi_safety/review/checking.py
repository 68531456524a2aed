"""The last word of the check of the chain, which takes too long to be made while somebody waits for a page."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from fedi_safety.core.errors import FediSafetyError
from fedi_safety.core.ledger.ports import WholeLedger
from fedi_safety.core.ledger.records import Verification
from fedi_safety.core.ports import Clock


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check came to, and when; `error` where it could not be made."""

    at: float
    found: Verification | None
    error: str = ""


class Checker:
    """Makes one check at a time, in a thread of its own."""

    def __init__(self, ledger: WholeLedger, clock: Clock) -> None:
        """Nothing was checked yet."""
        self._ledger, self._clock = ledger, clock
        self._guard = threading.Lock()
        self._thread: threading.Thread | None = None
        self.last: Checked | None = None

    @property
    def under_way(self) -> bool:
        """Whether a check is being made."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Begin a check, unless one is under way."""
        with self._guard:
            if not self.under_way:
                self._thread = threading.Thread(target=self._check, name="review-verify", daemon=True)
                self._thread.start()

    def _check(self) -> None:
        try:
            self.last = Checked(self._clock.now(), self._ledger.verify())
        except FediSafetyError as error:
            self.last = Checked(self._clock.now(), None, error.line())
