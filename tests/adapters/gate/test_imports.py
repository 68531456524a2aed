"""What several threads of the gate would import at its start is there before they are."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.long
def test_numpy_is_imported_before_the_gate_has_threads() -> None:
    """Two threads that import it by different ways find half of it: the engine then fails, now and then."""
    code = "import sys, threading, fedi_safety.gate.service; print('numpy' in sys.modules, threading.active_count())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["True", "1"]
