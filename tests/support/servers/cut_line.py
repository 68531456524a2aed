"""A line to a server that breaks when it is told to: all bytes pass until then, in both directions."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class CutLine:
    """What passes, and what breaks it. One that broke is no line any more; the next connection is a new one."""

    port: int
    upstream: int
    after: bytes = b""
    """What the client sends last: it still reaches the server, and no answer comes back."""
    refuse: bool = False
    """Whether nobody gets through."""
    silent_after: bytes = b""
    """What a client sends last on a line that both ends go on holding, and through which nothing passes any more."""
    silent: bool = False
    """Whether nothing passes on any line, old or new, though all are held."""
    cuts: int = 0
    lines: list[socket.socket] = field(default_factory=list)

    def cut(self) -> None:
        """Break all lines that there are."""
        for line in self.lines:
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
        self.lines.clear()

    def serve(self, client: socket.socket) -> None:
        """Let one connection through, until one of its ends is closed or it breaks."""
        with client:
            if self.refuse:
                return
            with socket.create_connection(("127.0.0.1", self.upstream)) as server:
                self.lines += [client, server]
                held: set[socket.socket] = set()
                back = threading.Thread(target=self._pass, args=(server, client, held), daemon=True)
                back.start()
                self._pass(client, server, held, seen=True)
                back.join()

    def _pass(self, source: socket.socket, target: socket.socket, held: set[socket.socket], seen: bool = False) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if seen:
                    self._broken(data, source, held)
                if not held and not self.silent:
                    target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def _broken(self, data: bytes, client: socket.socket, held: set[socket.socket]) -> None:
        if self.after and self.after in data:
            self.after, self.cuts = b"", self.cuts + 1
            client.shutdown(socket.SHUT_RDWR)  # before the answer can come
        if self.silent_after and self.silent_after in data:
            self.silent_after, self.cuts = b"", self.cuts + 1
            held.add(client)


@contextmanager
def cut_line(upstream: int) -> Iterator[CutLine]:
    """Listen on a free port of loopback for what is meant for `upstream`."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        line = CutLine(door.getsockname()[1], upstream)

        served: list[threading.Thread] = []

        def accept() -> None:
            with suppress(OSError):
                while True:
                    client, _ = door.accept()
                    served.append(threading.Thread(target=line.serve, args=(client,), daemon=True))
                    served[-1].start()

        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        try:
            yield line
        finally:
            door.shutdown(socket.SHUT_RDWR)
            accepting.join()
            line.cut()
            for each in served:
                each.join()
