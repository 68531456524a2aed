"""Garbage while modules are loaded."""

from __future__ import annotations

import gc
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
