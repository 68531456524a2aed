"""I3 for shared lists: kill -9 or a full disk at any point of publishing or of reading on leaves a whole state."""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedi_safety.core.errors import SharingError
from fedi_safety.sharing.publishers import Bounds, Publisher, Publishers
from fedi_safety.sharing.reading import Following
from support.judged_before import pdq
from support.killing import Steps, killed_at
from support.shared import Published, verified

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")

AT = 1_800_000_000.0
OLD, NEW, LATER = pdq(), pdq(), pdq()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A log with an entry."""
    Published(tmp_path / "log", "one.example", [AT]).lists(OLD)
    return tmp_path / "log"


def opened(folder: Path) -> Published:
    made = Published(folder, "one.example", [AT])
    made.wanted = {}
    return made


def publish(folder: Path) -> None:
    opened(folder).lists(NEW)  # and OLD is wanted no more


def change_key(folder: Path) -> None:
    opened(folder).log.change_key()


def state(folder: Path) -> str:
    """Which state a reader sees; the chain, the head and the snapshot fit together in each."""
    return {1: "old", 2: "key", 3: "new"}[len(verified(opened(folder).log))]


def install(steps: Steps) -> None:
    """Count every statement, and whatever reaches the disk."""
    for name in ("fsync", "replace", "rename", "unlink"):
        setattr(os, name, steps.around(getattr(os, name)))
    connect = sqlite3.connect

    def counted(*args: Any, **kwargs: Any) -> Any:
        connection = connect(*args, **kwargs)
        connection.set_trace_callback(lambda said: None if "temp" in said.lower() else steps.step())
        return connection

    for name in ("connect",):
        setattr(sqlite3, name, counted)


@pytest.mark.long
@pytest.mark.parametrize(("work", "after"), [(publish, "new"), (change_key, "key")])
def test_a_publication_that_is_killed_at_any_step_is_made_or_is_not(
    folder: Path, tmp_path: Path, work: Callable[[Path], None], after: str
) -> None:
    seen = []
    copy = tmp_path / "copy"
    step = 1
    while True:
        shutil.copytree(folder, copy)
        killed = killed_at(step, lambda: work(copy), install)
        seen.append(state(copy))
        opened(copy).lists(LATER)  # the next one goes on, with the key that counts, and tidies up
        verified(opened(copy).log)
        assert len(list(copy.glob("snapshot-*"))) == 1
        shutil.rmtree(copy)
        if not killed:
            break
        step += 1
    assert step > 10
    assert seen == sorted(seen, key=["old", after].index), "once it is made it stays"
    assert (seen[0], seen[-1]) == ("old", after)


@pytest.mark.long
def test_a_full_disk_amid_a_publication_leaves_everything_as_it_was(folder: Path) -> None:
    refused, code = 0, -1
    for limit in [0, *(1 << power for power in range(9, 20))]:
        child = os.fork()
        if child == 0:
            code = 70
            try:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
                publish(folder)
                code = 0
            except SharingError as error:
                code = 3 if "\n" not in error.line() and error.remedy else 71
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        assert code in (0, 3)
        if code == 0:
            break
        refused += 1
        assert state(folder) == "old"
    assert refused > 2 and code == 0
    assert state(folder) == "new"


@pytest.mark.long
def test_reading_on_that_is_killed_at_any_step_is_done_or_is_not(tmp_path: Path) -> None:
    one = Published(tmp_path / "log", "one.example", [AT])
    one.lists(OLD)
    known = one.log.state()
    assert known is not None
    place = tmp_path / "me"
    told = "https://one.example", "token", "one.example", known.key, 1, known.link, AT, known.expires
    Publishers(place, now=lambda: AT).begin(lambda: Publisher("one.example", *told), [], Bounds(10, 10))
    one.lists(NEW, LATER)

    class Answers:
        def head(self) -> bytes:
            state = one.log.state()
            assert state is not None
            return state.head

        def changes(self, after: int) -> Any:
            import io

            return io.BytesIO(one.log.page(after, 3))

        def snapshot(self) -> Any:
            raise AssertionError("it is not asked for")

    def read(folder: Path) -> None:
        publishers = Publishers(folder, now=lambda: AT)
        before = publishers.get("one.example")
        following = Following(before.known, Answers(), AT)

        def reached() -> Any:
            return following.known

        publishers.read_on(before, following.changes(), reached, following.head.expires, Bounds(10, 10))

    seen = []
    step = 1
    copy = tmp_path / "copy"
    while True:
        shutil.copytree(place, copy)
        killed = killed_at(step, lambda: read(copy), install)
        publishers = Publishers(copy, now=lambda: AT)
        seen.append((publishers.get("one.example").seq, len(list(publishers.received("one.example")))))
        shutil.rmtree(copy)
        if not killed:
            break
        step += 2
    assert set(seen) == {(1, 0), (3, 2)}
    assert seen == sorted(seen), "once it is done it stays"
