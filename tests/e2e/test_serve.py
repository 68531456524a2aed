"""`serve` from outside, with the real models: policy read again, log as JSON, the report beside it, an orderly stop."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

from support.corpus.photos import jpeg_bytes
from support.program import FACES, program
from support.servers.gate import gate_server


@pytest.mark.long
def test_the_policy_is_read_again_the_log_is_json_and_the_report_tells_it(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(FACES)
    face, cup = jpeg_bytes("astronaut"), jpeg_bytes("coffee")
    with gate_server(tmp_path / "gate", policy=str(policy), log="json", log_level="info") as gate:
        refused = gate.send(face)
        assert (refused.status_code, refused.json()["rules"]) == (406, ["a face"])
        assert gate.send(cup).status_code == 200
        policy.write_text(FACES.replace('verdict = "block"', 'verdict = "review"'))
        gate.running.send_signal(signal.SIGHUP)
        gate.said("policy reloaded")
        reviewed = gate.send(face)
        assert (reviewed.status_code, reviewed.json()["code"]) == (200, "review")
        policy.write_text("this is no policy")
        gate.running.send_signal(signal.SIGHUP)
        gate.said("the policy stays as it was")
        assert gate.send(face).json()["code"] == "review"
        began = time.monotonic()
        assert gate.stop() == 0
        assert time.monotonic() - began < 20
        lines = [json.loads(line) for line in gate.log.splitlines() if line.startswith("{")]
        answers = [line for line in lines if line["logger"] == "fedi_safety.gate.access"]
        assert [line["code"] for line in answers] == ["block", "clear", "review", "review"]
        assert answers[0]["id"] == refused.json()["id"] and answers[0]["rules"] == "a face"
        assert [line["by"] for line in answers] == ["engine", "engine", "ledger", "memory"]
        shown = program("report", "--ledger", gate.ledger)
        assert "the gate" in shown.out and "refused" in shown.out
        told = program("report", "--json", "--ledger", gate.ledger).json
        assert told["gate"]["refused"] == {"block": 1} and told["gate"]["judged"] >= 2
        assert told["runs"][0]["kind"] == "gate" and told["runs"][0]["status"] == "done"
        assert program("ledger", "verify", "--ledger", gate.ledger).code == 0


def test_what_is_wrong_at_the_start_is_said_in_one_line(tmp_path: Path) -> None:
    """A store that is not there would show only when an upload waits; a list in a variable is named with its form."""
    gone = program("serve", "--store", str(tmp_path / "nosuch"), "--ledger", str(tmp_path / "ledger.db"))
    assert gone.code == 2
    assert "nosuch" in gone.err and gone.err.count("\n") == 1
    listed = program("doctor", env={"FEDI_SAFETY_GATE__NETWORKS": "172.18.0.0/16"})
    assert listed.code == 2
    assert "FEDI_SAFETY_GATE__NETWORKS: not JSON; it is written like" in listed.err and listed.err.count("\n") == 1
