"""How the operator is told: addresses that apprise knows, programs of their own, and a dead man's switch.

Each sends one message to one place, once, and says how that went. None remembers anything, and no error, name or log
line says more of an address than its scheme and host.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from fedi_safety.core.ledger.notices import Sent
from fedi_safety.core.notices.text import Words


class Sender(Protocol):
    """Sends to one place."""

    def send(self, said: Words, facts: Mapping[str, Any]) -> Sent:
        """Send a message and return how that went, within half a minute, or what was configured for a hook."""
        ...
