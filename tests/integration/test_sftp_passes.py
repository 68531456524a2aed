"""Whole passes over a real sshd that is restarted, changes its host key, takes rights away, or whose disk is full."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fedi_safety.config.schema import Ssh
from fedi_safety.core.decide import BreakerLimits
from fedi_safety.core.enums import Detail, MediaType, PlanState
from fedi_safety.core.errors import StoreUsageError
from fedi_safety.core.types import Decoded
from fedi_safety.stores.sftp.connections import Waits
from fedi_safety.stores.sftp.store import SftpStore
from fedi_safety.stores.sftp.trust import read_url
from support.fakes import FakeDecoder
from support.needs import needs
from support.passes import Bench
from support.servers import sshd
from support.servers.disk import small_disk
from support.servers.sshd import Sshd

QUICK = Waits(connect_s=5.0, request_s=2.0, backoff_s=0.05, reconnect_s=8.0)
FOLDERS, FILES = 12, 10


class Hooked(FakeDecoder):
    """Calls `on_decode` with how many media it has been given."""

    def __init__(self) -> None:
        super().__init__()
        self.on_decode: Callable[[int], None] = lambda _count: None

    def decode(self, data: bytes, media_type: MediaType, detail: Detail = Detail.COARSE) -> Decoded:
        self.on_decode(len(self.decoded) + 1)
        return super().decode(data, media_type, detail)


@pytest.fixture
@needs("sftp")
def server() -> Iterator[Sshd]:
    base = sshd.new_base()
    made = Sshd(base)
    made.trust()
    made.start()
    yield made
    made.stop()
    shutil.rmtree(base)


def content(folder: int, file: int) -> bytes:
    """The first of every folder is condemned."""
    value = 0.9 if file == 0 else 0.1
    return f"pic n{folder:02}{file:02} red={value} circle={value} {'.' * 5000}".encode()


def fill(server: Sshd) -> None:
    uid = server.media.stat().st_uid
    for i in range(FOLDERS):
        folder = server.media / f"{i:02}"
        folder.mkdir()
        for j in range(FILES):
            (folder / f"{j:02}").write_bytes(content(i, j))
            os.chown(folder / f"{j:02}", uid, -1)
        os.chown(folder, uid, -1)


def names(server: Sshd) -> set[str]:
    return {str(path.relative_to(server.media)) for path in server.media.rglob("*") if path.is_file()}


HARMLESS = {f"{i:02}/{j:02}" for i in range(FOLDERS) for j in range(1, FILES)}
ALL = HARMLESS | {f"{i:02}/00" for i in range(FOLDERS)}


def open_tree(server: Sshd) -> SftpStore:
    access = {"known_hosts": str(server.known_hosts), "identity_file": str(server.identity), "connections": 2}
    return SftpStore(read_url(server.url), Ssh.model_validate(access), waits=QUICK)


@pytest.fixture
def bench(server: Sshd, tmp_path: Path) -> Iterator[Bench]:
    limits = BreakerLimits(max_removed_share=0.5)
    made = Bench(tmp_path / "ledger.db", open_tree(server), decoder=Hooked(), limits=limits)
    yield made
    made.close()
    made.store.close()


def hook(bench: Bench, at: int, what: Callable[[], object]) -> list[int]:
    """Do something once, when so many objects have come to the decoder; return a list that then is not empty."""
    done: list[int] = []

    def on_decode(count: int) -> None:
        if count >= at and not done:
            done.append(count)
            what()

    assert isinstance(bench.decoder, Hooked)
    bench.decoder.on_decode = on_decode
    return done


def judged_once(bench: Bench) -> bool:
    return len(bench.decoder.decoded) == len(set(bench.decoder.decoded)) == len(ALL)


def test_a_server_that_is_restarted_in_mid_scan_costs_nothing(server: Sshd, bench: Bench) -> None:
    fill(server)
    done = hook(bench, 30, server.restart)
    tally, _ = bench.scan()
    assert done and tally.accounted
    assert (tally.judged, tally.unscanned_total, tally.acted, tally.failed) == (len(ALL), 0, FOLDERS, 0)
    assert names(server) == HARMLESS and judged_once(bench)


def test_a_host_key_that_changes_in_mid_scan_ends_it_and_removes_nothing(server: Sshd, bench: Bench) -> None:
    fill(server)

    def another_host() -> None:
        server.new_host_key()
        server.restart()

    done = hook(bench, 30, another_host)
    with pytest.raises(StoreUsageError, match="HOST KEY HAS CHANGED") as caught:
        bench.scan()
    assert done and caught.value.exit_code == 2
    assert names(server) == ALL
    known = len(bench.rows())
    assert 30 <= known < len(ALL) and known == len(bench.decoder.decoded)
    # It stays so until somebody says that the new key is right.
    with pytest.raises(StoreUsageError, match="HOST KEY HAS CHANGED"):
        open_tree(server)
    server.trust()
    bench.store.close()
    bench.store = open_tree(server)
    tally, _ = bench.scan()
    assert tally.already_judged == known and tally.acted == FOLDERS
    assert names(server) == HARMLESS and judged_once(bench)


def test_rights_taken_away_in_mid_scan_are_gaps_and_failed_acts(server: Sshd, bench: Bench) -> None:
    fill(server)
    closed = [server.media / f"{i:02}" for i in range(6, FOLDERS)]
    readable = [server.media / f"{i:02}" for i in range(6)]

    def take_away() -> None:
        for folder in closed:
            folder.chmod(0)
        for folder in readable:
            folder.chmod(0o555)

    done = hook(bench, 30, take_away)
    tally, _ = bench.scan()
    assert done and tally.accounted
    assert set(tally.unscanned) == {"unreadable"}
    assert tally.acted == 0 and tally.failed > 0
    assert {row.act_state for row in bench.rows() if row.act_state is not None} == {PlanState.FAILED}
    for folder in [*closed, *readable]:
        folder.chmod(0o755)
    assert names(server) == ALL
    bench.clock.advance(3600)
    tally, _ = bench.scan()
    assert tally.accounted and (tally.unscanned_total, tally.failed, tally.acted) == (0, 0, FOLDERS)
    assert names(server) == HARMLESS and judged_once(bench)


@pytest.mark.needs("disk")
def test_a_server_whose_disk_is_full_is_scanned_and_removed_from(server: Sshd, bench: Bench) -> None:
    uid = server.media.stat().st_uid
    with small_disk(server.media) as disk:
        os.chown(server.media, uid, -1)
        fill(server)
        disk.fill()
        with pytest.raises(OSError, match="No space"):
            (server.media / "one-more").write_bytes(b"x" * 8192)
        (server.media / "one-more").unlink()
        tally, _ = bench.scan()
        assert tally.accounted
        assert (tally.judged, tally.skipped, tally.acted, tally.failed) == (len(ALL), {"not_media": 1}, FOLDERS, 0)
        assert tally.unscanned == {}
        assert names(server) == HARMLESS | {".ballast"} and judged_once(bench)
