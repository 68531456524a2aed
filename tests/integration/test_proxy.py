"""The gate as an upload proxy, over real HTTP: what goes through, what is refused, and how the server is told."""

from __future__ import annotations

import http.client
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.servers.echo import EchoServer, echo_server
from support.serving import RED, RED_CIRCLE, Gate, Reply, gate


@pytest.fixture(scope="module")
def echo() -> Iterator[EchoServer]:
    with echo_server() as server:
        yield server


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, echo: EchoServer) -> Iterator[Gate]:
    kinds = ("mastodon", "misskey", "pixelfed", "any")
    upstream = {kind: {"url": echo.url, "kind": kind} for kind in kinds}
    with gate(
        tmp_path_factory.mktemp("proxy"), upstream=upstream, apart=True, unjudged={"decoder_failed": "refuse"}
    ) as running:
        yield running


def form(*parts: tuple[str, bytes], boundary: str = "----b0undary", name: str | None = "a.png") -> tuple[bytes, str]:
    """Return a form as browsers write it, and its Content-Type."""
    lines = b""
    for field, data in parts:
        file = f'; filename="{name}"' if name is not None else ""
        kind = "Content-Type: image/png\r\n" if name is not None else ""
        lines += f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"{file}\r\n{kind}\r\n'.encode()
        lines += data + b"\r\n"
    return lines + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def post(
    served: Gate, kind: str, path: str, body: Any, content_type: str, method: str = "POST", **headers: str
) -> Reply:
    return served.request(
        method, path, body, {"Content-Type": content_type} | headers, port=served.upstream_ports[kind]
    )


def upload(served: Gate, kind: str, path: str, *data: bytes, **headers: str) -> Reply:
    body, content_type = form(*(("file", one) for one in data))
    return post(served, kind, path, body, content_type, **headers)


def test_a_clear_upload_reaches_the_server_as_it_was_sent(served: Gate, echo: EchoServer) -> None:
    body, content_type = form(("file", RED), ("thumbnail", RED))
    reply = post(served, "mastodon", "/api/v2/media?x=%41", body, content_type, **{"X-CaSe": "a  b"})
    assert reply.status == 200 and reply.headers["x-case"] == "Kept"
    came = echo.came[-1]
    assert came.line == b"POST /api/v2/media?x=%41 HTTP/1.1"
    assert came.body == body and (b"X-CaSe", b"a  b") in came.headers


def test_a_condemned_upload_is_refused_in_mastodons_words_and_never_reaches_it(served: Gate, echo: EchoServer) -> None:
    before = len(echo.came)
    reply = upload(served, "mastodon", "/api/v1/media", RED_CIRCLE)
    assert (reply.status, reply.json) == (422, {"error": "This file cannot be uploaded here."})
    assert len(echo.came) == before


def test_one_condemned_file_refuses_all_that_came_with_it(served: Gate, echo: EchoServer) -> None:
    before = len(echo.came)
    assert upload(served, "mastodon", "/api/v1/media", RED, RED_CIRCLE, RED).status == 422
    assert len(echo.came) == before


def test_other_paths_and_bodies_without_files_go_through(served: Gate, echo: EchoServer) -> None:
    port = served.upstream_ports["mastodon"]
    assert served.request("GET", "/api/v1/timelines/home?limit=2", port=port).status == 200
    assert post(served, "mastodon", "/api/v1/statuses", b'{"status":"x"}', "application/json").status == 200
    assert echo.came[-1].body == b'{"status":"x"}'
    assert post(served, "mastodon", "/api/v1/accounts/update_credentials", b'{"note":"x"}', "application/json",
                method="PATCH").status == 200  # fmt: skip


def test_misskey_is_told_in_its_own_error_object(served: Gate) -> None:
    reply = upload(served, "misskey", "/api/drive/files/create", RED_CIRCLE)
    assert reply.status == 400 and reply.json["error"]["code"] == "INAPPROPRIATE"


