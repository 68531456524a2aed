"""Which credentials are accepted, and which are refused, as those heard it who used them. It keeps no secret.

That is met deep inside a pass, where an error becomes a line about one object, and is one thing to tell all the same.
So whoever speaks with a server says it here, and whoever has a ledger takes it from here (`app.notices.conditions`).
"""

from __future__ import annotations

import threading
from typing import TypeVar

from fedi_safety.core.errors import FediSafetyError

_E = TypeVar("_E", bound=FediSafetyError)


class Access:
    """What was heard since it was last taken, of a whole process. One line for each that was asked; thread-safe."""

    def __init__(self) -> None:
        """Have heard nothing."""
        self._lock = threading.Lock()
        self._heard: dict[str, str | None] = {}
        self._accepted: set[str] = set()

    def refused(self, about: str, why: str, error: _E) -> _E:
        """Note that the credentials for `about` are refused, and return the error as one that says so.

        Neither of the two words may hold a secret, or what somebody chose for a file: they are told to the operator.
        """
        self.again(about, why)
        error.heard = True
        error.as_refused()
        return error

    def accepted(self, about: str) -> None:
        """Note that they are accepted; what is accepted all the time costs nothing."""
        with self._lock:
            if about not in self._accepted:
                self._accepted.add(about)
                self._heard[about] = None

    def again(self, about: str, why: str | None) -> None:
        """Note something that was taken and could not be written down."""
        with self._lock:
            self._accepted.discard(about)
            self._heard[about] = why

    def take(self) -> dict[str, str | None]:
        """Return why each is refused, None where it is accepted, and forget that."""
        with self._lock:
            heard, self._heard = self._heard, {}
            return heard

    def forget(self) -> None:
        """Be as at the beginning of a process."""
        with self._lock:
            self._heard, self._accepted = {}, set()


ACCESS = Access()
"""That of this process."""
