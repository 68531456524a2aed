"""The gate over real HTTP on loopback: what is let in, judged, answered and remembered. Stand-in policy, no models."""

from __future__ import annotations

import hashlib
import http.client
import json
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from fedi_safety.app.engine import measurable
from fedi_safety.app.ledger import SystemClock
from fedi_safety.config.loading import load_settings
from fedi_safety.core.enums import MediaType
from fedi_safety.core.errors import ConfigError, ModelError
from fedi_safety.core.policy import judge
from fedi_safety.core.types import Content, Judged, Object, Scores, Signal
from fedi_safety.gate.admission import PROXY_SIGNS
from fedi_safety.judging.types import Unjudged
from fedi_safety.ledger.ledger import open_ledger
from fedi_safety.policies import load_policy
from support.serving import RED, RED_CIRCLE, Gate, gate


def form(
    data: bytes, field: str = "file", more: bytes = b"", boundary: bytes = b"b0unda-ry"
) -> tuple[bytes, dict[str, str]]:
    head = b'Content-Disposition: form-data; name="%s"; filename="../../x.png"\r\nContent-Type: image/png\r\n\r\n'
    body = b"--%s\r\n" % boundary + head % field.encode() + data + b"\r\n" + more + b"--%s--\r\n" % boundary
    return body, {"Content-Type": f"multipart/form-data; boundary={boundary.decode()}"}


def pieces(data: bytes, size: int = 7) -> Iterator[bytes]:
    for at in range(0, len(data), size):
        yield b"%x\r\n" % len(data[at : at + size]) + data[at : at + size] + b"\r\n"
    yield b"0\r\n\r\n"


# --- answers


def test_what_the_policy_condemns_is_refused_and_all_else_accepted(tmp_path: Path) -> None:
    with gate(tmp_path) as g:
        refused = g.upload(RED_CIRCLE)
        assert refused.status == 406
        assert refused.json["code"] == "block" and refused.json["rules"] == ["red circle", "very red"]
        assert refused.json["accepted"] is False and refused.json["verdict"] == "block"
        assert refused.headers["x-request-id"] == refused.json["id"]
        accepted = g.upload(RED)
        assert accepted.status == 200
        assert accepted.json["code"] == "clear" and accepted.json["labels"] == ["red"]
        assert accepted.json["accepted"] is True
        g.flush()
        assert g.figures().refused == {"block": 1}
        assert g.figures().judged == 2 and g.figures().blocked == 1
        assert g.metric("answers_total", by="engine", reason="", said="refused", verdict="block") == 1


