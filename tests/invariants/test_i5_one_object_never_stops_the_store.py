"""I5: one object never stops the store: whatever is said of it, it is an object with numbers that fit, or one gap."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch
from xml.sax.saxutils import escape

import httpx
import pytest
from asyncssh.sftp import SFTPAttrs, SFTPName
from hypothesis import given, settings
from hypothesis import strategies as st

from fedi_safety.clients.pictrs import PictrsClient, slug_of
from fedi_safety.config.schema import S3
from fedi_safety.core.bounds import FIRST_NS, LAST_NS, MOST_BYTES, ns_of, size_of
from fedi_safety.core.cascade import Cascade
from fedi_safety.core.enums import Reason
from fedi_safety.core.types import Object, Removal, Unscanned
from fedi_safety.stores.local import LocalStore
from fedi_safety.stores.pictrs import PictrsStore
from fedi_safety.stores.s3 import answers, client
from fedi_safety.stores.s3.address import read_address
from fedi_safety.stores.s3.faults import Patience
from fedi_safety.stores.s3.store import S3Store
from fedi_safety.stores.sftp import listing
from fedi_safety.stores.sorting import SortedRuns
from support.corpus.photos import jpeg_bytes
from support.fakes import FakeDecoder, FakeDetector, FakeStore, detectors
from support.passes import RED, RED_CIRCLE, Bench
from support.program import program

HUGE = 10**40
numbers = st.integers(-HUGE, HUGE) | st.sampled_from(
    [-1, 0, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1, -(2**63) - 1]
)
times = st.sampled_from(
    [
        "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59.999Z", "1677-09-21T00:12:43Z",
        "2262-04-11T23:47:17Z", "+10000-01-01T00:00:00Z", "10000-01-01T00:00:00Z", "0000-00-00T00:00:00Z",
        "Sat, 28 Nov 2026 15:00:00 GMT", "1700000000", "NaN", "-inf", "", "now", "2026-02-30T00:00:00Z", "2026-01-02",
        "0001-01-01T00:00:00", "9999-12-31T23:59:59",
    ]
) | st.text(max_size=40)  # fmt: skip
sizes = (
    numbers.map(str)
    | st.sampled_from(["", "NaN", "-0", "1e3", "4.0", "+4", " 4", "４", "9" * 5000])
    | st.text(max_size=9)
)


def check(items: list[Object | Unscanned], expected: int) -> None:
    """Every object is there once, and the ledger's columns can hold what is said of it."""
    found = [item.object if isinstance(item, Unscanned) else item for item in items]
    assert len(found) == expected
    with sqlite3.connect(":memory:") as database:
        for obj in found:
            assert 0 <= obj.size <= MOST_BYTES
            assert FIRST_NS <= obj.mtime_ns <= LAST_NS
            database.execute("SELECT ?, ?, ?", (obj.size, obj.mtime_ns, obj.tag))


@given(numbers | st.floats(), numbers | sizes | st.floats())
def test_every_number_is_bounded_or_none(time: object, size: object) -> None:
    for found in (ns_of(time), size_of(size)):
        assert found is None or FIRST_NS <= found <= LAST_NS
    assert ns_of(float("nan")) is None
    assert (ns_of(float("inf")), ns_of(float("-inf"))) == (LAST_NS, FIRST_NS)
    assert (size_of(-1), size_of(True), size_of("4"), size_of(MOST_BYTES + 1)) == (None, None, 4, None)


@pytest.fixture(scope="module")
def two_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStore]:
    root = tmp_path_factory.mktemp("two")
    (root / "odd").write_bytes(b"odd")
    (root / "plain").write_bytes(b"plain")
    store = LocalStore(str(root))
    yield store
    store.close()


@settings(deadline=None)
@given(numbers, numbers, numbers)
def test_of_a_directory(two_files: LocalStore, size: int, mtime_ns: int, ctime_ns: int) -> None:
    real = os.stat

    def odd(name: Any, **more: Any) -> Any:
        info = real(name, **more)
        if name != b"odd":
            return info
        said = {"st_size": size, "st_mtime_ns": mtime_ns, "st_ctime_ns": ctime_ns}
        return SimpleNamespace(st_mode=info.st_mode, st_ino=info.st_ino, **said)

    with patch("fedi_safety.stores.local.os.stat", odd):
        items = list(two_files.list())
        check(items, 2)
        assert len(list(two_files.list(since=0.0))) >= 1
    assert isinstance(items[1], Object)
    assert isinstance(items[0], Object) == (0 <= size <= MOST_BYTES)


@given(st.none() | numbers, st.none() | numbers, st.none() | st.integers(0, 2**32 - 1))
def test_of_an_sftp_server(size: int | None, mtime: int | None, permissions: int | None) -> None:
    runs = SortedRuns(10)
    odd = SFTPName(b"odd", b"", SFTPAttrs(size=size, mtime=mtime, permissions=permissions))
    listing._take(runs, *listing._read_entry(odd))
    listing._take(runs, *listing._read_entry(SFTPName(b"plain", b"", SFTPAttrs(size=5, mtime=7, permissions=0o100644))))
    runs.sort()
    records = [listing._unpacked(record) for record in runs]
    items = [item for name, _, info in records for item in listing._judged(name, info, None)]
    check(items, 2)
    assert Object("plain", 5, 7 * 10**9) in items
    assert listing.info_of(odd.attrs).is_still(Object("odd", size_of(size) or 0, ns_of(mtime) or 0))


