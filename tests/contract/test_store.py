"""What every store promises, and what the local one promises on top. Run over real directories."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedi_safety.core.enums import PlanState, Reason
from fedi_safety.core.errors import StoreUsageError, Unscannable
from fedi_safety.core.types import Object, Removal, Unscanned
from fedi_safety.stores import open_store
from fedi_safety.stores.local import LocalStore
from support.file_descriptors import open_descriptors


def nothing(head: bytes) -> None:
    """Accept every object."""


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def put(root: Path, key: str, data: bytes = b"data") -> Path:
    path = root / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "media"
    path.mkdir()
    return path


@pytest.fixture
def store(root: Path) -> Iterator[LocalStore]:
    opened = LocalStore(str(root))
    yield opened
    opened.close()


def keys(store: LocalStore, *prefixes: str) -> list[str]:
    return [item.key for item in store.list(prefixes) if isinstance(item, Object)]


def only(store: LocalStore, key: str) -> Object:
    (found,) = [item for item in store.list() if isinstance(item, Object) and item.key == key]
    return found


def test_keys_come_in_byte_order_of_the_whole_tree(root: Path, store: LocalStore) -> None:
    names = ["a/z", "a.txt", "a-b/x", "a/b/c", "é", "z/1", "Z", "a0"]
    for name in names:
        put(root, name)
    listed = keys(store)
    assert listed == sorted(names, key=os.fsencode)
    assert listed == keys(store)


@pytest.mark.long
def test_a_large_directory_is_sorted_through_runs(root: Path) -> None:
    names = [f"{(i * 7919) % 5000:05d}-{'x' * (i % 90)}" for i in range(5000)]
    for name in names:
        put(root, name)
    with_runs = LocalStore(str(root), names_in_memory=64)
    assert keys(with_runs) == sorted(names)
    with_runs.close()


def test_a_deep_tree_needs_few_descriptors(root: Path, store: LocalStore) -> None:
    deep = "/".join(["d"] * 300)
    put(root, deep + "/leaf")
    for level in (10, 100, 250):
        put(root, "/".join(["d"] * level) + "/z-after")
    before = open_descriptors()
    most = 0
    found = []
    for item in store.list():
        assert isinstance(item, Object)
        found.append(item.key)
        most = max(most, len(open_descriptors() - before))
    assert sorted(found, key=os.fsencode) == found
    assert len(found) == 4
    assert 0 < most < 80
    assert not open_descriptors() - before


def test_names_with_any_bytes_are_listed_read_and_removed(root: Path, store: LocalStore) -> None:
    names = [b"-rf", b"new\nline", b"\xff\xfe", b" ", b"tab\t", b"a\\b", b"*?[", b"\xc3\xa9", "😀".encode(), b"x" * 255]
    for name in names:
        Path(os.fsdecode(os.fsencode(root) + b"/" + name)).write_bytes(name)
    objects = [item for item in store.list() if isinstance(item, Object)]
    assert [os.fsencode(o.key) for o in objects] == sorted(names)
    for obj in objects:
        data = store.fetch(obj, nothing)
        assert data == os.fsencode(obj.key)
        assert store.remove(obj, sha256(data)).state is PlanState.DONE
    assert list(root.iterdir()) == []


_KEYS = """
import json, sys
from fedi_safety.core.types import Object
from fedi_safety.stores.local import LocalStore
store = LocalStore(sys.argv[1])
found = [item for item in store.list(["caf"]) if isinstance(item, Object)]
read = [store.fetch(obj, lambda head: None).decode() for obj in found]
print(json.dumps([sys.getfilesystemencoding(), [obj.key for obj in found], read]))
"""
_NOT_UTF8 = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}


def test_the_locale_decides_no_key(root: Path) -> None:
    """The store itself, without the program around it, which sees to UTF-8 by itself."""
    put(root, "caf\u00e9", b"utf-8")
    put(root, "caf\udce9", b"latin-1")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("LC_") and k != "LANG"} | _NOT_UTF8
    done = subprocess.run(
        [sys.executable, "-c", _KEYS, str(root)], env=environment, capture_output=True, check=True, timeout=60
    )
    encoding, found, read = json.loads(done.stdout)
    assert encoding != "utf-8"
    assert (found, read) == (["caf\u00e9", "caf\udce9"], ["utf-8", "latin-1"])


def test_prefixes_and_since(root: Path, store: LocalStore) -> None:
    for name in ["a/1", "a/2", "ab/3", "b/4", "c"]:
        put(root, name)
    os.utime(root / "a/1", (1000, 1000))  # it has arrived just now, whatever it says
    assert keys(store, "a/") == ["a/1", "a/2"]
    assert keys(store, "a") == ["a/1", "a/2", "ab/3"]
    assert keys(store, "a/2", "c") == ["a/2", "c"]
    everything = ["a/1", "a/2", "ab/3", "b/4", "c"]
    assert [o.key for o in store.list(since=2000) if isinstance(o, Object)] == everything
    assert list(store.list(since=time.time() + 60)) == []
    os.utime(root / "c", (time.time() + 120, time.time() + 120))
    assert [o.key for o in store.list(since=time.time() + 60) if isinstance(o, Object)] == ["c"]


def test_links_never_lead_out(root: Path, store: LocalStore, tmp_path: Path) -> None:
    outside = put(tmp_path, "outside/secret")
    (root / "file-link").symlink_to(outside)
    (root / "dir-link").symlink_to(outside.parent)
    (root / "broken").symlink_to("nowhere")
    items = list(store.list())
    assert [(i.object.key, i.reason) for i in items if isinstance(i, Unscanned)] == [
        ("broken", Reason.SYMLINK),
        ("dir-link", Reason.SYMLINK),
        ("file-link", Reason.SYMLINK),
    ]
    assert not any(isinstance(i, Object) for i in items)


def test_a_directory_swapped_for_a_link_is_not_followed(root: Path, store: LocalStore, tmp_path: Path) -> None:
    inside = put(root, "d/pic", b"inside")
    put(tmp_path, "outside/pic", b"outside")
    obj = only(store, "d/pic")
    inside.unlink()
    (root / "d").rmdir()
    (root / "d").symlink_to(tmp_path / "outside")
    os.utime(tmp_path / "outside/pic", ns=(obj.mtime_ns, obj.mtime_ns))
    with pytest.raises(Unscannable) as caught:
        store.fetch(obj, nothing)
    assert caught.value.reason is Reason.CHANGED
    assert store.remove(obj, sha256(b"outside")).state is not PlanState.DONE
    assert (tmp_path / "outside/pic").read_bytes() == b"outside"


@pytest.mark.parametrize("key", ["../secret", "a/../../secret", "..", "a/.."])
def test_a_key_cannot_climb_out(store: LocalStore, root: Path, tmp_path: Path, key: str) -> None:
    secret = put(tmp_path, "secret")
    (root / "a").mkdir()
    info = secret.stat()
    forged = Object(key, info.st_size, info.st_mtime_ns, f"{info.st_ino:x}.{info.st_ctime_ns:x}")
    with pytest.raises(Unscannable):
        store.fetch(forged, nothing)
    assert store.remove(forged, sha256(b"data")).state is PlanState.FAILED
    assert secret.exists()


def test_fifos_and_sockets_are_counted_and_never_opened(root: Path, store: LocalStore) -> None:
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(root / "sock"))
        items = list(store.list())
    assert [(i.object.key, i.reason) for i in items if isinstance(i, Unscanned)] == [
        ("fifo", Reason.SPECIAL_FILE),
        ("sock", Reason.SPECIAL_FILE),
    ]


def test_a_file_swapped_for_a_fifo_does_not_hang(root: Path, store: LocalStore) -> None:
    path = put(root, "pic")
    obj = only(store, "pic")
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(Unscannable) as caught:
        store.fetch(obj, nothing)
    assert caught.value.reason is Reason.CHANGED
    assert store.remove(obj, sha256(b"data")).state is PlanState.CHANGED


def test_files_that_vanish_or_change_are_told_apart(root: Path, store: LocalStore) -> None:
    for name in ("gone", "grown", "touched", "replaced"):
        put(root, name)
    objects = {o.key: o for o in store.list() if isinstance(o, Object)}
    (root / "gone").unlink()
    put(root, "grown", b"data and more")
    os.utime(root / "touched", (1, 1))
    put(root, "new").rename(root / "replaced")
    reasons = {}
    for key, obj in objects.items():
        with pytest.raises(Unscannable) as caught:
            store.fetch(obj, nothing)
        reasons[key] = caught.value.reason
    assert reasons == {
        "gone": Reason.VANISHED,
        "grown": Reason.CHANGED,
        "touched": Reason.CHANGED,
        "replaced": Reason.CHANGED,
    }


def test_a_file_that_changes_while_it_is_read_is_not_returned(root: Path, store: LocalStore) -> None:
    path = put(root, "pic", b"x" * 100_000)
    obj = only(store, "pic")

    def meddle(head: bytes) -> None:
        path.write_bytes(b"y" * 100_000)

    with pytest.raises(Unscannable) as caught:
        store.fetch(obj, meddle)
    assert caught.value.reason is Reason.CHANGED


def test_accept_sees_the_head_and_may_refuse(root: Path, store: LocalStore) -> None:
    put(root, "pic", bytes(range(256)) * 64)
    put(root, "empty", b"")
    seen = []

    def refuse(head: bytes) -> None:
        seen.append(head)
        raise Unscannable(Reason.NOT_MEDIA)

    for key in ("pic", "empty"):
        with pytest.raises(Unscannable) as caught:
            store.fetch(only(store, key), refuse)
        assert caught.value.reason is Reason.NOT_MEDIA
    assert [len(head) for head in seen] == [4096, 0]


def test_removing_takes_exactly_the_judged_object(root: Path, store: LocalStore) -> None:
    put(root, "a/pic", b"condemned")
    put(root, "a/other", b"harmless")
    obj = only(store, "a/pic")
    assert store.remove(obj, sha256(b"condemned")) == Removal(PlanState.DONE, "verified: the name is gone")
    assert keys(store) == ["a/other"]
    assert store.remove(obj, sha256(b"condemned")).state is PlanState.GONE


@pytest.mark.parametrize("change", ["content", "time", "inode", "size"])
def test_removing_refuses_what_was_not_judged(root: Path, store: LocalStore, change: str) -> None:
    path = put(root, "pic", b"condemned")
    obj = only(store, "pic")
    if change == "content":
        path.write_bytes(b"CONDEMNED")
        os.utime(path, ns=(obj.mtime_ns, obj.mtime_ns))
    elif change == "time":
        os.utime(path, ns=(obj.mtime_ns + 1, obj.mtime_ns + 1))
    elif change == "inode":
        path.rename(root / "kept")
        path.write_bytes(b"condemned")
        os.utime(path, ns=(obj.mtime_ns, obj.mtime_ns))
    else:
        path.write_bytes(b"condemned or not")
        os.utime(path, ns=(obj.mtime_ns, obj.mtime_ns))
    assert store.remove(obj, sha256(b"condemned")).state is PlanState.CHANGED
    assert path.exists()


def test_each_hard_link_is_an_object_of_its_own(root: Path, store: LocalStore) -> None:
    put(root, "one", b"same")
    os.link(root / "one", root / "two")
    one, two = (o for o in store.list() if isinstance(o, Object))
    assert store.remove(one, sha256(b"same")).state is PlanState.DONE
    assert store.remove(two, sha256(b"same")).state is PlanState.DONE
    assert keys(store) == []


_AS_NOBODY = """
import hashlib, json, os, sys, heapq, tempfile
from fedi_safety.stores.local import LocalStore
from fedi_safety.core.errors import FediSafetyError, Unscannable
from fedi_safety.core.types import Object
if os.geteuid() == 0:  # root may do everything; imports come first because nobody may not read root's home
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    store = LocalStore(sys.argv[1])
except FediSafetyError as error:
    print(json.dumps({"opened": error.line()})); sys.exit()
