"""A TCP proxy on loopback: what runs through it can be refused, cut, slowed down or held back. Knows no protocol."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from support.servers.door import Door

_PIECE_BYTES = 4096


class Wire:
    """The way to a server on loopback."""

    def __init__(self, upstream_port: int) -> None:
        """Listen on a free port."""
        self._upstream_port = upstream_port
        self._door = Door()
        self.port = self._door.port
        self._ends: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._open = threading.Event()  # cleared: what comes in is held back
        self._open.set()
        self._wait_s = 0.0
        self._accepting: threading.Thread | None = None
        self.carried_bytes = 0
        self.listen()

    def listen(self) -> None:
        """Take connections, from the beginning or after `refuse`."""
        self._accepting = threading.Thread(target=self._accept, args=(self._door.open(),), daemon=True)
        self._accepting.start()

    def refuse(self) -> None:
        """Refuse new connections and cut the others, until `listen`."""
        self._door.shut()
        if self._accepting is not None:
            self._accepting.join(5)
        self._accepting = None
        self.cut()

    def cut(self) -> int:
        """Break every connection; return how many ends that were."""
        with self._lock:
            ends, self._ends = self._ends, set()
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        return len(ends)

    def slow(self, bytes_per_s: float) -> None:
        """Carry no more than this on each connection in each direction; 0: as fast as it goes."""
        self._wait_s = _PIECE_BYTES / bytes_per_s if bytes_per_s else 0.0

    def hold(self, held: bool) -> None:
        """Take what is sent and pass nothing on, or pass on what was held."""
        if held:
            self._open.clear()
        else:
            self._open.set()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._upstream_port), 5)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            for end in (near, far):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._ends |= {near, far}
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        pause = threading.Event()
        with contextlib.suppress(OSError):
            while data := source.recv(_PIECE_BYTES):
                if self._wait_s:
                    pause.wait(self._wait_s * len(data) / _PIECE_BYTES)
                self._open.wait()
                sink.sendall(data)
                self.carried_bytes += len(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._ends -= {source, sink}
        source.close()

    def close(self) -> None:
        """Cut everything and give the port back."""
        self._open.set()
        if self._accepting is not None:
            self.refuse()
        self.cut()
        self._door.close()


@contextmanager
def wire_before(upstream_port: int) -> Iterator[Wire]:
    """Run the proxy before a server on loopback."""
    wire = Wire(upstream_port)
    try:
        yield wire
    finally:
        wire.close()
