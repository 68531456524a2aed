"""The installed program over a real pict-rs: by its API, by its files, by its bucket; and what outages leave behind."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from pydantic import SecretStr

from fedi_safety.config.schema import Pictrs, Settings
from fedi_safety.core.enums import Detail, MediaType, PlanState
from fedi_safety.core.errors import StoreError
from fedi_safety.core.types import Decoded, Object
from fedi_safety.stores import open_store
from support.corpus.photos import jpeg_bytes
from support.fakes import FakeDecoder, text_frame
from support.needs import needs
from support.passes import Bench
from support.program import FACES, Done, check_one_line_error, program
from support.servers.pictrs import PictrsServer, free_port, pictrs_server
from support.servers.s3 import REGION, S3Server, s3_server


@pytest.fixture(scope="module")
@needs("pictrs")
def shared() -> Iterator[PictrsServer]:
    with pictrs_server() as running:
        yield running


@pytest.fixture
def server(shared: PictrsServer) -> PictrsServer:
    shared.clear()
    return shared


def wait_for(condition: object, seconds: float = 20) -> None:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


@pytest.fixture
def faces(tmp_path: Path) -> str:
    path = tmp_path / "faces.toml"
    path.write_text(FACES)
    return str(path)


def key(server: PictrsServer) -> dict[str, str]:
    return {"FEDI_SAFETY_PICTRS__API_KEY": server.api_key}


def both(server: PictrsServer) -> dict[str, str]:
    return {**key(server), "FEDI_SAFETY_PICTRS__URL": server.url}


class Uploads:
    """A portrait under two aliases with a small thumbnail, and two pictures that nobody minds."""

    def __init__(self, server: PictrsServer) -> None:
        self.server = server
        self.bad = [server.upload(jpeg_bytes("astronaut")), server.upload(jpeg_bytes("astronaut"))]
        self.good = [server.upload(jpeg_bytes("coffee")), server.upload(jpeg_bytes("rocket"))]
        server.thumbnail(self.bad[0], 32)

    def check_removed(self) -> None:
        """The portrait is gone by every name, the others stay, and the portrait can be uploaded again."""
        assert [self.server.status(alias) for alias in self.bad] == [404, 404]
        assert [self.server.status(alias) for alias in self.good] == [200, 200]
        known = {a for p in self.server.internal("GET", "hashes")["page"]["hashes"] for a in p["aliases"]}
        assert known == set(self.good)

    def check_names_kept(self) -> None:
        """What pict-rs has forgotten with the portrait was on record before it went, with no server to ask."""
        (row,) = program("list", "--json", "--verdict", "block").lines
        shown = program("show", row["key"], "--json").json
        (record,) = shown["traces"]
        assert (record["state"], set(record["aliases"])) == ("names", set(self.bad))
        traced, started = (
            next(e["seq"] for e in shown["events"] if e["kind"] == kind) for kind in ("traced", "act.started")
        )
        assert traced < started

    def check_upload_again(self) -> str:
        again = self.server.upload(jpeg_bytes("astronaut"))
        assert self.server.status(again) == 200
        assert len(self.server.thumbnail(again, 32)) > 50
        return again


def test_scan_by_the_api(server: PictrsServer, faces: str) -> None:
    uploads = Uploads(server)
    assert len(server.stored()) == 4
    dry = program("scan", server.store_url, "--dry-run", "--policy", faces, "--json", env=key(server))
    assert dry.code == 0, dry
    # The same picture uploaded twice is one object; its thumbnail is none of its own.
    assert (dry.json["listed"], dry.json["judged"], dry.json["block"], dry.json["planned"]) == (3, 3, 1, 1)
    assert [server.status(alias) for alias in uploads.bad] == [200, 200]
    done = program("apply", server.store_url, "--act", "purge", "--json", env=key(server))
    assert done.code == 0, done
    assert (done.json["acted"], done.json["failed"]) == (1, 0)
    uploads.check_removed()
    uploads.check_names_kept()
    wait_for(lambda: len(server.stored()) == 2)
    rows = program("list", "--json").lines
    assert [r["act"] for r in rows if r["verdict"] == "block"] == [{"kind": "purge", "state": "done"}]
    # What was uploaded again is met again, judged by memory, and removed.
    again = uploads.check_upload_again()
    second = program("scan", server.store_url, "--policy", faces, "--json", env=key(server))
    assert second.code == 0, second
    assert (second.json["already_judged"], second.json["acted"]) == (2, 1)
    assert server.status(again) == 404


def test_scan_by_its_files_purges_through_it(server: PictrsServer, faces: str) -> None:
    uploads = Uploads(server)
    scan = ("scan", str(server.files), "--act", "purge", "--policy", faces, "--without-dry-run", "--json")
    done = program(*scan, env=both(server))
    assert done.code == 0, done
    assert (done.json["listed"], done.json["block"], done.json["acted"], done.json["failed"]) == (4, 1, 1, 0)
    uploads.check_removed()
    uploads.check_names_kept()
    wait_for(lambda: len(server.stored()) == 2)
    again = uploads.check_upload_again()
    assert program(*scan, env=both(server)).json["acted"] == 1
    assert server.status(again) == 404


def test_a_condemned_thumbnail_goes_with_its_original(server: PictrsServer, faces: str) -> None:
    alias = server.upload(jpeg_bytes("astronaut"))
    server.thumbnail(alias, 400)
    arguments = (str(server.files), "--act", "purge", "--policy", faces, "--without-dry-run", "--json")
    first = program("scan", *arguments, env=both(server))
    # Whichever comes first: the thumbnail is gone with the original, or fails with the remedy and is gone next time.
    assert first.json["planned"] == 2, first
    assert server.status(alias) == 404
    wait_for(lambda: server.stored() == [])
    program("scan", *arguments, env=both(server))
    last = program("apply", str(server.files), "--json", env={**both(server), "FEDI_SAFETY_ACT": "purge"})
    assert last.code == 0, last
    assert last.json["failed"] == 0


def test_an_orphan_is_told_and_kept(server: PictrsServer, faces: str) -> None:
    orphan = server.files / "orphan.jpg"
    orphan.write_bytes(jpeg_bytes("astronaut"))
    try:
        arguments = (str(server.files), "--act", "purge", "--policy", faces, "--without-dry-run")
        done = program("scan", *arguments, env=both(server))
        assert done.code == 3, done
        assert "no picture of pict-rs' has this content" in done.out + done.err
        assert orphan.exists()
    finally:
        orphan.unlink()


def test_purge_without_a_pictrs_is_a_usage_error(server: PictrsServer, faces: str) -> None:
    done = program("scan", str(server.files), "--act", "purge", "--policy", faces, "--without-dry-run")
    check_one_line_error(done, 2, "purge", "pictrs.url")


def test_delete_under_a_pictrs_warns_once(server: PictrsServer, faces: str) -> None:
    uploads = Uploads(server)
    done = program(
        "scan", str(server.files), "--act", "delete", "--policy", faces, "--without-dry-run", env=both(server)
    )
    assert done.err.count("pict-rs will not know") == 1, done
    assert server.status(uploads.bad[0]) == 500, "what the warning is about"


# --- its bucket


@pytest.fixture(scope="module")
@needs("s3")
def s3() -> Iterator[S3Server]:
    with s3_server() as running:
        yield running


@pytest.mark.needs("pictrs")
def test_scan_by_its_bucket_and_by_the_api_over_a_bucket(s3: S3Server, faces: str) -> None:
    s3.make_bucket("pictrs")
    variables = {
        "STORE__TYPE": "object_storage", "STORE__ENDPOINT": s3.endpoint, "STORE__BUCKET_NAME": "pictrs",
        "STORE__REGION": REGION, "STORE__USE_PATH_STYLE": "true", "STORE__ACCESS_KEY": s3.access_key,
        "STORE__SECRET_KEY": s3.secret_key,
    }  # fmt: skip
    access = {"FEDI_SAFETY_S3__ACCESS_KEY_ID": s3.access_key, "FEDI_SAFETY_S3__SECRET_ACCESS_KEY": s3.secret_key}
    bucket = f"s3://pictrs?endpoint={s3.endpoint}&region={REGION}&style=path"
    with pictrs_server(**variables) as server:
        uploads = Uploads(server)

        def media() -> list[str]:
            found = s3.client().list_objects_v2(Bucket="pictrs").get("Contents", [])
            return [o["Key"] for o in found if o["Key"] != "health-check"]

        assert len(media()) == 4
        scan = ("scan", bucket, "--act", "purge", "--policy", faces, "--without-dry-run", "--json")
        done = program(*scan, env=both(server) | access)
        assert done.code == 0, done
        assert (done.json["block"], done.json["acted"], done.json["failed"]) == (1, 1, 0)
        uploads.check_removed()
        wait_for(lambda: len(media()) == 2)
        again = uploads.check_upload_again()
        arguments = (server.store_url, "--act", "purge", "--policy", faces, "--without-dry-run", "--json")
        done = program("scan", *arguments, env=key(server))
        assert (done.code, done.json["listed"], done.json["acted"]) == (0, 3, 1), done
        assert server.status(again) == 404
        wait_for(lambda: len(media()) == 2)


# --- what is wrong


def scan_of(url: str, faces: str, api_key: str | None = "key-of-the-test") -> Done:
    env = {} if api_key is None else {"FEDI_SAFETY_PICTRS__API_KEY": api_key}
    return program("scan", url, "--dry-run", "--policy", faces, env=env)


def test_a_wrong_key_and_none(server: PictrsServer, faces: str) -> None:
    done = scan_of(server.store_url, faces)
    check_one_line_error(done, 2, "API key is not accepted", "pictrs.api_key")
    assert "key-of-the-test" not in done.err
    check_one_line_error(scan_of(server.store_url, faces, None), 2, "no API key", "pictrs.api_key")


@pytest.mark.long
def test_nobody_listens(faces: str) -> None:
    check_one_line_error(scan_of(f"pictrs+http://127.0.0.1:{free_port()}", faces), 3, "cannot be reached")


class Website(BaseHTTPRequestHandler):
    """Answers everything with a page."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(b"<html>hello</html>")

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


