"""The gate as an upload proxy, over real HTTP: what goes through, what is refused, and how the server is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.servers.echo import Came, EchoServer, echo_server
from support.serving import RED, RED_CIRCLE, Gate, Reply, gate


@pytest.fixture(scope="module")
def echo() -> Iterator[EchoServer]:
    with echo_server() as server:
        yield server


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, echo: EchoServer) -> Iterator[Gate]:
    kinds = ("mastodon", "misskey", "pixelfed", "any")
    upstream = {kind: {"url": echo.url, "kind": kind} for kind in kinds}
    with gate(tmp_path_factory.mktemp("proxy"), upstream=upstream, unjudged={"decoder_failed": "refuse"}) as running:
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
    def answer(_came: Came) -> bytes:
        return (
            b"HTTP/1.1 302 Found\r\nLocation: http://example.org/\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n"
            b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"
        )

    before, echo.answer = echo.answer, answer
    try:
        reply = served.request("GET", "/x", port=served.upstream_ports["any"])
    finally:
        echo.answer = before
    assert (reply.status, reply.body, reply.headers["content-encoding"]) == (302, b"abc", "gzip")
    assert "date" not in reply.headers  # the server sent none, and none is made up