@pytest.mark.parametrize("path", ["/api/v1/scan/IPADDR", "/validate", "/validate/IPADDR"])
def test_raw_chunked_and_forms_are_the_same_upload(tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_file(*_: object, **__: object) -> None:
        raise AssertionError("a temporary file")

    for name in ("TemporaryFile", "NamedTemporaryFile", "SpooledTemporaryFile", "mkstemp"):
        monkeypatch.setattr(tempfile, name, no_file)
    large = RED_CIRCLE + b" pad=" + b"x" * (3 << 20)
    with gate(tmp_path) as g:
        for data in (RED_CIRCLE, large):
            raw = g.upload(data, path)
            chunked = g.upload(b"".join(pieces(data, 60_000)), path, headers={"Transfer-Encoding": "chunked"})
            body, headers = form(data, more=form(b"x", "other")[0].partition(b"--b0unda-ry--")[0])
            multipart = g.upload(body, path, headers=headers)
            assert [r.status for r in (raw, chunked, multipart)] == [406] * 3
            assert raw.json["sha256"] == chunked.json["sha256"] == multipart.json["sha256"]
        assert len(g.decoder.decoded) == 2, "the same content is decoded once"


def test_what_was_judged_before_is_answered_from_the_ledger(tmp_path: Path) -> None:
    with gate(tmp_path) as g:
        assert g.upload(RED_CIRCLE).status == 406 and g.upload(RED).status == 200
    with gate(tmp_path) as g:
        assert g.upload(RED_CIRCLE).json["rules"] == ["red circle", "very red"]
        assert g.upload(RED).status == 200
        assert g.decoder.decoded == []
        assert g.metric("answers_total", by="ledger", reason="", said="refused", verdict="block") == 1


@pytest.mark.long
def test_without_an_engine_known_contents_need_no_worker_whatever_the_concepts(tmp_path: Path) -> None:
    """The concepts' wording is part of the policy in force, which workers with the same configuration judged by."""
    settings = load_settings(None, detectors=["embedded", "clip"], gate={"engine": False, "worker_keys": {"home": "k"}})
    policy = load_policy("balanced")
    measured = measurable(settings)
    in_force = measured.in_force(policy)
    assert in_force.id != policy.among(measured.signals).id
    data = b"known picture"
    signals = {name: Signal(1.0) for name in in_force.signals}
    content = Content(
        hashlib.sha256(data).digest(), len(data), MediaType.PNG, 8, 8, 1, Scores(signals, {"clip": "a worker's"})
    )
    ledger = open_ledger(tmp_path / "ledger.db", clock=SystemClock())
    run = ledger.begin_run("scan", "file:///media", {})
    ledger.record(run, "file:///media", [Judged(Object("a.png", 13, 1), content, judge(in_force, signals))])
    ledger.dispose()
    whole = {"detectors": ["embedded", "clip"]}
    lone: dict[str, Any] = {"engine": False, "worker_keys": {"home": "k"}, "deadline_s": 1.0}
    with gate(tmp_path, policy=policy, ready=False, whole=whole, **lone) as g:
        known = g.upload(data)
        assert (known.status, known.json["verdict"]) == (406, "block")
        assert g.upload(b"\x89PNG\r\n\x1a\nanother").json["code"] == "deadline"  # a worker would be needed


@pytest.mark.parametrize(("chosen", "status", "code"), [("accept", 200, "clear"), ("refuse", 406, "partly")])
def test_what_is_judged_in_part_is_the_operators_to_let_in(tmp_path: Path, chosen: str, status: int, code: str) -> None:
    """The first time, and when the ledger knows it; what a part is condemned for is refused in either case."""
    for _ in range(2):
        with gate(tmp_path, unjudged={"partly": chosen}) as g:
            said = g.upload(b"pic part red=0.9")
            assert (said.status, said.code) == (status, code)
            assert "truncated: cut" in said.json["message"]
            assert g.upload(b"pic part red=0.9 circle=0.9").code == "block"
            assert g.upload(RED).json["message"] == "accepted"
            g.flush()
            assert g.figures().owed == {}


def test_another_policy_decides_stored_scores_anew(tmp_path: Path) -> None:
    from fedi_safety.core.enums import Verdict
    from fedi_safety.core.policy import Policy, Rule

    with gate(tmp_path) as g:
        assert g.upload(RED).status == 200
    strict = Policy("strict-red", {"red": ("a.red",)}, (Rule("red", {"red": 0.5}, Verdict.BLOCK),))
    with gate(tmp_path, policy=strict) as g:
        assert g.upload(RED).json["rules"] == ["red"]
        assert g.decoder.decoded == []


def test_a_dismissed_content_is_let_pass(tmp_path: Path) -> None:
    with gate(tmp_path) as g:
        refused = g.upload(RED_CIRCLE)
        g.flush()
    sha256 = bytes.fromhex(refused.json["sha256"])
    with gate(tmp_path) as g:
        g.ledger.dismiss(sha256, "a false alarm")
        assert g.upload(RED_CIRCLE).status == 200


def test_what_a_person_condemned_is_refused_whatever_the_policy_is_by_now(tmp_path: Path) -> None:
    from fedi_safety.core.enums import Verdict
    from fedi_safety.core.policy import Policy, Rule

    reviewed = Policy("send-red", {"red": ("a.red",)}, (Rule("red", {"red": 0.5}, Verdict.REVIEW),))
    with gate(tmp_path, policy=reviewed) as g:
        assert g.upload(RED).status == 200
        g.flush()
        g.ledger.confirm(hashlib.sha256(RED).digest(), "", "ada")
    with gate(tmp_path) as g:  # whose policy sees nothing in it
        said = g.upload(RED)
        assert (said.status, said.json["rules"]) == (406, ["condemned by a person", "red"])
        assert g.decoder.decoded == []
        g.ledger.unconfirm(hashlib.sha256(RED).digest(), "", "ada")
        assert g.upload(RED).status == 200, "at once"


def test_the_same_content_at_once_is_judged_once(tmp_path: Path) -> None:
    with gate(tmp_path) as g:
        g.slow.free.clear()
        with ThreadPoolExecutor(8) as threads:
            asked = [threads.submit(g.upload, RED_CIRCLE) for _ in range(8)]
            g.wait_for(lambda: len(g.decoder.decoded) == 1)
            g.slow.free.set()
            assert [a.result().status for a in asked] == [406] * 8
        assert len(g.decoder.decoded) == 1


def test_uploads_at_once_are_judged_together(tmp_path: Path) -> None:
    with gate(tmp_path, jobs=1) as g:
        g.slow.free.clear()
        with ThreadPoolExecutor(9) as threads:
            asked = [threads.submit(g.upload, b"pic red=0.%d circle=0" % i) for i in range(1, 10)]
            g.wait_for(lambda: len(g.decoder.decoded) == 9)
            g.slow.free.set()
            assert all(a.result().status == 200 for a in asked)
        assert g.metric("batch_size_count") <= 3  # one, and all the others


# --- who may ask


def test_tokens_and_addresses(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"tokens": {"lemmy": "s3cret", "old": "s3cret-before"}, "networks": ["10.0.0.0/8"]}
    with gate(tmp_path, ready=False, **settings) as g:
        g.wait_for(lambda: g.get("/readyz").status == 200)
        for path in ("/api/v1/scan/s3cret", "/validate/s3cret-before"):
            assert g.upload(RED, path).status == 200
        assert g.upload(RED, "/validate", headers={"Authorization": "Bearer s3cret"}).status == 200
        for path in ("/api/v1/scan/IPADDR", "/validate", "/api/v1/scan/s3cre", "/validate/%FF%00", "/metrics"):
            reply = g.upload(RED, path) if path != "/metrics" else g.get(path)
            assert (reply.status, reply.code) == (401, "unauthorized"), path
        # A caller that is no trusted proxy may claim what it likes.
        for header in ("10.0.0.1", "127.0.0.1, 10.1.2.3"):
            assert g.upload(RED, headers={"X-Forwarded-For": header}).status == 401
        assert g.get("/healthz").status == 200
        assert g.get("/metrics", headers={"Authorization": "Bearer s3cret"}).status == 200


def test_a_proxy_that_is_not_listed_lets_nobody_in_by_its_own_address(tmp_path: Path) -> None:
    with gate(tmp_path, networks=["127.0.0.0/8"], tokens={"lemmy": "s3cret"}) as g:
        assert g.upload(RED).status == 200
        for header in ("203.0.113.9", "127.0.0.1", ""):
            assert g.upload(RED, headers={"X-Forwarded-For": header}).status == 401
            assert g.upload(RED, "/validate/s3cret", headers={"X-Forwarded-For": header}).status == 200


@pytest.mark.sampled(3)
@pytest.mark.parametrize("sign", PROXY_SIGNS)
def test_whatever_else_tells_of_a_proxy_takes_the_networks_exemption_away(sign: str, tmp_path: Path) -> None:
    """A web server on this machine that sends no X-Forwarded-For would make the world this machine."""
    listed: dict[str, Any] = {"networks": ["127.0.0.0/8", "10.0.0.0/8"], "trusted_proxies": ["127.0.0.1"]}
    alone: dict[str, Any] = {"networks": ["127.0.0.0/8"]}
    for settings in (alone, listed):
        with gate(tmp_path, tokens={"lemmy": "s3cret"}, **settings) as g:
            assert g.upload(RED, headers={sign: "127.0.0.1"}).status == 401
            assert g.upload(RED, "/validate/s3cret", headers={sign: "127.0.0.1"}).status == 200
            assert g.upload(RED).status == 200
            believed = 200 if "trusted_proxies" in settings else 401
            assert g.upload(RED, headers={sign: "1", "X-Forwarded-For": "10.0.0.1"}).status == believed


def test_a_trusted_proxy_is_believed_about_the_last_hop_alone(tmp_path: Path) -> None:
    with gate(tmp_path, networks=["10.0.0.0/8"], trusted_proxies=["127.0.0.1", "192.168.0.0/16"]) as g:
        for header, status in {
            "10.0.0.1": 200,
            "203.0.113.9, 10.0.0.1": 200,
            "10.0.0.1, 192.168.3.4": 200,
            "::ffff:10.0.0.1": 200,
            "10.0.0.1, 203.0.113.9": 401,
            "nonsense": 401,
            "10.0.0.1, nonsense": 401,
            "": 401,
        }.items():
            assert g.upload(RED, headers={"X-Forwarded-For": header}).status == status, header
        assert g.upload(RED).status == 401  # the proxy itself is no caller


def test_the_log_tells_the_operator_whom_it_did_not_let_in(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with gate(tmp_path, ready=False, networks=["10.0.0.0/8"], tokens={"lemmy": "s3cret"}) as g:
        replies = [
            g.upload(RED, "/validate/gu3ss"),
            g.upload(RED),
            g.upload(RED, headers={"X-Forwarded-For": "10.1.2.3"}),
        ]
        assert {r.body.partition(b'"id"')[0] for r in replies} == {
            b'{"code":"unauthorized","message":"You are not authorized to use this service",'
        }
    said = [r.facts["detail"] for r in caplog.records if hasattr(r, "facts")]
    assert said == [
        "the token is none of gate.tokens",
        "127.0.0.1 is not in gate.networks",
        "it came through a proxy at 127.0.0.1, not in gate.trusted_proxies, or without X-Forwarded-For",
    ]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"host": "0.0.0.0"}, "without any authentication"),
        ({"host": "::", "networks": []}, "without any authentication"),
        ({"networks": ["0.0.0.0/0"]}, "open to the world"),
        ({"networks": ["::/0"], "tokens": {"a": "b"}}, "open to the world"),
        ({"trusted_proxies": ["0.0.0.0/0"]}, "believe anybody"),
        ({"tokens": {"a": " "}}, "empty"),
        ({"tokens": {"a": "IPADDR"}}, "the address decides"),
        ({"tokens": {"a": "c2VjcmV0/3Q="}}, "has '/', at which the path of a URL ends"),
        ({"engine": False}, "nobody would judge"),
        ({"max_bytes": 200 << 20}, "twice"),
        ({"pdq_hosts": ["https://x.org/"]}, "no host"),
    ],
)
def test_it_does_not_start_open_to_the_world_or_without_sense(settings: dict[str, Any], words: str) -> None:
    from fedi_safety.config.loading import load_settings
    from fedi_safety.gate.service import checked

    configured = load_settings(None, gate=settings).gate
    with pytest.raises(ConfigError, match=words):
        checked(configured, configured.host)


