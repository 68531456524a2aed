"""One contract over every kind of vault, each against its real server; and that no store is one."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from mmap import mmap
from pathlib import Path
from typing import Any

import pytest

from fedi_safety.config.schema import S3, Seal, Settings, Ssh
from fedi_safety.core.errors import StoreError, StoreUsageError
from fedi_safety.core.sealing.copies import Vault
from fedi_safety.stores.vaults import VAULTS, check_vault, open_vault
from support.sealing import open_within
from support.servers.s3 import s3_server
from support.servers.sshd import Sshd, new_base

Make = Callable[[ExitStack, Path], Callable[[], Vault]]


def local(_stack: ExitStack, folder: Path) -> Callable[[], Vault]:
    (folder / "vault").mkdir()
    return lambda: open_vault(str(folder / "vault"), Settings(), [f"file://{folder}/media"])


def sftp(stack: ExitStack, _folder: Path) -> Callable[[], Vault]:
    base = new_base()
    running = Sshd(base)
    running.trust()
    running.start()
    stack.callback(shutil.rmtree, base)
    stack.callback(running.stop)
    access = {"known_hosts": str(running.known_hosts), "identity_file": str(running.identity)}
    settings = Settings(seal=Seal(ssh=Ssh.model_validate(access)))
    return lambda: open_vault(running.url, settings, ["sftp://other@127.0.0.1/media"])


def bucket(*, versions: bool) -> Make:
    def made(stack: ExitStack, folder: Path) -> Callable[[], Vault]:
        running = stack.enter_context(s3_server())
        name = running.make_bucket("vault", versions=versions)
        keys = {"access_key_id": running.access_key, "secret_access_key": running.secret_key}
        settings = Settings(seal=Seal(s3=S3.model_validate({**keys, "endpoint": running.endpoint})))
        _ = folder
        return lambda: open_vault(f"s3://{name}/below", settings, ["s3://media"])

    return made


KINDS: dict[str, Make] = {"local": local, "sftp": sftp, "s3": bucket(versions=False), "versions": bucket(versions=True)}
NEEDS = {"local": (), "sftp": ("sftp",), "s3": ("s3",), "versions": ("s3",)}
DATA = os.urandom(1_300_000)


@pytest.fixture(scope="module", params=[pytest.param(kind, marks=pytest.mark.needs(*NEEDS[kind])) for kind in KINDS])
def opening(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Vault]]:
    with ExitStack() as stack:
        yield KINDS[request.param](stack, tmp_path_factory.mktemp("vault"))


@pytest.fixture
def vault(opening: Callable[[], Vault]) -> Iterator[Vault]:
    opened = opening()
    yield opened
    opened.close()
    opened.close()


def test_every_kind_of_vault_is_tried() -> None:
    assert set(VAULTS) == set(KINDS) - {"versions"}


def test_two_files_are_written_and_read_back_at_once(vault: Vault) -> None:
    """Pieces of both come in turns, so that whoever mixed them up would be found out."""
    both = {name: os.urandom(3_000_000) for name in ("one.age", "two.age")}
    turn = threading.Barrier(2, timeout=60)

    def pieces(data: bytes) -> Iterator[bytes]:
        for at in range(0, len(data), 500_000):
            turn.wait()
            yield data[at : at + 500_000]

    def kept(name: str) -> bool:
        vault.put(name, pieces(both[name]))
        turn.wait()
        return vault.holds(name, both[name])

    with ThreadPoolExecutor(2) as hands:
        assert list(hands.map(kept, both)) == [True, True]
    assert {name: vault.get(name) for name in both} == both
    assert all(vault.remove(name) for name in both)


def test_what_is_put_is_there_for_everybody_who_opens_it(vault: Vault, opening: Callable[[], Vault]) -> None:
    vault.put("a.age", (DATA,))
    again = opening()
    assert again.get("a.age") == DATA
    again.close()
    assert vault.get("b.age") is None
    assert vault.remove("a.age")


def test_what_a_vault_holds_is_those_bytes_and_no_others(vault: Vault) -> None:
    data = DATA * (1 + (2 << 20) // len(DATA))  # more than is read at once
    assert not vault.holds("a.age", data)
    vault.put("a.age", (memoryview(data)[:5], memoryview(data)[5:]))
    assert vault.holds("a.age", data) and vault.holds("a.age", memoryview(data))
    assert not vault.holds("a.age", data[:-1]) and not vault.holds("a.age", data + b"x")
    assert not vault.holds("a.age", data[:-1] + bytes([data[-1] ^ 1]))
    assert vault.remove("a.age")


def test_what_does_not_come_to_its_end_is_not_there_and_what_was_there_stays(vault: Vault) -> None:
    """Pieces come while others are written; it may turn out that there are no more."""

    def cut_off() -> Iterator[bytes]:
        yield DATA * (1 + (4 << 20) // len(DATA))
        raise ZeroDivisionError

    for before in (None, b"before"):
        if before is not None:
            vault.put("a.age", (before,))
        with pytest.raises(ZeroDivisionError):
            vault.put("a.age", cut_off())
        assert vault.get("a.age") == before
    assert vault.remove("a.age")


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, (2 << 20) - 1, 2 << 20, (4 << 20) + 4096])
@pytest.mark.parametrize("past", ["past the cache", "refused", "refused when it is asked"])
def test_every_length_is_written_and_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, past: str
) -> None:
    """Past the kernel's cache go whole sectors alone, and not every file system knows that."""
    data = (DATA * 4)[:size]
    (tmp_path / "vault").mkdir()
    vault = open_vault(str(tmp_path / "vault"), Settings(), [])
    asked = fcntl.fcntl
    if past == "refused":

        def refuses(fd: int, command: int, argument: int = 0) -> int:
            if command == fcntl.F_SETFL and argument & os.O_DIRECT:
                raise OSError(22, "Invalid argument")
            return asked(fd, command, argument)

        monkeypatch.setattr(fcntl, "fcntl", refuses)
    elif past == "refused when it is asked":

        def not_direct(fd: int) -> int:
            if asked(fd, fcntl.F_GETFL) & os.O_DIRECT:
                raise OSError(22, "Invalid argument")
            return fd

        write, read = os.write, os.preadv
        monkeypatch.setattr(os, "write", lambda fd, view: write(not_direct(fd), view))
        monkeypatch.setattr(os, "preadv", lambda fd, views, at: read(not_direct(fd), views, at))
    vault.put("a.age", (data[:1000], memoryview(data)[1000:]))
    assert (tmp_path / "vault/a.age").read_bytes() == data
    assert vault.holds("a.age", data) and not vault.holds("a.age", data + b"x")
    assert not data or not vault.holds("a.age", data[:-1] + bytes([data[-1] ^ 1]))
    aligned = mmap(-1, len(data) + 1)
    aligned[: len(data)] = data
    view = memoryview(aligned)[: len(data)]
    for cut in (0, 4096, 5000):  # as the disk takes it, and from the second piece on not
        vault.put("b.age", (view[:cut], view[cut:]))
        assert (tmp_path / "vault/b.age").read_bytes() == data and vault.holds("b.age", data)
    vault.close()


