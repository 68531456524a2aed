"""Whether a store can be removed from, asked without touching anybody's objects."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedi_safety.app.store_rights import store_rights
from fedi_safety.config.schema import Pictrs, Settings
from fedi_safety.core.enums import Reason
from fedi_safety.core.keys import OUR_NAME
from fedi_safety.core.types import Object, Right
from fedi_safety.stores.local import LocalStore
from fedi_safety.stores.s3.address import Address
from fedi_safety.stores.s3.client import Version
from fedi_safety.stores.s3.faults import Kind, S3Fault
from fedi_safety.stores.s3.store import S3Store
from support.fakes import FakeStore
from support.program import without_power


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Path]:
    for name in ("open/a.jpg", "shut/b.jpg", "shut/deep/c.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"data")
    yield tmp_path
    (tmp_path / "shut").chmod(0o755)


def local(root: Path) -> Right:
    store = LocalStore(str(root))
    try:
        return store.may_remove([item for item in store.list() if isinstance(item, Object)])
    finally:
        store.close()


def test_a_directory_that_this_user_may_not_write_to_is_named(tree: Path) -> None:
    assert local(tree) == Right(True)
    (tree / "shut").chmod(0o555)
    script = "import sys; from fedi_safety.app.store_rights import *; from fedi_safety.config.schema import Settings;"
    script += "from fedi_safety.stores import open_store; print(store_rights(open_store(sys.argv[1]), Settings()).text)"
    said = _alone(script, str(tree))
    assert "can be listed and read; NOT removed from: this user may not remove files in 1 of 3 directories" in said
    assert "such as shut/; run as the user that owns the files, or grant write access to the directory" in said
    assert sorted(path.name for path in tree.rglob("*.jpg")) == ["a.jpg", "b.jpg", "c.jpg"]


def _alone(script: str, argument: str) -> str:
    """Run a script as this user, bound by permissions, and return what it says."""
    command = [*without_power(), sys.executable, "-c", script, argument]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def test_where_only_owners_may_remove_the_owners_are_compared(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree / "shut").chmod(0o1777)
    assert local(tree).held is True
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    found = local(tree)
    assert found.held is False and "sticky" in found.detail and "shut/" in found.detail


def test_an_empty_directory_is_asked_about_itself(tmp_path: Path) -> None:
    assert local(tmp_path) == Right(True)


# --- S3: nothing is written, a name that nothing has is deleted


class FakeBucket:
    """Answers deletions, and keeps what was asked for."""

    def __init__(self, *, marker: bool = False, denied: tuple[str, ...] = (), fault: S3Fault | None = None) -> None:
        self.marker, self.denied, self.fault = marker, denied, fault
        self.asked: list[tuple[str, str, str | None]] = []

    def delete(self, key: str, version: str | None = None) -> bool:
        name = "delete" if version is None else "delete version"
        self.asked.append((name, key, version))
        if self.fault is not None:
            raise self.fault
        if name in self.denied:
            raise S3Fault(Kind.DENIED, "access denied")
        return self.marker and version is None

    def versions(self, key: str) -> list[Version]:
        self.asked.append(("versions", key, None))
        if "versions" in self.denied:
            raise S3Fault(Kind.DENIED, "access denied")
        return [Version("v1", True, True, 0, "")]


def bucket(client: FakeBucket) -> Right:
    address = Address("media", "pictures/", "http://127.0.0.1:9", "us-east-1", "path", "id", "secret", None)
    right = S3Store(address, client, 1).may_remove([Object("someones.jpg", 1, 1)])  # type: ignore[arg-type]
    assert all(key.startswith(f"pictures/{OUR_NAME}") for _, key, _ in client.asked), "only a name of our own"
    return right


def test_a_bucket_where_deleting_is_allowed() -> None:
    client = FakeBucket()
    assert bucket(client) == Right(True) and len(client.asked) == 1
    assert bucket(FakeBucket(fault=S3Fault(Kind.GONE, "it is not there"))) == Right(True)


def test_a_bucket_that_keeps_versions_is_left_without_our_marker() -> None:
    client = FakeBucket(marker=True)
    assert bucket(client) == Right(True)
    assert [(name, version) for name, _, version in client.asked] == [
        ("delete", None), ("versions", None), ("delete version", "v1"),
    ]  # fmt: skip


@pytest.mark.parametrize("denied", ["delete", "versions", "delete version"])
def test_each_right_that_is_missing_is_seen(denied: str) -> None:
    found = bucket(FakeBucket(marker=True, denied=(denied,)))
    assert found.held is False and "access denied; grant s3:DeleteObject" in found.detail


# --- what is learnt of a store, in words


PICTURES = {"a.png": b"pic a", "b.png": b"pic b"}


def test_a_store_where_all_is_well() -> None:
    store = FakeStore(dict(PICTURES))
    rights = store_rights(store, Settings())
    assert rights.problem == "" and rights.text == f"{store.url}: can be listed, read and removed from"
    assert store.objects == PICTURES and store.removed == []


def test_what_cannot_be_read_or_removed_is_said_with_what_can() -> None:
    store = FakeStore(dict(PICTURES))
    store.failing["a.png"] = Reason.UNREADABLE
    store.refusing.add("b.png")
    rights = store_rights(store, Settings())
    assert rights.text.startswith(f"{store.url}: can be listed; NOT read or removed from: a.png: the fake was told")
    assert "the fake was told to refuse" in rights.problem


def test_what_is_gone_meanwhile_proves_nothing() -> None:
    store = FakeStore(dict(PICTURES))
    store.failing["a.png"] = Reason.VANISHED
    assert store_rights(store, Settings()).read == Right(True)


def test_a_store_that_is_left_as_it_is_is_not_tried() -> None:
    store = FakeStore(dict(PICTURES))
    store.refusing.add("a.png")
    rights = store_rights(store, Settings(act="report"))
    assert rights.problem == "" and "action report: whether it can be removed from was not tried" in rights.text


def test_an_empty_store_says_so() -> None:
    assert store_rights(FakeStore(), Settings()).text.endswith("can be listed and removed from, but is empty")


def test_files_of_a_pictrs_are_removed_through_it_so_that_it_is_asked() -> None:
    store = FakeStore(dict(PICTURES))
    store.refusing.add("a.png")
    access = Pictrs.model_validate({"url": "http://127.0.0.1:9", "api_key": "k"})
    rights = store_rights(store, Settings(act="purge", pictrs=access))
    assert rights.removed.held is False and "purging goes through pict-rs: http://127.0.0.1:9" in rights.removed.detail