def test_a_token_is_enough_to_listen_everywhere() -> None:
    from fedi_safety.config.loading import load_settings
    from fedi_safety.gate.service import checked

    for settings in ({"tokens": {"lemmy": "x"}}, {"networks": ["172.20.0.0/16"]}):
        checked(load_settings(None, gate=settings).gate, "0.0.0.0")
    checked(load_settings(None).gate, "::1")


# --- limits


def test_too_large_is_said_before_and_while_it_is_sent(tmp_path: Path) -> None:
    with gate(tmp_path, max_bytes=4096, held_bytes=1 << 20) as g:
        huge = g.request("POST", "/validate", None, {"Content-Length": str(1 << 40)}, timeout=5)
        assert (huge.status, huge.code) == (413, "too_large") and huge.headers["connection"] == "close"
        long = g.upload(b"x" * 8192)
        assert (long.status, long.code) == (413, "too_large")
        assert g.upload(b"".join(pieces(b"y" * 100_000)), headers={"Transfer-Encoding": "chunked"}).status == 413
        body, headers = form(b"z" * 5000)
        assert g.upload(body, headers=headers).status == 413
        assert g.upload(RED.ljust(4096)).status == 200
        assert g.metric("held_bytes") == 0


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--b0unda-ry--\r\n",
        b'--b0unda-ry\r\nContent-Disposition: form-data; name="file"\r\n\r\npic red=1',
        b"no boundary at all",
        b"--b0unda-ry\r\n\r\n\r\n--b0unda-ry--\r\n",
        b"--b0unda-ry\r\nContent-Disposition: " + b"x" * 100_000,
        form(b"x", "other")[0],
        form(b"x", more=form(b"y")[0].partition(b"--b0unda-ry--")[0])[0],
        b"".join(b"--b0unda-ry\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n" for _ in range(40)),
        form(b"x", "other")[0].replace(b"\r\n\r\nx", b"\r\n\r\n" + b"x" * 200_000),
    ],
    ids=range(10),
)
def test_a_bad_form_is_the_callers_mistake(tmp_path: Path, body: bytes) -> None:
    with gate(tmp_path) as g:
        reply = g.upload(body, headers={"Content-Type": "multipart/form-data; boundary=b0unda-ry"}, timeout=5)
        assert (reply.status, reply.code) == (400, "bad_multipart"), reply
        assert g.upload(body, headers={"Content-Type": "multipart/form-data"}, timeout=5).code == "bad_multipart"


