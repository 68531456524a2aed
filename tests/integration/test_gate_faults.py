"""What is pulled out from under the gate: its decoders, its life, its ledger, the clock, its workers.

No upload is lost, none is answered twice, none is let in without a verdict or a note of it.
"""

from __future__ import annotations

import itertools
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil
import pytest

from support.corpus.photos import jpeg_bytes
from support.program import FACES, program
from support.servers.gate import GateServer, gate_server, worker_process
from support.serving import RED, RED_CIRCLE, gate
from support.share import Share


@pytest.fixture
def faces(tmp_path: Path) -> str:
    path = tmp_path / "faces.toml"
    path.write_text(FACES)
    return str(path)


class Uploads:
    """Sends pictures of different sizes, every second one condemned, and keeps what became of each."""

    def __init__(self, running: GateServer, *, foreign: int = 0) -> None:
        self._gate = running
        self._foreign = foreign  # every so many is of a kind that is let in without a verdict
        self.condemned: dict[int, bool] = {}
        self.answers: dict[int, httpx.Response | None] = {}
        self._numbers = itertools.count()
        self._stop = threading.Event()

    def one(self) -> None:
        number = next(self._numbers)
        self.condemned[number] = bad = bool(number % 2)
        data = jpeg_bytes("astronaut" if bad else "coffee", 200 + number)
        if self._foreign and number % self._foreign == 0:
            data = b"FLV\1" + b"%d" % number + bytes(50)
        try:
            self.answers[number] = self._gate.send(data)
        except httpx.HTTPError:
            self.answers[number] = None  # the connection broke: whoever asked publishes nothing

    def forever(self) -> None:
        while not self._stop.is_set():
            self.one()

    @contextmanager
    def sent_meanwhile(self, threads: int = 4) -> Iterator[None]:
        with ThreadPoolExecutor(threads) as pool:
            sending: list[Future[None]] = [pool.submit(self.forever) for _ in range(threads)]
            try:
                yield
            finally:
                self._stop.set()
            for future in sending:
                future.result(60)
        self._stop.clear()

    def judged(self) -> int:
        """How many of the condemned, or of the others, were judged: of which there are fewer."""
        given = [number for number, answer in list(self.answers.items()) if answer and answer.json()["verdict"]]
        return min(Counter(self.condemned[number] for number in given)[bad] for bad in (False, True))

    def check(self, *, unjudged: frozenset[str] = frozenset()) -> Counter[str]:
        """Every answer is right, or one of these codes; what was let in without a verdict is in the ledger."""
        rows = {row["upload"]: row for row in self._gate.uploads()}
        assert len(rows) == len(self._gate.uploads())
        codes: Counter[str] = Counter()
        for number, answer in self.answers.items():
            if answer is None:
                codes["broken"] += 1
                continue
            said = answer.json()
            codes[said["code"]] += 1
            if said["verdict"] is None:
                assert said["code"] in unjudged, said
                assert (answer.status_code == 200) == said["accepted"]
                if said["accepted"]:
                    assert rows[said["id"]]["reason"] == said["code"]
            else:
                assert answer.status_code == (406 if self.condemned[number] else 200), said
                assert (said["verdict"] == "block") == self.condemned[number]
            if said["verdict"] == "block":
                assert rows[said["id"]]["state"] == "refused"
        return codes


def decoders(running: GateServer) -> list[psutil.Process]:
    """Return the gate's decoder children."""
    found = []
    for child in psutil.Process(running.running.pid).children(recursive=True):
        with suppress(psutil.Error):
            if "fedi_safety.media.decoder.main" in child.cmdline():
                found.append(child)
    return found


