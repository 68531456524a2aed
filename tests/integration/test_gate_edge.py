"""The gate's edge against strangers of many addresses: places, idle connections, trailers, the log. Real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import selectors
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest
from uvicorn.server import ServerState

from fedi_safety.gate import edge, tally
from fedi_safety.gate.admission import block
from fedi_safety.judging import logs
from support.serving import RED, Gate, gate

OPEN: dict[str, Any] = {"networks": ["127.0.0.1/32"], "tokens": {"lemmy": "s3cret"}}
"""Only this very address is listed; its neighbours are strangers, unless they have the token."""

HEAD = b"POST /validate%s HTTP/1.1\r\nHost: x\r\n%s\r\n"


@contextlib.contextmanager
def connections(g: Gate, places: int, each: int) -> Iterator[list[socket.socket]]:
    """Open connections from so many addresses."""
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(socket.create_connection(("127.0.0.1", g.port), 5, (f"127.0.1.{1 + place}", 0)))
            for place in range(places)
            for _ in range(each)
        ]


def answer(connection: socket.socket) -> bytes:
    """Read one answer."""
    said = b""
    while b"\r\n\r\n" not in said or len(said.partition(b"\r\n\r\n")[2]) < int(
        said.lower().partition(b"content-length: ")[2].partition(b"\r")[0] or 0
    ):
        piece = connection.recv(65536)
        if not piece:
            break
        said += piece
    return said


def ask(connection: socket.socket, path: bytes = b"/healthz") -> bytes:
    connection.sendall(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path)
    return answer(connection)


def turned_away(held: list[socket.socket], why: bytes, count: int) -> bool:
    """Whether so many of them hear why, however long that takes, and after that no further one."""
    heard = 0
    with selectors.DefaultSelector() as waiting:
        for one in held:
            waiting.register(one, selectors.EVENT_READ)
        while ready := waiting.select(0.2 if heard >= count else 10):
            for key, _ in ready:
                waiting.unregister(key.fileobj)
                heard += why in cast("socket.socket", key.fileobj).recv(65536)
    return heard == count


def is_closed(connection: socket.socket, seconds: float) -> bool:
    connection.settimeout(seconds)
    try:
        return connection.recv(65536) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


def test_strangers_never_hold_the_places_of_known_callers(tmp_path: Path) -> None:
    with gate(tmp_path, connections=16, **OPEN) as g, connections(g, 30, 1) as held:
        assert turned_away(held, b"too_many_connections", 30 - 12)
        assert g.upload(RED).status == 200
        assert g.get("/healthz").status == 200


def test_idle_strangers_are_closed_in_seconds_and_known_callers_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge, "_STRANGERS_KEEP_ALIVE_S", 0.5)
    assert edge._KEEP_ALIVE_S > 90  # as long as pict-rs keeps one
    with gate(tmp_path, connections=64, **OPEN) as g, connections(g, 2, 1) as (stranger, token):
        assert b"alive" in ask(stranger)
        body = HEAD % (b"/s3cret", b"Content-Length: %d\r\n" % len(RED)) + RED
        token.sendall(body)
        assert b"accepted" in answer(token)
        known = socket.create_connection(("127.0.0.1", g.port), 5)
        assert b"alive" in ask(known)
        assert is_closed(stranger, 3)
        assert not is_closed(token, 1) and not is_closed(known, 0.2)
        token.sendall(body)
        token.settimeout(5)
        assert b"accepted" in answer(token)
        known.close()


@pytest.mark.parametrize(("proxied", "more"), [(False, 20), (True, 4)])
def test_who_showed_a_token_is_known_when_it_comes_again(tmp_path: Path, proxied: bool, more: int) -> None:
    """But not everybody behind the proxy through which it came."""
    sign = b"X-Forwarded-For: 192.0.2.1\r\n" if proxied else b""
    with gate(tmp_path, connections=32, **OPEN) as g:
        with connections(g, 1, 1) as (first,):
            first.sendall(HEAD % (b"/s3cret", sign + b"Content-Length: %d\r\n" % len(RED)) + RED)
            assert b"accepted" in answer(first)
        with connections(g, 1, 20) as held:
            time.sleep(0.1)
            fine = sum(b"alive" in ask(one) for one in held)
        assert fine == (more if not proxied else 8)


def test_ipv6_is_counted_by_the_64() -> None:
    assert block("2001:db8:1:2:3:4:5:6") == block("2001:db8:1:2::9") == "2001:db8:1:2::/64"
    assert block("2001:db8:1:3::9") != block("2001:db8:1:2::9")
    assert block("::ffff:192.0.2.7") == block("192.0.2.7") == "192.0.2.7" != block("192.0.2.8")
    assert block("") == ""


def test_a_stranger_s_whole_64_is_one_stranger(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    counted = iter(range(10_000))
    monkeypatch.setattr(edge, "block", lambda _peer: block(f"2001:db8::{next(counted):x}"))
    settings: dict[str, Any] = {"tokens": {"a": "t"}, "networks": ["10.0.0.0/8"]}
    # Of many IPv4 addresses, which stand for those of one /64.
    with gate(tmp_path, ready=False, connections=64, **settings) as g, connections(g, 40, 1) as held:
        assert turned_away(held, b"from one address", 40 - 16)


@pytest.mark.parametrize(
    "trailer",
    [
        b"".join(b"x%d: y\r\n" % i for i in range(30_000)),
        b"a: b\r\n" * 20_000,
        b"big: " + b"y" * 300_000,
        b":\r\n" * 100_000,
    ],
    ids=["many", "small", "one", "empty"],
)
@pytest.mark.parametrize("piece", [1000, 1 << 20])
def test_chunked_trailers_count_as_head(tmp_path: Path, trailer: bytes, piece: int) -> None:
    chunked = HEAD % (b"", b"Transfer-Encoding: chunked\r\n") + b"%x\r\n%s\r\n" % (len(RED), RED)
    with gate(tmp_path) as g:
        with socket.create_connection(("127.0.0.1", g.port), 5) as caller:
            caller.sendall(chunked + b"0\r\n")
            time.sleep(0.05)
            with contextlib.suppress(OSError):
                for at in range(0, len(trailer), piece):
                    caller.sendall(trailer[at : at + piece])
                caller.sendall(b"\r\n")
            said = b""
            with contextlib.suppress(OSError):
                said = caller.recv(65536)
        assert said == b"" or b" 431 " in said or b" 400 " in said, said
        assert b"accepted" not in said
        assert g.get("/healthz").status == 200


def test_chunks_whose_sizes_come_alone_are_no_trailer(tmp_path: Path) -> None:
    with gate(tmp_path) as g, socket.create_connection(("127.0.0.1", g.port), 5) as caller:
        caller.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        caller.sendall(HEAD % (b"", b"Transfer-Encoding: chunked\r\n"))
        for piece in (RED, bytes(1 << 20), bytes(300_000)):
            caller.sendall(b"%x\r\n" % len(piece))
            time.sleep(0.05)
            caller.sendall(piece)
            time.sleep(0.05)
            caller.sendall(b"\r\n")
        caller.sendall(b"0\r\n\r\n")
        assert b"accepted" in answer(caller)


def test_a_trailer_is_taken_and_read_by_nobody(tmp_path: Path) -> None:
    """Not even a token in it."""
    chunked = b"Transfer-Encoding: chunked\r\nTrailer: authorization\r\n"
    body = b"%x\r\n%s\r\n0\r\nAuthorization: Bearer s3cret\r\nX-Sum: 1\r\n\r\n" % (len(RED), RED)
    with gate(tmp_path, **OPEN) as g:
        with socket.create_connection(("127.0.0.1", g.port), 5) as caller:
            caller.sendall(HEAD % (b"", chunked) + body)
            assert b"accepted" in answer(caller)
            caller.sendall(HEAD % (b"", chunked) + body)  # and the connection goes on
            assert b"accepted" in answer(caller)
        with connections(g, 1, 1) as (stranger,):
            stranger.sendall(HEAD % (b"", chunked) + body)
            assert b" 401 " in answer(stranger)


@pytest.mark.parametrize("trailer", [False, True])
def test_many_small_lines_in_one_piece_are_too_large(trailer: bool) -> None:
    """However much one read brings: the lines are counted as they are parsed."""
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
    lines = b"a:\r\n" * 50_000
    written: list[bytes] = []

    class Transport(asyncio.Transport):
        def write(self, data: Any) -> None:
            written.append(bytes(data))

        def is_closing(self) -> bool:
            return bool(written)

        def close(self) -> None:
            """It is told by `is_closing`."""

        def pause_reading(self) -> None:
            """Nothing is read."""

    async def test() -> None:
        config = edge.make_server(None, edge.Edge(8, lambda _peer: True)).config
        config.load()
        protocol: Any = config.http_protocol_class
        protocol = protocol(config=config, server_state=ServerState(), app_state={})
        protocol.connection_made(Transport())
        protocol.data_received(head + (b"\r\n0\r\n" if trailer else b"") + lines)
        assert len(protocol.headers) < 20_000
        protocol.connection_lost(None)

    asyncio.run(test())
    assert written and written[0].startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("path", ["/validate/", "/api/v1/scan/", "/healthz/", "/docs/"])
def test_nothing_is_redirected(tmp_path: Path, path: str) -> None:
    with gate(tmp_path) as g:
        for method in ("GET", "POST"):
            reply = g.request(method, path, RED if method == "POST" else None, {"Host": "evil.example"})
            assert (reply.status, reply.code) == (404, "not_found")
            assert "location" not in reply.headers


def test_requests_that_are_not_let_in_are_logged_in_sums(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tally, "_WINDOW_S", 10.0)

    def told() -> list[dict[str, Any]]:
        return [record.facts for record in list(caplog.records) if hasattr(record, "facts")]

    with caplog.at_level(logging.INFO), gate(tmp_path, worker_keys={"home": "k"}, **OPEN) as g:
        begun = time.monotonic()
        for _ in range(30):
            assert g.upload(RED, "/validate/gu3ss").status == 401
            assert g.get("/nowhere").status == 404
            assert g.get("/api/v1/pop", headers={"apikey": "wrong"}).status == 403
        assert time.monotonic() - begun < 9.5, "too slow for this window"
        assert g.upload(b"<html>").status == 406  # what concerns an upload stands by itself
        g.wait_for(lambda: sum("more" in facts for facts in told()) == 3, 30)
    facts = told()
    firsts = [f["code"] for f in facts if f["code"] in ("unauthorized", "not_found", "wrong_key") and "more" not in f]
    assert sorted(firsts) == ["not_found", "unauthorized", "wrong_key"]
    sums = {f["code"]: (f["more"], f["addresses"], f["most"]) for f in facts if "more" in f}
    assert sums == dict.fromkeys(firsts, (29, 1, "127.0.0.1 29"))
    assert [f["code"] for f in facts].count("not_media") == 1


def test_the_sum_is_told_when_the_gate_ends(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with gate(tmp_path, **OPEN) as g:
        for _ in range(5):
            g.upload(RED, "/validate/gu3ss")
    assert [r.facts["more"] for r in caplog.records if hasattr(r, "facts") and "more" in r.facts] == [4]


def upload_all(connection: socket.socket, size: int, path: bytes = b"") -> bytes:
    """Send all of an upload, as slowly as it is read, and then read the answer. Raises `OSError` for a reset."""
    head = HEAD % (path, b"Content-Length: %d\r\n" % size)
    connection.sendall(head + RED.ljust(size))
    return answer(connection)


def small_buffers(g: Gate) -> socket.socket:
    """Return a connection on which the sender has to wait until the gate reads."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32768)
    connection.settimeout(10)
    connection.connect(("127.0.0.1", g.port))
    return connection


