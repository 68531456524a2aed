"""The real pict-rs asks the real gate: what it lets in, what it refuses, what is left behind when one of them fails."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.corpus.photos import jpeg_bytes, picture
from support.needs import needs
from support.program import FACES, program
from support.servers import debian
from support.servers.gate import GateServer, gate_server, worker_process
from support.servers.pictrs import SUITE, PictrsServer, free_port, pictrs_server

CLEAR, BLOCK = jpeg_bytes("coffee"), jpeg_bytes("astronaut")


def wait_for(condition: Callable[[], object], seconds: float = 30, say: Callable[[], object] = lambda: "") -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"it did not happen in time {say()}"
        time.sleep(0.05)


def ask(server: PictrsServer, data: bytes, name: str = "picture") -> httpx.Response:
    """Upload as an instance does, whatever the answer."""
    return server.http.post(f"{server.url}/image", files={"images[]": (name, data)})


def alias(response: httpx.Response) -> str:
    assert response.status_code == 201, response.text
    found: str = response.json()["files"][0]["file"]
    return found


def kept(server: PictrsServer) -> set[str]:
    """Return all that pict-rs has: files, and the hashes that it knows."""
    page = server.internal("GET", "hashes", limit=1000).get("page")  # none while a removal is under way
    hashes = ["?"] if page is None else [str(found["hex"]) for found in page["hashes"]]
    return {*server.stored(), *hashes}


def check_refused(server: PictrsServer, response: httpx.Response, before: set[str]) -> None:
    """pict-rs refused with its own word for it, and nothing of the upload is left, neither file nor name."""
    assert response.status_code == 400, response.text
    assert response.json()["code"] == "failed-external-validation"
    check_nothing_left(server, before)


def check_nothing_left(server: PictrsServer, before: set[str]) -> None:
    """pict-rs removes what it refuses a moment later."""
    wait_for(lambda: kept(server) == before, say=lambda: kept(server) ^ before)


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("policy") / "faces.toml"
    path.write_text(FACES)
    return str(path)


class Pair:
    """A pict-rs, and a gate at the address that it asks. The gate may be another one each time."""

    def __init__(self, server: PictrsServer, port: int) -> None:
        self.server = server
        self.port = port


@pytest.fixture(scope="module")
@needs("pictrs")
def pair() -> Iterator[Pair]:
    port = free_port()
    where = f"http://127.0.0.1:{port}/api/v1/scan/IPADDR"
    settings = {
        "MEDIA__EXTERNAL_VALIDATION": where,
        "MEDIA__EXTERNAL_VALIDATION_TIMEOUT": "6",
        "CLIENT__ALLOW_LOCAL_CONNECTIONS": "true",  # so that it fetches from this machine
    }
    with pictrs_server(**settings) as server:
        yield Pair(server, port)


class Gates:
    """Starts gates at the address that pict-rs asks, over one ledger."""

    def __init__(self, stack: ExitStack, pair: Pair, folder: Path, policy: str) -> None:
        self._stack = stack
        self._pair = pair
        self._folder = folder
        self._policy = policy

    def start(self, *options: str, wait: str | None = "ready", **settings: Any) -> GateServer:
        settings = {"policy": self._policy, **settings}
        return self._stack.enter_context(
            gate_server(self._folder, *options, port=self._pair.port, wait=wait, **settings)
        )


@pytest.fixture
def gates(pair: Pair, tmp_path: Path, faces: str) -> Iterator[Gates]:
    with ExitStack() as stack:
        yield Gates(stack, pair, tmp_path / "gate", faces)


@pytest.fixture
def server(pair: Pair) -> Iterator[PictrsServer]:
    pair.server.clear()
    yield pair.server


def as_(kind: str, name: str, **options: object) -> bytes:
    buffer = BytesIO()
    picture(name, 400).save(buffer, kind, **options)
    return buffer.getvalue()


def clip(name: str, tmp_path: Path) -> bytes:
    """Return a second of a photograph as an MP4, made by the ffmpeg that pict-rs uses."""
    root = debian.CACHE / SUITE
    place = root / "tmp" / f"clip-{time.monotonic_ns()}"
    chrooted = (root / "usr/bin/ffmpeg").exists()
    folder = place if chrooted else tmp_path / "clip"
    folder.mkdir(parents=True)
    try:
        (folder / "in.jpg").write_bytes(jpeg_bytes(name, 400))
        seen = f"/tmp/{place.name}" if chrooted else str(folder)
        options = ["-loop", "1", "-i", f"{seen}/in.jpg", "-t", "1", "-r", "10", "-pix_fmt", "yuv420p"]
        scale = ["-vf", "scale=320:320", f"{seen}/out.mp4"]
        command = [*(["chroot", str(root)] if chrooted else []), "ffmpeg", "-v", "error", *options, *scale]
        subprocess.run(command, check=True)
        return (folder / "out.mp4").read_bytes()
    finally:
        for path in folder.glob("*"):
            path.unlink()
        folder.rmdir()


# --- verdicts


def test_clear_uploads_are_let_in_and_condemned_ones_leave_nothing(gates: Gates, server: PictrsServer) -> None:
    gate = gates.start()
    names = [alias(ask(server, CLEAR)), alias(ask(server, as_("PNG", "rocket"), "r.png"))]
    names.append(alias(ask(server, as_("WEBP", "chelsea"), "c.webp")))
    assert [server.status(name) for name in names] == [200, 200, 200]
    before = kept(server)
    assert len(before) == 6
    for kind in ("JPEG", "PNG", "WEBP"):
        check_refused(server, ask(server, as_(kind, "astronaut"), f"a.{kind.lower()}"), before)
    # Several at once, and the same again: pict-rs asks about every one.
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda i: ask(server, BLOCK if i % 2 else CLEAR), range(16)))
    assert [answer.status_code for answer in answers] == [201, 400] * 8
    check_nothing_left(server, before)
    assert [server.status(name) for name in names] == [200, 200, 200]
    refused = gate.uploads("refused")
    assert len(refused) == 11 and {row["reason"] for row in refused} == {"block"}


def test_one_bad_picture_of_several_takes_the_others_with_it(gates: Gates, server: PictrsServer) -> None:
    gates.start()
    files = [("images[]", ("a", CLEAR)), ("images[]", ("b", BLOCK))]
    answer = server.http.post(f"{server.url}/image", files=files)
    check_refused(server, answer, set())


def test_clips_are_judged(gates: Gates, server: PictrsServer, tmp_path: Path) -> None:
    gate = gates.start()
    name = alias(ask(server, clip("coffee", tmp_path), "c.mp4"))
    assert server.status(name) == 200
    before = kept(server)
    check_refused(server, ask(server, clip("astronaut", tmp_path), "d.mp4"), before)
    assert [row["state"] for row in gate.uploads()] == ["refused"]


def test_pictures_that_lemmy_has_fetched_are_judged_as_well(gates: Gates, server: PictrsServer) -> None:
    gates.start()

    class Web(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = BLOCK if "bad" in self.path else CLEAR
            self.send_response(200)
            self.send_header("Content-Type", "image/jpeg")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    web = HTTPServer(("127.0.0.1", 0), Web)
    threading.Thread(target=web.serve_forever, args=(0.05,), daemon=True).start()
    try:
        at = f"http://127.0.0.1:{web.server_address[1]}"
        place = f"{server.url}/image/download"
        good = server.http.get(place, params={"url": f"{at}/good"})
        assert good.status_code == 201, good.text
        before = kept(server)
        check_refused(server, server.http.get(place, params={"url": f"{at}/bad"}), before)
    finally:
        web.shutdown()
        web.server_close()


# --- a gate that fails


def test_while_the_gate_is_down_nothing_gets_in(gates: Gates, server: PictrsServer) -> None:
    for data in (CLEAR, BLOCK):
        answer = ask(server, data)
        assert (answer.status_code, answer.json()["code"]) == (500, "http-client-error")
        check_nothing_left(server, set())
    gates.start()
    assert server.status(alias(ask(server, CLEAR))) == 200


def test_a_gate_that_hangs_costs_the_upload_and_no_more(gates: Gates, server: PictrsServer) -> None:
    gate = gates.start()
    gate.running.send_signal(signal.SIGSTOP)
    try:
        begun = time.monotonic()
        answer = ask(server, BLOCK)
        assert (answer.status_code, answer.json()["code"]) == (500, "http-client-error")
        assert 4 < time.monotonic() - begun < 20  # pict-rs' own time-out
        check_nothing_left(server, set())
    finally:
        gate.running.send_signal(signal.SIGCONT)
    gate.ready()
    check_refused(server, ask(server, BLOCK), set())
    assert server.status(alias(ask(server, CLEAR))) == 200


def test_a_gate_without_a_verdict_answers_within_its_deadline(gates: Gates, server: PictrsServer) -> None:
    """Only workers judge and none comes: the answer is the operator's, in time for pict-rs."""
    gate = gates.start("--no-engine", wait="ready", deadline_s=2, worker_missing_s=0, worker_keys={"home": "k"})
    name = alias(ask(server, CLEAR))  # later than pict-rs waits would be its own error
    (owed,) = gate.uploads("owed")
    assert owed["reason"] == "deadline"
    gate.stop()
    gates.start(
        "--no-engine",
        wait="ready",
        deadline_s=2,
        worker_missing_s=0,
        worker_keys={"home": "k"},
        unjudged__deadline="refuse",
    )
    before = kept(server)
    check_refused(server, ask(server, jpeg_bytes("rocket")), before)
    assert server.status(name) == 200


