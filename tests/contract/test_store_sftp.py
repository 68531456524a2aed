"""The store's promises over SFTP, against OpenSSH's own sshd, and what SFTP can and cannot promise on top."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fedi_safety.config.schema import Settings, Ssh
from fedi_safety.core.enums import PlanState, Reason
from fedi_safety.core.errors import StoreError, StoreUsageError, Unscannable
from fedi_safety.core.types import Object, Removal, Unscanned
from fedi_safety.stores import open_store
from fedi_safety.stores.sftp.store import SftpStore, open_sftp
from fedi_safety.stores.sftp.trust import read_url
from support.file_descriptors import open_descriptors
from support.needs import needs
from support.servers import sshd
from support.servers.sshd import Sshd


def nothing(head: bytes) -> None:
    """Accept every object."""


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def put(root: Path, key: str, data: bytes = b"data") -> Path:
    path = root / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    own(root)
    return path


def own(root: Path) -> None:
    """Give everything to the user who logs in."""
    if sshd.AS_ROOT:
        uid = root.stat().st_uid
        for folder, folders, files in os.walk(os.fsencode(root)):
            for name in folders + files:
                os.chown(os.path.join(folder, name), uid, -1, follow_symlinks=False)  # noqa: PTH118 - bytes


@pytest.fixture(scope="module")
@needs("sftp")
def server(request: pytest.FixtureRequest) -> Iterator[Sshd]:
    base = sshd.new_base()
    started = Sshd(base)
    started.trust()
    started.start()
    reporter = request.config.pluginmanager.getplugin("terminalreporter")
    if reporter is not None:
        reporter.write_line(f"\n{sshd.version()}")
    yield started
    started.stop()
    shutil.rmtree(base)


@pytest.fixture
def root(server: Sshd) -> Iterator[Path]:
    """An empty served directory."""
    yield server.media
    server.media.chmod(0o755)
    for path in server.media.iterdir():
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
            for folder, folders, _ in os.walk(path):
                for name in folders:
                    if not (Path(folder) / name).is_symlink():
                        (Path(folder) / name).chmod(0o755)
            shutil.rmtree(path)
        else:
            path.unlink()


@pytest.fixture
def access(server: Sshd) -> Ssh:
    return Ssh.model_validate(
        {"known_hosts": str(server.known_hosts), "identity_file": str(server.identity), "connections": 2}
    )


@pytest.fixture
def store(server: Sshd, root: Path, access: Ssh) -> Iterator[SftpStore]:
    opened = open_sftp(server.url, access)
    yield opened
    opened.close()


def keys(store: SftpStore, *prefixes: str) -> list[str]:
    return [item.key for item in store.list(prefixes) if isinstance(item, Object)]


def only(store: SftpStore, key: str) -> Object:
    (found,) = [item for item in store.list() if isinstance(item, Object) and item.key == key]
    return found


def unscanned(store: SftpStore) -> list[tuple[str, Reason]]:
    return [(i.object.key, i.reason) for i in store.list() if isinstance(i, Unscanned)]


# --- the promises of every store


def test_keys_come_in_byte_order_of_the_whole_tree(root: Path, store: SftpStore) -> None:
    names = ["a/z", "a.txt", "a-b/x", "a/b/c", "é", "z/1", "Z", "a0"]
    for name in names:
        put(root, name)
    listed = keys(store)
    assert listed == sorted(names, key=os.fsencode)
    assert listed == keys(store)


def test_thousands_of_files_in_a_directory_are_sorted_through_runs(server: Sshd, root: Path, access: Ssh) -> None:
    names = [f"{(i * 7919) % 5000:05d}-{'x' * (i % 90)}" for i in range(5000)]
    for name in names:
        (root / name).touch()
    with_runs = SftpStore(read_url(server.url), access, names_in_memory=1000)
    assert keys(with_runs) == sorted(names)
    with_runs.close()


def test_a_tree_of_many_small_directories_is_listed_whole(root: Path, store: SftpStore) -> None:
    names = [f"{i % 4:02x}/{i:04x}/{i % 3}/pic" for i in range(600)]
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert keys(store) == sorted(names)
    assert keys(store, "02/") == [n for n in sorted(names) if n.startswith("02/")]
    listing = store.list()
    assert [item.key for item in (next(listing), next(listing)) if isinstance(item, Object)] == sorted(names)[:2]
    del listing  # what was read ahead is dropped


def test_a_deep_tree_is_listed(root: Path, store: SftpStore) -> None:
    deep = "/".join(["d"] * 300)
    for name in (deep + "/leaf", *("/".join(["d"] * level) + "/z-after" for level in (10, 100, 250))):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = keys(store)
    assert sorted(found, key=os.fsencode) == found
    assert len(found) == 4


def test_names_with_any_bytes_are_listed_read_and_removed(root: Path, store: SftpStore) -> None:
    names = [b"-rf", b"new\nline", b"\xff\xfe", b" ", b"tab\t", b"a\\b", b"*?[", b"\xc3\xa9", "😀".encode(), b"x" * 255]
    for name in names:
        Path(os.fsdecode(os.fsencode(root) + b"/" + name)).write_bytes(name)
    own(root)
    objects = [item for item in store.list() if isinstance(item, Object)]
    assert [os.fsencode(o.key) for o in objects] == sorted(names)
    for obj in objects:
        data = store.fetch(obj, nothing)
        assert data == os.fsencode(obj.key)
        assert store.remove(obj, sha256(data)).state is PlanState.DONE
    assert list(root.iterdir()) == []


def test_prefixes_and_since(root: Path, store: SftpStore) -> None:
    for name in ["a/1", "a/2", "ab/3", "b/4", "c"]:
        put(root, name)
    os.utime(root / "a/1", (1000.9, 1000.9))
    assert keys(store, "a/") == ["a/1", "a/2"]
    assert keys(store, "a") == ["a/1", "a/2", "ab/3"]
    assert keys(store, "a/2", "c") == ["a/2", "c"]
    assert [o.key for o in store.list(since=2000) if isinstance(o, Object)] == ["a/2", "ab/3", "b/4", "c"]
    # SFTP says 1000 for 1000.9: what may be new is listed rather than lost.
    assert "a/1" in [o.key for o in store.list(since=1000.5) if isinstance(o, Object)]


def test_links_never_lead_out(root: Path, store: SftpStore) -> None:
    outside = put(root.parent / "outside", "secret")
    (root / "file-link").symlink_to("../outside/secret")
    (root / "dir-link").symlink_to("../outside")
    (root / "broken").symlink_to("nowhere")
    items = list(store.list())
    shutil.rmtree(outside.parent)
    assert [(i.object.key, i.reason) for i in items if isinstance(i, Unscanned)] == [
        ("broken", Reason.SYMLINK),
        ("dir-link", Reason.SYMLINK),
        ("file-link", Reason.SYMLINK),
    ]
    assert not any(isinstance(i, Object) for i in items)


def test_a_directory_swapped_for_a_link_is_not_followed(root: Path, store: SftpStore) -> None:
    inside = put(root, "d/pic", b"inside.")
    outside = put(root, "outside/pic", b"outside")
    obj = only(store, "d/pic")
    inside.unlink()
    (root / "d").rmdir()
    (root / "d").symlink_to("outside")
    os.utime(outside, ns=(obj.mtime_ns, obj.mtime_ns))
    with pytest.raises(Unscannable) as caught:
        store.fetch(obj, nothing)
    assert caught.value.reason is Reason.CHANGED
    assert store.remove(obj, sha256(b"outside")).state is PlanState.CHANGED
    assert outside.read_bytes() == b"outside"


def test_a_file_swapped_for_a_link_is_not_followed(root: Path, store: SftpStore) -> None:
    path = put(root, "pic", b"inside.")
    outside = put(root, "zz", b"outside")
    obj = only(store, "pic")
    path.unlink()
    path.symlink_to("zz")
    os.utime(outside, ns=(obj.mtime_ns, obj.mtime_ns))
    with pytest.raises(Unscannable) as caught:
        store.fetch(obj, nothing)
    assert caught.value.reason is Reason.CHANGED
    assert store.remove(obj, sha256(b"outside")).state is PlanState.CHANGED
    assert outside.exists()


@pytest.mark.parametrize("key", ["../secret", "a/../../secret", "..", "a/..", "/etc/passwd", "a//b", "", "a\0b"])
def test_a_key_cannot_climb_out(store: SftpStore, root: Path, key: str) -> None:
    (root / "a").mkdir()
    secret = root.parent / "secret"
    secret.write_bytes(b"data")
    forged = Object(key, 4, int(secret.stat().st_mtime) * 10**9)
    with pytest.raises(Unscannable):
        store.fetch(forged, nothing)
    assert store.remove(forged, sha256(b"data")).state is PlanState.FAILED
    assert secret.exists()
    secret.unlink()


def test_fifos_and_sockets_are_counted_and_never_opened(root: Path, store: SftpStore) -> None:
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(root / "sock"))
        assert unscanned(store) == [("fifo", Reason.SPECIAL_FILE), ("sock", Reason.SPECIAL_FILE)]


def test_a_file_swapped_for_a_fifo_does_not_hang(root: Path, store: SftpStore) -> None:
    path = put(root, "pic")
    obj = only(store, "pic")
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(Unscannable) as caught:
        store.fetch(obj, nothing)
    assert caught.value.reason is Reason.CHANGED
    assert store.remove(obj, sha256(b"data")).state is PlanState.CHANGED


def test_files_that_vanish_or_change_are_told_apart(root: Path, store: SftpStore) -> None:
    for name in ("gone", "grown", "touched", "replaced"):
        put(root, name)
    objects = {o.key: o for o in store.list() if isinstance(o, Object)}
    (root / "gone").unlink()
    put(root, "grown", b"data and more")
    os.utime(root / "touched", (1, 1))
    os.utime(put(root, "new"), (2, 2))
    (root / "new").rename(root / "replaced")
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


@pytest.mark.parametrize("to", [b"y" * 100_000, b"y" * 5000, b"y" * 200_000])
def test_a_file_that_changes_while_it_is_read_is_not_returned(root: Path, store: SftpStore, to: bytes) -> None:
    path = put(root, "pic", b"x" * 100_000)
    obj = only(store, "pic")
    with pytest.raises(Unscannable) as caught:
        store.fetch(obj, lambda _: path.write_bytes(to))
    assert caught.value.reason is Reason.CHANGED


def test_accept_sees_the_head_once_and_may_refuse(root: Path, store: SftpStore) -> None:
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
    assert store.fetch(only(store, "empty"), nothing) == b""
    assert store.fetch(only(store, "pic"), nothing) == bytes(range(256)) * 64


@pytest.mark.parametrize("size", [1, 4095, 4096, 4097, 261_120, 4096 + 261_120, 9_999_999])
def test_every_size_is_read_whole(root: Path, store: SftpStore, size: int) -> None:
    data = os.urandom(size)
    put(root, "pic", data)
    assert sha256(store.fetch(only(store, "pic"), nothing)) == sha256(data)


def test_many_threads_share_the_connections(root: Path, store: SftpStore) -> None:
    data = {f"{i:03d}": os.urandom(1000 * i) for i in range(60)}
    for name, content in data.items():
        (root / name).write_bytes(content)
    objects = [o for o in store.list() if isinstance(o, Object)]
    with ThreadPoolExecutor(12) as threads:
        read = list(threads.map(lambda o: store.fetch(o, nothing), objects))
    assert dict(zip((o.key for o in objects), read, strict=True)) == data


def test_removing_takes_exactly_the_judged_object(root: Path, store: SftpStore) -> None:
    put(root, "a/pic", b"condemned")
    put(root, "a/other", b"harmless")
    obj = only(store, "a/pic")
    assert store.remove(obj, sha256(b"condemned")) == Removal(PlanState.DONE, "verified: the name is gone")
    assert keys(store) == ["a/other"]
    assert store.remove(obj, sha256(b"condemned")).state is PlanState.GONE


def test_removal_happens_on_the_server_and_never_here(
    root: Path, store: SftpStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The predecessor removed the local file of the same name (its `os.remove` ran on the wrong machine)."""
    put(root, "a/pic", b"condemned")
    here = tmp_path / "here"
    mine = here / "a" / "pic"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"condemned")
    monkeypatch.chdir(here)
    assert store.remove(only(store, "a/pic"), sha256(b"condemned")).state is PlanState.DONE
    assert not (root / "a/pic").exists()
    assert mine.read_bytes() == b"condemned"


