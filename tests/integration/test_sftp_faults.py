"""The SFTP store when the connection breaks, the server restarts, hangs or gives no more sessions. A real sshd."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from asyncssh import SFTPEOFError, SFTPFailure
from asyncssh.sftp import SFTPClientHandler

from fedi_safety.config.schema import Ssh
from fedi_safety.core.enums import PlanState, Reason
from fedi_safety.core.errors import StoreError, StoreUsageError, Unscannable
from fedi_safety.core.types import Object
from fedi_safety.stores.sftp.connections import Waits
from fedi_safety.stores.sftp.sending import Holding
from fedi_safety.stores.sftp.store import SftpStore
from fedi_safety.stores.sftp.trust import read_url
from support.servers import sshd
from support.servers.sshd import Sshd

pytestmark = pytest.mark.needs("sftp")

QUICK = Waits(connect_s=5.0, request_s=1.5, backoff_s=0.05, reconnect_s=8.0)


@pytest.fixture
def server() -> Iterator[Sshd]:
    base = sshd.new_base()
    made = Sshd(base)
    made.trust()
    made.start()
    yield made
    made.stop()
    shutil.rmtree(base)


@pytest.fixture
def store(server: Sshd) -> Iterator[SftpStore]:
    opened = SftpStore(read_url(server.url), access(server), waits=QUICK)
    yield opened
    opened.close()


def access(server: Sshd, connections: int = 2) -> Ssh:
    return Ssh.model_validate(
        {"known_hosts": str(server.known_hosts), "identity_file": str(server.identity), "connections": connections}
    )


def fill(server: Sshd, folders: int, files: int, size: int = 10) -> list[str]:
    names = []
    for i in range(folders):
        folder = server.media / f"{i:04d}"
        folder.mkdir()
        for j in range(files):
            (folder / f"{j:04d}").write_bytes(b"x" * size)
            names.append(f"{i:04d}/{j:04d}")
    if sshd.AS_ROOT:
        uid = server.media.stat().st_uid
        for folder in server.media.rglob("*"):
            os.chown(folder, uid, -1)
    return names


def nothing(head: bytes) -> None:
    """Accept every object."""


def objects(store: SftpStore) -> list[Object]:
    return [item for item in store.list() if isinstance(item, Object)]


def test_a_listing_outlives_cut_connections_and_a_restart(server: Sshd, store: SftpStore) -> None:
    names = fill(server, 300, 5)
    listing = store.list()
    found = []
    cuts = 0
    for i, item in enumerate(listing):
        assert isinstance(item, Object)
        found.append(item.key)
        if i in (100, 500, 900):
            cuts += server.cut()
        if i == 1200:
            server.restart()
    assert cuts >= 3
    assert found == names  # each once, in order, none lost


def test_reading_outlives_cut_connections(server: Sshd, store: SftpStore) -> None:
    fill(server, 1, 60, size=300_000)
    listed = objects(store)
    heads: list[bytes] = []
    cuts: list[int] = []

    def accept(head: bytes) -> None:
        heads.append(head)
        if len(heads) % 15 == 7:
            cuts.append(server.cut())

    with ThreadPoolExecutor(4) as threads:
        read = list(threads.map(lambda o: store.fetch(o, accept), listed))
    assert len(cuts) == 4
    assert all(cuts)
    assert read == [b"x" * 300_000] * 60
    assert len(heads) == 60  # asked once each, however often it was read


def test_a_request_and_the_empty_packet_before_it_are_one_piece(
    server: Sshd, store: SftpStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    (name,) = fill(server, 1, 1)
    (found,) = (obj for obj in store.list() if isinstance(obj, Object))
    held: list[bool] = []
    write = Holding.write

    def noted(self: Holding, data: bytes | bytearray | memoryview) -> None:
        held.append(self._waiting is not None)
        write(self, data)

    monkeypatch.setattr(Holding, "write", noted)
    assert store.fetch(found, lambda _: None) and found.key == name
    assert len(held) >= 8
    assert all(held)


def test_a_server_restarted_between_reads_is_found_again(server: Sshd, store: SftpStore) -> None:
    fill(server, 1, 2)
    first, second = objects(store)
    assert store.fetch(first, nothing) == b"x" * 10
    server.stop()
    later = threading.Timer(1.0, server.start)
    later.start()
    assert store.fetch(second, nothing) == b"x" * 10
    later.join()


def test_a_server_that_stays_away_is_a_store_error_and_not_the_objects_fault(server: Sshd) -> None:
    fill(server, 1, 8)
    waits = Waits(connect_s=2.0, request_s=1.0, backoff_s=0.05, reconnect_s=4.0)
    store = SftpStore(read_url(server.url), access(server), waits=waits)
    listed = objects(store)
    server.stop()
    started = time.monotonic()
    with ThreadPoolExecutor(8) as threads:
        failed = list(threads.map(lambda o: _error(store, o), listed))
    assert time.monotonic() - started < 30
    assert {type(error) for error in failed} == {StoreError}
    assert "nothing listens" in str(failed[0])
    started = time.monotonic()
    with pytest.raises(StoreError, match="nothing listens"):
        list(store.list())
    assert store.remove(listed[0], b"").state is PlanState.FAILED
    assert time.monotonic() - started < 3.9  # known to be down: nobody waits for it again
    server.start()
    assert store.fetch(listed[0], nothing) == b"x" * 10
    store.close()


def _error(store: SftpStore, obj: Object) -> Exception | None:
    try:
        store.fetch(obj, nothing)
    except (StoreError, Unscannable) as error:
        return error
    return None


def test_a_connection_that_always_breaks_fails_the_object_only(server: Sshd, store: SftpStore) -> None:
    fill(server, 1, 1)
    (obj,) = objects(store)
    cuts = []

    original = SFTPClientHandler.open

    async def cutting(handler: SFTPClientHandler, *args: object) -> bytes:
        cuts.append(server.cut())
        return await original(handler, *args)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SFTPClientHandler, "open", cutting)
        with pytest.raises(Unscannable) as caught:
            store.fetch(obj, nothing)
        assert caught.value.reason is Reason.FETCH_FAILED
        assert len(cuts) == QUICK.tries
    assert store.fetch(obj, nothing) == b"x" * 10


def test_a_removal_whose_answer_is_lost_is_looked_up_and_done(
    server: Sshd, store: SftpStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(server, 1, 2)
    first, second = objects(store)
    digest = hashlib.sha256(b"x" * 10).digest()
    original = SFTPClientHandler.remove
    asked = []

    async def done_but_cut(handler: SFTPClientHandler, path: bytes) -> None:
        asked.append(path)
        await original(handler, path)
        server.cut()
        await handler.lstat(path, 0)

    async def cut_before(handler: SFTPClientHandler, path: bytes) -> None:
        asked.append(path)
        if len(asked) == 2:
            server.cut()
        await original(handler, path)

    monkeypatch.setattr(SFTPClientHandler, "remove", done_but_cut)
    removal = store.remove(first, digest)
    assert (removal.state, len(asked)) == (PlanState.DONE, 1)
    assert "the connection broke during the removal" in removal.detail
    assert not (server.media / first.key).exists()
    monkeypatch.setattr(SFTPClientHandler, "remove", cut_before)
    assert store.remove(second, digest).state is PlanState.DONE
    assert not (server.media / second.key).exists()
    assert store.remove(second, digest).state is PlanState.GONE


def test_a_hanging_server_is_given_up_in_bounded_time(server: Sshd, store: SftpStore) -> None:
    fill(server, 1, 1)
    (obj,) = objects(store)
    frozen = server.sessions()
    assert frozen
    for process in frozen:
        process.suspend()
    try:
        started = time.monotonic()
        assert store.fetch(obj, nothing) == b"x" * 10  # over a new connection
        assert 1.0 < time.monotonic() - started < 10
    finally:
        for process in frozen:
            process.kill()


def test_a_slow_file_is_not_given_up(server: Sshd, store: SftpStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """What counts is whether anything comes at all, not how long the whole takes."""
    fill(server, 1, 1, size=3_000_000)
    (obj,) = objects(store)
    original = SFTPClientHandler.read
    turn = asyncio.Lock()

    async def slow(handler: SFTPClientHandler, *args: object) -> tuple[bytes, bool]:
        async with turn:
            await asyncio.sleep(0.3)
            return await original(handler, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(SFTPClientHandler, "read", slow)
    started = time.monotonic()
    assert len(store.fetch(obj, nothing)) == 3_000_000
    assert time.monotonic() - started > 2 * QUICK.request_s


@pytest.mark.parametrize("short", [0, 100, 5000])
def test_a_file_that_comes_short_is_read_again(
    server: Sshd, store: SftpStore, monkeypatch: pytest.MonkeyPatch, short: int
) -> None:
    """A server (or a proxy) that ends a file early must not make a truncated picture."""
    fill(server, 1, 1, size=20_000)
    (obj,) = objects(store)
    original = SFTPClientHandler.read
    lies = [True]

    async def lying(handler: SFTPClientHandler, handle: bytes, offset: int, length: int) -> tuple[bytes, bool]:
        if lies and offset + length > short:
            if offset >= short:
                lies.clear()
                raise SFTPEOFError("end")
            length = short - offset
        return await original(handler, handle, offset, length)

    monkeypatch.setattr(SFTPClientHandler, "read", lying)
    assert store.fetch(obj, nothing) == b"x" * 20_000
    assert not lies


@pytest.mark.parametrize("sessions", [1, 0])
def test_max_sessions(sessions: int) -> None:
    base = sshd.new_base()
    server = Sshd(base)
    server.extra = [f"MaxSessions {sessions}"]
    server.trust()
    server.start()
    try:
        if not sessions:
            with pytest.raises(StoreError, match="MaxSessions") as caught:
                SftpStore(read_url(server.url), access(server), waits=QUICK)
            assert caught.value.exit_code == 3
            return
        fill(server, 1, 40, size=50_000)
        store = SftpStore(read_url(server.url), access(server, 3), waits=QUICK)
        with ThreadPoolExecutor(6) as threads:
            assert set(threads.map(lambda o: len(store.fetch(o, nothing)), objects(store))) == {50_000}
        assert len([line for line in server.log().splitlines() if "Accepted publickey" in line]) > 1
        store.close()
    finally:
        server.stop()
        shutil.rmtree(base)


def test_a_server_that_takes_only_one_connection_serves_all_the_same(server: Sshd, store: SftpStore) -> None:
    fill(server, 1, 40, size=50_000)
    listed = objects(store)
    server.write_authorized()
    (server.home / "authorized_keys").write_text("")  # no further login
    with ThreadPoolExecutor(6) as threads:
        assert set(threads.map(lambda o: len(store.fetch(o, nothing)), listed)) == {50_000}


def test_a_host_key_changed_in_the_middle_is_refused(server: Sshd, store: SftpStore) -> None:
    fill(server, 1, 1)
    (obj,) = objects(store)
    server.new_host_key()
    server.restart()
    with pytest.raises(StoreUsageError, match="HOST KEY HAS CHANGED"):
        store.fetch(obj, nothing)
    assert store.remove(obj, hashlib.sha256(b"x" * 10).digest()).state is PlanState.FAILED
    assert (server.media / obj.key).exists()


def test_a_read_only_server_fails_the_act_and_keeps_the_file() -> None:
    base = sshd.new_base()
    server = Sshd(base)
    server.extra = ["ForceCommand internal-sftp -R" if sshd.AS_ROOT else f"ForceCommand internal-sftp -R -d {base}"]
    server.trust()
    server.start()
    try:
        fill(server, 1, 1)
        store = SftpStore(read_url(server.url), access(server), waits=QUICK)
        (obj,) = objects(store)
        removal = store.remove(obj, hashlib.sha256(b"x" * 10).digest())
        assert removal.state is PlanState.FAILED
        assert "permission denied" in removal.detail
        assert (server.media / obj.key).exists()
        store.close()
    finally:
        server.stop()
        shutil.rmtree(base)


def test_a_removal_that_the_disk_refuses_fails_the_act(
    server: Sshd, store: SftpStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(server, 1, 1)
    (obj,) = objects(store)

    async def refused(handler: SFTPClientHandler, path: bytes) -> None:
        raise SFTPFailure("Failure")  # what sshd answers for a read-only or broken file system

    monkeypatch.setattr(SFTPClientHandler, "remove", refused)
    removal = store.remove(obj, hashlib.sha256(b"x" * 10).digest())
    assert removal.state is PlanState.FAILED
    assert "the server says: Failure" in removal.detail


def test_a_disk_taken_away_ends_the_listing_loudly(server: Sshd, store: SftpStore) -> None:
    fill(server, 2, 2)
    (obj, *_) = objects(store)
    away = server.media.with_name("away")
    server.media.rename(away)
    with pytest.raises(StoreError, match="cannot be listed"):
        list(store.list())
    assert store.remove(obj, hashlib.sha256(b"x" * 10).digest()).state is PlanState.GONE
    assert (away / obj.key).exists()
