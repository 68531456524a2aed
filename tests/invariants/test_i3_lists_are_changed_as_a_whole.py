"""I3 for lists of known images: kill -9 or a full disk at any point of a change leaves a whole state, and it serves."""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedi_safety.core.errors import KnownError
from fedi_safety.core.known.types import HashKind, KnownList
from fedi_safety.known import tables, upkeep
from fedi_safety.known.catalog import Catalog
from fedi_safety.known.progress import SourceState
from fedi_safety.known.records import Withdrawn
from support.killing import Steps, killed_at
from support.known import entries, pdqs

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")

MANY = pdqs(200)
OLD, NEW = MANY[:100], MANY[60:]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A list and a second one beside it, in segments that the next change merges."""
    monkeypatch.setattr(upkeep, "LOOSE_ROWS", 20)
    with monkeypatch.context() as patched, Catalog(tmp_path / "known") as catalog:
        patched.setattr(upkeep, "_CHEAP_ROWS", 0)
        patched.setattr(upkeep, "_DEAR", 0)
        for most in (60, 120):
            catalog.put(KnownList("other"), entries(MANY[:most]))
        catalog.put(KnownList("a"), entries(OLD, named=False))
        assert len(catalog.images().view().parts) == 3
    return tmp_path / "known"


def put(folder: Path) -> None:
    with Catalog(folder) as catalog:
        catalog.put(KnownList("a"), entries(NEW, named=False))


def change(folder: Path) -> None:
    with Catalog(folder) as catalog:
        catalog.change("a", entries(NEW, named=False), entries(OLD[:60], named=False))


def absorb(folder: Path) -> None:
    """What a source gave: entries, withdrawals, and how far it was read."""
    gone = [Withdrawn(kind=HashKind.PDQ, hash=each.tobytes()) for each in OLD[:60]]
    reached = SourceState("a", "url", "somewhere", checkpoint="here")
    with Catalog(folder) as catalog:
        catalog.absorb(KnownList("a"), [*gone, *entries(NEW, named=False)], lambda: reached)


def is_reached(folder: Path) -> bool:
    """Whether it is kept that the source was read."""
    with Catalog(folder) as catalog:
        return [state.checkpoint for state in catalog.sources()] == ["here"]


def merge(folder: Path) -> None:
    with Catalog(folder) as catalog:
        catalog.merge()


def drop(folder: Path) -> None:
    with Catalog(folder) as catalog:
        catalog.drop("a")


def state(folder: Path) -> str:
    """Which state a new reader sees: one of those that may be, whole in lists and index."""
    with Catalog(folder) as catalog:
        hits = catalog.images().near(MANY)
        assert [error.line() for error in catalog.verify()] == []
    met = {number for number, found in enumerate(hits) if any(hit.list == "a" for hit in found)}
    assert all(any(hit.list == "other" for hit in found) for found in hits[:120])
    states = {"old": set(range(100)), "new": set(range(60, 200)), "none": set()}
    return next(name for name, expected in states.items() if met == expected)


def install(steps: Steps) -> None:
    """Count every statement, and whatever reaches the disk."""
    for name in ("fsync", "rename", "mkdir"):
        setattr(os, name, steps.around(getattr(os, name)))
    create = tables.create

    def counted(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        connection = create(*args, **kwargs)
        # What is staged beside the lists may be left out: nothing of it is in a file that anybody else reads.
        connection.set_trace_callback(lambda said: None if "temp" in said.lower() else steps.step())
        return connection

    tables.create = counted


@pytest.mark.long
@pytest.mark.parametrize(
    ("work", "after"), [(put, "new"), (change, "new"), (absorb, "new"), (drop, "none"), (merge, "old")]
)
def test_a_change_that_is_killed_at_any_step_is_made_or_is_not(
    folder: Path, tmp_path: Path, work: Callable[[Path], None], after: str
) -> None:
    seen = []
    step = 1
    copy = tmp_path / "copy"
    while True:
        shutil.copytree(folder, copy)
        killed = killed_at(step, lambda: work(copy), install)
        seen.append(state(copy))
        assert is_reached(copy) == (work is absorb and seen[-1] == "new"), "a source is as far as its list"
        merge(copy)  # the next who writes tidies up
        with Catalog(copy) as catalog:
            parts = {part.folder for part in catalog.images().view().parts}
        assert {path.name for path in (copy / upkeep.FOLDER).iterdir()} == parts
        shutil.rmtree(copy)
        if not killed:
            break
        step += 3
    assert step > 10
    assert seen == sorted(seen, key=["old", after].index), "once it is made it stays"
    assert seen[0] == "old" and seen[-1] == after


@pytest.mark.sampled(1)
@pytest.mark.parametrize("work", [put, change, absorb, merge])
def test_a_full_disk_at_any_point_of_a_change_leaves_everything_as_it_was(
    folder: Path, tmp_path: Path, work: Callable[[Path], None]
) -> None:
    """No file may grow beyond so many bytes: SQLite's own, those it sorts in, and those of the index, each in turn."""
    refused, code = 0, -1
    for limit in [0, *(1 << power for power in range(10, 20))]:
        child = os.fork()
        if child == 0:
            code = 70
            try:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
                work(folder)
                code = 0
            except KnownError as error:
                code = 3 if "\n" not in error.line() and error.remedy else 71
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        assert code in (0, 3)
        if code == 0:
            break
        refused += 1
        assert (state(folder), is_reached(folder)) == ("old", False)
    assert refused > 2 and code == 0
    assert state(folder) == ("old" if work is merge else "new")
    assert is_reached(folder) == (work is absorb)
