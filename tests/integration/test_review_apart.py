"""The review pages beside a gate in a process of their own: what that is for, and what becomes of connections."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from fedi_safety.config.loading import load_settings
from fedi_safety.gate.in_hand import UploadsInHand
from fedi_safety.gate.moving import AVAILABLE
from fedi_safety.review import serving_apart
from fedi_safety.review.app import _TURN_S
from fedi_safety.review.people import hashed
from fedi_safety.review.serving_apart import PagesProcess
from support.reviewing import PASSWORD
from support.serving import RED_CIRCLE, Gate, answer, gate, held

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="connections are handed over on Linux alone")


@contextmanager
def beside(folder: Path, **review: object) -> Iterator[tuple[Gate, PagesProcess]]:
    """A gate, and the pages of its ledger in their process."""
    person = {"password": hashed(PASSWORD), "roles": ["viewer", "reviewer"]}
    given = {"enabled": True, "people": {"ada": person}, **review}
    in_hand = UploadsInHand()
    process = PagesProcess(load_settings(None, ledger=str(folder / "ledger.db"), review=given), in_hand=in_hand)
    with gate(folder, elsewhere=process, extra_routes=process.routes(), in_hand=in_hand) as running:
        process.start()
        try:
            yield running, process
        finally:
            process.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gate, PagesProcess]]:
    with beside(tmp_path_factory.mktemp("apart")) as both:
        yield both


def connected(running: Gate) -> socket.socket:
    return socket.create_connection(("127.0.0.1", running.port), timeout=30)


def get(path: bytes) -> bytes:
    return b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"


def status(running: Gate) -> int:
    """What the page for signing in is answered with; 0 where a process ended in the middle of it."""
    try:
        return running.get("/review/login").status
    except (ConnectionError, http.client.HTTPException):
        return 0


def test_somebody_signs_in_and_no_byte_of_it_is_the_gates(served: tuple[Gate, PagesProcess]) -> None:
    running, process = served
    root = f"http://127.0.0.1:{running.port}"
    assert process.pid is not None
    with httpx.Client(base_url=root, trust_env=False, headers={"Origin": root}, timeout=60) as browser:
        assert browser.get("/review").headers["location"] == "/review/"
        said = browser.post("/review/login", data={"name": "ada", "password": PASSWORD})
        assert (said.status_code, said.headers["location"], said.headers["connection"]) == (303, "/review/", "close")
        assert ">ada<" in browser.get("/review/queue/review").text
        assert browser.get("/%72eview/login").status_code == 200, "an address is the same however it is written"
        assert browser.get("/reviews").json()["code"] == "not_found"
        assert browser.get("/healthz").json() == {"status": "alive"}
    paths = {route.path for route in running.serving.routes}
    assert not any(path.startswith("/review/queue") for path in paths), "the gate has pages of its own"
    assert running.upload(RED_CIRCLE).code == "block"


def test_pages_do_not_wait_while_the_gate_is_busy(served: tuple[Gate, PagesProcess]) -> None:
    """But for the moment in which a connection is handed over, which this one was before."""
    running, _ = served
    assert running.get("/review/login").status == 200
    with closing(connected(running)) as client:
        client.sendall(b"POST /review/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\n")
        time.sleep(0.3)  # it is over there, and waits for its form
        with held(running) as still:
            client.sendall(b"a=b")
            assert answer(client)[0].startswith(b"http/1.1 403")
            assert still(), "it stood behind the gate's own event loop"


def test_a_page_waits_for_a_moment_without_an_upload_and_has_its_turn_without_one(
    served: tuple[Gate, PagesProcess],
) -> None:
    running, _ = served
    held = b"pic red=0.3 circle=0"

    def took() -> float:
        began = time.monotonic()
        assert running.get("/review/login").status == 200
        return time.monotonic() - began

    assert any(took() < _TURN_S for _ in range(20)), "it waits where there is no upload"
    running.slow.free.clear()
    with ThreadPoolExecutor(1) as others:
        try:
            upload = others.submit(running.upload, held)
            running.wait_for(lambda: held in running.decoder.decoded)
            assert took() >= _TURN_S, "it wants the processors of an upload"
        finally:
            running.slow.free.set()
        assert upload.result(30).status == 200
    assert any(took() < _TURN_S for _ in range(20))


def test_a_connection_is_the_gates_until_a_page_is_asked_for(served: tuple[Gate, PagesProcess]) -> None:
    running, _ = served
    with closing(connected(running)) as client:
        for _ in range(2):
            client.sendall(get(b"/healthz"))
            head, _ = answer(client)
            assert head.startswith(b"http/1.1 200") and b"connection: close" not in head
        request = get(b"http://localhost/review/login")
        for at in range(0, len(request), 9):  # the head comes in several pieces
            client.sendall(request[at : at + 9])
            time.sleep(0.005)
        head, body = answer(client)
        assert head.startswith(b"http/1.1 200") and b"connection: close" in head
        assert b'name="password"' in body
        assert client.recv(1) == b""


def test_a_page_asked_for_before_the_answer_before_it_is_not_given(served: tuple[Gate, PagesProcess]) -> None:
    """No browser sends so. The first request is answered, and then the connection ends."""
    running, _ = served
    with closing(connected(running)) as client:
        client.sendall(get(b"/healthz") + get(b"/review/login"))
        assert answer(client)[0].startswith(b"http/1.1 200")
        assert client.recv(1) == b""


def test_pages_stay_behind_those_who_judge(served: tuple[Gate, PagesProcess]) -> None:
    running, process = served
    assert process.pid is not None and running.serving._engine is not None
    running.wait_for(lambda: running.get("/review/login").status == 200)
    judges = [os.getpriority(os.PRIO_PROCESS, one.native_id or 0) for one in running.serving._engine._threads]
    assert os.getpriority(os.PRIO_PROCESS, process.pid) > max(judges)
    assert os.sched_getscheduler(process.pid) == os.SCHED_BATCH
    assert os.getsid(process.pid) == os.getsid(0), "Linux would weigh a session of its own like the gate's"


def test_who_asks_is_who_connected(tmp_path: Path) -> None:
    with beside(tmp_path, networks=["127.0.0.2/32"]) as (running, _):
        for address, status in (("127.0.0.1", 403), ("127.0.0.2", 200)):
            transport = httpx.HTTPTransport(local_address=address)
            root = f"http://127.0.0.1:{running.port}"
            with httpx.Client(base_url=root, transport=transport, trust_env=False, timeout=60) as browser:
                assert browser.get("/review/login").status_code == status


def test_if_it_ends_it_is_said_and_started_anew_and_it_ends_with_the_gate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(serving_apart, "_AGAIN_S", 0.5)
    with beside(tmp_path) as (running, process):
        assert running.get("/review/login").status == 200
        before = process.pid
        assert before is not None
        os.kill(before, signal.SIGKILL)
        running.wait_for(lambda: status(running) == 503)
        assert b"started anew" in running.get("/review/").body
        assert running.upload(RED_CIRCLE).code == "block"
        running.wait_for(lambda: running.get("/review/login").status == 200)
        after = process.pid
        assert after is not None and after != before
        assert "the process of the review pages ended by itself" in caplog.text
    assert not psutil.pid_exists(after)