def test_a_name_is_put_twice_and_holds_the_second_alone(vault: Vault) -> None:
    vault.put("a.age", (b"first, and longer ", b"than the second"))
    vault.put("a.age", (b"second",))
    assert vault.get("a.age") == b"second"
    assert vault.remove("a.age")
    assert vault.get("a.age") is None
    assert not vault.remove("a.age")


def test_a_draft_is_there_for_nobody_until_it_has_its_name(vault: Vault) -> None:
    data = DATA * 4
    vault.put("a.age", (b"before",))
    draft = vault.draft()
    assert (draft is None) is vault.takes_whole
    if draft is not None:
        draft.put((memoryview(data)[:5], memoryview(data)[5:]))
        assert draft.holds(data)
        assert not draft.holds(data[:-1]) and not draft.holds(data + b"x")
        assert not draft.holds(data[:-1] + bytes([data[-1] ^ 1]))
        assert vault.get("a.age") == b"before"
        assert draft.named("a.age")
        draft.close()
        draft.close()
        assert vault.holds("a.age", data)
    assert vault.remove("a.age")


def test_of_a_draft_without_a_name_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "vault").mkdir()
    vault = open_vault(str(tmp_path / "vault"), Settings(), [])
    closed, full = vault.draft(), vault.draft()
    assert closed is not None and full is not None
    closed.put((DATA,))

    def no_space(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(os, "write", no_space)
        with pytest.raises(StoreError, match=r"vault .*: No space left on device; see to its disk"):
            full.put((DATA,))
    for draft in (closed, full):
        assert list((tmp_path / "vault").iterdir()) == []
        draft.close()
    vault.close()
    assert open_within(tmp_path) == []


def test_a_file_system_that_knows_no_drafts_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "vault").mkdir()
    vault = open_vault(str(tmp_path / "vault"), Settings(), [])
    whole = os.open

    def refuses(path: str, flags: int, *rest: Any, **more: Any) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")
        return whole(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", refuses)
    assert vault.draft() is None
    vault.close()


@pytest.mark.parametrize(
    ("vault_url", "stores"),
    [
        ("sftp://a@host/media/vault", ["sftp://b@host/media"]),
        ("s3://bucket/media/sealed", ["s3://bucket/media"]),
        ("s3://bucket/sealed", ["s3://bucket"]),
    ],
)
def test_a_store_is_no_vault_and_neither_is_what_lies_inside_one(vault_url: str, stores: list[str]) -> None:
    with pytest.raises(StoreUsageError, match="whose files are served and scanned; give it a place of its own"):
        check_vault(vault_url, Settings(), stores)


def test_beside_a_store_a_vault_may_lie() -> None:
    check_vault("s3://bucket/sealed", Settings(), ["s3://bucket/media"])
    check_vault("s3://bucket?endpoint=https://one", Settings(), ["s3://bucket?endpoint=https://two"])


def test_a_directory_within_a_store_is_no_vault_and_a_link_is_no_way_around(tmp_path: Path) -> None:
    (tmp_path / "media/inside").mkdir(parents=True)
    (tmp_path / "media-vault").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "media/inside")
    store = f"file://{tmp_path}/media"
    for path, said in (("media", "it is the store"), ("media/inside", "lies inside"), ("link", "lies inside")):
        for opening in (open_vault, check_vault):
            with pytest.raises(StoreUsageError, match=said):
                opening(str(tmp_path / path), Settings(), [store])
    check_vault(str(tmp_path / "media-vault"), Settings(), [store])