@pytest.mark.long
def test_a_slow_body_ends_at_its_time_out(tmp_path: Path) -> None:
    with gate(tmp_path, body_s=0.5) as g, socket.create_connection(("127.0.0.1", g.port), 10) as caller:
        caller.sendall(b"POST /validate HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\npic")
        began = time.monotonic()
        answer = b"".join(iter(lambda: caller.recv(65536), b""))  # until the connection is over
        assert b"408" in answer.splitlines()[0] and b"body_timeout" in answer
        assert 0.3 < time.monotonic() - began < 9  # its time is 0.5 s, and what waits for it here gives up after 10
        assert g.metric("held_bytes") == 0


def test_a_forced_stop_leaves_no_connection_open(tmp_path: Path) -> None:
    with gate(tmp_path) as g, socket.create_connection(("127.0.0.1", g.port), 10) as caller:
        caller.sendall(b"POST /validate HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\npic")
        g.wait_for(lambda: g.metric("held_bytes"))
        for _ in range(2):  # the second does not wait
            g.loop.call_soon_threadsafe(g.serving.stop)
        g.thread.join(30)
        assert not g.thread.is_alive() and not g.serving._server.server_state.connections
        with suppress(ConnectionResetError):
            assert caller.recv(65536) == b""  # not a client that waits for its own time-out


