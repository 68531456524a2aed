"""What every store promises, kept by the store over a real pict-rs; where the promise differs, the test says so."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from pydantic import SecretStr

from fedi_safety.config.schema import Pictrs, Settings
from fedi_safety.core.enums import PlanState, Reason
from fedi_safety.core.errors import StoreError, StoreUsageError, Unscannable
from fedi_safety.core.types import Object
from fedi_safety.stores import open_store
from fedi_safety.stores.pictrs import PictrsStore
from support.corpus.photos import jpeg_bytes
from support.needs import needs
from support.servers.pictrs import PictrsServer, free_port, pictrs_database, pictrs_server

NAMES = ("chelsea", "coffee", "rocket", "china", "hubble")


@pytest.fixture(scope="module", params=["sled", pytest.param("postgres", marks=pytest.mark.needs("postgresql"))])
@needs("pictrs")
def server(request: pytest.FixtureRequest) -> Iterator[PictrsServer]:
    """One pict-rs with each kind of repository: they page through their hashes by different means."""
    with ExitStack() as stack:
        variables = {}
        if request.param == "postgres":
            variables = {"REPO__TYPE": "postgres", "REPO__URL": stack.enter_context(pictrs_database()).owner}
        yield stack.enter_context(pictrs_server(**variables))


@pytest.fixture
def store(server: PictrsServer) -> Iterator[PictrsStore]:
    server.clear()
    opened = opened_store(server)
    opened._client.pause_s = 0.01  # no test here waits for a restart
    yield opened
    opened.close()
    opened.close()


def opened_store(server: PictrsServer, key: str | None = None) -> PictrsStore:
    opened = open_store(
        server.store_url,
        Settings(pictrs=Pictrs(url=None, api_key=SecretStr(key or server.api_key), database=None)),
    )
    assert isinstance(opened, PictrsStore)
    return opened


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def nothing(head: bytes) -> None:
    """Accept every object."""


def objects(store: PictrsStore, *prefixes: str, since: float | None = None) -> list[Object]:
    found = list(store.list(prefixes, since))
    assert all(isinstance(item, Object) for item in found)
    return [item for item in found if isinstance(item, Object)]


def stored(server: PictrsServer, alias: str) -> bytes:
    """Return the bytes of an alias' file, as they lie in the file store."""
    return Path(server.files, server.internal("GET", "identifier", alias=alias)["identifier"]).read_bytes()


def test_every_picture_is_listed_once_in_a_stable_order(server: PictrsServer, store: PictrsStore) -> None:
    aliases = [server.upload(jpeg_bytes(name)) for name in NAMES]
    listed = objects(store)
    # The newest first instead of the byte order of the keys: pict-rs has no other order.
    assert [o.key[:64] for o in listed] == [hashlib.sha256(stored(server, a)).hexdigest() for a in reversed(aliases)]
    assert listed == objects(store)
    assert [o.size for o in listed] == [len(stored(server, a)) for a in reversed(aliases)]
    assert all(abs(o.mtime_ns / 1e9 - time.time()) < 120 for o in listed)
    small = PictrsStore(store._client, page=2)
    assert objects(small) == listed


def test_prefixes_and_since(server: PictrsServer, store: PictrsStore) -> None:
    for name in NAMES[:3]:
        server.upload(jpeg_bytes(name))
    listed = objects(store)
    some = listed[1]
    assert objects(store, some.key[:20]) == [some]
    assert objects(store, some.key[:20], listed[0].key) == listed[:2]
    assert objects(store, since=some.mtime_ns / 1e9 - 1e-4) == listed[:2]
    assert objects(store, since=time.time() + 60) == []


def test_fetch_returns_the_stored_bytes_and_makes_no_variant(server: PictrsServer, store: PictrsStore) -> None:
    alias = server.upload(jpeg_bytes("chelsea"))
    before = server.stored()
    (obj,) = objects(store)
    heads: list[bytes] = []
    data = store.fetch(obj, heads.append)
    assert data == stored(server, alias)
    assert heads == [data[:4096]]
    assert server.stored() == before


