"""Requests without a file in a process of their own: what that is for, and what becomes of connections and figures."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import pytest

from fedi_safety.config.schema import Gate as Settings
from fedi_safety.gate import service
from fedi_safety.gate.moving import AVAILABLE
from fedi_safety.gate.proxy import passing_process
from fedi_safety.gate.proxy.handover import Wanted
from support.servers.echo import Came, EchoServer, echo_server
from support.serving import RED, RED_CIRCLE, Gate, answer, gate, held

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="connections are handed over on Linux alone")
GET = b"GET /api/v1/timelines/home HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(scope="module")
def echo() -> Iterator[EchoServer]:
    with echo_server() as server:
        yield server


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, echo: EchoServer) -> Iterator[Gate]:
    upstream = {"m": {"url": echo.url, "kind": "mastodon"}}
    with gate(tmp_path_factory.mktemp("apart"), upstream=upstream, apart=True) as running:
        yield running


def upload(data: bytes) -> bytes:
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
    body = head + data + b"\r\n--b--\r\n"
    kind = b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: %d\r\n\r\n" % len(body)
    return b"POST /api/v2/media HTTP/1.1\r\nHost: x\r\n" + kind + body


@contextmanager
def slowed(echo: EchoServer, seconds: float) -> Iterator[None]:
    """Have the server answer so much later until the block ends."""
    before = echo.answer

    def later(came: Came) -> bytes:
        time.sleep(seconds)
        return before(came)

    echo.answer = later
    try:
        yield
    finally:
        echo.answer = before


def connected(running: Gate) -> socket.socket:
    return socket.create_connection(("127.0.0.1", running.upstream_ports["m"]), timeout=20)


def test_what_has_no_file_does_not_wait_while_the_gate_is_busy(served: Gate) -> None:
    assert served.request("GET", "/x", port=served.upstream_ports["m"]).status == 200
    with held(served) as still:
        assert served.request("GET", "/x", port=served.upstream_ports["m"]).status == 200
        assert still(), "it stood behind the gate's own event loop"


def test_a_connection_goes_over_with_its_upload_and_ends_after_it(served: Gate, echo: EchoServer) -> None:
    with closing(connected(served)) as client:
        for _ in range(2):
            client.sendall(GET)
            head, _ = answer(client)
            assert head.startswith(b"http/1.1 200") and b"connection: close" not in head
        client.sendall(upload(RED))
        head, _ = answer(client)
        assert head.startswith(b"http/1.1 200") and b"connection: close" in head
        assert client.recv(1) == b""
    assert echo.came[-1].line == b"POST /api/v2/media HTTP/1.1"


def test_a_condemned_upload_in_many_pieces_is_refused(served: Gate, echo: EchoServer) -> None:
    before = len(echo.came)
    with closing(connected(served)) as client:
        request = upload(RED_CIRCLE)
        for at in range(0, len(request), 40):  # the head comes in several as well
            client.sendall(request[at : at + 40])
            time.sleep(0.005)
        assert answer(client)[0].startswith(b"http/1.1 422")
    assert len(echo.came) == before


@pytest.mark.parametrize("wait_s", [0.0, 0.2], ids=["in one piece", "while it is answered"])
def test_an_upload_that_begins_before_the_answer_goes_nowhere(served: Gate, echo: EchoServer, wait_s: float) -> None:
    """No web server sends so. The first request is answered, and then the connection ends."""
    before = len(echo.came)
    with slowed(echo, 2 * wait_s), closing(connected(served)) as client:
        client.sendall(GET if wait_s else GET + upload(RED_CIRCLE))
        if wait_s:
            time.sleep(wait_s / 4)
            client.sendall(upload(RED_CIRCLE))
        assert answer(client)[0].startswith(b"http/1.1 200")
        assert client.recv(1) == b""
    assert [came.line for came in echo.came[before:]] == [b"GET /api/v1/timelines/home HTTP/1.1"]


def test_what_became_of_requests_is_counted_by_the_gate(served: Gate) -> None:
    def passed() -> float:
        return served.metric("upstream_requests_total", outcome="passed", upstream="m")

    def measured() -> float:
        return served.metric("upstream_seconds_count", upstream="m")

    counted, timed = passed(), measured()
    for _ in range(3):
        served.request("GET", "/x", port=served.upstream_ports["m"])
    served.request(
        "GET", "/x", headers={"Upgrade": "websocket", "Connection": "Upgrade"}, port=served.upstream_ports["m"]
    )
    served.wait_for(lambda: passed() >= counted + 3 and measured() >= timed + 3)
    served.wait_for(lambda: served.metric("errors_total", code="websocket") >= 1)


def test_if_its_process_ends_the_gate_answers_and_says_so(
    tmp_path: Path, echo: EchoServer, caplog: pytest.LogCaptureFixture
) -> None:
    with gate(tmp_path, upstream={"m": {"url": echo.url, "kind": "mastodon"}}, apart=True) as running:
        assert running.serving.passing is not None
        os.kill(running.serving.passing.pid, signal.SIGKILL)
        for _ in range(3):
            assert running.request("GET", "/x", port=running.upstream_ports["m"]).status == 200
        with closing(connected(running)) as client:
            client.sendall(upload(RED_CIRCLE))
            assert answer(client)[0].startswith(b"http/1.1 422")
        running.wait_for(lambda: running.serving.passing is None)
        running.wait_for(lambda: os.sched_getaffinity(running.thread.native_id or 0) == os.sched_getaffinity(0))
    assert "the process that answers requests without a file has ended" in caplog.text


@pytest.mark.parametrize("behind", [True, False])
def test_its_process_is_not_in_a_session_that_stays_behind(
    tmp_path: Path, echo: EchoServer, monkeypatch: pytest.MonkeyPatch, behind: bool
) -> None:
    monkeypatch.setattr(service, "weigh_own_session", lambda: behind)
    with gate(tmp_path, upstream={"m": {"url": echo.url, "kind": "mastodon"}}, apart=True) as running:
        assert running.request("GET", "/x", port=running.upstream_ports["m"]).status == 200
        passing = running.serving.passing
        assert passing is not None
        assert os.getsid(passing.pid) == (passing.pid if behind else os.getsid(0))
        assert os.getpgid(passing.pid) == passing.pid, "Ctrl-C would end it before the gate does"


def test_its_process_goes_before_who_judges_where_it_may(tmp_path: Path, echo: EchoServer) -> None:
    ask = [sys.executable, "-c", "import os; os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))"]
    may = subprocess.run(ask, capture_output=True, check=False).returncode == 0
    with gate(tmp_path, upstream={"m": {"url": echo.url, "kind": "mastodon"}}, apart=True) as running:
        assert running.request("GET", "/x", port=running.upstream_ports["m"]).status == 200
        assert running.serving.passing is not None
        pid, its = running.serving.passing.pid, os.SCHED_RR if may else os.SCHED_OTHER
        # Who starts for longer than it may be in that class shares for a second, as do all.
        running.wait_for(lambda: os.sched_getscheduler(pid) & ~os.SCHED_RESET_ON_FORK == its)
        assert os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK == os.SCHED_OTHER, "the gate itself never"


def test_its_process_has_all_processors_and_a_gate_that_judges_leaves_one(tmp_path: Path, echo: EchoServer) -> None:
    whole = os.sched_getaffinity(0)
    with gate(tmp_path, upstream={"m": {"url": echo.url, "kind": "mastodon"}}, apart=True) as running:
        assert running.request("GET", "/x", port=running.upstream_ports["m"]).status == 200
        assert running.serving.passing is not None
        assert os.sched_getaffinity(running.serving.passing.pid) == whole
        assert os.sched_getaffinity(running.thread.native_id or 0) == (set(sorted(whole)[1:]) or whole)


def test_what_its_process_has_from_the_start_is_not_gone_through_for_rubbish(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gc, "collect", lambda: 0)  # what tests before this one left is not this one's
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.close()  # the gate is gone: it ends at once
    assert not gc.get_freeze_count()
    try:
        with theirs:
            asyncio.run(passing_process.serve(Wanted(Settings(), {}, theirs.fileno(), 0, 0), theirs))
        assert gc.get_freeze_count()
    finally:
        gc.unfreeze()


def test_where_it_cannot_be_started_the_gate_answers_and_says_so(
    tmp_path: Path, echo: EchoServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(service, "PassingProcess", refused)
    with gate(tmp_path, upstream={"m": {"url": echo.url, "kind": "mastodon"}}, apart=True) as running:
        assert running.request("GET", "/x", port=running.upstream_ports["m"]).status == 200
    assert "no other process can be started: resource temporarily unavailable" in caplog.text


def test_its_process_ends_with_the_gate_after_what_it_has_in_hand(tmp_path: Path, echo: EchoServer) -> None:
    with gate(tmp_path, upstream={"m": {"url": echo.url, "kind": "mastodon"}}, apart=True) as running:
        assert running.serving.passing is not None
        pid = running.serving.passing.pid
        with slowed(echo, 1.0), closing(connected(running)) as client:
            client.sendall(GET)
            time.sleep(0.4)
            running.stop()
            assert answer(client)[0].startswith(b"http/1.1 200")
    assert not psutil.pid_exists(pid)