def page_store() -> S3Store:
    access = S3.model_validate({"access_key_id": "id", "secret_access_key": "key", "endpoint": "http://127.0.0.1:9"})
    address = read_address("s3://bucket", access)
    return S3Store(address, client.Client(address, 1, Patience(tries=1)), 1)  # so that a failure is told at once


@pytest.fixture(scope="module")
def bucket() -> Iterator[Callable[[bytes], S3Store]]:
    """A bucket whose service answers every listing with one page."""
    store = page_store()
    botocore = store._client._client
    shape = botocore.meta.service_model.operation_model("ListObjectsV2").output_shape

    def with_page(body: bytes) -> S3Store:
        said = {"status_code": 200, "headers": {}, "body": body}
        botocore.list_objects_v2 = lambda **_: answers.parsers().create_parser("rest-xml").parse(said, shape)
        return store

    yield with_page
    store.close()


def page(*rows: str) -> str:
    head = '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    inner = "".join(f"<Contents>{row}</Contents>" for row in rows)
    return f"{head}<IsTruncated>false</IsTruncated>{inner}</ListBucketResult>"


GOOD = "<Size>4</Size><ETag>e</ETag><LastModified>2026-01-02T03:04:05.678Z</LastModified>"
legal = st.characters(min_codepoint=32, exclude_categories=["Cs"], exclude_characters="\ufffe\uffff")


@settings(deadline=None)
@given(st.none() | sizes, st.none() | times, st.none() | st.text(legal, max_size=20))
def test_of_a_bucket(bucket: Callable[[bytes], S3Store], size: str | None, time: str | None, tag: str | None) -> None:
    said = {"Size": size, "LastModified": time, "ETag": tag}
    odd = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in said.items() if value is not None)
    store = bucket(page(f"<Key>odd</Key>{odd}", f"<Key>plain</Key>{GOOD}").encode())
    items = list(store.list())
    check(items, 2)
    assert items[1] == Object("plain", 4, 1767323045678000000, "e")
    # What has no time that can be read may be new.
    assert len(list(store.list(since=2e9))) <= 1


@given(st.binary(min_size=1, max_size=12))
def test_of_a_bucket_whose_keys_are_any_bytes(bucket: Callable[[bytes], S3Store], name: bytes) -> None:
    """A service that does not encode them, as it was asked to, writes what no XML may hold."""
    name = name.replace(b"\r", b"_").replace(b"\n", b"_")  # XML itself makes one of the other
    raw = b"<Key>" + name.replace(b"&", b"&amp;").replace(b"<", b"&lt;").replace(b">", b"&gt;") + b"</Key>"
    body = page("ODD" + GOOD, f"<Key>\U0010ffff</Key>{GOOD}").encode().replace(b"ODD", raw)
    items = list(bucket(body.replace("\U0010ffff".encode(), b"plain")).list())
    found = [item.object.key if isinstance(item, Unscanned) else item.key for item in items]
    assert found == [name.decode("utf-8", "surrogateescape"), "plain"]


@pytest.mark.long
@settings(deadline=None)
@given(times | numbers | st.none() | st.floats(allow_nan=False, allow_infinity=False), st.integers(0, 2**48 - 1))
def test_of_a_pictrs(created: object, size: int) -> None:
    odd = "0" * 64 + f"{size:012x}" + "05"
    hashes = [
        {"hex": odd, "aliases": ["a"], "details": {"created_at": created}},
        {"hex": "1" * 78, "aliases": ["b"], "details": {"created_at": "2026-01-02T03:04:05Z"}},
    ]
    said = {"msg": "ok", "page": {"hashes": hashes, "next": None}}
    transport = httpx.MockTransport(lambda _request: httpx.Response(200, json=said))
    store = PictrsStore(PictrsClient("http://pictrs:8080", "key", transport=transport))
    check(list(store.list()), 2)
    check(list(store.list(since=-1e20)), 2)
    store.close()


hashes = st.sampled_from(["zz", "", "0" * 77, "g" * 78, "0" * 64 + "F" * 14, "../x"]) | st.text(max_size=90)
entries = st.none() | st.text() | st.integers() | st.fixed_dictionaries(
    {},
    optional={
        "hex": hashes | st.none() | st.integers(),
        "aliases": st.none() | st.integers() | st.lists(st.text(max_size=9) | st.none(), max_size=2),
        "details": st.none() | st.text(max_size=3),
    },
)  # fmt: skip