@pytest.mark.long
@pytest.mark.quiet
def test_decoders_that_are_killed_cost_no_right_answer(tmp_path: Path, faces: str, share: Share) -> None:
    with gate_server(tmp_path / "gate", policy=faces, jobs=2) as running:
        uploads = Uploads(running)
        killed = 0
        with uploads.sent_meanwhile():
            until = time.monotonic() + share.of(10, 600)
            # A slow machine starts decoders slowly: it is given the time to answer some uploads between two kills.
            while time.monotonic() < until or (uploads.judged() <= 5 and time.monotonic() < until + 90):
                for child in decoders(running):
                    with suppress(psutil.Error):
                        child.kill()
                        killed += 1
                answered, rest = len(uploads.answers), time.monotonic() + 5
                time.sleep(0.5)
                while len(uploads.answers) < answered + 2 and time.monotonic() < rest:
                    time.sleep(0.05)
        share.figure(f"{killed} decoders killed amid {len(uploads.answers)} uploads")
        assert killed >= 5
        # Killed amid an upload, or before it was ready for one.
        codes = uploads.check(unjudged=frozenset({"decoder_failed", "engine_failed"}))
        assert codes["block"] > 5 and codes["clear"] > 5, codes
        uploads.answers.clear()
        for _ in range(6):
            uploads.one()
        assert uploads.check() == {"block": 3, "clear": 3}
        assert running.stop() == 0


@pytest.mark.long
def test_a_gate_that_is_killed_again_and_again_loses_no_note(tmp_path: Path, faces: str, share: Share) -> None:
    """Killed at any moment: whatever it had answered is in the ledger where it must be."""
    with gate_server(
        tmp_path / "gate", policy=faces, jobs=1, queue=1, unjudged__queue_full="accept", deadline_s=10
    ) as running:
        uploads = Uploads(running, foreign=4)
        rounds = share.of(3, 60)
        for _ in range(rounds):
            with uploads.sent_meanwhile(6):
                time.sleep(1.5)
                running.kill()
            running.start()
            running.ready()
        codes = uploads.check(unjudged=frozenset({"unsupported", "queue_full", "deadline"}))
        share.figure(f"a gate killed {rounds} times amid {len(uploads.answers)} uploads")
        assert codes["broken"] >= 3 and codes["block"] > 0 and codes["unsupported"] > 0, codes
        assert program("ledger", "verify", "--ledger", running.ledger).code == 0
        assert running.stop() == 0


@pytest.mark.long
def test_a_gate_that_is_killed_is_reached_again_by_its_worker(tmp_path: Path, faces: str) -> None:
    keys = {"home": "k"}
    with gate_server(
        tmp_path / "gate", "--no-engine", wait="no_worker", policy=faces, worker_keys=keys, deadline_s=10
    ) as running:
        with worker_process(tmp_path / "worker", running.url, worker__key="k", policy=faces, jobs=1) as worker:
            worker.said("judging for")
            running.ready()
            uploads = Uploads(running)
            for _ in range(2):
                with uploads.sent_meanwhile():
                    time.sleep(1)
                    running.kill()
                running.start()
                running.ready()
            for _ in range(4):
                uploads.one()
            codes = uploads.check(unjudged=frozenset({"deadline"}))
            assert codes["broken"] >= 2 and codes["block"] > 0 and codes["clear"] > 0, codes
            assert worker.stop() == 0
        assert running.stop() == 0


@pytest.mark.long
@pytest.mark.quiet
def test_workers_that_are_killed_again_and_again_lose_no_upload(tmp_path: Path, faces: str, share: Share) -> None:
    """One worker is always there; another is killed and started anew. Every upload gets its own right answer."""
    options = {"policy": faces, "worker__key": "k", "jobs": 1}
    with (
        gate_server(
            tmp_path / "gate", "--no-engine", wait="no_worker", policy=faces, worker_keys={"home": "k"}
        ) as running,
        worker_process(tmp_path / "lasting", running.url, "--name", "lasting", "--room", "2", **options) as lasting,
        worker_process(tmp_path / "dying", running.url, "--name", "dying", "--room", "4", **options) as dying,
    ):
        lasting.said("judging for")
        dying.said("judging for")
        uploads = Uploads(running)
        rounds = share.of(2, 30)
        for round_ in range(rounds):
            with uploads.sent_meanwhile(6):
                until = time.monotonic() + 60
                while "home:dying" not in running.log:  # on a busy machine the other one is quicker for a while
                    assert time.monotonic() < until
                    time.sleep(0.1)
                time.sleep(1.0)
                # Held first, so that it dies with jobs in hand.
                dying.running.send_signal(signal.SIGSTOP)
                time.sleep(0.5)
                dying.kill()
                time.sleep(6.5)  # its leases lapse while uploads go on
            if round_ < rounds - 1:
                said = dying.log.count("judging for")
                dying.start()
                until = time.monotonic() + 60
                while dying.log.count("judging for") == said:
                    assert time.monotonic() < until
                    time.sleep(0.1)
        share.figure(f"a worker killed {rounds} times amid {len(uploads.answers)} uploads")
        codes = uploads.check()
        assert set(codes) == {"block", "clear"}, codes
        assert "home:dying" in running.log and "home:lasting" in running.log