def test_a_known_caller_reads_why_it_is_turned_away_and_meets_no_reset(tmp_path: Path) -> None:
    with gate(tmp_path, connections=8) as g, contextlib.ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(socket.create_connection(("127.0.0.1", g.port), 5))
        time.sleep(0.1)
        turned_away = [stack.enter_context(small_buffers(g)) for _ in range(120)]
        answers = [upload_all(one, 300_000) for one in turned_away]
        assert all(b" 503 " in said and b"too_many_connections" in said for said in answers)
        assert all(b"retry-after: 5" in said.lower() for said in answers)


def test_whose_upload_is_not_taken_reads_why_and_meets_no_reset(tmp_path: Path) -> None:
    """Also where the body was not read to its end: the answer comes first, and then the end of the connection."""
    settings: dict[str, Any] = {"held_bytes": 1 << 20, "max_bytes": 400 << 10, "body_s": 1.0}
    with gate(tmp_path, **settings) as g, contextlib.ExitStack() as stack:
        large = stack.enter_context(small_buffers(g))
        said = upload_all(large, 3 << 20)
        assert b" 413 " in said and b"too_large" in said and large.recv(1) == b""
        g.slow.free.clear()
        with ThreadPoolExecutor(8) as threads:
            senders = [stack.enter_context(small_buffers(g)) for _ in range(8)]
            asked = [threads.submit(upload_all, one, (390 << 10) - number) for number, one in enumerate(senders)]
            g.wait_for(lambda: sum(one.done() for one in asked) >= 6)
            g.slow.free.set()
            answers = [one.result() for one in asked]
        busy = [said for said in answers if b" 503 " in said]
        assert len(busy) >= 6 and all(b'"busy"' in said and b"retry-after: 5" in said.lower() for said in busy)


def test_forms_that_are_not_well_formed_do_not_fill_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The parser would write a line of its own for each."""
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    logs.set_up("text")
    with gate(tmp_path) as g:
        for _ in range(3):
            assert g.request("POST", "/api/v1/scan/IPADDR", b"no boundary", form).status == 400
    assert {record.name.partition(".")[0] for record in caplog.records} == {"fedi_safety"}
