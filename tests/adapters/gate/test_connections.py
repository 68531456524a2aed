"""Connections to the server behind the gate: what of HTTP/1.1 they understand, and when one is used again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import pytest

from fedi_safety.gate.proxy.connections import Broken, Connection, Malformed, Place, Pool, Slow

GET = b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n"
HEAD = GET.replace(b"GET", b"HEAD")
POST = b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass
class Server:
    """Answers each request by what it is told, in pieces; None closes the connection."""

    pool: Pool
    answers: list[list[bytes | None]]
    connections: int = 0
    came: list[bytes] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                while self.answers and await self._answer(reader, writer):
                    pass
                await reader.read()  # until the other side closes it
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"Transfer-Encoding" in head:
            head += await reader.readuntil(b"0\r\n\r\n")
        elif b"Content-Length" in head:
            head += await reader.readexactly(int(head.partition(b"Content-Length: ")[2].split(b"\r\n")[0]))
        self.came.append(head)
        for piece in self.answers.pop(0):
            if piece is None:
                writer.close()
                return False
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.01)
        return True

    async def ask(self, wire: bytes = GET, body: AsyncIterator[bytes] | None = None, length: int | None = None) -> str:
        """Return status and body, or what failed, in a word."""
        used = await self.pool.take(1, 1)
        try:
            await used.exchange(wire, body, length, 0.5, of_head=wire.startswith(b"HEAD"))
            found = b""
            while piece := await used.piece(0.5):
                found += piece
            return f"{used.status} {found.decode()}"
        except (Slow, Broken, Malformed) as error:
            used.close()
            return type(error).__name__
        finally:
            self.pool.give_back(used)


@asynccontextmanager
async def server(*answers: list[bytes | None], most: int = 8, kept_s: float = 5.0) -> AsyncIterator[Server]:
    box: list[Server] = []
    listening = await asyncio.start_server(lambda r, w: box[0].serve(r, w), "127.0.0.1", 0, limit=1 << 20)
    port = listening.sockets[0].getsockname()[1]
    box.append(Server(Pool(Place("127.0.0.1", port), most, 4, kept_s), list(answers)))
    try:
        yield box[0]
    finally:
        box[0].pool.close()
        listening.close()
        await asyncio.sleep(0.05)


def run(story: Callable[[], Coroutine[None, None, None]]) -> None:
    asyncio.run(asyncio.wait_for(story(), 20))


async def pieces(*some: bytes) -> AsyncIterator[bytes]:
    for one in some:
        yield one


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("wire", "answer", "said", "connections"),
    [
        (GET, [OK], "200 ok", 1),
        (GET, [OK[:20], OK[20:-1], OK[-1:]], "200 ok", 1),
        (GET, [CHUNKED + b"1\r\no\r\n", b"1\r\nk\r\n0\r\nX-Trailer: x\r\n\r\n"], "200 ok", 1),
        (HEAD, [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"], "200 ", 1),
        (GET, [b"HTTP/1.1 204 No Content\r\n\r\n"], "204 ", 1),
        (GET, [b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n"], "304 ", 1),
        (GET, [b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", OK], "200 ok", 1),
        (GET, [b"HTTP/1.0 200 OK\r\n\r\nok", None], "200 ok", 2),
        (GET, [b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok", None], "200 ok", 2),
        (GET, [OK.replace(b"Content", b"Connection: close\r\nContent")], "200 ok", 2),
        (GET, [OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"], "200 ok", 2),
        (GET, [OK, b"later"], "200 ok", 2),
        (GET, [OK.replace(b": 2", b": 3"), None], "Broken", 2),
        (GET, [CHUNKED + b"2\r\nok", None], "Broken", 2),
        (GET, [None], "Broken", 2),
        (GET, [b"no HTTP\r\n\r\n"], "Broken", 2),
        (GET, [b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"], "Broken", 2),
        (GET, [b"HTTP/1.1 200 OK\r\n" + b"X: " + b"x" * 300_000 + b"\r\n\r\n"], "Broken", 2),
        (GET, [b"HTTP/1.1 200 OK\r\n" + b"X: " + b"x" * 3_000_000], "Broken", 2),
        (GET, [b"HTTP/1.1 103 Hints\r\nX: " + b"x" * 9_000 + b"\r\n\r\n"] * 40, "Broken", 2),
        (GET, [OK.replace(b"Content", b"Transfer-Encoding: chunked\r\nContent")], "Broken", 2),
        (GET, [b"HTTP/1.1 200 OK\r\nCont"], "Slow", 2),
        (GET, [OK[:-1]], "Slow", 2),
    ],
)
def test_an_answer_is_whole_or_a_fault_and_only_a_clean_connection_is_used_again(
    wire: bytes, answer: list[bytes | None], said: str, connections: int
) -> None:
    async def story() -> None:
        async with server(answer, [OK]) as behind:
            assert await behind.ask(wire) == said
            await asyncio.sleep(0.05)
            assert await behind.ask() == "200 ok"
            assert behind.connections == connections

    run(story)


def test_a_body_goes_as_it_came_with_a_length_or_in_chunks() -> None:
    async def story() -> None:
        async with server([OK], [OK], [OK], [OK]) as behind:
            large = bytes(range(256)) * 1024
            assert await behind.ask(POST % 3, pieces(b"a", b"", b"bc"), 3) == "200 ok"
            assert await behind.ask(POST % (1 + len(large)), pieces(b"a", large), 1 + len(large)) == "200 ok"
            chunked = GET.replace(b"Host", b"Transfer-Encoding: chunked\r\nHost")
            assert await behind.ask(chunked, pieces(b"a", large)) == "200 ok"
            assert await behind.ask(POST % 0, pieces(), 0) == "200 ok"
            heads = POST % 3, POST % (1 + len(large)), chunked, POST % 0
            bodies = b"abc", b"a" + large, b"1\r\na\r\n40000\r\n" + large + b"\r\n0\r\n\r\n", b""
            assert behind.came == [head + body for head, body in zip(heads, bodies, strict=True)]
            assert behind.connections == 1

    run(story)


@pytest.mark.parametrize(
    "wire",
    [
        GET.replace(b"/x", b"/x y"),
        GET.replace(b"/x", b"/\xff"),
        GET.replace(b"Host", b"Ho st"),
        GET.replace(b": x", b": x\ry"),
        GET.replace(b": x", b": x\0"),
        GET.replace(b"\r\n\r\n", b"\r\n\r\nGET /y HTTP/1.1\r\n\r\n"),
    ],
)
def test_what_is_no_head_is_not_sent(wire: bytes) -> None:
    async def story() -> None:
        async with server([OK]) as behind:
            assert await behind.ask(wire) == "Malformed"
            assert behind.came == []

    run(story)


@pytest.mark.parametrize("some", [(b"ab",), (b"ab", b"cd")])
def test_a_body_of_another_length_is_cut_off(some: tuple[bytes, ...]) -> None:
    async def story() -> None:
        async with server([OK]) as behind:
            assert await behind.ask(POST % 3, pieces(*some), 3) in ("Malformed", "200 ok")
            assert await behind.ask(POST % 3, pieces(*some), 3) == "Malformed" or behind.connections == 2

    run(story)


def test_whoever_sends_a_body_may_fail_and_the_connection_goes_with_it() -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield b"a"
        raise LookupError

    async def story() -> None:
        async with server([OK], [OK]) as behind:
            used = await behind.pool.take(1, 1)
            with pytest.raises(LookupError):
                await used.exchange(POST % 3, failing(), 3, 0.5, of_head=False)
            used.close()
            behind.pool.give_back(used)
            assert await behind.ask() == "200 ok"
            assert behind.connections == 2 and behind.came == [GET]

    run(story)


def test_an_answer_that_comes_before_the_body_is_sent_is_taken_all_the_same() -> None:
    async def eager(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        await reader.read(100_000)
        writer.close()

    async def story() -> None:
        listening = await asyncio.start_server(eager, "127.0.0.1", 0)
        pool = Pool(Place("127.0.0.1", listening.sockets[0].getsockname()[1]), 2, 2, 1.0)
        used: Connection = await pool.take(1, 1)
        size = 64 << 20
        body = pieces(*[bytes(1 << 20)] * 64)
        try:
            await used.exchange(POST % size, body, size, 2.0, of_head=False)
            assert used.status == 413
        except Broken:  # the answer was lost with the connection, as it may be
            pass
        assert not used.reusable
        pool.give_back(used)
        listening.close()
        await asyncio.sleep(0.05)

    run(story)


def test_connections_are_bounded_kept_for_a_while_and_closed() -> None:
    async def story() -> None:
        async with server([OK], [OK], [OK], most=2, kept_s=0.2) as behind:
            first, second = await behind.pool.take(1, 1), await behind.pool.take(1, 1)
            with pytest.raises(Slow):
                await behind.pool.take(1, 0.05)
            waiting = asyncio.ensure_future(behind.pool.take(1, 1))
            await asyncio.sleep(0.01)
            behind.pool.give_back(first)
            behind.pool.give_back(await waiting)
            behind.pool.give_back(second)
            assert await behind.ask() == await behind.ask() == "200 ok"
            before = behind.connections
            await asyncio.sleep(0.5)
            assert not behind.pool._kept
            assert await behind.ask() == "200 ok"
            assert behind.connections == before + 1

    run(story)


def test_an_answer_that_its_client_takes_slowly_is_not_held_whole() -> None:
    async def story() -> None:
        size = 8 << 20
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size
        async with server([head + bytes(size)]) as behind:
            used = await behind.pool.take(1, 1)
            await used.exchange(GET, None, None, 1.0, of_head=False)
            await asyncio.sleep(0.3)
            assert used._held < 1 << 20 and not used.whole
            found = 0
            while piece := await used.piece(1.0):
                found += len(piece)
            assert found == size and used.reusable
            behind.pool.give_back(used)

    run(story)


def test_what_is_given_back_after_the_end_is_not_kept() -> None:
    async def story() -> None:
        async with server([OK]) as behind:
            await behind.ask(GET)
            used = await behind.pool.take(1.0, 1.0)
            assert used.reusable
            behind.pool.close()
            behind.pool.give_back(used)
            assert used._transport is not None and used._transport.is_closing()

    run(story)
