"""What every store promises, kept by the S3 store against a real S3 server, with versions and without."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from fedi_safety.config.loading import load_settings
from fedi_safety.config.schema import S3, Settings
from fedi_safety.core.enums import PlanState, Reason
from fedi_safety.core.errors import StoreError, StoreUsageError, Unscannable
from fedi_safety.core.types import Object, Removal, Unscanned
from fedi_safety.stores import open_store
from fedi_safety.stores.s3.store import S3Store, open_s3
from support.needs import needs
from support.servers.s3 import S3Server, s3_server


def nothing(head: bytes) -> None:
    """Accept every object."""


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


@pytest.fixture(scope="module")
@needs("s3")
def server() -> Iterator[S3Server]:
    with s3_server() as running:
        yield running


def access_to(server: S3Server) -> S3:
    return S3.model_validate(
        {
            "access_key_id": server.access_key,
            "secret_access_key": server.secret_key,
            "endpoint": server.endpoint,
        }
    )


_made = iter(range(10**6))


@pytest.fixture(params=["unversioned", "versioned"])
def bucket(request: pytest.FixtureRequest, server: S3Server) -> str:
    return server.make_bucket(f"bucket-{next(_made)}", versions=request.param == "versioned")


@pytest.fixture
def store(server: S3Server, bucket: str) -> Iterator[S3Store]:
    opened = open_s3(f"s3://{bucket}", access_to(server))
    yield opened
    opened.close()


def keys(store: S3Store, *prefixes: str, since: float | None = None) -> list[str]:
    return [item.key for item in store.list(prefixes, since) if isinstance(item, Object)]


def only(store: S3Store, key: str) -> Object:
    (found,) = [item for item in store.list() if isinstance(item, Object) and item.key == key]
    return found


def test_keys_come_in_byte_order(server: S3Server, bucket: str, store: S3Store) -> None:
    names = ["a/z", "a.txt", "a-b/x", "a/b/c", "é", "z/1", "Z", "a0"]
    for name in names:
        server.put(bucket, name)
    listed = keys(store)
    assert listed == sorted(names, key=os.fsencode)
    assert listed == keys(store)


def test_odd_keys_are_listed_read_and_removed(server: S3Server, bucket: str, store: S3Store) -> None:
    names = [
        "-rf",
        "new\nline",
        " ",
        "tab\t",
        "a+b c%41",
        "a%2Fb",
        "*?[",
        "é",
        "😀",
        "x" * 255,
        "a&b<c>'\"",
        "a=b?c#d;e",
    ]
    for name in names:
        server.put(bucket, name, name.encode())
    objects = [item for item in store.list() if isinstance(item, Object)]
    assert [o.key for o in objects] == sorted(names, key=os.fsencode)
    for obj in objects:
        data = store.fetch(obj, nothing)
        assert data == obj.key.encode()
        assert store.remove(obj, sha256(data)).state is PlanState.DONE
    assert keys(store) == []


def test_prefixes_and_since(server: S3Server, bucket: str, store: S3Store) -> None:
    for name in ["a/1", "a/2", "ab/3"]:
        server.put(bucket, name)
    assert keys(store, "a/") == ["a/1", "a/2"]
    time.sleep(1.1)  # this server keeps whole seconds
    middle = float(int(time.time()))
    for name in ["b/4", "c"]:
        server.put(bucket, name)
    assert keys(store, "a") == ["a/1", "a/2", "ab/3"]
    assert keys(store, "c", "a/2", "a/2", "a/") == ["a/1", "a/2", "c"]
    assert keys(store, since=middle) == ["b/4", "c"]
    assert keys(store, "a", "c", since=middle) == ["c"]
    assert store.listed_from is None


def test_a_prefix_in_the_url_is_the_root(server: S3Server, bucket: str) -> None:
    for name in ["media/1", "media/sub/2", "media2/3", "other", "media/"]:
        server.put(bucket, name, b"" if name.endswith("/") else b"data")
    inner = open_s3(f"s3://{bucket}/media/", access_to(server))
    assert inner.url.startswith(f"s3://{bucket}/media?endpoint=http://127.0.0.1:")
    assert keys(inner) == ["1", "sub/2"]
    assert keys(inner, "s") == ["sub/2"]
    obj = only(inner, "sub/2")
    assert inner.fetch(obj, nothing) == b"data"
    assert inner.remove(obj, sha256(b"data")).state is PlanState.DONE
    inner.close()
    whole = open_s3(f"s3://{bucket}", access_to(server))
    assert keys(whole) == ["media/1", "media2/3", "other"]
    whole.close()


def test_folder_markers_and_the_health_check_are_no_media(server: S3Server, bucket: str, store: S3Store) -> None:
    for key in ("health-check", "folder/", "nested/health-check"):
        server.put(bucket, key, b"")
    items = list(store.list())
    assert [(i.object.key, i.reason) for i in items if isinstance(i, Unscanned)] == [("folder/", Reason.NOT_MEDIA)]
    assert keys(store) == ["nested/health-check"]
    server.put(bucket, "health-check", b"not empty, so not pict-rs'")
    assert keys(store) == ["health-check", "nested/health-check"]


def test_objects_that_vanish_or_change_are_told_apart(server: S3Server, bucket: str, store: S3Store) -> None:
    for name in ("gone", "grown", "replaced"):
        server.put(bucket, name)
    objects = {o.key: o for o in store.list() if isinstance(o, Object)}
    server.client().delete_object(Bucket=bucket, Key="gone")
    server.put(bucket, "grown", b"data and more")
    server.put(bucket, "replaced", b"DATA")
    reasons = {}
    for key, obj in objects.items():
        with pytest.raises(Unscannable) as caught:
            store.fetch(obj, nothing)
        reasons[key] = caught.value.reason
    assert reasons == {"gone": Reason.VANISHED, "grown": Reason.CHANGED, "replaced": Reason.CHANGED}


def test_accept_sees_the_head_and_may_refuse(server: S3Server, bucket: str, store: S3Store) -> None:
    server.put(bucket, "pic", bytes(range(256)) * 4096)
    server.put(bucket, "small", b"12")
    server.put(bucket, "empty", b"")
    seen = []

    def refuse(head: bytes) -> None:
        seen.append(head)
        raise Unscannable(Reason.NOT_MEDIA)

    for key in ("pic", "small", "empty"):
        with pytest.raises(Unscannable) as caught:
            store.fetch(only(store, key), refuse)
        assert caught.value.reason is Reason.NOT_MEDIA
    assert [len(head) for head in seen] == [4096, 2, 0]
    assert store.fetch(only(store, "pic"), nothing) == bytes(range(256)) * 4096
    assert store.fetch(only(store, "empty"), nothing) == b""


def test_removing_takes_exactly_the_judged_object(server: S3Server, bucket: str, store: S3Store) -> None:
    for key, data in (("a/pic", b"condemned"), ("a/pic2", b"harmless"), ("a/pi", b"harmless")):
        server.put(bucket, key, data)
    obj = only(store, "a/pic")
    assert store.remove(obj, sha256(b"condemned")) == Removal(PlanState.DONE, "verified: the key is gone")
    assert keys(store) == ["a/pi", "a/pic2"]
    assert store.remove(obj, sha256(b"condemned")) == Removal(PlanState.GONE, "it was not there any more")


@pytest.mark.parametrize("change", ["content", "size", "hash"])
def test_removing_refuses_what_was_not_judged(server: S3Server, bucket: str, store: S3Store, change: str) -> None:
    server.put(bucket, "pic", b"condemned")
    obj = only(store, "pic")
    if change == "content":
        server.put(bucket, "pic", b"CONDEMNED")
    elif change == "size":
        server.put(bucket, "pic", b"condemned or not")
    judged = b"something else" if change == "hash" else b"condemned"
    assert store.remove(obj, sha256(judged)).state is PlanState.CHANGED
    assert keys(store) == ["pic"]


def test_many_threads_share_one_store(server: S3Server, bucket: str, store: S3Store) -> None:
    for i in range(40):
        server.put(bucket, f"{i:02d}", b"%02d" % i * 5000)
    objects = [item for item in store.list() if isinstance(item, Object)]
    with ThreadPoolExecutor(8) as pool:
        bodies = list(pool.map(lambda o: store.fetch(o, nothing), objects))
        assert bodies == [o.key.encode() * 5000 for o in objects]
        states = list(pool.map(lambda o: store.remove(o, sha256(o.key.encode() * 5000)).state, objects))
    assert states == [PlanState.DONE] * 40


def test_close_may_be_called_twice_and_urls_name_the_same_store(server: S3Server, bucket: str) -> None:
    access = access_to(server)
    by_config = open_store(f"s3://{bucket}", Settings(s3=access))
    bare = access.model_copy(update={"endpoint": None})
    by_url = open_store(
        f"s3://{bucket}/?endpoint={server.endpoint.replace('http', 'HTTP')}/&style=path", Settings(s3=bare)
    )
    again = open_store(by_config.url, Settings(s3=bare))
    assert by_config.url == by_url.url == again.url == f"s3://{bucket}?endpoint={server.endpoint}"
    for opened in (by_config, by_url, again):
        opened.close()
        opened.close()


def test_keys_come_from_the_environment_and_show_nowhere(
    server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.secret_key)
    monkeypatch.setenv("OBJECT_STORAGE_ENDPOINT", server.endpoint)
    store = open_store(f"s3://{bucket}", load_settings())
    shown = f"{store!r} {store.url} {vars(store)!r}"
    assert server.secret_key not in shown
    assert server.access_key not in shown
    store.close()


@pytest.mark.parametrize(
    ("url", "changes", "cause", "code"),
    [
        ("s3://nowhere-at-all", {}, "no such bucket", 2),
        ("s3://bkt", {"access_key_id": "nobody"}, "access key id is unknown", 2),
        ("s3://bkt", {"secret_access_key": "wrong"}, "secret key is wrong", 2),
        ("s3://bkt", {"endpoint": "http://127.0.0.1:1"}, "connection is refused", 3),
        ("s3://bkt", {"endpoint": "TLS"}, "does not speak TLS", 2),
        ("s3://bkt", {"endpoint": "http://host.invalid"}, "no such host", 3),
        ("s3://bkt", {"endpoint": "ftp://127.0.0.1"}, "endpoint is not a plain http", 2),
        ("s3://bkt", {"access_key_id": None}, "no access key id", 2),
        ("s3://bkt", {"secret_access_key": None}, "no secret access key", 2),
        ("s3://name:word@b1", {}, "holds credentials", 2),
        ("s3://", {}, "names no bucket", 2),
        ("s3://bkt?key=1", {}, "unknown part", 2),
        ("s3://bkt?style=round", {}, "no style", 2),
    ],
)
def test_a_wrong_place_is_one_clear_line(
    server: S3Server, url: str, changes: dict[str, str | None], cause: str, code: int
) -> None:
    if "endpoint" in changes and changes["endpoint"] == "TLS":
        changes = {"endpoint": server.endpoint.replace("http", "https")}
    given = {
        "access_key_id": server.access_key,
        "secret_access_key": server.secret_key,
        "endpoint": server.endpoint,
        **changes,
    }
    with pytest.raises(StoreError, match=cause) as caught:
        open_s3(url, S3.model_validate(given))
    line = caught.value.line()
    assert "\n" not in line
    assert server.secret_key not in line
    assert "word" not in line
    assert "; " in line  # a remedy follows the cause
    assert caught.value.exit_code == code
    assert isinstance(caught.value, StoreUsageError) == (code == 2)
