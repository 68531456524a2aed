"""The daemon against the real outside: inotify, a datagram socket as systemd has it, signals, the health file."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import queue
import resource
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedi_safety.app.engine import Engine
from fedi_safety.app.ledger import SharedRunLock, SystemClock
from fedi_safety.app.stores import Target
from fedi_safety.config.loading import load_settings
from fedi_safety.core.errors import PolicyError
from fedi_safety.core.policy import Policy
from fedi_safety.ledger.ledger import open_ledger
from fedi_safety.service.systemd import Notifier
from fedi_safety.watch import health
from fedi_safety.watch.cycles import Rhythm, Shared, StoreWatch
from fedi_safety.watch.daemon import Daemon
from fedi_safety.watch.file_events import TreeEvents
from fedi_safety.watch.inotify import Tree
from support.fakes import FakeDecoder, detectors, red_circles
from support.passes import RED_CIRCLE


@contextlib.contextmanager
def watching(root: Path) -> Iterator[queue.Queue[frozenset[str] | None]]:
    seen: queue.Queue[frozenset[str] | None] = queue.Queue()
    stop = threading.Event()
    tree = TreeEvents(str(root), seen.put, stop)
    tree.start()
    assert tree.ready.wait(10)
    yield seen
    stop.set()
    tree.join(10)
    assert not tree.is_alive()


@pytest.fixture
def events(tmp_path: Path) -> Iterator[tuple[Path, queue.Queue[frozenset[str] | None]]]:
    root = tmp_path / "tree"
    (root / "deep" / "er").mkdir(parents=True)
    with watching(root) as seen:
        yield root, seen


def test_files_made_changed_and_moved_in_wake(
    events: tuple[Path, queue.Queue[frozenset[str] | None]], tmp_path: Path
) -> None:
    root, seen = events
    (root / "deep/er/new").write_bytes(b"1")
    assert "deep/er/new" in (seen.get(timeout=10) or ())
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "old").write_bytes(b"2")
    os.utime(outside / "old", (1, 1))
    outside.rename(root / "moved")
    assert "moved" in (seen.get(timeout=10) or ())
    (root / "moved/in-new-directory").write_bytes(b"3")
    assert "moved/in-new-directory" in (seen.get(timeout=10) or ())


def test_removals_do_not_wake_and_floods_are_one_wake(
    events: tuple[Path, queue.Queue[frozenset[str] | None]],
) -> None:
    root, seen = events
    for i in range(500):
        (root / f"f{i}").write_bytes(b"x")
    got = [seen.get(timeout=10)]
    time.sleep(1.5)
    while not seen.empty():
        got.append(seen.get())
    assert None in got and len(got) < 20
    for i in range(500):
        (root / f"f{i}").unlink()
    with pytest.raises(queue.Empty):
        seen.get(timeout=1.5)


@pytest.mark.parametrize("where", ["a file", "a directory", "moved in", "there before"])
def test_a_name_that_is_not_utf_8_is_told_like_any_other(tmp_path: Path, where: str) -> None:
    """And ends no file events: what comes after it, and below it, is told."""
    root, name = tmp_path / "tree", os.fsdecode(b"caf\xe9")
    (root / (name if where == "there before" else "deep")).mkdir(parents=True)
    with watching(root) as seen:
        if where == "a file":
            (root / "deep" / name).write_bytes(b"1")
            assert told(seen, f"deep/{name}")
        elif where == "moved in":
            (tmp_path / name).mkdir()
            (tmp_path / name / "old").write_bytes(b"1")
            (tmp_path / name).rename(root / name)
            assert told(seen, name, f"{name}/old")
        elif where == "a directory":
            (root / name).mkdir()
            assert told(seen, name)
        if where != "a file":
            (root / name / "below").write_bytes(b"1")
            assert told(seen, f"{name}/below")
        for path in root.rglob("*"):
            if path.is_file():
                path.read_bytes()  # as a web server does, and a scan
        (root / "plain").write_bytes(b"2")
        assert told(seen, "plain")


def test_a_directory_that_moves_within_the_tree_is_known_by_its_new_name(
    events: tuple[Path, queue.Queue[frozenset[str] | None]], tmp_path: Path
) -> None:
    root, seen = events
    (root / "deep").rename(root / "other")
    assert told(seen, "other")
    (root / "other/er/new").write_bytes(b"1")
    assert told(seen, "other/er/new")
    (root / "other/er").rename(tmp_path / "away")
    (tmp_path / "away/unseen").write_bytes(b"1")
    (root / "last").write_bytes(b"1")
    assert seen.get(timeout=10) == frozenset({"last"})


def test_what_a_new_directory_holds_before_it_is_watched_is_told(tmp_path: Path) -> None:
    root = tmp_path / "tree"
    root.mkdir()
    with watching(root) as seen:
        for number in range(20):
            (root / f"{number}/a/b").mkdir(parents=True)
            (root / f"{number}/a/b/new").write_bytes(b"1")
        found: set[str] = set()
        while not {f"{number}/a/b/new" for number in range(20)} <= found:
            keys = seen.get(timeout=10)
            if keys is None:  # more than are named: one ordinary cycle
                break
            found |= keys


def told(seen: queue.Queue[frozenset[str] | None], *keys: str) -> bool:
    """Whether these keys are told, perhaps one after another."""
    left = set(keys)
    while left:
        left -= seen.get(timeout=10) or set()
    return True


def test_a_daemon_with_more_than_a_thousand_open_files_is_woken(tmp_path: Path) -> None:
    """A `select` refuses handles above 1,023."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    tree = Tree(os.fsencode(tmp_path))
    try:
        low, tree._handle = tree._handle, fcntl.fcntl(tree._handle, fcntl.F_DUPFD_CLOEXEC, 1100)
        os.close(low)
        assert not tree.wait(0.0)
        (tmp_path / "made").write_bytes(b"x")
        assert tree.wait(5.0) and tree.read().paths == {b"made"}
    finally:
        tree.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_tree_that_cannot_be_watched_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stop = threading.Event()
    tree = TreeEvents(str(tmp_path / "missing"), lambda _keys: None, stop)
    tree.start()
    deadline = time.monotonic() + 10
    while not caplog.records and time.monotonic() < deadline:
        time.sleep(0.05)
    stop.set()
    tree.join(10)
    assert "no file events" in caplog.text


