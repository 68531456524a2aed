"""The S3 store against a real server behind a proxy that spoils answers, and what only S3 has: versions, locks."""

from __future__ import annotations

import hashlib
import logging
import os
import time
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from html import escape
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from fedi_safety.config.schema import S3
from fedi_safety.core.enums import PlanState, Reason
from fedi_safety.core.errors import StoreError, StoreUsageError, Unscannable
from fedi_safety.core.types import Object, Removal
from fedi_safety.stores.s3.faults import Patience
from fedi_safety.stores.s3.store import S3Store, open_s3
from support.needs import needs
from support.servers.faults import Answer, Faults, faults_before, xml_error
from support.servers.s3 import S3Server, s3_server, timed_key

QUICK = Patience(first_wait_s=0.01, longest_wait_s=0.05, total_s=20, connect_s=1, read_s=0.5)
DATA = bytes(range(256)) * 400


def nothing(head: bytes) -> None:
    """Accept every object."""


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


@pytest.fixture(scope="module")
@needs("s3")
def server() -> Iterator[S3Server]:
    with s3_server() as running:
        yield running


@pytest.fixture
def proxy(server: S3Server) -> Iterator[Faults]:
    with faults_before(server.port) as running:
        yield running


_made = iter(range(10**6))


@pytest.fixture
def bucket(server: S3Server) -> str:
    return server.make_bucket(f"faulty-{next(_made)}")


Open = Callable[..., S3Store]


@pytest.fixture
def reach(server: S3Server, proxy: Faults) -> Iterator[Open]:
    """Open a bucket through the proxy; `direct` goes past it."""
    opened: list[S3Store] = []

    def open_bucket(bucket: str, *, user: tuple[str, str] | None = None, patience: Patience = QUICK) -> S3Store:
        key_id, secret = user or (server.access_key, server.secret_key)
        access = S3.model_validate(
            {"access_key_id": key_id, "secret_access_key": secret, "endpoint": proxy.endpoint, "connections": 4}
        )
        opened.append(open_s3(f"s3://{bucket}", access, patience))
        return opened[-1]

    yield open_bucket
    for store in opened:
        store.close()


def only(store: S3Store, key: str) -> Object:
    (found,) = [item for item in store.list() if isinstance(item, Object) and item.key == key]
    return found


def keys(store: S3Store, since: float | None = None) -> list[str]:
    return [item.key for item in store.list(since=since) if isinstance(item, Object)]


# --- faults on the way

FAULTS = [
    "storm", "too many", "html error", "empty error", "reset", "stall",
    "truncate", "long length", "short length", "reset in body",
]  # fmt: skip


