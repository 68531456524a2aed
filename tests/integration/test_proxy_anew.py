"""Uploads that nobody could judge, at a server that writes pictures anew: found again in its store by their looks."""

from __future__ import annotations

import io
import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from support.corpus.photos import jpeg_bytes
from support.program import FACES, FIRST, program
from support.servers.gate import GateServer, gate_server
from support.servers.sshd import free_port

BY = "/media_attachments/files/109/876/543/210/987/65"


@contextmanager
def rewriting_server(store: Path) -> Iterator[str]:
    """Run a server that keeps pictures as Mastodon does: a large and a small one, as JPEGs of its own."""
    count = iter(range(10))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            start = body.index(b"\r\n\r\n") + 4
            number = next(count)
            with Image.open(io.BytesIO(body[start : body.rindex(b"\r\n--")])) as image:
                for size, scale in (("original", 0.8), ("small", 0.4)):
                    place = store / f"{BY[1:]}{number}/{size}/0123456789abcdef.jpg"
                    place.parent.mkdir(parents=True)
                    smaller = image.convert("RGB").resize((int(image.width * scale), int(image.height * scale)))
                    smaller.save(place, "JPEG", quality=80)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def blank() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (320, 240), "white").save(out, "PNG")
    return out.getvalue()


def waited(gate: GateServer, uploads: int) -> list[dict[str, Any]]:
    """Return what the ledger has of the uploads, once all of them were looked at."""
    for _ in range(300):
        rows = gate.uploads()
        told = [json.loads(row["told"]) for row in rows]
        if len(rows) == uploads and all(one["likeness"].get("why") != "not hashed" for one in told):
            return rows
        threading.Event().wait(0.1)
    raise AssertionError(gate.log)


def earlier(gate: GateServer, seconds: float) -> None:
    """Have the uploads come before: all sizes of a picture are met by now."""
    with closing(sqlite3.connect(gate.ledger)) as ledger, ledger:
        ledger.execute("UPDATE uploads SET at = at - ?", (seconds,))


@pytest.mark.long
def test_what_its_server_wrote_anew_is_found_again_and_ends_with_the_verdict_on_that(tmp_path: Path) -> None:
    store, policy = tmp_path / "store", tmp_path / "faces.toml"
    store.mkdir()
    policy.write_text(FACES)
    with rewriting_server(store) as url:
        port = free_port()
        settings: dict[str, Any] = {
            "engine": False,  # and no worker ever asks: nothing is judged as it comes
            "worker_keys": {"home": "k"},
            "unjudged": {"no_worker": "accept"},
            "upstream": {"m": {"kind": "mastodon", "url": url, "port": port}},
            "policy": str(policy),
        }
        with gate_server(tmp_path / "gate", wait="no_worker", store=str(store), **settings) as gate:
            assert "found again in the store by time, shape and likeness" in gate.log
            for data in (jpeg_bytes("astronaut"), jpeg_bytes("coffee"), blank()):
                form = {"file": ("a.jpg", data, "image/jpeg")}
                assert gate.http.post(f"http://127.0.0.1:{port}/api/v2/media", files=form).status_code == 200
            assert [row["reason"] for row in waited(gate, 3)] == ["no_worker"] * 3
            report = program("report", env=dict(gate.environment))
            assert "not found again" in report.out and "too little to see" in report.out, report
            assert gate.stop() == 0
            earlier(gate, 120)
            done = program("watch", str(store), "--once", *FIRST, env=dict(gate.environment))
            assert done.code == 0, done
            assert {path.parts[-3][-1] for path in store.rglob("*.jpg")} == {"1", "2"}
            gate.start()
            gate.ready("no_worker")
            for _ in range(100):
                if {row["state"] for row in gate.uploads()} == {"settled"}:
                    break
                threading.Event().wait(0.1)
            rows = gate.uploads()
            assert [(row["state"], row["outcome"]) for row in rows] == [
                ("settled", "removed"), ("settled", "clear"), ("settled", "not told apart")
            ]  # fmt: skip
            shown = program("show", rows[0]["sha256"].hex(), env=dict(gate.environment)).out
            came = json.loads(rows[0]["told"])["came_as"]
            assert f"came as {came}" in shown and "from m at 127.0.0.1" in shown, shown
