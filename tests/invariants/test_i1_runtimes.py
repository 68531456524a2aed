"""I1 Private: what runs the networks reports nothing to its makers and leaves nothing on the disk."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

# Imports OpenVINO as the detectors do, with what a person's shell has: a home directory and no sign of a test.
_USE = """
import json, sys
seen = []
def hook(event, arguments):
    if event.startswith(("socket.", "urllib.", "http.")):
        seen.append(event)
    if event == "open" and arguments[1] and set(str(arguments[1])) & set("wax+") and arguments[0] != "/dev/null":
        seen.append(f"write {arguments[0]}")
sys.addaudithook(hook)
from fedi_safety.detectors.sessions.devices import CPU_PROVIDER, DeviceChoice
from fedi_safety.detectors.embedded import age
from fedi_safety.detectors.sessions.loading import load_session
import numpy as np
choice = DeviceChoice("openvino", (CPU_PROVIDER,), "test", "CPU")
network = load_session(age.WEIGHTS.path(), age.WEIGHTS.sha256, choice, 1)
assert network.run(np.zeros((1, 3, 64, 64), np.float32)).shape == (1, 81)
assert "openvino" in sys.modules
print(json.dumps({"seen": seen, "telemetry": sys.modules.get("openvino_telemetry") is not None}))
"""


def test_openvino_reports_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("CI", "PYTEST", "GITHUB", "XDG"))}
    home = tmp_path / "clean"
    home.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", _USE],
        capture_output=True,
        text=True,
        check=False,
        env={**clean, "HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {"seen": [], "telemetry": False}
    assert list(home.iterdir()) == []


def test_it_would_if_it_were_let() -> None:
    """Shows that there is something to hold back: importing OpenVINO sends an event, by a package that is installed."""
    spec = importlib.util.find_spec("openvino")
    assert spec is not None and spec.submodule_search_locations
    imported = Path(spec.submodule_search_locations[0], "tools/ovc/__init__.py").read_text()
    assert "telemetry.send_event(" in imported
    assert importlib.metadata.version("openvino-telemetry")