def test_accept_may_refuse(server: PictrsServer, store: PictrsStore) -> None:
    server.upload(jpeg_bytes("chelsea"))

    def refuse(head: bytes) -> None:
        raise Unscannable(Reason.NOT_MEDIA)

    with pytest.raises(Unscannable) as caught:
        store.fetch(objects(store)[0], refuse)
    assert caught.value.reason is Reason.NOT_MEDIA


def test_the_same_picture_is_one_object_with_all_its_aliases(server: PictrsServer, store: PictrsStore) -> None:
    aliases = {server.upload(jpeg_bytes("coffee")) for _ in range(3)}
    assert len(aliases) == 3
    (obj,) = objects(store)
    known = store.describe(obj)
    assert known is not None
    assert set(known.aliases) == aliases
    assert known.identifier in server.stored()
    assert known.origins is None
    removal = store.remove(obj, bytes.fromhex(obj.key[:64]))
    assert removal.state is PlanState.DONE, removal.detail
    assert all(alias in removal.detail for alias in aliases)
    assert known.identifier in removal.detail
    assert removal.receipt == known.receipt and set(removal.receipt["aliases"]) == aliases
    assert {server.status(alias) for alias in aliases} == {404}
    assert store.describe(obj) is None


def test_fetching_goes_on_with_the_next_alias(server: PictrsServer, store: PictrsStore) -> None:
    first, second = server.upload(jpeg_bytes("coffee")), server.upload(jpeg_bytes("coffee"))
    (obj,) = objects(store)
    used = store._aliases[obj.key]
    server.internal("POST", "delete", alias=used)
    deadline = time.monotonic() + 10
    while server.status(used) != 404:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert store.fetch(obj, nothing) == stored(server, second if used == first else first)


def test_removing_takes_exactly_the_judged_picture_and_twice_is_harmless(
    server: PictrsServer, store: PictrsStore
) -> None:
    kept, bad = server.upload(jpeg_bytes("chelsea")), server.upload(jpeg_bytes("rocket"))
    sha256 = hashlib.sha256(stored(server, bad)).digest()
    (obj,) = (o for o in objects(store) if o.key.startswith(sha256.hex()))
    assert store.remove(obj, hashlib.sha256(b"another").digest()).state is PlanState.CHANGED
    assert server.status(bad) == 200
    assert store.remove(obj, sha256).state is PlanState.DONE
    assert store.remove(obj, sha256).state is PlanState.GONE
    assert (server.status(kept), server.status(bad)) == (200, 404)
    with pytest.raises(Unscannable) as caught:
        store.fetch(obj, nothing)
    assert caught.value.reason is Reason.VANISHED


def test_variants_go_and_a_new_upload_of_the_same_picture_works(server: PictrsServer, store: PictrsStore) -> None:
    alias = server.upload(jpeg_bytes("china"))
    server.thumbnail(alias, 96)
    server.thumbnail(alias, 128)
    assert len(server.stored()) == 3
    (obj,) = objects(store)
    assert store.remove(obj, bytes.fromhex(obj.key[:64])).state is PlanState.DONE
    deadline = time.monotonic() + 10  # the files go last, after pict-rs has forgotten them
    while server.stored() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert server.stored() == []
    again = server.upload(jpeg_bytes("china"))
    assert server.status(again) == 200
    assert [o.key for o in objects(store)] == [obj.key]
    assert len(server.thumbnail(again)) > 100


def test_a_file_removed_behind_its_back_is_a_gap_and_can_still_be_purged(
    server: PictrsServer, store: PictrsStore
) -> None:
    alias = server.upload(jpeg_bytes("hubble"))
    (obj,) = objects(store)
    (server.files / server.stored()[0]).unlink()
    with pytest.raises(Unscannable) as caught:
        store.fetch(obj, nothing)
    assert caught.value.reason is Reason.UNREADABLE
    assert "prune_missing" in caught.value.detail
    assert store.remove(obj, bytes.fromhex(obj.key[:64])).state is PlanState.DONE
    assert server.status(alias) == 404
    assert server.status(server.upload(jpeg_bytes("hubble"))) == 200


