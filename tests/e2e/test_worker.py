"""`worker` from outside: what it says, how it ends, and that a key is never shown."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from support.corpus.photos import jpeg_bytes
from support.program import FACES, check_one_line_error, program
from support.servers.gate import GateServer, gate_server, worker_process
from support.servers.loop_gate import loop_gate
from support.servers.pictrs import free_port

KEY = "a key that is a secret"


@pytest.fixture
def faces(tmp_path: Path) -> str:
    path = tmp_path / "faces.toml"
    path.write_text(FACES)
    return str(path)


@pytest.fixture
def gate(tmp_path: Path, faces: str) -> Iterator[GateServer]:
    """A gate that only workers judge for."""
    keys = {"home": KEY}
    settings: dict[str, Any] = {"policy": faces, "worker_keys": keys, "deadline_s": 50}  # busy machines too
    with gate_server(tmp_path / "gate", "--no-engine", wait="no_worker", **settings) as running:
        yield running


@pytest.mark.long
def test_it_judges_until_it_is_stopped_and_tells_what_it_did(tmp_path: Path, gate: GateServer, faces: str) -> None:
    with worker_process(tmp_path / "w", gate.url, "--name", "pc", worker__key=KEY, policy=faces) as worker:
        worker.said("judging for")
        gate.ready()
        assert gate.figure("workers") == 1
        assert gate.send(jpeg_bytes("astronaut")).status_code == 406
        answer = gate.send(jpeg_bytes("coffee"))
        assert (answer.status_code, answer.json()["verdict"]) == (200, "clear")
        assert worker.stop() == 0
        assert f"{gate.url}: 2 judged, 1 condemned, 0 without a verdict" in worker.log
    assert "home:pc" in gate.log  # whose key, and what it calls itself
    # What the ledger knows by now needs no worker, and a person's word stands above a worker's.
    time.sleep(1)
    assert gate.send(jpeg_bytes("coffee")).json()["code"] == "clear"
    refused = gate.send(jpeg_bytes("astronaut"))
    assert (refused.status_code, refused.json()["rules"]) == (406, ["a face"])
    assert program("dismiss", refused.json()["sha256"], "--ledger", gate.ledger).code == 0
    assert gate.send(jpeg_bytes("astronaut")).status_code == 200
    assert KEY not in gate.log + worker.log and "Traceback" not in gate.log + worker.log


@pytest.mark.long
def test_between_uploads_it_goes_through_a_store(tmp_path: Path, gate: GateServer, faces: str) -> None:
    media = tmp_path / "media"
    media.mkdir()
    for number in range(6):
        (media / f"{number}.jpg").write_bytes(jpeg_bytes("coffee", 60 + number))
    (media / "face.jpg").write_bytes(jpeg_bytes("astronaut", 80))
    settings: dict[str, Any] = {"worker__key": KEY, "policy": faces, "ledger": gate.ledger, "act": "report"}
    with worker_process(tmp_path / "w", gate.url, "--sweep", str(media), **settings) as worker:
        worker.said(f"between the gates' uploads {media} is gone through")
        assert gate.send(jpeg_bytes("rocket")).json()["code"] == "clear"
        until = time.monotonic() + 60
        while len(listed := program("list", "--json", "--ledger", gate.ledger).out.splitlines()) < 7:
            assert time.monotonic() < until, worker.log
            time.sleep(0.5)
        assert [line for line in listed if "face.jpg" in line and "block" in line], listed
        assert worker.stop() == 0
    assert len(list(media.iterdir())) == 7 and "Traceback" not in worker.log
    assert program("ledger", "verify", "--ledger", gate.ledger).code == 0


@pytest.mark.long
def test_gates_may_be_configured_with_names_and_keys_of_their_own(tmp_path: Path, faces: str) -> None:
    config = tmp_path / "config.toml"
    with loop_gate(keys={"a": "first key"}) as one, loop_gate(keys={"b": "second key"}) as other:
        config.write_text(
            f'policy = "{faces}"\n[worker]\nkey = "first key"\n'
            f'[[worker.gates]]\nname = "one"\nurl = "{one.url}"\n'
            f'[[worker.gates]]\nname = "other"\nurl = "{other.url}/"\nkey = "second key"\n'
        )
        with worker_process(tmp_path / "w", "--config", str(config)) as worker:
            worker.said("judging for one, other")
            for server in (one, other):
                assert server.upload(jpeg_bytes("astronaut")).result(30).outcome == "block"
            assert worker.stop() == 0
            assert "one: 1 judged" in worker.log and "other: 1 judged" in worker.log


@pytest.mark.long
def test_a_gate_that_is_down_at_the_start_is_waited_for(tmp_path: Path, faces: str) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with worker_process(tmp_path / "w", url, worker__key="our key", policy=faces) as worker:
        worker.said("it is tried again")
        worker.said("judging for")
        with loop_gate(port) as gate:
            assert gate.upload(jpeg_bytes("astronaut")).result(60).outcome == "block"
        assert worker.stop() == 0


@pytest.mark.long
def test_a_wrong_key_or_address_ends_it_with_one_line(tmp_path: Path, faces: str) -> None:
    env = {"FEDI_SAFETY_WORKER__KEY": "a wrong key", "FEDI_SAFETY_POLICY": faces}
    with loop_gate() as gate:
        done = program("worker", gate.url, env=env)
        check_one_line_error(done, 2, gate.url, "not accepted", "compare it")
        assert "a wrong key" not in done.err
    check_one_line_error(program("worker", env=env), 2, "no gate was named")
    check_one_line_error(program("worker", "gate:14051", env=env), 2, "gate:14051", "http://host:14051")
    check_one_line_error(program("worker", "http://me:it@gate", env=env), 2, "key in it")
    check_one_line_error(program("worker", gate.url), 2, gate.url, "no key is configured")
    check_one_line_error(program("worker", gate.url, f"{gate.url}/", env=env), 2, "named twice")
    check_one_line_error(program("worker", gate.url, "--room", "65", env=env), 2, "--room")
    env["FEDI_SAFETY_WORKER__KEY"] = "schlüssel"
    check_one_line_error(program("worker", gate.url, env=env), 2, "no header can carry")


@pytest.mark.long
def test_the_policy_is_read_again(tmp_path: Path, faces: str) -> None:
    with loop_gate() as gate, worker_process(tmp_path / "w", gate.url, worker__key="our key", policy=faces) as worker:
        worker.said("judging for")
        assert gate.upload(jpeg_bytes("astronaut")).result(30).outcome == "block"
        Path(faces).write_text("nonsense")
        worker.running.send_signal(signal.SIGHUP)
        worker.said("the policy stays as it was")
        assert gate.upload(jpeg_bytes("astronaut", 590)).result(30).outcome == "block"
        Path(faces).write_text(FACES.replace('"block"', '"review"'))
        worker.running.send_signal(signal.SIGHUP)
        worker.said("read again")
        answer = gate.upload(jpeg_bytes("astronaut", 580)).result(30)
        assert answer.outcome == "clear" and answer.judgement is not None
        assert answer.judgement.verdict.value == "review"
        assert answer.content is not None and "face.present" in answer.content.scores.signals


@pytest.mark.long
@pytest.mark.quiet
def test_what_a_killed_worker_held_is_judged_by_the_next_and_nothing_twice(
    tmp_path: Path, gate: GateServer, faces: str
) -> None:
    sizes = range(300, 340, 2)
    with (
        worker_process(tmp_path / "first", gate.url, "--name", "first", worker__key=KEY, policy=faces) as first,
        worker_process(tmp_path / "second", gate.url, "--name", "second", worker__key=KEY, policy=faces) as second,
        ThreadPoolExecutor(len(sizes)) as pool,
    ):
        first.said("judging for")
        second.said("judging for")
        asked = [pool.submit(gate.send, jpeg_bytes("astronaut" if i % 2 else "coffee", i)) for i in sizes]
        asked += [pool.submit(gate.send, jpeg_bytes("astronaut", i + 1)) for i in sizes]
        time.sleep(0.15)
        first.running.send_signal(signal.SIGSTOP)  # held amid its work: it can neither finish nor say goodbye
        time.sleep(0.1)
        first.running.send_signal(signal.SIGKILL)
        answers = [future.result(60) for future in asked]
    statuses = [answer.status_code for answer in answers]
    assert statuses == [406 if i % 2 else 200 for i in sizes] + [406] * len(sizes)
    assert all(answer.json()["verdict"] in ("clear", "block") for answer in answers)
    refused = gate.uploads("refused")
    assert len(refused) == statuses.count(406) == len({row["upload"] for row in refused})
    assert gate.uploads("owed") == []
