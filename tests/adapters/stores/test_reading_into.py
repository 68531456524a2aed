"""Reading a file into memory that is there: all of it and as it was listed, or none."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fedi_safety.core.enums import Reason
from fedi_safety.core.errors import Unscannable
from fedi_safety.core.types import Object
from fedi_safety.stores.local import LocalStore

DATA = os.urandom(100_000)


def one(folder: Path) -> tuple[LocalStore, Object]:
    (folder / "a").write_bytes(DATA)
    store = LocalStore(str(folder))
    (obj,) = [each for each in store.list() if isinstance(each, Object)]
    return store, obj


@pytest.mark.parametrize("at_once", [1 << 30, 30_000])
def test_all_of_it_is_read_however_little_comes_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    store, obj = one(tmp_path)
    whole = os.preadv
    monkeypatch.setattr(os, "preadv", lambda fd, views, at: whole(fd, [views[0][:at_once]], at))
    memory = memoryview(bytearray(obj.size))
    store.fetch_into(obj, memory)
    assert memory == DATA
    store.close()


def test_an_empty_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    store = LocalStore(str(tmp_path))
    (obj,) = [each for each in store.list() if isinstance(each, Object)]
    store.fetch_into(obj, memoryview(bytearray()))
    store.close()


def shorter(path: Path) -> None:
    os.truncate(path, 1000)


def longer(path: Path) -> None:
    with path.open("ab") as stream:
        stream.write(b"x")


def another(path: Path) -> None:
    path.with_name("b").write_bytes(DATA)
    path.with_name("b").rename(path)


@pytest.mark.parametrize(
    ("what", "amid", "reason"),
    [
        (shorter, False, Reason.CHANGED),
        (longer, False, Reason.CHANGED),
        (another, False, Reason.CHANGED),
        (Path.unlink, False, Reason.VANISHED),
        (shorter, True, Reason.CHANGED),
        (longer, True, Reason.CHANGED),
    ],
)
def test_what_is_not_as_it_was_listed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: Callable[[Path], None], amid: bool, reason: Reason
) -> None:
    """Amid reading, the file that is open is the one that was listed, whatever has its name."""
    store, obj = one(tmp_path)
    if amid:
        whole = os.preadv

        def changed(fd: int, views: list[memoryview], at: int) -> int:
            if not at:
                what(tmp_path / "a")
                os.utime(tmp_path / "a", ns=(obj.mtime_ns, obj.mtime_ns))
            return whole(fd, [views[0][:500]], at)

        monkeypatch.setattr(os, "preadv", changed)
    else:
        what(tmp_path / "a")
    # Its time, or who looks at a time at all, is not what finds it.
    obj = replace(obj, mtime_ns=(tmp_path / "a").stat().st_mtime_ns) if what in (shorter, longer) else obj
    with pytest.raises(Unscannable) as refused:
        store.fetch_into(obj, memoryview(bytearray(obj.size)))
    assert refused.value.reason is reason
    store.close()
