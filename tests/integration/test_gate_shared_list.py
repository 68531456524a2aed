"""The gate hands the own list out: to subscribers alone, slowed down, in the log, as it was signed."""

from __future__ import annotations

import gzip
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fedi_safety.config.locations import sharing_folder
from fedi_safety.sharing.change import Kind, Word
from fedi_safety.sharing.log import PAGE, Log, Wanted
from fedi_safety.sharing.subscribers import Subscribers
from support.serving import Gate, Reply, gate


def wanted(number: int) -> Wanted:
    value = number.to_bytes(32, "big").hex()
    return Wanted("sha256", value, "", b"c" * 32, Kind.RECOMMENDATION, Word.CONDEMNED, "", 0, 0, int(time.time()))


class Publisher:
    """A gate with a log of some entries, and a subscriber."""

    def __init__(self, g: Gate) -> None:
        self.gate = g
        folder = sharing_folder(g.settings)
        self.log = Log(folder, now=time.time)
        self.subscribers = Subscribers(folder, now=time.time)

    def get(self, what: str, token: str | None, **headers: str) -> Reply:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        return self.gate.get(f"/sharing/v1/{what}", headers=sent)


@contextmanager
def publisher(folder: Path, **sharing: object) -> Iterator[Publisher]:
    whole = {"sharing": {"name": "a.example", **sharing}, "ledger": str(folder / "ledger.db")}
    with gate(folder, whole=whole) as g:
        yield Publisher(g)


@pytest.mark.long
def test_the_list_is_handed_out_as_it_was_signed_by_the_page_packed_or_not(tmp_path: Path) -> None:
    with publisher(tmp_path) as p:
        token = p.subscribers.add("two")
        assert (p.get("head", token).status, p.get("head", token).code) == (404, "not_published")
        p.log.create("a.example")
        p.log.publish(wanted(number) for number in range(PAGE + 3))
        state = p.log.state()
        assert state is not None
        head = p.get("head", token)
        assert (head.status, head.body) == (200, state.head)
        assert p.get("head", token, If_None_Match=head.headers["etag"]).status == 304
        first = p.get("changes?after=0", token)
        packed = p.get("changes?after=0", token, Accept_Encoding="gzip")
        assert packed.headers["content-encoding"] == "gzip" and "content-encoding" not in first.headers
        assert gzip.decompress(packed.body) == first.body == p.log.page(0, state.seq)
        assert p.get(f"changes?after={PAGE}", token).body.count(b"\n") == 3
        end = p.get(f"changes?after={PAGE + 3}", token)
        assert (end.status, end.body) == (200, b"")
        assert p.get("changes?after=0", token, If_None_Match=first.headers["etag"]).status == 304
        with p.log.snapshot(state) as file:
            whole = gzip.decompress(file.read())
        snapshot = p.get("snapshot", token, Accept_Encoding="br, gzip;q=0.5")
        assert gzip.decompress(snapshot.body) == p.get("snapshot", token, Accept_Encoding="gzip;q=0").body == whole
        assert p.get("snapshot", token, If_None_Match=snapshot.headers["etag"]).status == 304
        p.log.publish([])
        assert p.get("head", token, If_None_Match=head.headers["etag"]).status == 200
        assert p.get("snapshot", token, If_None_Match=snapshot.headers["etag"]).status == 200


def test_nothing_is_told_without_a_token_that_was_given_and_not_taken_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "fedi_safety.gate.access")
    with publisher(tmp_path) as p:
        p.log.create("a.example")
        token, other = p.subscribers.add("two"), p.subscribers.add("three")
        for what in ("head", "changes?after=0", "changes", "snapshot"):
            for wrong in (None, "", "fss_x", "IPADDR", token + "x"):
                found = p.get(what, wrong)
                assert (found.status, found.code) == (401, "unauthorized"), (what, wrong)
        assert p.get("head", token).status == 200
        p.subscribers.revoke("two")
        assert (p.get("head", token).status, p.get("head", other).status) == (401, 200)
        said = [record.__dict__.get("facts", {}) for record in caplog.records]
        assert [(each["sender"], each["code"]) for each in said if "sender" in each] == [
            ("two", "head"),
            ("three", "head"),
        ]
        assert not any(secret in record.getMessage() + str(each) for secret in (token, other)
                       for record, each in zip(caplog.records, said, strict=True))  # fmt: skip


def test_a_subscriber_that_asks_too_often_is_slowed_down_and_others_are_not(tmp_path: Path) -> None:
    with publisher(tmp_path, requests_per_minute=4) as p:
        p.log.create("a.example")
        token, other = p.subscribers.add("two"), p.subscribers.add("three")
        assert [p.get("head", token).status for _ in range(4)] == [200, 200, 429, 429]
        assert p.get("head", other).status == 200


def test_what_is_asked_wrongly_is_told(tmp_path: Path) -> None:
    with publisher(tmp_path) as p:
        p.log.create("a.example")
        token = p.subscribers.add("two")
        for query in ("", "?after=", "?after=-1", "?after=1e3", "?after=x", "?after=%D9%A3", "?after=" + "1" * 16):
            found = p.get(f"changes{query}", token)
            assert (found.status, found.code) == (400, "bad_request"), query
        assert (p.get("changes?after=1", token).status, p.get("changes?after=1", token).code) == (404, "no_such_change")
        (sharing_folder(p.gate.settings) / "log.sqlite").write_bytes(b"x" * 5000)
        found = p.get("head", token)
        assert (found.status, found.code) == (503, "list_failed")
        assert "sqlite" not in found.body.decode()


def test_a_gate_that_publishes_nothing_has_no_such_place_and_describes_itself_rightly(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    with gate(tmp_path / "one") as g:
        assert g.get("/sharing/v1/head").code == "not_found"
        assert not any(path.startswith("/sharing") for path in g.get("/openapi.json").json["paths"])
    with publisher(tmp_path) as p:
        described = {path for path in p.gate.get("/openapi.json").json["paths"] if path.startswith("/sharing")}
        assert described == {r.path for r in p.gate.serving.routes if r.path.startswith("/sharing")} != set()