def test_a_gate_that_is_restarted_amid_an_upload_loses_no_debt(gates: Gates, server: PictrsServer) -> None:
    waiting: dict[str, Any] = {"deadline_s": 20, "worker_missing_s": 0, "worker_keys": {"home": "k"}}
    gate = gates.start("--no-engine", **waiting)
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask, server, CLEAR)
        wait_for(lambda: gate.figure("worker_queue") == 1)
        assert gate.stop() == 0  # in order: it answers what it holds, by the policy, and writes it down
        answer = asking.result(30)
    name = alias(answer)
    (owed,) = gate.uploads("owed")
    assert owed["reason"] == "stopping"
    again = gates.start("--no-engine", **waiting)
    assert [row["upload"] for row in again.uploads("owed")] == [owed["upload"]]
    assert server.status(name) == 200


def test_a_gate_that_is_killed_amid_an_upload_lets_nothing_in(gates: Gates, server: PictrsServer) -> None:
    waiting: dict[str, Any] = {"deadline_s": 20, "worker_missing_s": 0, "worker_keys": {"home": "k"}}
    gate = gates.start("--no-engine", **waiting)
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask, server, BLOCK)
        wait_for(lambda: gate.figure("worker_queue") == 1)
        gate.kill()
        answer = asking.result(30)
    assert (answer.status_code, answer.json()["code"]) == (500, "http-client-error")
    check_nothing_left(server, set())
    assert gate.uploads() == []
    gates.start()
    check_refused(server, ask(server, BLOCK), set())


