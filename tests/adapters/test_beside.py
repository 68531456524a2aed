"""A copy of this process does its part, says it once, and is gone."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from fedi_safety.service.beside import beside
from support.file_descriptors import open_descriptors


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """pytest has threads of its own, which hold nothing that is asked for here."""
    monkeypatch.setattr(threading, "active_count", lambda: 1)


def test_a_copy_says_what_it_came_to() -> None:
    here = [1, 2]
    with beside(lambda: (os.getpid(), sum(here))) as other:
        here.append(3)
        found = other()
    assert found is not None and found[0] != os.getpid() and found[1] == 3


def fails() -> int:
    raise ValueError("in the copy")


def dies() -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 1


@pytest.mark.parametrize("work", [fails, dies, lambda: sys.exit(3)])
def test_a_copy_that_came_to_nothing_says_nothing(capfd: pytest.CaptureFixture[str], work: object) -> None:
    with beside(work) as other:  # type: ignore[arg-type]
        assert other() is None
    assert capfd.readouterr() == ("", "")


def test_a_copy_is_gone_when_nobody_waits_for_it(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt), beside(lambda: _sleep(tmp_path / "copy")):
        while not (tmp_path / "copy").is_symlink():
            time.sleep(0.01)
        raise KeyboardInterrupt
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "copy").readlink().name), 0)
    assert time.monotonic() - began < 20


def _sleep(place: Path) -> None:
    place.symlink_to(str(os.getpid()))
    time.sleep(60)


def test_a_process_with_threads_is_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "active_count", lambda: 2)
    monkeypatch.setattr(os, "fork", lambda: 1 // 0)
    with beside(os.getpid) as other:
        assert other() is None


def test_where_there_are_too_many_processes_there_is_no_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> int:
        raise BlockingIOError

    before = open_descriptors()
    monkeypatch.setattr(os, "fork", refused)
    with beside(os.getpid) as other:
        assert other() is None
    assert not open_descriptors() - before