@pytest.mark.parametrize("way", ["obstore", "short", "long"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_passing_fault_costs_a_retry_and_nothing_else(
    server: S3Server, proxy: Faults, bucket: str, reach: Open, fault: str, way: str
) -> None:
    server.put(bucket, "pic", DATA)
    store = reach(bucket)
    obj = only(store, "pic")
    gets = store._client._gets
    assert gets._obstore is not None
    if way == "long":
        gets._pattern = None  # every GET is botocore's own now; else none is
    else:
        store._client._client.get_object = None
    if way == "short":
        gets._obstore = None
    heads: list[bytes] = []
    proxy.heal()
    proxy.spoil(fault, 2, contains="/pic")
    assert store.fetch(obj, heads.append) == DATA
    assert heads == [DATA[:4096]]
    assert proxy.count("GET", "/pic") == 3


@pytest.mark.parametrize("fault", [*FAULTS, "html page"])
def test_a_lasting_fault_is_a_failed_fetch_after_few_tries(
    server: S3Server, proxy: Faults, bucket: str, reach: Open, fault: str
) -> None:
    server.put(bucket, "pic", DATA)
    store = reach(bucket)
    obj = only(store, "pic")
    proxy.heal()
    proxy.spoil(fault, 1000, contains="/pic")
    with pytest.raises(Unscannable) as caught:
        store.fetch(obj, nothing)
    assert caught.value.reason is Reason.FETCH_FAILED
    # One more where obstore says that it was refused: botocore is asked why, and alone for a while.
    assert proxy.count("GET", "/pic") in (QUICK.tries, QUICK.tries + 1)


def test_a_trickle_is_given_up(server: S3Server, proxy: Faults, bucket: str, reach: Open) -> None:
    server.put(bucket, "pic", DATA)
    store = reach(bucket, patience=Patience(tries=2, first_wait_s=0.01, read_s=0.5, slowest_bytes_per_s=10**6))
    obj = only(store, "pic")
    proxy.spoil("trickle", 1000, contains="/pic")
    began = time.monotonic()
    with pytest.raises(Unscannable) as caught:
        store.fetch(obj, nothing)
    assert caught.value.reason is Reason.FETCH_FAILED
    assert "slowly" in caught.value.detail
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("fault", ["storm", "too many", "html error", "html page", "reset", "truncate", "stall"])
def test_listing_goes_on_after_a_fault(server: S3Server, proxy: Faults, bucket: str, reach: Open, fault: str) -> None:
    for i in range(3):
        server.put(bucket, str(i))
    store = reach(bucket)
    proxy.spoil(fault, 2, contains="list-type")
    assert keys(store) == ["0", "1", "2"]


def test_a_listing_that_stays_broken_is_an_error_of_the_store(
    server: S3Server, proxy: Faults, bucket: str, reach: Open
) -> None:
    store = reach(bucket)
    proxy.spoil("storm", 1000)
    with pytest.raises(StoreError, match="503 SlowDown") as caught:
        list(store.list())
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("fault", "cause", "code"),
    [
        ("expired", "have expired; renew", 3),
        ("skewed", "clock", 3),
        ("r2 unauthorized", "refuses the credentials", 2),
        ("denied", "grant s3:ListBucket", 2),
        ("redirect", "elsewhere", 2),
        ("html page", "not S3's", 3),
        ("html error", "502", 3),
    ],
)
def test_what_is_wrong_with_the_store_is_one_line(
    server: S3Server, proxy: Faults, bucket: str, reach: Open, fault: str, cause: str, code: int
) -> None:
    proxy.spoil(fault, 1000)
    with pytest.raises(StoreError, match=cause) as caught:
        reach(bucket)
    assert caught.value.exit_code == code
    assert caught.value.thing == f"s3://{bucket}?endpoint={proxy.endpoint}"
    assert server.secret_key not in caught.value.line()


def test_a_region_that_the_service_names_is_used(server: S3Server, proxy: Faults, bucket: str) -> None:
    access = S3.model_validate(
        {
            "access_key_id": server.access_key,
            "secret_access_key": server.secret_key,
            "endpoint": proxy.endpoint,
            "region": "eu-west-9",
        }
    )
    proxy.spoil("wrong region", 1)
    store = open_s3(f"s3://{bucket}", access, QUICK)
    assert keys(store) == []
    store.close()


def test_credentials_that_expire_meanwhile_stop_the_run_and_not_each_object(
    server: S3Server, proxy: Faults, bucket: str, reach: Open
) -> None:
    server.put(bucket, "pic", DATA)
    store = reach(bucket)
    obj = only(store, "pic")
    proxy.spoil("expired", 1000)
    with pytest.raises(StoreError, match="expired"):
        store.fetch(obj, nothing)
    removal = store.remove(obj, sha256(DATA))
    assert removal.state is PlanState.FAILED
    assert "expired" in removal.detail


def test_one_object_that_may_not_be_read_is_a_gap(server: S3Server, proxy: Faults, bucket: str, reach: Open) -> None:
    server.put(bucket, "pic", DATA)
    store = reach(bucket)
    obj = only(store, "pic")
    proxy.heal()
    proxy.spoil("denied", 2, contains="/pic")  # obstore is refused, and botocore is told why
    with pytest.raises(Unscannable) as caught:
        store.fetch(obj, nothing)
    assert proxy.count("GET", "/pic") == 2
    assert caught.value.reason is Reason.UNREADABLE
    assert "s3:GetObject" in caught.value.detail


def test_nothing_secret_is_logged(
    server: S3Server, proxy: Faults, bucket: str, reach: Open, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.put(bucket, "pic", DATA)
    store = reach(bucket)
    proxy.spoil("storm", 2)
    store.fetch(only(store, "pic"), nothing)
    assert server.secret_key not in caplog.text
    assert "AWS4-HMAC" not in caplog.text


# --- removing


@pytest.mark.parametrize("fault", ["storm", "reset", "stall", "html error"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
def test_a_removal_outlasts_a_fault(
    server: S3Server, proxy: Faults, bucket: str, reach: Open, fault: str, method: str
) -> None:
    server.put(bucket, "pic", DATA)
    store = reach(bucket)
    obj = only(store, "pic")
    proxy.spoil(fault, 2, method=method)
    assert store.remove(obj, sha256(DATA)).state is PlanState.DONE
    assert keys(store) == []


@pytest.mark.parametrize(
    ("fault", "cause"), [("denied", "s3:DeleteObject"), ("mfa", "MFA"), ("storm", "503"), ("reset", "next run")]
)
def test_a_deletion_that_is_refused_is_a_failed_act(
    server: S3Server, proxy: Faults, bucket: str, reach: Open, fault: str, cause: str
) -> None:
    server.put(bucket, "pic", DATA)
    store = reach(bucket)
    obj = only(store, "pic")
    proxy.spoil(fault, 1000, method="DELETE")
    removal = store.remove(obj, sha256(DATA))
    assert removal.state is PlanState.FAILED
    assert cause in removal.detail or "again later" in removal.detail or "check the endpoint" in removal.detail
    assert keys(store) == ["pic"]


def test_a_deletion_that_does_nothing_is_noticed(server: S3Server, proxy: Faults, bucket: str, reach: Open) -> None:
    server.put(bucket, "pic", DATA)
    store = reach(bucket)
    obj = only(store, "pic")
    proxy.answer(lambda _: (204, ""), method="DELETE")
    removal = store.remove(obj, sha256(DATA))
    assert removal.state is PlanState.FAILED
    assert "still answers" in removal.detail


def test_a_truncated_read_back_never_passes_for_other_content(
    server: S3Server, proxy: Faults, bucket: str, reach: Open
) -> None:
    server.put(bucket, "pic", DATA)
    store = reach(bucket)
    obj = only(store, "pic")
    proxy.spoil("truncate", 1000, method="GET", contains="/pic")
    assert store.remove(obj, sha256(DATA)).state is PlanState.FAILED


def test_a_service_without_versions_is_served_plainly(
    server: S3Server, proxy: Faults, bucket: str, reach: Open
) -> None:
    server.put(bucket, "pic", DATA)
    store = reach(bucket)
    proxy.spoil("not implemented", 1000, contains="versions")
    assert store.remove(only(store, "pic"), sha256(DATA)) == Removal(PlanState.DONE, "verified: the key is gone")


def all_versions(server: S3Server, bucket: str) -> list[str]:
    page: dict[str, Any] = server.client().list_object_versions(Bucket=bucket)
    return [entry["Key"] for kind in ("Versions", "DeleteMarkers") for entry in page.get(kind, [])]


@pytest.mark.parametrize("suspended", [False, True])
def test_every_version_goes_and_no_other_key(server: S3Server, reach: Open, suspended: bool) -> None:
    bucket = server.make_bucket(f"versions-{next(_made)}", versions=True)
    for data in (b"first", b"second"):
        server.put(bucket, "pic", data)
    server.client().delete_object(Bucket=bucket, Key="pic")
    server.put(bucket, "pic", b"third")
    server.put(bucket, "pic2", b"other")
    if suspended:
        server.set_versioning(bucket, "Suspended")
    server.put(bucket, "pic", DATA)
    store = reach(bucket)
    assert store.remove(only(store, "pic"), sha256(DATA)) == Removal(
        PlanState.DONE,
        "5 versions and markers deleted; verified: the key is gone",
    )
    assert all_versions(server, bucket) == ["pic2"]


def test_what_a_marker_only_hides_is_removed_too(server: S3Server, reach: Open) -> None:
    bucket = server.make_bucket(f"hidden-{next(_made)}", versions=True)
    server.put(bucket, "pic", DATA)
    store = reach(bucket)
    obj = only(store, "pic")
    server.client().delete_object(Bucket=bucket, Key="pic")
    assert store.remove(obj, sha256(b"another")).state is PlanState.GONE
    assert len(all_versions(server, bucket)) == 2
    assert store.remove(obj, sha256(DATA)).state is PlanState.DONE
    assert all_versions(server, bucket) == []
    assert store.remove(obj, sha256(DATA)) == Removal(PlanState.GONE, "it was not there any more")


def test_an_interrupted_removal_is_finished_by_the_next(server: S3Server, proxy: Faults, reach: Open) -> None:
    bucket = server.make_bucket(f"half-{next(_made)}", versions=True)
    for data in (b"first", b"second", DATA):
        server.put(bucket, "pic", data)
    store = reach(bucket, patience=Patience(tries=1))
    obj = only(store, "pic")
    latest = server.client().list_object_versions(Bucket=bucket)["Versions"][0]["VersionId"]
    proxy.spoil("reset", 1, method="DELETE", contains=latest)
    assert store.remove(obj, sha256(DATA)).state is PlanState.FAILED
    assert all_versions(server, bucket) == ["pic"]
    assert server.client().get_object(Bucket=bucket, Key="pic")["Body"].read() == DATA
    assert store.remove(obj, sha256(DATA)).state is PlanState.DONE
    assert all_versions(server, bucket) == []


def test_a_locked_object_is_a_failed_act(server: S3Server, reach: Open) -> None:
    bucket = server.make_bucket(f"locked-{next(_made)}", lock=True)
    until = datetime.now(UTC) + timedelta(seconds=30)
    server.client().put_object(
        Bucket=bucket,
        Key="pic",
        Body=DATA,
        ObjectLockMode="GOVERNANCE",
        ObjectLockRetainUntilDate=until,
        ChecksumAlgorithm="CRC32",
    )
    store = reach(bucket)
    removal = store.remove(only(store, "pic"), sha256(DATA))
    assert removal.state is PlanState.FAILED
    assert "object lock" in removal.detail
    assert "retention" in removal.detail
    assert all_versions(server, bucket) == ["pic"]


def test_keys_with_too_few_rights(server: S3Server, bucket: str, reach: Open) -> None:
    server.put(bucket, "pic", DATA)
    user = ("reader" + str(next(_made)), "secret-of-reader")
    server.add_user(*user)
    with pytest.raises(StoreUsageError, match="grant s3:ListBucket"):
        reach(bucket, user=user)
    server.allow(bucket, user[0], "s3:ListBucket")
    store = reach(bucket, user=user)
    obj = only(store, "pic")
    with pytest.raises(Unscannable) as caught:
        store.fetch(obj, nothing)
    assert caught.value.reason is Reason.UNREADABLE
    server.allow(bucket, user[0], "s3:ListBucket", "s3:GetObject")
    assert store.fetch(obj, nothing) == DATA
    removal = store.remove(obj, sha256(DATA))
    assert removal.state is PlanState.FAILED
    assert "grant s3:DeleteObject" in removal.detail
    assert keys(store) == ["pic"]


def test_a_marker_is_not_taken_for_a_removal(server: S3Server, reach: Open) -> None:
    bucket = server.make_bucket(f"few-{next(_made)}", versions=True)
    server.put(bucket, "pic", DATA)
    user = ("few" + str(next(_made)), "secret-of-few")
    server.add_user(*user)
    server.allow(bucket, user[0], "s3:ListBucket", "s3:GetObject", "s3:DeleteObject")
    store = reach(bucket, user=user)
    removal = store.remove(only(store, "pic"), sha256(DATA))
    assert removal.state is PlanState.FAILED
    assert "keeps versions" in removal.detail
    assert "s3:DeleteObjectVersion" in removal.detail


# --- listing much, and from a key


def test_thousands_of_keys_stream_in_pages(server: S3Server, proxy: Faults, bucket: str, reach: Open) -> None:
    names = [f"{i // 500:03d}/{i:06d}" for i in range(5200)]
    server.put_files(bucket, names)
    store = reach(bucket)
    proxy.heal()
    listing = store.list()
    assert next(listing) == Object("000/000000", 4, only_time(server, bucket), "8d777f385d3dfec8815d20f7496026dc")
    assert len(proxy.requests) == 1
    tracemalloc.start()
    assert [item.key for item in listing if isinstance(item, Object)] == names[1:]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(proxy.requests) == 6
    assert peak < 20 << 20


def only_time(server: S3Server, bucket: str) -> int:
    first = server.client().list_objects_v2(Bucket=bucket, MaxKeys=1)["Contents"][0]["LastModified"]
    return int(first.timestamp()) * 10**9


def test_new_objects_of_a_pictrs_are_listed_from_a_key(
    server: S3Server, proxy: Faults, bucket: str, reach: Open
) -> None:
    now = time.time()
    old = [timed_key(now - 86400 * 40 - i * 600, i) for i in range(2500)]
    new = [timed_key(now - 60 + i, i) for i in range(3)]
    server.put_files(bucket, [*old, "000/001/0b0b0b0b-1111-4222-8333-444444444444", "notes/readme"])
    for key in new:
        server.put(bucket, key)
    server.put(bucket, "health-check", b"")
    store = reach(bucket)
    proxy.heal()
    # The files were all written just now, so only the key tells them apart: the old ones are passed over by it.
    assert keys(store, since=now - 1200) == [*new, "notes/readme"]
    assert store.listed_from is not None
    assert store.listed_from < new[0]
    assert len(proxy.requests) == 4  # top directories, a look at the keys, from the key on, and `notes/`
    proxy.heal()
    assert keys(store, since=now + 7200) == []
    assert len(proxy.requests) == 3
    proxy.heal()
    assert len(keys(store)) == 2505
    assert store.listed_from is None


@pytest.mark.parametrize(
    "stranger", ["01/8e/" + "ab" * 32 + ".jpg", "01/99/report.csv", "01/zz/018e0a1b2c3d"], ids=["mbin", "csv", "odd"]
)
def test_a_bucket_with_other_keys_among_them_is_listed_as_a_whole(
    server: S3Server, bucket: str, reach: Open, stranger: str
) -> None:
    now = time.time()
    server.put_files(bucket, [timed_key(now - 86400 * 40, 1), stranger, "02/x"])
    store = reach(bucket)
    assert len(keys(store, since=now - 1200)) == 3
    assert store.listed_from is None


# --- services that do less


def listing_of(names: list[str], *, old: bool) -> Callable[[str], Answer]:
    """Answer listings as a service that knows no start (`old`: no second version of the listing either)."""

    def answer(target: str) -> Answer:
        asked = {name: values[0] for name, values in parse_qs(urlsplit(target).query).items()}
        start = asked.get("marker", "") if old else asked.get("continuation-token", "")
        page = [name for name in names if name > start][:3]
        more = bool(page) and page[-1] != names[-1]
        rows = "".join(
            f"<Contents><Key>{escape(name)}</Key><Size>4</Size><ETag>&quot;e&quot;</ETag>"
            "<LastModified>2026-01-02T03:04:05.678Z</LastModified></Contents>"
            for name in page
        )
        token = f"<NextContinuationToken>{page[-1]}</NextContinuationToken>" if more and not old else ""
        head = '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        return 200, f"{head}<IsTruncated>{str(more).lower()}</IsTruncated>{token}{rows}</ListBucketResult>"

    return answer


def test_a_service_with_only_the_older_listing(proxy: Faults, bucket: str, reach: Open) -> None:
    names = [f"{i:02d}" for i in range(10)]
    store = reach(bucket)
    proxy.answer(listing_of(names, old=True), contains="encoding-type")
    listed = list(store.list())
    assert [item.key for item in listed if isinstance(item, Object)] == names
    assert listed[0] == Object("00", 4, 1767323045678000000, "e")


def test_a_start_that_the_service_ignores_is_kept_here(proxy: Faults, bucket: str, reach: Open) -> None:
    now = time.time()
    names = [timed_key(now - 86400 * 40 + i, i) for i in range(7)] + [timed_key(now, 9)]
    store = reach(bucket)
    proxy.answer(listing_of(names, old=False), contains="encoding-type")
    assert [e.key for e in store._client.entries("01/", names[3])] == names[4:]
    assert store._client.ignores_start


# --- keys that are not UTF-8, and objects that a service will not give


def test_keys_that_are_not_utf8_are_read_and_removed_where_the_service_names_them(
    server: S3Server, proxy: Faults, bucket: str, reach: Open
) -> None:
    """The listing is of a service that encodes keys as it is asked to; the requests are judged by the real one."""
    names = ["caf\udce9.jpg", "d/\udcff\udcfe", "\U0010f0e9", "é", "plain"]
    server.put_files(bucket, names)
    store = reach(bucket)
    there = {os.fsencode(name) for name in names}

    def listing(_target: str) -> Answer:
        rows = "".join(
            f"<Contents><Key>{quote(name, safe='/')}</Key><Size>4</Size><ETag>8d777f385d3dfec8815d20f7496026dc</ETag>"
            "<LastModified>2026-01-02T03:04:05Z</LastModified></Contents>"
            for name in sorted(there)
        )
        encoded = "<EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>"
        return 200, f'<?xml version="1.0"?><ListBucketResult>{encoded}{rows}</ListBucketResult>'

    proxy.answer(listing, contains="list-type=2")
    objects = [item for item in store.list() if isinstance(item, Object)]
    assert [obj.key for obj in objects] == [os.fsdecode(name) for name in sorted(there)]
    for obj in objects:
        assert store.fetch(obj, nothing) == b"data"
        removal = store.remove(obj, sha256(b"data"))
        assert removal.state is PlanState.DONE, removal
        assert not (server.root / bucket / obj.key).exists()


def test_a_key_that_the_service_cannot_name_is_a_gap_and_never_gone(server: S3Server, bucket: str, reach: Open) -> None:
    server.put_files(bucket, ["caf\udce9.jpg", "plain"])  # this one writes U+FFFD for each such byte
    store = reach(bucket)
    odd, plain = (item for item in store.list() if isinstance(item, Object))
    assert store.fetch(plain, nothing) == b"data"
    with pytest.raises(Unscannable) as caught:
        store.fetch(odd, nothing)
    assert caught.value.reason is Reason.UNREADABLE
    assert "UTF-8" in caught.value.detail
    assert store.remove(odd, sha256(b"data")).state is PlanState.FAILED


def test_an_object_that_the_service_refuses_is_its_own_gap(
    server: S3Server, proxy: Faults, bucket: str, reach: Open
) -> None:
    server.put(bucket, "odd")
    server.put(bucket, "plain")
    store = reach(bucket)
    said = "The object was stored using a form of Server Side Encryption."
    proxy.answer(lambda _target: (400, xml_error("InvalidRequest", said)), method="GET", contains="/odd")
    odd, plain = (item for item in store.list() if isinstance(item, Object))
    with pytest.raises(Unscannable) as caught:
        store.fetch(odd, nothing)
    assert caught.value.reason is Reason.UNREADABLE
    assert store.fetch(plain, nothing) == b"data"