@pytest.mark.long
def test_another_program_listens(faces: str) -> None:
    site = HTTPServer(("127.0.0.1", 0), Website)
    thread = Thread(target=site.serve_forever, daemon=True)
    thread.start()
    try:
        done = scan_of(f"pictrs+http://127.0.0.1:{site.server_port}", faces)
        check_one_line_error(done, 2, "not answer like a pict-rs", "text/html")
    finally:
        site.shutdown()
        site.server_close()
        thread.join()


# --- outages


class AnyPicture(FakeDecoder):
    """Takes every object for a harmless picture, and calls `on_decode` with how many there were."""

    stop_at = 0
    server: PictrsServer

    def sniff(self, head: bytes) -> MediaType:
        assert head
        return MediaType.JPEG

    def decode(self, data: bytes, media_type: MediaType, detail: Detail = Detail.COARSE) -> Decoded:
        self.decoded.append(data)
        if len(self.decoded) == self.stop_at:
            self.server.stop()
        return Decoded(media_type, 1, 1, (text_frame(0, f"pic red=0.{len(self.decoded) % 5}".encode()),))


def test_a_server_that_stops_midway_loses_nothing(server: PictrsServer, tmp_path: Path) -> None:
    from fedi_safety.stores.pictrs import PictrsStore

    for size in range(100, 140):
        server.upload(jpeg_bytes("coffee", size))
    access = Pictrs(url=None, api_key=SecretStr(server.api_key), database=None)
    store = open_store(server.store_url, Settings(pictrs=access))
    assert isinstance(store, PictrsStore)
    bench = Bench(tmp_path / "ledger.db", PictrsStore(store._client, page=5))
    decoder = AnyPicture()
    decoder.stop_at, decoder.server = 7, server
    bench.decoder = decoder
    try:
        with pytest.raises(StoreError) as caught:
            bench.scan()
        assert caught.value.exit_code == 3
        judged = len(bench.rows())
        assert 0 < judged < 40
        server.start()
        decoder.stop_at = 0
        tally, _ = bench.scan()
        assert tally.accounted
        assert (tally.listed, tally.unscanned_total) == (40, 0)
        assert tally.already_judged == judged
        assert len(bench.rows()) == 40
        assert tally.acted == 0
    finally:
        if server.process is None:
            server.start()
        bench.close()
        store.close()


def test_a_server_that_stops_before_the_purge_fails_the_act(server: PictrsServer) -> None:
    alias = server.upload(jpeg_bytes("coffee"))
    store = open_store(
        server.store_url, Settings(pictrs=Pictrs(url=None, api_key=SecretStr(server.api_key), database=None))
    )
    (obj,) = store.list()
    assert isinstance(obj, Object)
    sha256 = hashlib.sha256(store.fetch(obj, lambda _head: None)).digest()
    server.stop()
    with pytest.raises(StoreError, match="cannot be reached"):
        store.remove(obj, sha256)
    server.start()
    assert server.status(alias) == 200
    assert store.remove(obj, sha256).state is PlanState.DONE
    store.close()
