"""I1 at the gate: uploads are held in memory, and neither a disk nor the log nor another machine gets any of them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from invariants.test_i1_private import WATCHED
from support.corpus.photos import jpeg_bytes
from support.program import FACES, on_disks
from support.servers.echo import EchoServer, echo_server
from support.servers.pictrs import free_port


@pytest.fixture
def echo() -> Iterator[EchoServer]:
    with echo_server() as server:
        server.answer = lambda _came: (
            b"HTTP/1.1 200 OK\r\nSet-Cookie: session=a-servers-cookie\r\nContent-Length: 2\r\n\r\n{}"
        )
        yield server


@pytest.mark.long
def test_the_gate_writes_nothing_but_its_ledger_and_speaks_to_nobody(tmp_path: Path, echo: EchoServer) -> None:
    scratch, ledger, port = tmp_path / "scratch", tmp_path / "ledger.db", free_port()
    scratch.mkdir()
    policy = tmp_path / "faces.toml"
    policy.write_text(FACES)
    arguments = ["serve", "--port", str(port), "--policy", str(policy), "--ledger", str(ledger), "--log-level", "debug"]
    behind = free_port()
    settings = {
        "TMPDIR": str(scratch),
        "FEDI_SAFETY_GATE__TOKENS": '{"lemmy": "a-secret-token"}',
        "FEDI_SAFETY_GATE__UPSTREAM__SOCIAL__URL": echo.url,
        "FEDI_SAFETY_GATE__UPSTREAM__SOCIAL__KIND": "mastodon",
        "FEDI_SAFETY_GATE__UPSTREAM__SOCIAL__PORT": str(behind),
        "FEDI_SAFETY_GATE__UPSTREAM__SOCIAL__WHO": "true",
    }
    gate = subprocess.Popen(
        [sys.executable, "-c", WATCHED, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **settings},
    )
    here = f"http://127.0.0.1:{port}"
    large = jpeg_bytes("coffee", 3000, 95)
    assert len(large) > 1 << 20, "small uploads would stay in memory in any case"
    bodies = [jpeg_bytes("astronaut"), large, b"notes about somebody " * 5000, large[:300]]
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            with suppress(httpx.TransportError):
                if httpx.get(f"{here}/readyz").status_code == 200:
                    break
            time.sleep(0.1)
        codes = [
            httpx.post(f"{here}/api/v1/scan/a-secret-token", content=body, timeout=60).json()["code"] for body in bodies
        ]
        forms = [
            httpx.post(f"{here}/validate", files={"file": ("x.jpg", b)}, timeout=60).json()["code"] for b in bodies
        ]
        named = {"Authorization": "Bearer an-uploaders-token", "Cookie": "session=an-uploaders-cookie"}
        passed = [
            httpx.post(
                f"http://127.0.0.1:{behind}/api/v1/media", files={"file": ("x.jpg", b)}, headers=named, timeout=60
            ).status_code
            for b in bodies
        ]
    finally:
        gate.send_signal(signal.SIGTERM)
        out, err = gate.communicate(timeout=60)
    assert passed == [422, 200, 200, 422]
    assert codes == forms == ["block", "clear", "not_media", "decoder_failed"]
    text, _, report = err.rpartition(b"\n")
    seen = json.loads(report)
    assert seen["code"] == 0 and seen["core"] in ([1, 1], [0, 0])
    written = on_disks(seen["written"])
    assert written, "the hook saw nothing: this test would not notice a leak"
    beside = {re.sub(r"^ledger\.db(\.pass-\d+$)?", "", Path(path).name) for path in written}
    assert beside <= {"", ".lock", "?mode=rw"}, written
    assert all("127.0.0.1" in call for call in seen["network"]), seen["network"]
    assert list(scratch.iterdir()) == []
    everything = b"".join(p.read_bytes() for p in tmp_path.glob("ledger.db*")) + out + text
    assert len(everything) > 10_000 and b"decoder_failed" in everything
    for secret in (b"a-secret-token", b"an-uploaders-token", b"an-uploaders-cookie", b"a-servers-cookie"):
        assert secret not in everything
    for body in bodies:
        for at in range(0, len(body) - 16, 4093):
            assert body[at : at + 16] not in everything