@pytest.mark.long
def test_a_slow_or_endless_head_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fedi_safety.gate import edge

    monkeypatch.setattr(edge, "_HEAD_S", 0.5)
    with gate(tmp_path) as g:
        for first in (b"", b"POST /validate HTTP/1.1\r\nHost: x\r\nX-Slow: ", b"\r\n"):
            with socket.create_connection(("127.0.0.1", g.port), 10) as caller:
                caller.sendall(first)
                assert b"head_timeout" in caller.recv(65536), first
        with socket.create_connection(("127.0.0.1", g.port), 10) as caller:
            caller.sendall(b"GET /healthz HTTP/1.1\r\n")
            with pytest.raises(OSError):
                for _ in range(10_000):
                    caller.sendall(b"X-Long: " + b"y" * 4000 + b"\r\n")
        with socket.create_connection(("127.0.0.1", g.port), 10) as caller:
            caller.sendall(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
            answer = caller.recv(65536)
            assert answer.startswith(b"HTTP/1.1 400") and b"bad_http" in answer
        assert g.get("/healthz").status == 200


def test_connections_are_bounded(tmp_path: Path) -> None:
    with gate(tmp_path, connections=8) as g:
        held = [socket.create_connection(("127.0.0.1", g.port), 5) for _ in range(8)]
        g.wait_for(lambda: True)
        with socket.create_connection(("127.0.0.1", g.port), 5) as one_more:
            assert b"too_many_connections" in one_more.recv(65536)
        with socket.create_connection(("127.0.0.1", g.port), 5) as uploader:
            uploader.sendall(b"POST /validate HTTP/1.1\r\nHost: gate\r\nContent-Length: 4000000\r\n\r\n")
            for _ in range(40):
                time.sleep(0.005)
                uploader.sendall(bytes(100_000))  # as pict-rs does, which reads when it has sent all
            assert b"too_many_connections" in uploader.recv(65536)
        for one in held:
            one.close()
        g.wait_for(lambda: g.get("/healthz").status == 200)


def test_who_is_turned_away_and_stays_is_closed_and_counts_for_nothing(tmp_path: Path) -> None:
    with gate(tmp_path, connections=8) as g:
        held = [socket.create_connection(("127.0.0.1", g.port), 5) for _ in range(8)]
        time.sleep(0.1)
        stubborn = [socket.create_connection(("127.0.0.1", g.port), 10) for _ in range(100)]
        assert all(b"too_many_connections" in one.recv(65536) for one in stubborn)
        for one in held:
            one.close()
        g.wait_for(lambda: g.get("/healthz").status == 200, 1.5)  # those that linger take nobody's place
        assert all(one.recv(1) == b"" for one in stubborn)
        for one in stubborn:
            one.close()


def test_one_stranger_cannot_hold_all_connections(tmp_path: Path) -> None:
    with gate(tmp_path, connections=32, networks=["10.0.0.0/8"], tokens={"a": "t"}) as g:
        held = [socket.create_connection(("127.0.0.1", g.port), 5) for _ in range(8)]
        time.sleep(0.1)
        with socket.create_connection(("127.0.0.1", g.port), 5) as one_more:
            assert b"too_many_connections" in one_more.recv(65536)
        for one in held:
            one.close()


def test_more_than_the_rate_is_told_to_slow_down(tmp_path: Path) -> None:
    with gate(tmp_path, rate=1.0, tokens={"a": "t"}) as g:
        said = [g.upload(RED).status for _ in range(8)]
        assert said[:5] == [200] * 5 and 429 in said
        assert g.upload(RED, "/validate/t").status == 200, "another caller has a rate of its own"


def test_unknown_places_and_methods_are_json_too(tmp_path: Path) -> None:
    with gate(tmp_path) as g:
        assert (g.get("/nowhere").status, g.get("/nowhere").code) == (404, "not_found")
        assert (g.get("/validate").status, g.get("/validate").code) == (405, "method_not_allowed")
        assert g.get("/pdq?image_url=x").status == 404  # off
        assert g.request("POST", "/webhooks/mastodon", b"{}").status == 404
        assert g.get("/api/v1/pop", headers={"apikey": "x"}).status == 404


def test_a_connection_is_used_again_after_errors(tmp_path: Path) -> None:
    with gate(tmp_path) as g:
        connection = http.client.HTTPConnection("127.0.0.1", g.port, timeout=5)
        for data, path, status in (
            (RED_CIRCLE, "/validate", 406),
            (RED, "/validate/wrong", 401),
            (b"x", "/nowhere", 404),
            (RED, "/validate", 200),
        ):
            connection.request("POST", path, data)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == status and answer.getheader("connection") is None
        connection.close()


# --- what cannot be judged


@pytest.mark.sampled(2)
@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("data", "code", "default"),
    [
        (b"", "empty", 406),
        (b"<html>", "not_media", 406),
        (b"bad unsupported", "unsupported", 200),
        (b"bad corrupt", "decoder_failed", 406),
        (b"bad too_slow", "decoder_failed", 406),
        (b"pic poison", "engine_failed", 200),
    ],
)
def test_each_reason_has_a_policy_of_its_own(tmp_path: Path, data: bytes, code: str, default: int) -> None:
    with gate(tmp_path) as g:
        reply = g.upload(data)
        assert (reply.status, reply.code) == (default, code)
        assert reply.json["verdict"] is None
    other = {200: "refuse", 406: "accept"}[default]
    with gate(tmp_path, unjudged={code: other}) as g:
        reply = g.upload(data)
        assert (reply.status, reply.code) == ({200: 406, 406: 200}[default], code)