@pytest.mark.long
def test_a_ledger_that_is_locked_changes_no_verdict(tmp_path: Path, faces: str) -> None:
    with gate_server(tmp_path / "gate", policy=faces, deadline_s=6, body_s=3) as running:
        uploads = Uploads(running)
        uploads.one()
        with sqlite3.connect(running.ledger, isolation_level=None) as other:
            other.execute("BEGIN EXCLUSIVE")
            begun = time.monotonic()
            for _ in range(4):
                uploads.one()
            text = running.send(b"a,b\n" * 10)
            assert (text.status_code, text.json()["code"]) == (406, "not_media")
            clip = running.send(b"FLV\1" + bytes(50), "video/x-flv")  # let in unjudged, if that can be written down
            assert (clip.status_code, clip.json()["code"]) == (406, "unrecorded")
            assert time.monotonic() - begun < 36
            running.ready("ledger_failing")
            other.execute("ROLLBACK")
        other.close()
        running.ready()
        for _ in range(3):
            uploads.one()
        right = {number: answer for number, answer in uploads.answers.items() if answer is not None}
        assert len(right) == 8
        for number, answer in right.items():
            assert answer.status_code == (406 if uploads.condemned[number] else 200)
        assert running.stop() == 0
        assert program("ledger", "verify", "--ledger", running.ledger).code == 0


@pytest.mark.sampled(1)
@pytest.mark.parametrize("jump_s", [-1e8, -3600.0, 3600.0, 1e8])
def test_a_clock_that_jumps_changes_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump_s: float) -> None:
    """Set by hand, or by NTP after a sleep: deadlines, queues and the backlog go on by the clock that does not jump."""
    with gate(tmp_path, deadline_s=3.0) as g:
        assert g.upload(RED).status == 200
        g.slow.free.clear()
        with ThreadPoolExecutor(4) as pool:
            waiting = [pool.submit(g.upload, RED_CIRCLE + b" %d" % i) for i in range(4)]
            g.wait_for(lambda: g.metric("held_bytes") > 0)
            real, real_ns = time.time, time.time_ns
            monkeypatch.setattr(time, "time", lambda: real() + jump_s)
            monkeypatch.setattr(time, "time_ns", lambda: real_ns() + int(jump_s * 1e9))
            time.sleep(0.3)
            g.slow.free.set()
            assert [future.result(20).status for future in waiting] == [406] * 4
        begun = time.monotonic()
        g.slow.free.clear()
        late = g.upload(b"pic red=0.7")
        assert (late.status, late.code) == (200, "deadline") and time.monotonic() - begun < 12
        g.slow.free.set()
        g.wait_for(lambda: not g.figures().owed, 20)
        assert g.upload(b"pic red=0.2").status == 200
        assert g.get("/readyz").status == 200


@pytest.mark.long
@pytest.mark.quiet
def test_an_event_loop_is_never_held_up_by_judging(tmp_path: Path, faces: str) -> None:
    """Health is answered at once while all threads judge."""
    with gate_server(tmp_path / "gate", policy=faces) as running:
        uploads = Uploads(running)
        slowest = 0.0
        with uploads.sent_meanwhile(6):
            for _ in range(40):
                begun = time.monotonic()
                assert running.http.get(f"{running.url}/healthz").status_code == 200
                slowest = max(slowest, time.monotonic() - begun)
                time.sleep(0.05)
        assert slowest < 2.0
        uploads.check(unjudged=frozenset({"deadline"}))