out = {"unscanned": [], "removed": {}, "fetched": {}}
for item in list(store.list()):
    if not isinstance(item, Object):
        out["unscanned"].append([item.object.key, item.reason.value]); continue
    try:
        store.fetch(item, lambda head: None); out["fetched"][item.key] = "read"
    except Unscannable as error:
        out["fetched"][item.key] = error.reason.value
    removal = store.remove(item, hashlib.sha256(b"data").digest())
    out["removed"][item.key] = [removal.state.value, removal.detail]
print(json.dumps(out))
"""


def as_nobody(root: Path) -> dict[str, object]:
    """Run the store's methods as a user without special rights."""
    import json

    done = subprocess.run([sys.executable, "-c", _AS_NOBODY, str(root)], capture_output=True, text=True, check=True)
    loaded: dict[str, object] = json.loads(done.stdout)
    return loaded


@pytest.fixture
def open_root() -> Iterator[Path]:
    """A directory that other users can reach (pytest's own are private)."""
    import tempfile

    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_missing_rights_are_gaps_and_failed_acts_not_errors(open_root: Path) -> None:
    put(open_root, "closed-dir/x").parent.chmod(0)
    put(open_root, "secret").chmod(0)
    put(open_root, "readable").chmod(0o644)
    open_root.chmod(0o555)
    out = as_nobody(open_root)
    open_root.chmod(0o755)
    (open_root / "closed-dir").chmod(0o755)
    assert out["unscanned"] == [["closed-dir/", "unreadable"]]
    assert out["fetched"] == {"readable": "read", "secret": "unreadable"}
    removed = out["removed"]
    assert isinstance(removed, dict)
    assert removed["readable"][0] == "failed"
    assert "Permission denied" in removed["readable"][1]
    assert "grant write access" in removed["readable"][1]
    assert (open_root / "readable").exists()
    assert (open_root / "secret").exists()


