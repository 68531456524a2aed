"""The dead man's switch: an address that is asked after each completed pass, and that somebody else misses."""

from __future__ import annotations

import logging
import threading

from fedi_safety.notify.addresses import shown

log = logging.getLogger(__name__)

LIMIT_S = 10.0


def beat(url: str) -> bool:
    """Ask the address once; return whether it answered that all is well. What fails is logged: somebody misses it."""
    import httpx

    try:
        response = httpx.get(url, timeout=LIMIT_S, follow_redirects=False)
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        log.warning("heartbeat %s: %s", shown(url), type(error).__name__)
        return False
    if response.is_success:
        return True
    log.warning("heartbeat %s: it answered %d", shown(url), response.status_code)
    return False


class Heartbeat:
    """Asks the address from a thread of its own, so that no pass waits for it; one at a time."""

    def __init__(self, url: str) -> None:
        """Take the address."""
        self._url = url
        self._asking = threading.Lock()

    def beat(self) -> None:
        """Ask, unless it is being asked."""
        if self._asking.acquire(blocking=False):
            threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()

    def _beat(self) -> None:
        try:
            beat(self._url)
        finally:
            self._asking.release()
