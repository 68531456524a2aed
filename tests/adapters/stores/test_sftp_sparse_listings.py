"""Servers whose directories say less of their entries than OpenSSH's, as the protocol lets them: LSTAT is asked."""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from fedi_safety.config.schema import Ssh
from fedi_safety.core.enums import PlanState, Reason
from fedi_safety.core.types import Object, Unscanned
from fedi_safety.stores.sftp.store import SftpStore, open_sftp

Twist = Callable[[bytes, asyncssh.SFTPAttrs], None]


def no_permissions(_name: bytes, attrs: asyncssh.SFTPAttrs) -> None:
    attrs.permissions = None


def no_type(_name: bytes, attrs: asyncssh.SFTPAttrs) -> None:
    attrs.permissions = stat.S_IMODE(attrs.permissions or 0)


def no_time(_name: bytes, attrs: asyncssh.SFTPAttrs) -> None:
    attrs.atime = attrs.mtime = None


def no_size(_name: bytes, attrs: asyncssh.SFTPAttrs) -> None:
    attrs.size = None


def nothing_at_all(name: bytes, attrs: asyncssh.SFTPAttrs) -> None:
    for twist in (no_permissions, no_time, no_size):
        twist(name, attrs)


def every_other(name: bytes, attrs: asyncssh.SFTPAttrs) -> None:
    if name > b"b":
        nothing_at_all(name, attrs)


def not_at_all(_name: bytes, attrs: asyncssh.SFTPAttrs) -> None:
    """Leave everything as it is."""


def _said(info: Any) -> asyncssh.SFTPAttrs:
    return info if isinstance(info, asyncssh.SFTPAttrs) else asyncssh.SFTPAttrs.from_local(info)


def sftp_server(in_listings: Twist, in_answers: Twist, looks: list[bytes]) -> type[asyncssh.SFTPServer]:
    class Server(asyncssh.SFTPServer):
        async def scandir(self, path: bytes) -> AsyncIterator[asyncssh.SFTPName]:
            async for name in super().scandir(path):
                in_listings(bytes(name.filename), name.attrs)  # type: ignore[arg-type]
                yield name

        def lstat(self, path: bytes) -> asyncssh.SFTPAttrs:
            if b"/./" not in path:  # the server's own look, as it reads a directory
                looks.append(path)
            attrs = _said(super().lstat(path))
            in_answers(path, attrs)
            return attrs

        def fstat(self, file_obj: object) -> asyncssh.SFTPAttrs:
            attrs = _said(super().fstat(file_obj))
            in_answers(b"", attrs)
            return attrs

    return Server


class _AnyUser(asyncssh.SSHServer):
    def begin_auth(self, username: str) -> bool:
        return False


@contextmanager
def opened(
    tmp_path: Path, root: Path, in_listings: Twist, in_answers: Twist = not_at_all
) -> Iterator[tuple[SftpStore, list[bytes]]]:
    """Serve `root` with these quirks, and open it."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    looks: list[bytes] = []
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    factory = sftp_server(in_listings, in_answers, looks)

    async def listening() -> asyncssh.SSHAcceptor:
        return await asyncssh.create_server(_AnyUser, "127.0.0.1", 0, server_host_keys=[key], sftp_factory=factory)

    server = asyncio.run_coroutine_threadsafe(listening(), loop).result(10)
    known = tmp_path / "known_hosts"
    known.write_text(f"[127.0.0.1]:{server.get_port()} {key.export_public_key().decode()}")
    identity = tmp_path / "identity"
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(identity)
    identity.chmod(0o600)
    access = Ssh.model_validate({"known_hosts": str(known), "identity_file": str(identity)})
    store = open_sftp(f"sftp://anyone@127.0.0.1:{server.get_port()}{root}", access)
    try:
        yield store, looks
    finally:
        store.close()
        loop.call_soon_threadsafe(server.close)
        asyncio.run_coroutine_threadsafe(server.wait_closed(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "media"
    (root / "b").mkdir(parents=True)
    for name in ("a", "b/x", "b.txt", "c"):
        (root / name).write_bytes(name.encode())
        os.utime(root / name, (1000, 1000))
    os.mkfifo(root / "pipe")
    (root / "link").symlink_to("/etc/passwd")
    return root


@pytest.mark.sampled(2)
@pytest.mark.parametrize("twist", [no_permissions, no_type, no_time, no_size, nothing_at_all, every_other])
def test_what_a_listing_leaves_out_is_asked_for(tmp_path: Path, root: Path, twist: Twist) -> None:
    with opened(tmp_path, root, twist) as (store, looks):
        looks.clear()
        items = list(store.list())
        expected = [Object(name, len(name), 1000 * 10**9) for name in ("a", "b.txt", "b/x", "c")]
        assert [item for item in items if isinstance(item, Object)] == expected
        gaps = [(item.object.key, item.reason) for item in items if isinstance(item, Unscanned)]
        assert gaps == [("link", Reason.SYMLINK), ("pipe", Reason.SPECIAL_FILE)]
        asked = len(looks)
        assert asked == (5 if twist is every_other else 7)  # one each, `b` among them
        assert [item.key for item in store.list(since=2000) if isinstance(item, Object)] == []
        for obj in expected:
            data = store.fetch(obj, lambda _head: None)
            assert data == obj.key.encode()
            assert store.remove(obj, hashlib.sha256(data).digest()).state is PlanState.DONE
    assert not (root / "b/x").exists()


def test_a_full_listing_asks_for_nothing(tmp_path: Path, root: Path) -> None:
    with opened(tmp_path, root, not_at_all) as (store, looks):
        looks.clear()
        assert len(list(store.list())) == 6
        assert looks == []


def test_many_of_them_are_asked_for_in_bounded_lots(tmp_path: Path, root: Path) -> None:
    for number in range(300):
        (root / f"n{number:03d}").write_bytes(b"x")
    with opened(tmp_path, root, no_permissions) as (store, _):
        assert sum(isinstance(item, Object) for item in store.list()) == 304


@pytest.mark.parametrize("twist", [no_permissions, no_time, no_size, nothing_at_all])
def test_what_nobody_tells_is_a_gap_with_its_reason(tmp_path: Path, root: Path, twist: Twist) -> None:
    with opened(tmp_path, root, twist, twist) as (store, _):
        items = list(store.list())
        files = {item.object.key: item for item in items if isinstance(item, Unscanned)}
        assert not any(isinstance(item, Object) for item in items)
        assert files["a"].reason is Reason.UNREADABLE
        assert "does not say" in files["a"].detail


def test_an_entry_that_vanishes_before_it_is_asked_for_is_none(tmp_path: Path, root: Path) -> None:
    def vanishing(name: bytes, attrs: asyncssh.SFTPAttrs) -> None:
        no_permissions(name, attrs)
        if name == b"c":
            (root / "c").unlink(missing_ok=True)

    with opened(tmp_path, root, vanishing) as (store, _):
        assert [item.key for item in store.list() if isinstance(item, Object)] == ["a", "b.txt", "b/x"]