def test_a_closed_root_is_a_usage_error(open_root: Path) -> None:
    inner = open_root / "closed"
    inner.mkdir(mode=0)
    line = as_nobody(inner)["opened"]
    assert isinstance(line, str)
    assert str(inner) in line
    assert "no permission" in line


@pytest.mark.parametrize(
    ("make", "cause"),
    [
        (lambda p: str(p / "nowhere"), "no such directory"),
        (lambda p: str(put(p, "file")), "not a directory"),
        (lambda _: "", "empty"),
        (lambda _: "a\0b", "NUL"),
        (lambda _: "gopher://host/x", "there are no gopher:// stores"),
        (lambda _: "file://host/x", "names no host"),
    ],
)
def test_a_wrong_place_is_one_clear_line(tmp_path: Path, make: object, cause: str) -> None:
    assert callable(make)
    with pytest.raises(StoreUsageError, match=cause) as caught:
        open_store(make(tmp_path))
    assert "\n" not in caught.value.line()
    assert caught.value.exit_code == 2


def test_urls_and_paths_name_the_same_store(root: Path) -> None:
    odd = root / "with space %41 \udcff"
    odd.mkdir()
    by_path = open_store(str(odd))
    by_url = open_store(by_path.url)
    assert by_path.url == by_url.url
    assert by_url.url.startswith("file:///")
    (root / "link").symlink_to(odd)
    by_link = open_store(str(root / "link"))
    assert by_link.url == by_path.url
    for opened in (by_path, by_url, by_link):
        opened.close()
        opened.close()