def test_a_pictrs_is_no_vault() -> None:
    with pytest.raises(StoreUsageError, match="a pict-rs is no vault"):
        check_vault("pictrs+http://127.0.0.1:8080", Settings(), [])


def test_a_directory_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    """An unmounted disk would be mistaken for an empty vault."""
    with pytest.raises(StoreUsageError, match="there is no such directory; make it: mkdir -m 700"):
        open_vault(str(tmp_path / "vault"), Settings(), [])
    assert not (tmp_path / "vault").exists()


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "vault").mkdir()
    vault = open_vault(str(tmp_path / "vault"), Settings(), [])

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StoreError, match=r"vault .*: No space left on device; see to its disk"):
        vault.put("a.age", (DATA,))
    vault.close()
    assert list((tmp_path / "vault").iterdir()) == []


def test_a_file_is_synced_before_it_has_its_name_and_the_name_is_synced_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No kill shows this, for the kernel lives on; a loss of power would."""
    (tmp_path / "vault").mkdir()
    vault = open_vault(str(tmp_path / "vault"), Settings(), [])
    done: list[str] = []
    fsync, rename = os.fsync, os.rename

    def synced(fd: int) -> None:
        done.append("directory" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file")
        fsync(fd)

    def renamed(part: str, name: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        done.append("name")
        rename(part, name, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "rename", renamed)
    vault.put("a.age", (DATA,))
    assert done == ["file", "name", "directory"]
    vault.remove("a.age")
    assert done[3:] == ["directory"]
    draft = vault.draft()
    assert draft is not None
    draft.put((DATA,))
    assert done[4:] == ["file"], "without a name it is durable as well"
    assert draft.named("a.age")
    assert done[5:] == ["name", "file", "directory"]
    draft.close()
    vault.close()
