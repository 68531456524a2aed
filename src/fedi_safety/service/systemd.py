"""systemd's notification protocol: ready, status, watchdog, stopping. Silent where systemd did not ask for it."""

from __future__ import annotations

import contextlib
import os
import socket


class Notifier:
    """Sends datagrams to $NOTIFY_SOCKET. A lost one is no error: the service manager judges by what arrives."""

    def __init__(self) -> None:
        """Take the variables out of the environment, so that child processes do not speak for this one."""
        self._address = os.environ.pop("NOTIFY_SOCKET", "")
        usec = os.environ.pop("WATCHDOG_USEC", "")
        pid = os.environ.pop("WATCHDOG_PID", "")
        meant = not pid or pid == str(os.getpid())
        self.watchdog_s = int(usec) / 1e6 if usec.isdecimal() and meant else None

    def send(self, *lines: str) -> None:
        """Send assignments such as `READY=1`."""
        if not self._address.startswith(("/", "@")):
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as to:
            to.settimeout(1.0)
            to.sendto("\n".join(lines).encode("utf-8", "replace"), address)