# --- waiting uploads


def test_the_debt_is_judged_through_pict_rs_and_what_it_condemns_is_purged(
    gates: Gates, server: PictrsServer, faces: str
) -> None:
    """Let in while nobody could judge; found again in pict-rs and judged when somebody can."""
    blind = gates.start("--no-engine", wait="no_worker", worker_missing_s=0.1, worker_keys={"home": "k"})
    time.sleep(0.2)
    names = [alias(ask(server, data)) for data in (CLEAR, BLOCK, jpeg_bytes("rocket"))]
    assert [server.status(name) for name in names] == [200, 200, 200]
    assert len(blind.uploads("owed")) == 3
    blind.stop()

    seeing = gates.start(store=server.store_url, act="purge", pictrs__api_key=server.api_key)
    wait_for(lambda: not seeing.uploads("owed") and not seeing.uploads("condemned"), 90)
    wait_for(lambda: [server.status(name) for name in names] == [200, 404, 200])
    wait_for(lambda: len(server.stored()) == 2)
    before = kept(server)
    assert {row["state"] for row in seeing.uploads()} == {"settled"}, seeing.uploads()
    check_refused(server, ask(server, BLOCK), before)  # and it does not come back
    assert program("ledger", "verify", "--ledger", seeing.ledger).code == 0


def test_without_an_engine_workers_judge_the_debt(
    gates: Gates, server: PictrsServer, faces: str, tmp_path: Path
) -> None:
    """The PC at home was off; what was let in meanwhile is judged when it is on again, and purged if it must be."""
    gate = gates.start(
        "--no-engine",
        wait="no_worker",
        worker_missing_s=0.5,
        worker_keys={"home": "k"},
        store=server.store_url,
        act="purge",
        pictrs__api_key=server.api_key,
    )
    time.sleep(0.6)
    names = [alias(ask(server, data)) for data in (CLEAR, BLOCK, jpeg_bytes("rocket"))]
    assert len(gate.uploads("owed")) == 3
    with worker_process(tmp_path / "worker", gate.url, worker__key="k", policy=faces) as worker:
        wait_for(lambda: [server.status(name) for name in names] == [200, 404, 200], 90, lambda: gate.log)
        wait_for(lambda: {row["state"] for row in gate.uploads()} == {"settled"}, 30, lambda: gate.uploads())
        before = kept(server)
        assert len(before) == 4
        check_refused(server, ask(server, BLOCK), before)
        assert worker.stop() == 0
    # What the workers said is the gate's own by now.
    assert server.status(alias(ask(server, CLEAR))) == 200
    assert {row["state"] for row in gate.uploads()} == {"settled", "refused"}
    assert program("ledger", "verify", "--ledger", gate.ledger).code == 0