def test_a_server_that_is_down_is_told_in_the_servers_form(tmp_path: Path) -> None:
    with gate(tmp_path, upstream={"m": {"url": "http://127.0.0.1:9", "kind": "mastodon"}}) as running:
        reply = running.request("GET", "/", port=running.upstream_ports["m"])
        assert reply.status == 502 and set(reply.json) == {"error"}


def test_what_an_answer_says_comes_back_as_it_was(served: Gate, echo: EchoServer) -> None:
    said = (
        b"HTTP/1.1 302 Found\r\nLocation: http://example.org/\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n"
        b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"
    )
    with answering(echo, said):
        reply = served.request("GET", "/x", port=served.upstream_ports["any"])
    assert (reply.status, reply.body, reply.headers["content-encoding"]) == (302, b"abc", "gzip")
    assert "date" not in reply.headers  # the server sent none, and none is made up


# --- what bad input gets


@contextmanager
def answering(echo: EchoServer, data: bytes) -> Iterator[None]:
    """Have the server answer so until the block ends."""
    before, echo.answer = echo.answer, lambda _came: data
    try:
        yield
    finally:
        echo.answer = before


def raw(port: int, data: bytes) -> bytes:
    """Send these very bytes; return all that comes back."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        said = b""
        while piece := client.recv(1 << 16):
            said += piece
        return said


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"", 502),
        (b"garbage\r\n\r\n", 502),
        (b"HTTP/1.1 99 Odd\r\n\r\n", 502),
        (b"HTTP/1.1 700 Odd\r\nContent-Length: 0\r\n\r\n", 502),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", 502),
        (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", 502),
        (b"HTTP/1.1 301 Moved\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", 301),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", 304),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204),
        (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200),
        (b"HTTP/1.0 200 OK\r\nConnection: close\r\n\r\nto its end", 200),
    ],
)
def test_what_the_server_answers_is_told_as_it_is_or_as_a_fault(
    served: Gate, echo: EchoServer, said: bytes, status: int
) -> None:
    with answering(echo, said):
        for reply in (
            served.request("GET", "/x", port=served.upstream_ports["mastodon"]),
            upload(served, "mastodon", "/api/v1/media", RED),
        ):
            assert reply.status == status
            if status == 502:
                assert set(reply.json) == {"error"}
            if said.endswith(b"end"):
                assert reply.body == b"to its end"


def test_an_answer_that_breaks_off_breaks_off(served: Gate, echo: EchoServer) -> None:
    said = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 10\r\n\r\nabc"
    with answering(echo, said), pytest.raises(http.client.IncompleteRead):
        served.request("GET", "/x", port=served.upstream_ports["mastodon"])


@pytest.mark.long
def test_a_server_that_is_slow_is_told_as_such(tmp_path: Path, echo: EchoServer) -> None:
    with gate(tmp_path, upstream={"m": {"url": echo.url, "kind": "pixelfed", "answer_s": 0.2}}) as running:
        echo.free.clear()
        try:
            reply = running.request("GET", "/", port=running.upstream_ports["m"])
        finally:
            echo.free.set()
        assert reply.status == 504 and set(reply.json) == {"error", "message"}


HEAD = "POST /api/v1/media HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("Content-Type: image/png\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n", 415),
        ("Content-Type: image/png\r\nContent-Length: 999999999\r\n", 413),
        ("Content-Type: image/png\r\nContent-Length: 3\r\nConnection: content-type\r\n", 400),
        ("Content-Type: image/png\r\nContent-Length: 3\r\nConnection: close, X-Forwarded-For\r\n", 400),
        ("Content-Type: image/png\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n", 400),
        ("Content-Type: image/png\r\nContent-Length: 3\r\nContent-Length: 4\r\n", 400),
        ("Content-Type: image/png\r\nTransfer-Encoding: gzip, chunked\r\n", 400),
        ("Content-Type: image/png\r\nContent-Length: 3\r\nHost: y\r\n", 400),
        ("Content-Type: multipart/mixed; boundary=x\r\nContent-Length: 3\r\n", 400),
        ("Content-Type: image/png\r\nContent-Type: image/png\r\nContent-Length: 3\r\n", 400),
        (f"Content-Type: image/png\r\nContent-Length: 3\r\nX-Forwarded-For: {'127.0.0.1, ' * 20}1.2.3.4\r\n", 508),
        ("Upgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 3\r\n", 501),
    ],
)
def test_a_request_that_can_be_read_in_two_ways_is_refused_and_goes_nowhere(
    served: Gate, echo: EchoServer, head: str, status: int
) -> None:
    before = len(echo.came)
    answer = raw(served.upstream_ports["mastodon"], (HEAD + head + "\r\n").encode() + b"abc")
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer
    assert len(echo.came) == before


def test_the_query_is_no_way_in_either(served: Gate, echo: EchoServer) -> None:
    before = len(echo.came)
    for query in ("file=data:image/png;base64,cGlj", "file=data%3Aimage/png%3Bbase64%2CcGlj"):
        reply = served.request("POST", f"/api/v2/media?{query}", b"", port=served.upstream_ports["mastodon"])
        assert reply.status == 400
    assert len(echo.came) == before


@pytest.mark.parametrize(
    "path",
    ["/api/v1/media/", "//api/v1//media", "/api/v1/%6dedia", "/api/v1/media.json", "/x/../api/v1/media",
     "/api/v1/media?a", "/api/v1/./media", "/api\\v1/media", "/api/v1/media;x=1"],
)  # fmt: skip
def test_a_path_counts_in_every_spelling(served: Gate, echo: EchoServer, path: str) -> None:
    before = len(echo.came)
    assert upload(served, "mastodon", path, RED_CIRCLE).status == 422
    assert upload(served, "mastodon", path, RED_CIRCLE, **{"X-HTTP-Method-Override": "PUT"}).status == 422
    assert len(echo.came) == before


def test_one_kind_judges_every_form_and_another_its_own_paths(served: Gate) -> None:
    assert upload(served, "any", "/wherever", RED_CIRCLE).status == 422
    assert upload(served, "pixelfed", "/index.php/x", RED_CIRCLE).status == 422
    assert upload(served, "mastodon", "/wherever", RED_CIRCLE).status == 200


def test_a_client_that_leaves_hands_nothing_on(served: Gate, echo: EchoServer) -> None:
    before = len(echo.came)
    body, content_type = form(("file", RED))
    port = served.upstream_ports["mastodon"]
    gone = served.metric("upstream_requests_total", outcome="gone", upstream="mastodon")
    with socket.create_connection(("127.0.0.1", port)) as client:
        head = f"{HEAD}Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
        client.sendall(head.encode() + body[:-20])
    served.wait_for(lambda: served.metric("upstream_requests_total", outcome="gone", upstream="mastodon") > gone)
    assert len(echo.came) == before


def test_whoever_leaves_before_the_answer_keeps_nothing_waiting(served: Gate, echo: EchoServer) -> None:
    gone = served.metric("upstream_requests_total", outcome="gone", upstream="any")
    echo.free.clear()
    try:
        with socket.create_connection(("127.0.0.1", served.upstream_ports["any"])) as client:
            client.sendall(b"GET /api/v1/streaming HTTP/1.1\r\nHost: x\r\n\r\n")
        served.wait_for(lambda: served.metric("upstream_requests_total", outcome="gone", upstream="any") > gone)
    finally:
        echo.free.set()


def test_strangers_may_not_send_anything(tmp_path: Path, echo: EchoServer) -> None:
    upstream = {"m": {"url": echo.url, "kind": "mastodon", "networks": ["192.0.2.0/24"]}}
    with gate(tmp_path, upstream=upstream) as running:
        before = len(echo.came)
        reply = running.request("GET", "/", port=running.upstream_ports["m"])
        assert (reply.status, reply.json) == (403, {"error": "You may not send anything here."})
        assert len(echo.came) == before
        assert running.get("/api/v1/media").status == 404, "the gate's own port stands for no server"


def test_the_gates_own_places_are_not_behind_a_servers_port(served: Gate, echo: EchoServer) -> None:
    for path in ("/metrics", "/healthz", "/validate", "/api/v1/work"):
        assert served.request("GET", path, port=served.upstream_ports["mastodon"]).status == 200
        assert echo.came[-1].line.split()[1] == path.encode(), "it went to the server, as all else"


def test_too_many_files_are_refused_as_too_many(served: Gate) -> None:
    reply = upload(served, "mastodon", "/api/v1/media", *[RED] * 65)
    assert reply.status == 413


def test_an_empty_file_is_a_field_that_was_left_empty(served: Gate) -> None:
    body, content_type = form(("account[avatar]", b""), name="")
    reply = post(served, "mastodon", "/settings/profile", body, content_type, Accept="text/html,*/*")
    assert reply.status == 200


def test_a_form_of_a_browser_is_refused_by_a_page(served: Gate) -> None:
    reply = upload(served, "mastodon", "/settings/profile", RED_CIRCLE, Accept="text/html,application/xml;q=0.9")
    assert reply.status == 422 and b"This file cannot be uploaded here." in reply.body
    assert reply.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize(
    ("kind", "path", "shape"),
    [
        ("mastodon", "/api/v1/media", {"error": "This file is too large."}),
        ("pixelfed", "/api/v1/media", {"error": "This file is too large.", "message": "This file is too large."}),
        ("misskey", "/api/drive/files/create", None),
    ],
)
def test_a_body_over_the_limit_is_told_in_the_servers_shape(
    tmp_path: Path, echo: EchoServer, kind: str, path: str, shape: dict[str, str] | None
) -> None:
    before = len(echo.came)
    upstream = {"m": {"url": echo.url, "kind": kind}}
    with gate(tmp_path, upstream=upstream, max_bytes=1 << 20, held_bytes=8 << 20) as running:
        body, content_type = form(("file", RED + bytes(3 << 20)))
        for sent in (body, iter([body[: 2 << 20], body[2 << 20 :]])):
            more = {} if isinstance(sent, bytes) else {"Transfer-Encoding": "chunked"}
            framed = sent if isinstance(sent, bytes) else (b"%x\r\n%s\r\n" % (len(p), p) for p in (*sent, b""))
            reply = post(running, "m", path, framed, content_type, **more)
            assert reply.status == 413
            if shape is None:
                assert {"code", "id", "kind", "message"} == set(reply.json["error"]), reply.json
            else:
                assert reply.json == shape
    assert len(echo.came) == before


def test_each_fault_is_one_line_of_the_log_whoever_repeats_it(
    tmp_path: Path, echo: EchoServer, caplog: pytest.LogCaptureFixture
) -> None:
    upstream = {
        "down": {"url": "http://127.0.0.1:9", "kind": "mastodon"},
        "odd": {"url": echo.url, "kind": "mastodon"},
    }
    with caplog.at_level("INFO"), gate(tmp_path, upstream=upstream) as running:
        for _ in range(3):
            assert running.request("GET", "/", port=running.upstream_ports["down"]).status == 502
            with answering(echo, b"garbage\r\n\r\n"):
                assert running.request("GET", "/", port=running.upstream_ports["odd"]).status == 502
            upgrade = {"Upgrade": "websocket", "Connection": "Upgrade"}
            assert running.request("GET", "/x", headers=upgrade, port=running.upstream_ports["odd"]).status == 501
        head = f"{HEAD}Content-Type: image/png\r\nContent-Length: 9\r\n\r\n"
        with socket.create_connection(("127.0.0.1", running.upstream_ports["odd"])) as client:
            client.sendall(head.encode() + b"abc")
        running.wait_for(lambda: running.metric("upstream_requests_total", outcome="gone", upstream="odd") == 1)
    facts = [record.facts for record in caplog.records if hasattr(record, "facts")]
    first = [one["code"] for one in facts if "code" in one and "more" not in one]
    assert sorted(first) == ["upstream_down", "upstream_garbage", "websocket"], facts
    assert [one["more"] for one in facts if "more" in one] == [2, 2, 2]
    assert sum(record.getMessage().startswith("gone") for record in caplog.records) == 1, caplog.text
    loud = [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]
    assert {record.name.partition(".")[0] for record in loud} == {"fedi_safety"}


# --- what could not be judged, and whose it was


def test_what_cannot_be_judged_follows_the_policy_and_says_no_rule(served: Gate, echo: EchoServer) -> None:
    before = len(echo.came)
    reply = upload(served, "mastodon", "/api/v1/media", b"bad corrupt")
    assert (reply.status, reply.json) == (422, {"error": "This file could not be checked. Please try again later."})
    assert len(echo.came) == before
    assert upload(served, "mastodon", "/api/v1/media", b"neither picture nor clip").status == 200


def test_an_upload_that_the_server_did_not_take_waits_for_nothing(tmp_path: Path, echo: EchoServer) -> None:
    upstream = {"m": {"url": echo.url, "kind": "mastodon"}}
    with gate(tmp_path, upstream=upstream, unjudged={"decoder_failed": "accept"}) as running:
        assert upload(running, "m", "/api/v1/media", b"bad corrupt 1").status == 200
        running.wait_for(lambda: running.figures().held.total() == 1)
        with answering(echo, b"HTTP/1.1 422 No\r\nContent-Length: 0\r\n\r\n"):
            assert upload(running, "m", "/api/v1/media", b"bad corrupt 2").status == 422
        running.wait_for(lambda: running.figures().settled["not found"] == 1)
        assert running.figures().held.total() == 1


@pytest.mark.parametrize(
    ("kind", "path", "fields", "headers", "asked", "answer"),
    [
        ("mastodon", "/api/v1/media", (), {"Authorization": "Bearer s3cret"},
         b"GET /api/v1/accounts/verify_credentials", b'{"id": "17", "acct": "alice"}'),
        ("misskey", "/api/drive/files/create", (("i", b"s3cret"),), {}, b"POST /api/i",
         b'{"id": "17", "username": "alice"}'),
    ],
)  # fmt: skip
def test_whose_a_refused_upload_was_is_asked_once_where_it_is_switched_on(
    tmp_path: Path,
    echo: EchoServer,
    kind: str,
    path: str,
    fields: tuple[tuple[str, bytes], ...],
    headers: dict[str, str],
    asked: bytes,
    answer: bytes,
    caplog: pytest.LogCaptureFixture,
) -> None:
    upstream = {name: {"url": echo.url, "kind": kind, "who": name == "on"} for name in ("on", "off")}
    said = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer
    text, _ = form(*fields, name=None)
    file, content_type = form(("file", RED_CIRCLE))
    body = text.removesuffix(b"------b0undary--\r\n") + file
    with gate(tmp_path, upstream=upstream, log="text") as running, answering(echo, said):
        before = len(echo.came)
        assert post(running, "off", path, body, content_type, **headers).status in (400, 422)
        assert len(echo.came) == before
        more = {**headers, "X-Forwarded-For": "203.0.113.9"}
        assert post(running, "on", path, body, content_type, **more).status in (400, 422)
        (came,) = echo.came[before:]
        assert came.line.startswith(asked) and b"s3cret" in (came.body or came.value(b"authorization") or b"")
        assert RED_CIRCLE not in came.body
        running.flush()
    with sqlite3.connect(tmp_path / "ledger.db") as ledger:
        shown = "\n".join(ledger.iterdump())
    ledger.close()
    assert "alice" in shown and "203.0.113.9" in shown
    assert "s3cret" not in shown + caplog.text
    assert "s3cret" not in (tmp_path / "ledger.db").read_bytes().decode("latin-1")