@pytest.mark.long
def test_past_the_deadline_it_is_accepted_owed_and_judged_later(tmp_path: Path) -> None:
    with gate(tmp_path, judge_s=1.0) as g:
        g.slow.free.clear()
        began = time.monotonic()
        reply = g.upload(RED_CIRCLE)
        assert time.monotonic() - began < 8  # its engine would never have answered
        assert (reply.status, reply.code) == (200, "deadline")
        assert g.figures().owed == {"deadline": 1}
        g.slow.free.set()
        g.wait_for(lambda: g.figures().condemned == 1)
        assert not g.figures().owed
        g.wait_for(lambda: g.metric("debt", state="condemned") == 1)
        assert g.upload(RED_CIRCLE).status == 406


def test_past_the_deadline_it_can_be_refused(tmp_path: Path) -> None:
    with gate(tmp_path, judge_s=1.0, unjudged={"deadline": "refuse"}) as g:
        g.slow.free.clear()
        assert (g.upload(RED).status, g.upload(RED).code) == (406, "deadline")
        assert not g.figures().owed and g.figures().refused == {"deadline": 2}


def test_who_finds_no_place_until_the_bodys_deadline_is_owed_and_judged_later_from_memory(tmp_path: Path) -> None:
    with gate(tmp_path, queue=2, jobs=1, body_s=1.0) as g:
        g.slow.free.clear()
        data = [b"pic red=0.9 circle=0.9 n=%d" % i for i in range(60)]
        began = time.monotonic()
        with ThreadPoolExecutor(60) as threads:
            asked = [threads.submit(g.upload, one) for one in data]
            # One is scored, some wait decoded, two wait: all others wait for a place, and then no longer.
            g.wait_for(lambda: sum(a.done() for a in asked) >= 20)
            assert time.monotonic() - began > 0.9
            shed = [a.result() for a in asked if a.done()]
            assert all((r.status, r.code) == (200, "queue_full") for r in shed)
            assert g.figures().owed.total() >= len(shed) - 1
            g.slow.free.set()
            codes = [a.result().code for a in asked]
        assert set(codes) == {"queue_full", "block"}
        g.wait_for(lambda: g.figures().condemned == codes.count("queue_full"))
        assert not g.figures().owed


