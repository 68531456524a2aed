"""How many uploads are in hand, seen from another process."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from fedi_safety.gate.in_hand import UploadsInHand


def test_it_counts_and_ends_with_what_raised() -> None:
    in_hand = UploadsInHand()
    assert in_hand.count == 0
    with in_hand, in_hand:
        assert in_hand.count == 2
    with pytest.raises(ZeroDivisionError), in_hand:
        raise ZeroDivisionError
    assert in_hand.count == 0


def test_who_waits_goes_on_at_once_where_there_is_none_and_after_its_time_where_there_always_is() -> None:
    in_hand = UploadsInHand()
    began = time.monotonic()
    in_hand.wait_for_none(30.0)
    with in_hand:
        in_hand.wait_for_none(0.05)
    assert 0.05 <= time.monotonic() - began < 10.0
    in_hand.__enter__()
    threading.Timer(0.05, in_hand.__exit__).start()
    in_hand.wait_for_none(30.0)
    assert in_hand.count == 0
    assert time.monotonic() - began < 20.0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is handed on by its descriptor on Linux alone")
def test_another_process_sees_it_and_nothing_is_left_open() -> None:
    in_hand = UploadsInHand()
    assert in_hand.descriptor is not None
    look = "import sys; from fedi_safety.gate.in_hand import UploadsInHand as U; print(U(int(sys.argv[1])).count)"
    with in_hand:
        said = subprocess.run(
            [sys.executable, "-c", look, str(in_hand.descriptor)],
            pass_fds=[in_hand.descriptor], capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
    assert said.strip() == "1"
    memory = os.fstat(in_hand.descriptor).st_ino
    assert memory in open_files()
    del in_hand
    assert memory not in open_files()


def open_files() -> set[int]:
    """The inode numbers of all that this process has open."""
    found = set()
    for place in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found.add(place.stat().st_ino)
    return found