@pytest.mark.parametrize("change", ["content", "time", "size", "directory"])
def test_removing_refuses_what_was_not_judged(root: Path, store: SftpStore, change: str) -> None:
    path = put(root, "pic", b"condemned")
    obj = only(store, "pic")
    if change == "content":
        path.write_bytes(b"CONDEMNED")
        os.utime(path, ns=(obj.mtime_ns, obj.mtime_ns))
    elif change == "time":
        os.utime(path, ns=(obj.mtime_ns + 10**9, obj.mtime_ns + 10**9))
    elif change == "directory":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(b"condemned or not")
        os.utime(path, ns=(obj.mtime_ns, obj.mtime_ns))
    assert store.remove(obj, sha256(b"condemned")).state is PlanState.CHANGED
    assert path.exists()


def test_missing_rights_are_gaps_and_failed_acts_not_errors(root: Path, store: SftpStore) -> None:
    put(root, "closed-dir/x").parent.chmod(0)
    put(root, "readable-not-enterable/x").parent.chmod(0o444)
    put(root, "secret").chmod(0)
    kept = put(root, "locked/kept")
    kept.parent.chmod(0o555)
    assert unscanned(store) == [
        ("closed-dir/", Reason.UNREADABLE),
        ("readable-not-enterable/", Reason.UNREADABLE),
    ]
    with pytest.raises(Unscannable) as caught:
        store.fetch(only(store, "secret"), nothing)
    assert caught.value.reason is Reason.UNREADABLE
    obj = only(store, "locked/kept")
    removal = store.remove(obj, sha256(b"data"))
    assert removal.state is PlanState.FAILED
    assert "permission denied" in removal.detail
    assert f"let {sshd.user()} write to the directory" in removal.detail
    assert kept.exists()


