"""A thousand malformed requests made from the gate's own description, and garbage: no 500, and codes as promised."""

from __future__ import annotations

import http.client
import json
import re
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from fedi_safety.gate import worker_api
from support.serving import RED, Gate, gate
from support.share import Share

ROOT = Path(__file__).parents[2]
CODES = set(re.findall(r"`([a-z_]+)`", (ROOT / "docs/api.md").read_text("utf-8")))
KEY = "a worker's key"
MINE = {"Authorization": f"Bearer {KEY}", "apikey": KEY}
WANTED = 1000


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """Start a gate with everything on."""
    monkeypatch.setattr(worker_api, "MAX_WAIT_S", 0.02)  # workers that wait would make it long
    options: dict[str, Any] = {
        "worker_keys": {"home": KEY},
        "tokens": {"lemmy": KEY},
        "pdq_hosts": ["nowhere.invalid"],
        "mastodon_secret": "secret",
        "mastodon_hosts": ["nowhere.invalid"],
        "deadline_s": 5.0,
    }
    with gate(tmp_path, **options) as running:
        yield running


def check(status: int, kind: str, body: bytes, path: str) -> str:
    """Whatever came, the answer is one of those that are described."""
    assert status != 500, body
    if not kind.startswith("application/json"):
        return str(status)
    said = json.loads(body)
    if path.startswith("/api/v1/pop") and "code" not in said:
        assert "message" in said
        return str(status)
    if "code" in said:
        assert said["code"] in CODES, said
        return str(said["code"])
    return str(status)


@pytest.mark.fuzz
def test_a_thousand_malformed_requests_from_the_description(server: Gate, share: Share) -> None:
    import schemathesis  # seconds, which whoever leaves this test out need not wait for
    from schemathesis import GenerationMode
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

    checks = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
    base = f"http://127.0.0.1:{server.port}"
    schema = schemathesis.openapi.from_url(f"{base}/openapi.json")
    operations: list[Any] = [found.ok() for found in schema.get_all_operations()]  # type: ignore[union-attr]
    assert len(operations) >= 14
    sent: Counter[str] = Counter()
    said: Counter[str] = Counter()
    session = requests.Session()
    session.trust_env = False

    def send(case: Any, headers: dict[str, str]) -> None:
        response = case.call(base_url=base, headers=headers, session=session, timeout=30)
        case.validate_response(response, checks=checks)
        sent[f"{case.method} {case.path}"] += 1
        kind = response.headers.get("content-type", [""])[0]
        said[check(response.status_code, kind, response.content, case.path)] += 1

    def fuzz(operation: Any, mode: GenerationMode, examples: int, headers: dict[str, str]) -> None:
        @seed(share.seed)
        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(
            max_examples=examples * share.of(1, 20),
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        def run(case: Any) -> None:
            send(case, headers)

        run()

    for operation in operations:
        fuzz(operation, GenerationMode.POSITIVE, 5, MINE)
    malformed = -sum(sent.values())
    for operation in filter(_can_be_wrong, operations):
        fuzz(operation, GenerationMode.NEGATIVE, 80, MINE)
        fuzz(operation, GenerationMode.NEGATIVE, 15, {})
    malformed += sum(sent.values())
    share.figure(f"{malformed} malformed requests: {dict(said.most_common())}")
    assert malformed >= WANTED, sent
    assert len(sent) == len(operations)
    assert {"bad_request", "wrong_key", "unauthorized"} <= set(said), said
    # It is as well as before.
    assert server.upload(RED).status == 200
    assert server.get("/readyz").status == 200


def _can_be_wrong(operation: Any) -> bool:
    """Whether a request to it has anything that could be malformed."""
    parameters = (operation.path_parameters, operation.query, operation.headers, operation.body)
    return any(list(some) for some in parameters)


KINDS = (
    "image/png",
    "multipart/form-data; boundary=b",
    "multipart/form-data",
    "application/json",
    "text/plain",
    "",
    "é",
    'a/b;c="',
)
PATHS = (
    "/validate",
    "/api/v1/scan/IPADDR",
    "/api/v1/pop",
    "/api/v1/work",
    "/api/v1/work/results",
    "/webhooks/mastodon",
)
PIECES = (
    b"--b\r\n",
    b"--b--\r\n",
    b'Content-Disposition: form-data; name="file"\r\n',
    b"\r\n",
    b"Content-Type: image/png\r\n",
)


@pytest.mark.fuzz
def test_garbage_of_every_kind_gets_an_answer(server: Gate, share: Share) -> None:
    said: Counter[str] = Counter()
    bodies = st.one_of(st.binary(max_size=300), st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join))

    @seed(share.seed)
    @given(path=st.sampled_from(PATHS), kind=st.sampled_from(KINDS), body=bodies, chunked=st.booleans())
    @settings(max_examples=share.of(400, 8000), database=None, suppress_health_check=list(HealthCheck))
    def run(path: str, kind: str, body: bytes, chunked: bool) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        headers = MINE | {"Content-Type": kind.encode("utf-8").decode("latin-1")}
        connection.request("POST", path, iter([body]) if chunked else body, headers, encode_chunked=chunked)
        answer = connection.getresponse()
        said[check(answer.status, answer.headers.get("Content-Type", ""), answer.read(), path)] += 1
        connection.close()

    run()
    share.figure(f"{said.total()} requests of garbage: {dict(said.most_common())}")
    assert {"bad_multipart", "bad_request", "not_media", "bad_signature"} <= set(said), said
    assert server.upload(RED).status == 200


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    "raw",
    [
        b"\x00\x01\x02\x03\r\n\r\n",
        b"GET\r\n\r\n",
        b"POST /validate HTTP/9.9\r\n\r\n",
        b"POST /validate HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /validate HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        b"POST /validate HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /validate HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
        b"POST /validate HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\nhello",
        b"POST /api/v1/scan/%00%ff%2e%2e HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
        b"POST /validate HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=\xff\r\nContent-Length: 1\r\n\r\na",
        b"POST /api/v1/pop HTTP/1.1\r\nHost: x\r\napikey: \xff\xfe\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /validate HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * 70_000 + b"\r\n\r\n",
    ],
)
def test_what_is_hardly_http_ends_with_a_status_and_the_gate_lives_on(server: Gate, raw: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(raw)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    final = answer.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
    if final:  # one whose body never came is not answered
        assert final.startswith(b"HTTP/1.1 4"), final
    assert server.upload(RED).status == 200