@pytest.mark.long
def test_what_a_slow_engine_would_reach_too_late_is_owed_before_its_deadline(tmp_path: Path) -> None:
    with gate(tmp_path, queue=64, jobs=1, deadline_s=8, body_s=1.0) as g:
        g.slow.pause_s = 0.4  # for each batch
        for i in range(17):  # one after the other: a batch each
            assert g.upload(b"pic red=0.9 n=%d" % i).code == "clear"
        data = [b"pic red=0.9 circle=0.9 n=%d" % i for i in range(30)]
        g.slow.free.clear()
        with ThreadPoolExecutor(30) as threads:
            asked = [threads.submit(g.upload, one) for one in data]
            # At 0.4 s each, only a part of them can be judged in 8 s, though 64 may wait.
            g.wait_for(lambda: sum(a.done() for a in asked) >= 10, 4.0)
            shed = [a.result() for a in asked if a.done()]
            assert {r.code for r in shed} == {"queue_full"}
            g.slow.free.set()
            codes = [a.result().code for a in asked]
        assert set(codes) == {"queue_full", "block"}  # none waited in vain


def test_the_models_may_still_be_loading(tmp_path: Path) -> None:
    with gate(tmp_path, load_s=1.0, ready=False) as g:
        loading = g.get("/readyz")
        assert (loading.status, loading.code) == (503, "models_loading")
        assert g.upload(RED_CIRCLE).status == 406  # it waits for them
        assert g.get("/readyz").json == {"ready": True, "code": "ready", "alerts": []}


def test_models_that_cannot_be_loaded_end_the_gate(tmp_path: Path) -> None:
    with gate(tmp_path, load_error=ModelError("weights", "altered", "reinstall"), ready=False) as g:
        g.thread.join(10)
        assert [str(e) for e in g.error] == ["weights: altered; reinstall"]


def test_an_engine_that_fails_again_and_again_is_not_ready(tmp_path: Path) -> None:
    with gate(tmp_path) as g:
        for i in range(3):
            assert g.upload(b"pic poison %d" % i).code == "engine_failed"
        assert g.get("/readyz").code == "engine_failed"
        assert g.upload(RED).status == 200
        assert g.get("/readyz").status == 200


def test_an_uploader_that_goes_away_leaves_nothing(tmp_path: Path) -> None:
    with gate(tmp_path, jobs=1) as g:
        g.slow.free.clear()
        with ThreadPoolExecutor(1) as threads:
            first = threads.submit(g.upload, RED)
            g.wait_for(lambda: len(g.decoder.decoded) == 1)
            caller = socket.create_connection(("127.0.0.1", g.port), 5)
            caller.sendall(
                b"POST /validate HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(RED_CIRCLE) + RED_CIRCLE
            )
            g.wait_for(lambda: len(g.decoder.decoded) == 2)
            caller.close()
            time.sleep(0.3)
            g.slow.free.set()
            assert first.result().status == 200
        g.flush()
        assert not g.figures().refused and not g.figures().owed and not g.figures().condemned


