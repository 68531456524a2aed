"""What is written to an SFTP server goes out as one piece where it belongs together, and nothing of it is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from fedi_safety.stores.sftp.sending import HOLDING, Holding, Loop


class _Pieces(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[bytes] = []
        self.ended = ""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.pieces.append(bytes(data))

    def is_closing(self) -> bool:
        return bool(self.ended)

    def close(self) -> None:
        self.ended = "closed"

    def abort(self) -> None:
        self.ended = "aborted"


def test_what_is_held_is_one_piece_and_what_is_not_goes_at_once() -> None:
    beneath = _Pieces()
    holding = Holding(beneath)
    holding.write(b"a")
    with holding.held():
        holding.write(b"b")
        holding.write(memoryview(b"c"))
        assert beneath.pieces == [b"a"]
    holding.write(b"d")
    with holding.held():
        pass
    assert beneath.pieces == [b"a", b"bc", b"d"]


def test_what_is_held_goes_out_although_something_failed_and_not_into_a_closed_connection() -> None:
    beneath = _Pieces()
    holding = Holding(beneath)
    with pytest.raises(OSError, match="broken"), holding.held():
        holding.write(b"a")
        raise OSError("broken")
    assert beneath.pieces == [b"a"]
    with holding.held():
        holding.write(b"b")
        holding.abort()
    assert (beneath.pieces, beneath.ended) == ([b"a"], "aborted")


def in_loop(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    loop = Loop()
    try:
        loop.run_until_complete(asyncio.wait_for(story(), 10))
    finally:
        loop.close()


def test_a_connection_of_the_loop_holds_and_reads_as_any_other() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(6))
        writer.close()

    async def story() -> None:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        holding = writer.get_extra_info(HOLDING)
        assert isinstance(holding, Holding)
        assert writer.get_extra_info("peername") == server.sockets[0].getsockname()
        with holding.held():
            writer.write(b"abc")
            writer.write(b"def")
        await writer.drain()
        assert await reader.read() == b"abcdef"
        writer.close()
        await writer.wait_closed()
        server.close()

    in_loop(story)
