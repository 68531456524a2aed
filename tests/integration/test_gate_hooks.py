"""The endpoints for other servers: PieFed's hash and Mastodon's webhook, over real HTTP on loopback."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from pathlib import Path
from typing import Any

import pytest

from fedi_safety.clients.mastodon import announced, signed, storage_prefixes
from fedi_safety.gate.backlog import backlog as entries
from fedi_safety.gate.backlog import finder
from support.fakes import FakeStore
from support.servers.web import web
from support.serving import RED, RED_CIRCLE, Gate, Reply, gate

SECRET = "the webhook's secret"
FILE = "/system/media_attachments/files/109/876/543/210/987/654/original/0123456789abcdef.png"


def announce(g: Gate, *urls: Any, event: str = "status.created", secret: str = SECRET) -> Reply:
    media = [{"id": str(i), "type": "image", "url": url} for i, url in enumerate(urls)]
    body = json.dumps({"event": event, "created_at": "2026-01-01", "object": {"id": "1", "media_attachments": media}})
    return sent(g, body.encode(), secret)


def sent(g: Gate, body: bytes, secret: str = SECRET) -> Reply:
    signature = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return g.request("POST", "/webhooks/mastodon", body, {"X-Hub-Signature": signature})


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entries, "_RETRY_FIRST_S", 0.05)
    monkeypatch.setattr(entries, "_EVERY_S", 0.3)


# --- PieFed


def test_a_picture_of_a_listed_host_has_a_hash(tmp_path: Path) -> None:
    with web({"/a.png": RED_CIRCLE, "/b.html": b"<html>", "/c.png": b"bad corrupt"}) as (port, asked):
        here = f"http://127.0.0.1:{port}"
        with gate(tmp_path, pdq_hosts=[f"127.0.0.1:{port}"], tokens={"piefed": "t0ken"}) as g:
            for path in ("/pdq", "/pdq/t0ken"):
                found = g.get(f"{path}?image_url={here}/a.png")
                assert found.status == 200 and set(found.json) == {"quality", "pdq_hash_binary"}
                assert set(found.json["pdq_hash_binary"]) <= {"0", "1"} and len(found.json["pdq_hash_binary"]) == 256
                assert 0 <= found.json["quality"] <= 100
            for url, status, code in (
                (f"{here}/b.html", 422, "not_decodable"),
                (f"{here}/c.png", 422, "not_decodable"),
                (f"{here}/none", 502, "fetch_failed"),
                ("http://127.0.0.1:1/", 403, "forbidden_url"),
                ("http://169.254.169.254/latest/meta-data", 403, "forbidden_url"),
                ("file:///etc/passwd", 403, "forbidden_url"),
                ("", 400, "bad_request"),
            ):
                reply = g.get(f"/pdq?image_url={url}")
                assert (reply.status, reply.code) == (status, code), url
            assert (g.get("/pdq").status, g.get("/pdq/wrong?image_url=x").status) == (400, 401)
        assert {line.split()[1] for line in asked} == {"/a.png", "/b.html", "/c.png", "/none"}


def test_too_many_at_once_are_told_to_come_again(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    release = threading.Event()

    def late(handler: Any) -> None:
        release.wait(10)
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(RED)))
        handler.end_headers()
        handler.wfile.write(RED)

    with (
        web({"/a.png": late}) as (port, asked),
        gate(tmp_path, pdq_hosts=[f"127.0.0.1:{port}"]) as g,
        ThreadPoolExecutor(4) as threads,
    ):
        url = f"/pdq?image_url=http://127.0.0.1:{port}/a.png"
        busy = [threads.submit(g.get, url) for _ in range(4)]
        g.wait_for(lambda: len(asked) == 4)
        assert (g.get(url).status, g.get(url).code) == (429, "busy")
        release.set()
        assert [b.result().status for b in busy] == [200] * 4


def test_a_gate_without_an_engine_hashes_real_pictures(tmp_path: Path) -> None:
    from support.corpus.photos import jpeg_bytes, picture

    with web({"/a.jpg": jpeg_bytes("astronaut", 700, 95)}) as (port, _):
        settings: dict[str, Any] = {"worker_keys": {"home": "k"}, "engine": False}
        with gate(tmp_path, ready=False, pdq_hosts=[f"127.0.0.1:{port}"], **settings) as g:
            found = g.get(f"/pdq?image_url=http://127.0.0.1:{port}/a.jpg")
            assert found.status == 200 and found.json["quality"] == 100
    import numpy as np

    from fedi_safety.detectors.known.pdq import pdq

    plain, _ = pdq(np.asarray(picture("astronaut", 700)))
    bits = [bit == "1" for bit in found.json["pdq_hash_binary"]]
    assert sum(a != b for a, b in zip(plain, bits, strict=True)) <= 8, "scaling and JPEG move a few bits at most"


# --- Mastodon


def test_new_media_is_fetched_and_judged_within_seconds(tmp_path: Path) -> None:
    with web({FILE: RED_CIRCLE, "/clear.png": RED}) as (port, _):
        host = f"127.0.0.1:{port}"
        with gate(tmp_path, mastodon_secret=SECRET, mastodon_hosts=[host]) as g:
            said = announce(g, f"http://{host}{FILE}", f"http://{host}/clear.png", "https://elsewhere.example/x.png", 7)
            assert (said.status, said.json) == (202, {"media": 2, "left_out": 1})
            g.wait_for(lambda: not g.figures().owed)
            g.flush()
            assert g.figures().condemned == 1 and g.figures().settled == {"clear": 1}
            again = announce(g, f"http://{host}{FILE}")
            assert again.json["media"] == 1
            g.flush()
            assert g.figures().condemned == 1, "a message that is repeated is the same upload"
            assert g.upload(RED_CIRCLE).json["code"] == "block"


def test_only_what_is_signed_is_believed(tmp_path: Path) -> None:
    with gate(tmp_path, mastodon_secret=SECRET, mastodon_hosts=["files.example"]) as g:
        url = f"https://files.example{FILE}"
        wrong = announce(g, url, secret="another")
        assert (wrong.status, wrong.code) == (401, "bad_signature")
        assert g.request("POST", "/webhooks/mastodon", b"{}").status == 401
        assert g.request("POST", "/webhooks/mastodon", b"{}", {"X-Hub-Signature": "sha256=\xff"}).status == 401
        for body in (b"", b"{", b"[]", b'{"event": 1}', b"[" * 100_000, b"\xff"):
            assert (sent(g, body).status, sent(g, body).code) == (400, "bad_request")
        assert sent(g, b'{"event": "report.created", "object": {}}').json == {"media": 0, "left_out": 0}
        assert sent(g, b'{"event": "status.created", "object": {"media_attachments": "x"}}').status == 202
        assert (sent(g, b" " * (2 << 20)).status, sent(g, b" " * (2 << 20)).code) == (413, "too_large")
        g.flush()
        assert not g.figures().owed


def test_a_medium_that_lies_in_the_store_is_judged_and_removed_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = FILE.removeprefix("/system/").rpartition("/")[0].rpartition("/")[0]
    store = FakeStore(
        {f"{folder}/original/0123456789abcdef.png": RED_CIRCLE, f"{folder}/small/0123456789abcdef.png": RED}
    )
    store.put("media_attachments/files/109/876/543/210/987/655/original/1.png", RED_CIRCLE + b" other")
    monkeypatch.setattr(finder.Finder, "open", lambda _self: store)
    (tmp_path / "unused").mkdir()
    whole = {"store": str(tmp_path / "unused"), "act": "delete"}
    with gate(tmp_path, whole=whole, mastodon_secret=SECRET, mastodon_hosts=["files.example"]) as g:
        assert announce(g, f"https://files.example{FILE}").status == 202
        g.wait_for(lambda: g.figures().settled == {"removed": 1})
        assert store.removed == [f"{folder}/original/0123456789abcdef.png"]
        assert len(store.objects) == 2


def test_what_is_not_there_yet_is_tried_again(tmp_path: Path) -> None:
    places: dict[str, Any] = {}
    with (
        web(places) as (port, asked),
        gate(tmp_path, mastodon_secret=SECRET, mastodon_hosts=[f"127.0.0.1:{port}"]) as g,
    ):
        assert announce(g, f"http://127.0.0.1:{port}/late.png").status == 202
        g.wait_for(lambda: bool(asked))
        places["/late.png"] = RED
        g.wait_for(lambda: g.figures().settled == {"clear": 1})


def test_the_message_and_the_paths() -> None:
    body = b'{"event":"status.updated","object":{"media_attachments":[{"url":"a"},{"url":"a"},{"url":null},{},3]}}'
    media = announced(body)
    assert media is not None and [medium.url for medium in media] == ["a"]
    assert signed("s", b"x", "sha256=" + hmac.new(b"s", b"x", hashlib.sha256).hexdigest())
    assert not signed("s", b"x", None) and not signed("s", b"x", "sha256=")
    part = "media_attachments/files/109/876/543/210/987/654/"
    for url, expected in {
        f"https://h.example{FILE}": (part, f"system/{part}"),
        f"https://h.example/bucket/pre/{part}original/00.jpeg?x=1": (part, f"pre/{part}", f"bucket/pre/{part}"),
        f"https://h.example/cache/{part}small/0123.webp": (f"cache/{part}",),
        "https://h.example/media_attachments/files/../../x/original/00.png": (),
        "https://h.example/media_attachments/files/123/456/original/00.png": (),
        "https://h.example/x.png": (),
        "https://h.example/%2e%2e/media_attachments/files/000/123/456/original/0a.png": (),
    }.items():  # fmt: skip
        assert storage_prefixes(url) == expected, url