def test_rights_taken_away_in_the_middle(root: Path, store: SftpStore) -> None:
    for name in ("a/1", "b/1"):
        put(root, name)
    objects = [o for o in store.list() if isinstance(o, Object)]
    (root / "a").chmod(0)
    with pytest.raises(Unscannable) as caught:
        store.fetch(objects[0], nothing)
    assert caught.value.reason is Reason.UNREADABLE
    assert store.remove(objects[0], sha256(b"data")).state is PlanState.FAILED
    assert store.fetch(objects[1], nothing) == b"data"


# --- opening


@pytest.mark.parametrize(
    ("path", "cause"),
    [("nowhere", "no such directory"), ("file", "not a directory"), ("closed", "no permission to read it")],
)
def test_a_wrong_directory_is_one_clear_line(server: Sshd, root: Path, access: Ssh, path: str, cause: str) -> None:
    put(root, "file")
    put(root, "closed/x").parent.chmod(0)
    with pytest.raises(StoreUsageError, match=cause) as caught:
        open_sftp(f"{server.url}/{path}", access)
    assert "\n" not in caught.value.line()
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("url", "cause"),
    [
        ("sftp://host", "names no directory"),
        ("sftp:///path", "names no host"),
        ("sftp://host:port/path", "port"),
        ("sftp://host:0/path", "port"),
        ("sftp://host:99999/path", "port"),
        ("sftp://host/a?b=c", "no query"),
        ("sftp://host/a#b", "no query"),
        ("sftp://host/a%00b", "NUL"),
        ("sftp://[::1/a", "cannot be understood"),
        ("sftp://user:hunter2@host/path", "ssh-agent"),
        ("sftp://user:hunter2@host:port/path", "ssh.identity_file"),
        ("sftp://user:hun@ter2@host/path", "password in the URL is refused"),
        ("sftp://:hunter2@host", "password in the URL is refused"),
    ],
)
def test_a_wrong_url_is_one_clear_line_without_the_password(url: str, cause: str) -> None:
    with pytest.raises(StoreUsageError, match=cause) as caught:
        open_store(url)
    assert "\n" not in caught.value.line()
    assert "ter2" not in caught.value.line()