# --- stopping


def reachable(g: Gate) -> bool:
    """Whether it answers anybody new."""
    try:
        g.get("/healthz", timeout=2)
    except OSError:
        return False
    return True


def test_a_stop_answers_what_is_in_hand(tmp_path: Path) -> None:
    with gate(tmp_path) as g:
        g.slow.free.clear()
        with ThreadPoolExecutor(1) as threads:
            asked = threads.submit(g.upload, RED_CIRCLE)
            g.wait_for(lambda: len(g.decoder.decoded) == 1)
            stopping = threading.Thread(target=g.stop)
            stopping.start()
            g.wait_for(lambda: not reachable(g))
            g.slow.free.set()
            assert asked.result().status == 406
            stopping.join(20)
        assert not g.error
        assert g.figures().refused == {"block": 1}
        with g.ledger.database.read() as connection:
            from sqlalchemy import text

            kind, status, summary = connection.execute(text("SELECT kind, status, summary FROM runs")).one()
        assert (kind, status) == ("gate", "done") and json.loads(summary)["refused"] == 1


def test_a_stop_does_not_wait_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fedi_safety.judging import engine

    monkeypatch.setattr(engine, "_STOP_S", 0.3)
    with gate(tmp_path) as g:
        g.slow.free.clear()
        with ThreadPoolExecutor(1) as threads:
            asked = threads.submit(g.upload, RED_CIRCLE)
            g.wait_for(lambda: len(g.decoder.decoded) == 1)
            stopping = threading.Thread(target=g.stop)
            stopping.start()
            reply = asked.result(10)
            assert (reply.status, reply.code) == (200, "stopping")
            g.slow.free.set()
            stopping.join(20)
        found = g.figures()
        assert found.owed.total() + found.condemned == 1  # the second where it was judged while the gate ended


# --- what it says of itself


def test_description_and_routes_are_the_same(tmp_path: Path) -> None:
    hosts: dict[str, Any] = {"pdq_hosts": ["example.org"], "mastodon_secret": "s", "mastodon_hosts": ["example.org"]}
    with gate(tmp_path, worker_keys={"home": "key"}, **hosts) as g:
        described = g.get("/openapi.json").json
        routes = {
            (route.path, method.lower())
            for route in g.serving.routes
            for method in route.methods or ()
            if method != "HEAD"
        }
        assert {(path, m) for path, item in described["paths"].items() for m in item} == routes
        page = g.get("/docs").body.decode()
        assert all(path in page for path in described["paths"]) and "<script" not in page
        refs = set(__import__("re").findall(r'"#/components/schemas/(\w+)"', json.dumps(described)))
        assert refs <= described["components"]["schemas"].keys()


def test_every_reason_has_a_setting_and_a_sentence() -> None:
    from fedi_safety.config.schema import GateUnjudged
    from fedi_safety.gate.responses import PARTLY, UNRECORDED, response_for
    from fedi_safety.judging.types import unjudged

    assert {reason.value for reason in Unjudged} | {UNRECORDED, PARTLY} == set(GateUnjudged.model_fields)
    for reason in Unjudged:
        said = response_for(unjudged(bytes(32), "x", reason), GateUnjudged())
        assert said.code == reason.value and said.owed == said.accepted


def test_connections_need_descriptors(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    import resource

    from fedi_safety.gate import edge

    limits = {"now": (1024, 4096)}
    monkeypatch.setattr(resource, "getrlimit", lambda _which: limits["now"])
    monkeypatch.setattr(resource, "setrlimit", lambda _which, now: limits.update(now=now))
    assert edge.affordable(500) == 500 and limits["now"] == (1024, 4096)
    assert edge.affordable(1024) == 1024 and limits["now"] == (1280, 4096)
    assert caplog.text == ""
    assert edge.affordable(8000) == 4096 - 256 and "only 3840 of 8000" in caplog.text
