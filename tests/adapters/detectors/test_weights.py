"""Weight files are what they were when they were pinned, whether they are wanted at once or later."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from fedi_safety.core.errors import ModelError
from fedi_safety.detectors.sessions.weights import check_weights, read_weights

DATA = bytes(range(256)) * 5000  # more than one piece


@pytest.mark.parametrize("look", [read_weights, check_weights])
def test_a_file_is_compared_with_its_digest(look: Callable[[Path, str, str], object], tmp_path: Path) -> None:
    """Also by what only looks at it, piece by piece."""
    path = tmp_path / "weights.onnx"
    path.write_bytes(DATA)
    look(path, hashlib.sha256(DATA).hexdigest(), "reinstall it")
    path.write_bytes(DATA[:-1] + b"x")
    with pytest.raises(ModelError, match="altered: SHA-256"):
        look(path, hashlib.sha256(DATA).hexdigest(), "reinstall it")


@pytest.mark.parametrize("look", [read_weights, check_weights])
def test_a_file_that_cannot_be_read_is_named(look: Callable[[Path, str, str], object], tmp_path: Path) -> None:
    """With what to do about it."""
    with pytest.raises(ModelError, match="missing"):
        look(tmp_path / "none", "", "reinstall it")
    with pytest.raises(ModelError, match="cannot be read"):
        look(tmp_path, "", "reinstall it")