@pytest.mark.long
@settings(deadline=None)
@given(st.lists(entries, min_size=1, max_size=5), st.integers(1, 3))
def test_of_a_pictrs_whose_hashes_are_none(odd: list[object], size: int) -> None:
    """Whatever stands in its listing, the pictures before and behind it are listed; each oddity costs itself."""
    good: list[object] = [{"hex": f"{number:078x}", "aliases": ["a"], "details": None} for number in range(3)]
    listed = [good[0], *odd, *good[1:]]
    slugs = [slug_of(one["hex"]) if one in good else f"slug-{at}" for at, one in enumerate(listed)]  # type: ignore[index]

    def answer(request: httpx.Request) -> httpx.Response:
        slug, limit = request.url.params.get("slug"), int(request.url.params["limit"])
        at = slugs.index(slug) if slug in slugs else 0
        following = slugs[at + limit] if at + limit < len(slugs) else None
        return httpx.Response(200, json={"msg": "ok", "page": {"hashes": listed[at : at + limit], "next": following}})

    store = PictrsStore(PictrsClient("http://pictrs:8080", "key", transport=httpx.MockTransport(answer)), page=size)
    items = list(store.list())
    check(items, len(listed))
    assert [item.key for item in items if isinstance(item, Object)] == [one["hex"] for one in good]  # type: ignore[index]
    gaps = [item for item in items if isinstance(item, Unscanned)]
    assert {gap.reason for gap in gaps} == {Reason.UNREADABLE}
    store.close()


@pytest.mark.long
def test_a_file_of_another_age_is_judged_like_its_neighbour(tmp_path: Path) -> None:
    media = tmp_path / "media"
    media.mkdir()
    for name, second in (("a.jpg", 15_032_385_535), ("b.jpg", -15_032_385_535), ("c.jpg", 0)):
        (media / name).write_bytes(jpeg_bytes("coffee"))
        try:
            os.utime(media / name, (second, second))
        except OverflowError:
            pytest.fail("the system cannot set such a time")
    for _ in range(2):
        done = program("scan", str(media), "--dry-run", "--json").json
        assert (done["listed"], done["unscanned"]) == (3, {})


def test_a_file_of_another_age_is_removed_like_its_neighbour(tmp_path: Path) -> None:
    media = tmp_path / "media"
    media.mkdir()
    (media / "late").write_bytes(RED_CIRCLE)
    (media / "early").write_bytes(RED_CIRCLE + b" x=1")
    os.utime(media / "late", (15_032_385_535, 15_032_385_535))
    os.utime(media / "early", (-15_032_385_535, -15_032_385_535))
    store = LocalStore(str(media))
    bench = Bench(tmp_path / "ledger.db", store)
    tally, _ = bench.scan(dry_run=True)
    assert (tally.listed, tally.block) == (2, 2)
    tally, _ = bench.scan()
    assert (tally.already_judged, tally.acted) == (2, 2), "they are the same files as before"
    assert list(media.iterdir()) == []
    bench.close()
    store.close()


class Hungry(FakeDetector):
    """A detector that one picture is too much for."""

    def score(self, batch: Any) -> Any:
        if any(b"hungry" in evidence.frame.rgb for evidence in batch):
            raise MemoryError
        return super().score(batch)


class HungryDecoder(FakeDecoder):
    """A decoder whose parent process has no room for one medium."""

    def decode(self, data: bytes, *more: Any) -> Any:
        if b"hungry" in data:
            raise MemoryError
        return super().decode(data, *more)


@pytest.mark.parametrize("where", ["read", "hashed", "decoded", "scored"])
def test_memory_that_runs_out_is_the_objects_own_gap(
    tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FakeStore({"a": RED_CIRCLE, "b": b"pic hungry", "c": RED})
    bench = Bench(tmp_path / "ledger.db", store)
    if where == "read":

        def fails(key: str) -> None:
            if key == "b":
                raise MemoryError

        store.before_fetch = fails
    elif where == "hashed":
        real = Cascade.score_content
        hungry = hashlib.sha256(b"pic hungry").digest()

        def score_content(self: Cascade, sha256: bytes, prints: Any) -> Any:
            if sha256 == hungry:
                raise MemoryError
            return real(self, sha256, prints)

        monkeypatch.setattr(Cascade, "score_content", score_content)
    elif where == "decoded":
        bench.decoder = HungryDecoder()
    else:
        bench.detectors = [*detectors(), Hungry("hungry", ("a.red",), cost=0.1)]
    tally, _ = bench.scan(dry_run=True)
    assert tally.accounted
    rows = {row.key: (row.verdict, row.unscanned) for row in bench.rows()}
    assert rows["b"] == (None, Reason.TOO_LARGE)
    assert rows["a"][0] is not None
    assert rows["c"][0] is not None
    bench.close()


def test_memory_that_runs_out_over_one_removal_fails_that_one(tmp_path: Path) -> None:
    store = FakeStore({"a": RED_CIRCLE, "b": RED_CIRCLE + b" 2", "c": RED_CIRCLE + b" 3"})
    bench = Bench(tmp_path / "ledger.db", store)
    real = store.remove

    def remove(obj: Object, sha256: bytes) -> Removal:
        if obj.key == "b":
            raise MemoryError
        return real(obj, sha256)

    with patch.object(store, "remove", remove):
        tally, _ = bench.scan()
    assert (tally.acted, tally.failed) == (2, 1)
    tally, _ = bench.scan()
    assert (tally.acted, store.objects) == (1, {})
    bench.close()
