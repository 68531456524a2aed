"""A loopback port that is ours for as long as we want, whether we listen on it or refuse every connection."""

from __future__ import annotations

import contextlib
import socket


class Door:
    """Open it to get a listening socket; shut, it refuses connections, and nobody else gets the port meanwhile."""

    def __init__(self) -> None:
        """Take a free port; nobody listens yet."""
        self._socket = _bound(0)
        self.port: int = self._socket.getsockname()[1]

    def open(self) -> socket.socket:
        """Listen; the socket is closed by `shut`."""
        listening = _bound(self.port)
        listening.listen(64)
        self._socket.close()
        self._socket = listening
        return listening

    def shut(self) -> None:
        """Refuse connections, and wake who waits for one."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._socket = _bound(self.port)

    def close(self) -> None:
        """Give the port back."""
        self._socket.close()


def _bound(port: int) -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # several may be bound as long as none listens
    made.bind(("127.0.0.1", port))
    return made
