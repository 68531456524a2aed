"""The loop that SFTP connections run in, whose connections can hold back what is written until it is all there.

asyncssh writes an empty packet before each that it sends, for the sake of old ciphers, and each by a system call of its
own: twice as many for either side to wake up for. It knows no SSH.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

HOLDING = "holding"
"""The name by which a connection's `get_extra_info` gives the transport that holds."""


class Holding(asyncio.Transport):
    """A transport that passes everything on, and what is written while it is `held` as one piece."""

    def __init__(self, transport: asyncio.Transport) -> None:
        """Take the transport that does the work."""
        super().__init__()
        self._transport = transport
        self._waiting: list[bytes] | None = None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold what is written inside, and pass it on at the end."""
        self._waiting = []
        try:
            yield
        finally:
            waiting, self._waiting = self._waiting, None
            if waiting and not self._transport.is_closing():
                self._transport.write(b"".join(waiting))

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write, now or at the end of `held`."""
        if self._waiting is None:
            self._transport.write(data)
        else:
            self._waiting.append(bytes(data))

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what the transport says of itself; by `HOLDING` this."""
        return self if name == HOLDING else self._transport.get_extra_info(name, default)

    def is_closing(self) -> bool:
        """Whether it is closed or about to be."""
        return self._transport.is_closing()

    def close(self) -> None:
        """Close it once everything is sent."""
        self._transport.close()

    def abort(self) -> None:
        """Close it at once."""
        self._transport.abort()

    def is_reading(self) -> bool:
        """Whether anything is read."""
        return self._transport.is_reading()

    def pause_reading(self) -> None:
        """Read nothing more for now."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Go on reading."""
        self._transport.resume_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set from how many bytes on writers are asked to wait."""
        self._transport.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait to be sent."""
        return self._transport.get_write_buffer_size()

    def can_write_eof(self) -> bool:
        """Whether one direction can be closed by itself."""
        return self._transport.can_write_eof()

    def write_eof(self) -> None:
        """Close the direction that is written."""
        self._transport.write_eof()


class Loop(asyncio.SelectorEventLoop):
    """An event loop whose connections have `Holding` transports."""

    async def create_connection(self, protocol_factory: Callable[[], Any], *where: Any, **how: Any) -> Any:
        """Connect; the protocol is given a transport that can hold."""

        holding: list[Holding] = []

        def protocol() -> Any:
            made = protocol_factory()
            begin = made.connection_made

            def begun(transport: asyncio.Transport) -> None:
                holding.append(Holding(transport))
                begin(holding[-1])

            made.connection_made = begun
            return made

        transport, made = await super().create_connection(protocol, *where, **how)
        return (holding[-1] if holding else transport), made
