"""What the PostgreSQL repository of a real pict-rs adds: variants find their original, proxied ones their origin."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import psycopg
import pytest
from pydantic import SecretStr

from fedi_safety.app.roles import check_pictrs
from fedi_safety.clients.pictrs_database import PictrsDatabase
from fedi_safety.config.schema import Pictrs, Settings
from fedi_safety.core.enums import PlanState
from fedi_safety.core.errors import StoreError
from fedi_safety.core.types import Object
from fedi_safety.stores import open_store
from fedi_safety.stores.pictrs import PictrsStore
from support.corpus.photos import jpeg_bytes
from support.needs import needs
from support.program import FACES, program
from support.servers.pictrs import Database, PictrsServer, pictrs_database, pictrs_server


@pytest.fixture(scope="module")
@needs("postgresql")
def database() -> Iterator[Database]:
    with pictrs_database() as running:
        yield running


@pytest.fixture(scope="module")
@needs("pictrs")
def server(database: Database) -> Iterator[PictrsServer]:
    variables = {"REPO__TYPE": "postgres", "REPO__URL": database.owner, "CLIENT__ALLOW_LOCAL_CONNECTIONS": "true"}
    with pictrs_server(**variables) as running:
        yield running


@pytest.fixture
def faces(tmp_path: Path) -> str:
    path = tmp_path / "faces.toml"
    path.write_text(FACES)
    return str(path)


def settings(server: PictrsServer, database: Database) -> dict[str, str]:
    return {
        "FEDI_SAFETY_PICTRS__URL": server.url,
        "FEDI_SAFETY_PICTRS__API_KEY": server.api_key,
        "FEDI_SAFETY_PICTRS__DATABASE": database.reader,
    }


def test_variants_are_found_and_go_with_their_original(server: PictrsServer, database: Database, faces: str) -> None:
    server.clear()
    alias = server.upload(jpeg_bytes("astronaut"))
    kept = server.upload(jpeg_bytes("coffee"))
    for size in (300, 400):
        server.thumbnail(alias, size)
    # From further up than pict-rs' own root: the keys then begin with `files/`.
    scan = (
        "scan",
        str(server.base),
        "--prefix",
        "files/",
        "--act",
        "purge",
        "--policy",
        faces,
        "--without-dry-run",
        "--json",
    )
    done = program(*scan, env=settings(server, database))
    assert done.code == 0, done
    said = done.json
    assert (said["listed"], said["planned"], said["failed"]) == (4, 3, 0)
    assert said["acted"] >= 1 and said["acted"] + said["gone"] == 3  # variants go with their original
    assert (server.status(alias), server.status(kept)) == (404, 200)
    assert len(server.stored()) == 1


def test_a_variant_alone_leads_to_its_original(server: PictrsServer, database: Database) -> None:
    server.clear()
    alias = server.upload(jpeg_bytes("rocket"))
    before = set(server.stored())
    server.thumbnail(alias, 96)
    (variant,) = set(server.stored()) - before
    found = PictrsDatabase(database.reader).owner([f"files/{variant}", variant])
    assert found is not None
    assert (found.kind, found.identifier) == ("variant", variant)
    (listed,) = server.internal("GET", "hashes")["page"]["hashes"]
    assert found.hash == listed["hex"]
    assert PictrsDatabase(database.reader).owner(["no/such/file", "%", ""]) is None


class Pictures(BaseHTTPRequestHandler):
    """Another instance, with one picture."""

    def do_GET(self) -> None:
        body = jpeg_bytes("hubble")
        self.send_response(200)
        self.send_header("Content-Type", "image/jpeg")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


@contextmanager
def elsewhere() -> Iterator[str]:
    site = HTTPServer(("127.0.0.1", 0), Pictures)
    thread = Thread(target=site.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{site.server_port}/pictures/hubble.jpeg"
    finally:
        site.shutdown()
        site.server_close()
        thread.join()


def test_a_removal_keeps_where_a_proxied_picture_came_from(server: PictrsServer, database: Database) -> None:
    server.clear()
    with elsewhere() as origin:
        assert server.http.get(f"{server.url}/image/original", params={"proxy": origin}).status_code == 200
    access = Pictrs(url=None, api_key=SecretStr(server.api_key), database=SecretStr(database.reader))
    store = open_store(server.store_url, Settings(pictrs=access))
    assert isinstance(store, PictrsStore)
    (obj,) = store.list()
    assert isinstance(obj, Object)
    known = store.describe(obj)
    assert known is not None
    assert known.origins == (origin,)
    removal = store.remove(obj, bytes.fromhex(obj.key[:64]))
    assert removal.state is PlanState.DONE
    assert f"fetched from {origin}" in removal.detail
    assert removal.receipt["origins"] == (origin,)
    store.close()


def test_the_role_that_doctor_prints_suffices_for_all_that_is_asked(server: PictrsServer, database: Database) -> None:
    """And a role that can do more is told."""
    server.clear()
    alias = server.upload(jpeg_bytes("rocket"))
    server.thumbnail(alias, 96)
    (told,) = check_pictrs(Pictrs(url=None, database=SecretStr(database.owner)))
    assert (told.ok, told.code) == (False, 2)
    assert "a superuser" in told.detail
    with psycopg.connect(database.owner, autocommit=True) as owner:
        for statement in told.sql:
            owner.execute(statement.encode())
    reader = database.owner.replace("owner@", "fedi_safety@")
    (found,) = check_pictrs(Pictrs(url=None, database=SecretStr(reader)))
    assert found.ok and "may read what is needed of pict-rs 0.5, and nothing else" in found.detail
    narrow = PictrsDatabase(reader)
    stored = narrow.owner(server.stored())
    assert stored is not None
    assert set(narrow.files(stored.hash)) == set(server.stored())
    assert narrow.origins([alias]) == ()


def test_it_only_reads(database: Database, server: PictrsServer) -> None:
    writing = PictrsDatabase(database.owner)
    with pytest.raises(StoreError, match="25006"):  # read_only_sql_transaction
        writing._rows("DELETE FROM aliases RETURNING alias", {})


def test_another_database_is_told(database: Database, server: PictrsServer) -> None:
    with pytest.raises(StoreError, match="not the repository of a pict-rs"):
        PictrsDatabase(database.reader.replace("/pictrs", "/postgres")).owner(["x"])
    with pytest.raises(StoreError, match="cannot be read"):
        PictrsDatabase(database.reader.replace("reader", "stranger")).owner(["x"])
