"""Readers look no further while the word beside the lists is the one they know, and miss nothing by that."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedi_safety.core.errors import KnownError
from fedi_safety.core.known.types import KnownList
from fedi_safety.known import changes
from fedi_safety.known.catalog import Catalog
from fedi_safety.known.images import Images
from support.known import entries, pdqs

MANY = pdqs(40)


@pytest.fixture
def images(tmp_path: Path) -> Iterator[Images]:
    with Catalog(tmp_path) as catalog:
        catalog.put(KnownList("mine"), entries(MANY[:10]))
        opened = catalog.images()
        yield opened
        opened.close()


def asked(images: Images, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what grows with each statement that the reader asks SQLite."""
    images.view()
    found: list[str] = []
    assert images._connection is not None
    images._connection.set_trace_callback(found.append)
    monkeypatch.setattr(changes, "BELIEVED_S", 3600.0)
    return found


def test_sqlite_is_not_asked_while_the_word_is_the_same(images: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    statements = asked(images, monkeypatch)
    assert [len(hits) for hits in images.near(MANY[20:24])] == [0] * 4
    assert statements == []
    monkeypatch.setattr(changes, "BELIEVED_S", 0.0)
    images.near(MANY[20:21])
    assert statements == ["PRAGMA data_version"]


def test_what_another_process_changes_is_met_at_once(
    tmp_path: Path, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked(images, monkeypatch)
    script = (
        "import sys; from pathlib import Path; from fedi_safety.known.catalog import Catalog\n"
        "from support.known import entries, pdqs\n"
        "with Catalog(Path(sys.argv[1])) as catalog:\n"
        "    catalog.change('mine', entries(pdqs(40)[20:21]), entries(pdqs(40)[:1]))\n"
    )
    here = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert images.near(MANY[:1])[0] and not images.near(MANY[20:21])[0]
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, env=here, timeout=60)
    assert images.near(MANY[20:21])[0] and not images.near(MANY[:1])[0]


def test_while_a_change_is_in_hand_sqlite_is_asked_each_time(
    tmp_path: Path, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements = asked(images, monkeypatch)
    with changes.changing(tmp_path):
        with changes.changing(tmp_path):
            images.near(MANY[20:21])
        images.near(MANY[20:21])  # the other one may have been in hand before this one was
        images.view()
    assert statements.count("PRAGMA data_version") >= 2
    images.view()
    statements.clear()
    images.near(MANY[20:21])
    assert statements == []


def test_of_two_changes_at_once_the_one_that_is_done_first_does_not_speak_for_the_other(tmp_path: Path) -> None:
    one, other = changes.changing(tmp_path), changes.changing(tmp_path)
    one.__enter__()
    other.__enter__()
    one.__exit__(None, None, None)
    word = changes.Word(tmp_path)
    assert word.read() is None
    other.__exit__(None, None, None)
    done = word.read()
    assert done is not None
    with changes.changing(tmp_path):
        pass
    assert word.read() not in (None, done)
    word.close()


def test_a_change_that_was_killed_leaves_the_word_unbelieved(
    tmp_path: Path, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path; from fedi_safety.known import changes\n"
        "with changes.changing(Path(sys.argv[1])):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    here = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False, env=here, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    statements = asked(images, monkeypatch)
    images.near(MANY[20:21])
    images.near(MANY[20:21])
    assert statements == ["PRAGMA data_version"] * 2
    with Catalog(tmp_path) as catalog:
        catalog.change("mine", entries(MANY[20:21]))
    assert images.near(MANY[20:21])[0]


@pytest.mark.parametrize("spoil", ["gone", "cut"])
def test_without_a_word_nothing_is_missed(tmp_path: Path, images: Images, spoil: str) -> None:
    assert not images.near(MANY[20:21])[0]
    if spoil == "cut":
        os.truncate(tmp_path / changes.FILE, 3)
    else:
        (tmp_path / changes.FILE).unlink()
    with Catalog(tmp_path) as catalog:
        catalog.change("mine", entries(MANY[20:21]))
    deadline = time.monotonic() + 10 * changes.BELIEVED_S
    while not images.near(MANY[20:21])[0]:
        assert spoil == "gone" and time.monotonic() < deadline  # who held the file that is gone learns by asking
    assert not images.near(MANY[21:22])[0]


def test_a_change_that_cannot_be_said_is_not_made(tmp_path: Path, images: Images) -> None:
    (tmp_path / changes.FILE).unlink()
    (tmp_path / changes.FILE).mkdir()
    with Catalog(tmp_path) as catalog, pytest.raises(KnownError) as caught:
        catalog.change("mine", entries(MANY[20:21]))
    assert "\n" not in caught.value.line() and caught.value.remedy
    (tmp_path / changes.FILE).rmdir()
    assert not images.near(MANY[20:21])[0]