def test_urls_name_the_same_store(server: Sshd, root: Path, access: Ssh) -> None:
    put(root, "with space %41 \udcff/pic")
    (root / "link").symlink_to("with space %41 \udcff")
    odd = server.url + "/with%20space%20%2541%20%FF"
    urls = [odd, odd + "/", server.url + "/link", server.url + "/./link/../link/"]
    opened = [open_store(url, Settings(ssh=access)) for url in urls]
    assert {one.url for one in opened} == {odd}
    assert opened[0].url == open_and_close(opened[0].url, access)
    for one in opened:
        one.close()
        one.close()


def open_and_close(url: str, access: Ssh) -> str:
    store = open_sftp(url, access)
    store.close()
    return store.url


def test_nothing_is_left_after_closing(server: Sshd, root: Path, access: Ssh) -> None:
    for i in range(30):
        put(root, f"{i}/pic")

    def held() -> set[object]:
        return {*threading.enumerate(), *open_descriptors()}

    before = held()
    for _ in range(2):
        store = open_sftp(server.url, access)
        objects = [o for o in store.list() if isinstance(o, Object)]
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda o, s=store: s.fetch(o, nothing), objects))
        half = store.list()
        next(half)
        store.close()
        with pytest.raises(StoreError, match="closed"):
            store.fetch(objects[0], nothing)
        del half
    assert not held() - before