def test_notifications_reach_a_real_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(path))
        server.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        monkeypatch.setenv("WATCHDOG_USEC", "30000000")
        monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
        notifier = Notifier()
        assert "NOTIFY_SOCKET" not in os.environ
        notifier.send("READY=1", "STATUS=ok")
        assert server.recv(4096) == b"READY=1\nSTATUS=ok"
        assert notifier.watchdog_s == 30
    notifier.send("WATCHDOG=1")  # nobody listens any more: no error
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(b"\0fedi-safety-test-%d" % os.getpid())
        server.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@fedi-safety-test-{os.getpid()}")
        Notifier().send("STOPPING=1")
        assert server.recv(4096) == b"STOPPING=1"
    assert Notifier().watchdog_s is None


def test_the_health_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "health.json"
    health.write(path, {"state": "ok"})
    health.write(path, {"state": "failing"})
    assert json.loads(path.read_text()) == {"state": "failing"}
    assert [p.name for p in tmp_path.iterdir() if p.name != "home"] == ["health.json"]


def wait_for(condition: object, seconds: float = 15.0) -> None:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def test_a_daemon_over_two_trees_with_signals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    roots = {name: tmp_path / name for name in ("one", "two")}
    for root in roots.values():
        root.mkdir()
    socket_path = tmp_path / "notify"
    server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    server.bind(str(socket_path))
    monkeypatch.setenv("NOTIFY_SOCKET", str(socket_path))
    heard: list[str] = []

    def listen() -> None:
        while not heard or heard[-1] != "end":
            heard.append(server.recv(65536).decode())

    listener = threading.Thread(target=listen, daemon=True)  # a full queue would lose datagrams, as with systemd
    listener.start()
    monkeypatch.setenv("WATCHDOG_USEC", "600000")
    settings = load_settings()
    clock = SystemClock()
    ledger = open_ledger(tmp_path / "ledger.db", clock=clock)
    engine = Engine(FakeDecoder(), list(detectors()), "fake", 2)
    shared = Shared(ledger, engine, red_circles(), SharedRunLock(ledger), clock, Rhythm(every_s=1), beside=2)
    watches = [StoreWatch(Target(name, str(root), settings), shared) for name, root in roots.items()]
    policies: list[Policy | Exception] = [
        PolicyError("policy.toml", ("line 1: broken",)),
        Policy("other", dict(red_circles().factors), red_circles().rules[:1]),
    ]

    def reload() -> Policy:
        answer = policies.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    health_file = tmp_path / "health.json"
    daemon = Daemon(watches, shared, reload=reload, health_file=health_file)
    said: dict[str, str] = {}

    def state() -> dict[str, object]:
        return dict(json.loads(health_file.read_text()))

    def play() -> None:
        try:
            wait_for(lambda: health_file.exists() and state()["state"] == "ok")
            for root in roots.values():
                (root / "pic").write_bytes(RED_CIRCLE)
            wait_for(lambda: not any((root / "pic").exists() for root in roots.values()))
            old = state()["policy"]
            os.kill(os.getpid(), signal.SIGHUP)
            wait_for(lambda: "broken" in str(state()["error"]))
            assert state()["policy"] == old
            os.kill(os.getpid(), signal.SIGHUP)
            wait_for(lambda: state()["error"] is None and state()["policy"] != old)
            roots["two"].rename(tmp_path / "gone")
            wait_for(lambda: state()["state"] == "failing")
            (roots["one"] / "again").write_bytes(RED_CIRCLE)  # the other goes on
            wait_for(lambda: not (roots["one"] / "again").exists())
            (tmp_path / "gone").rename(roots["two"])
            wait_for(lambda: state()["state"] == "ok")
        except BaseException as error:  # noqa: BLE001 - told by the test's own thread
            said["error"] = repr(error)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    player = threading.Thread(target=play)
    player.start()
    daemon.run()  # whether the signal met it between two cycles is chance
    player.join()
    assert said == {}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
        last.sendto(b"end", str(socket_path))
    listener.join(5)
    server.close()
    assert heard[0].startswith("READY=1\n")
    assert any(line.startswith("WATCHDOG=1") for line in heard)
    assert any(line.startswith("STOPPING=1") for line in heard)
    ledger.dispose()