def test_a_lost_file_that_stops_pictrs_listing_is_said_and_hides_nothing_before_it(
    server: PictrsServer, store: PictrsStore
) -> None:
    # A backgrounded upload has no blurhash until somebody asks, as uploads before 0.5.7 have none.
    files = {"images[]": ("picture", jpeg_bytes("coffee"))}
    assert server.http.post(f"{server.url}/image/backgrounded", files=files).status_code == 202
    wait_for(lambda: [Path(name).suffix for name in server.stored()] == [".jpeg"])
    time.sleep(0.5)  # the record follows the file
    (server.files / server.stored()[0]).unlink()
    server.upload(jpeg_bytes("chelsea"))
    seen: list[str] = []
    with pytest.raises(StoreError) as caught:
        for item in store.list():
            assert isinstance(item, Object)
            seen.append(item.key)
    assert "prune_missing" in caught.value.line()
    assert len(seen) == 1
    server.internal("POST", "prune_missing", force="true")
    wait_for(lambda: "page" in server.internal("GET", "hashes"))
    assert [o.key for o in objects(store)] == seen


def test_a_file_changed_behind_its_back_is_never_returned(server: PictrsServer, store: PictrsStore) -> None:
    server.upload(jpeg_bytes("hubble"))
    (obj,) = objects(store)
    path = server.files / server.stored()[0]
    data = path.read_bytes()
    for other in (data[:-1], data + b"x", data[:-1] + b"x"):
        path.write_bytes(other)
        with pytest.raises(Unscannable) as caught:
            store.fetch(obj, nothing)
        assert caught.value.reason in (Reason.CHANGED, Reason.FETCH_FAILED)
    path.write_bytes(data)
    assert store.fetch(obj, nothing) == data


def test_a_listing_survives_removals_while_it_runs(server: PictrsServer, store: PictrsStore) -> None:
    for name in NAMES:
        server.upload(jpeg_bytes(name))
    everything = objects(store)
    walk = PictrsStore(store._client, page=2)
    seen = []
    for item in walk.list():
        assert isinstance(item, Object)
        seen.append(item.key)
        if len(seen) == 2:  # the next page begins at the third, which goes now, and so does the second
            for gone in everything[1:3]:
                assert store.remove(gone, bytes.fromhex(gone.key[:64])).state is PlanState.DONE
    assert seen == [o.key for o in everything[:2] + everything[3:]]


def test_many_threads_at_once(server: PictrsServer, store: PictrsStore) -> None:
    for name in NAMES:
        server.upload(jpeg_bytes(name))
    listed = objects(store)
    before = threading.active_count()  # whatever other tests have left
    with ThreadPoolExecutor(16) as pool:
        for obj, data in pool.map(lambda o: (o, store.fetch(o, nothing)), listed * 8):
            assert hashlib.sha256(data).hexdigest() == obj.key[:64]
    assert threading.active_count() < before + 14, "each of the threads left one more"


def test_a_wrong_key_names_the_setting(server: PictrsServer) -> None:
    store = opened_store(server, "wrong-key-xyz")
    with pytest.raises(StoreUsageError) as caught:
        list(store.list())
    assert "pictrs.api_key" in caught.value.line()
    assert "wrong-key-xyz" not in caught.value.line()
    store.close()


def test_nobody_listening_is_an_outage(server: PictrsServer) -> None:
    url = f"pictrs+http://127.0.0.1:{free_port()}"
    store = open_store(url, Settings(pictrs=Pictrs(url=None, api_key=SecretStr("key"), database=None)))
    with pytest.raises(StoreError) as caught:
        list(store.list())
    assert not isinstance(caught.value, StoreUsageError)
    assert "cannot be reached" in caught.value.line()
    assert url.removeprefix("pictrs+") in caught.value.line()
    store.close()
