"""Garbage while modules are loaded, and what the C library keeps of a frame's memory."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from fedi_safety.app.ledger import SystemClock
from fedi_safety.cli import run
from fedi_safety.ledger.ledger import open_ledger
from fedi_safety.service.heap import loading


def test_what_is_loaded_is_not_looked_through() -> None:
    """Neither while it is loaded nor later; what comes later is."""
    usual, frozen = gc.get_threshold(), gc.get_freeze_count()
    try:
        with loading():
            assert gc.get_threshold()[0] > usual[0]
            kept: list[list[int]] = [[] for _ in range(100)]
        assert gc.get_threshold() == usual
        assert gc.get_freeze_count() >= frozen + len(kept)
    finally:
        gc.unfreeze()


@pytest.mark.parametrize("words", [("ledger", "verify"), ("policy", "preview", "strict")])
def test_a_process_that_goes_on_after_a_command_looks_through_all_again(words: Sequence[str], tmp_path: Path) -> None:
    """What lay about when it began would stay for ever otherwise, with its files and threads."""
    ledger = tmp_path / "ledger.db"
    open_ledger(ledger, clock=SystemClock()).dispose()
    usual = gc.get_threshold()
    assert run([*words, "--ledger", str(ledger), "--quiet"]) == 0
    assert (gc.get_freeze_count(), gc.get_threshold()) == (0, usual)


def test_a_start_that_fails_leaves_things_as_they_were() -> None:
    """A process may go on after it."""
    usual, frozen = gc.get_threshold(), gc.get_freeze_count()
    with pytest.raises(OSError, match="no"), loading():
        raise OSError("no")
    assert (gc.get_threshold(), gc.get_freeze_count()) == (usual, frozen)


def test_a_frame_takes_the_memory_of_the_one_before() -> None:
    """What comes from the system is filled with nothing, page by page, for each frame anew."""
    code = """
import resource
from PIL import Image
from fedi_safety.media.caps import MAX_FRAME_PIXELS
from fedi_safety.service.heap import bound_heap

bound_heap()
frame = bytes(3 * MAX_FRAME_PIXELS)
def shown():
    return Image.frombuffer("RGB", (1024, MAX_FRAME_PIXELS // 1024), frame, "raw", "RGB", 0, 1).reduce(3)
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
shown()
before = faults()
for _ in range(20):
    shown()
print(4 * MAX_FRAME_PIXELS // resource.getpagesize(), (faults() - before) // 20)
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    pages, faults = map(int, told.split())
    assert faults < pages // 20
