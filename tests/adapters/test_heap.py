"""Garbage while modules are loaded."""

from __future__ import annotations

import gc

import pytest

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


def test_a_start_that_fails_leaves_things_as_they_were() -> None:
    """A process may go on after it."""
    usual, frozen = gc.get_threshold(), gc.get_freeze_count()
    with pytest.raises(OSError, match="no"), loading():
        raise OSError("no")
    assert (gc.get_threshold(), gc.get_freeze_count()) == (usual, frozen)
