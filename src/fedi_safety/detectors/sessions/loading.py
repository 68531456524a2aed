"""Small graphs, loaded for whichever runtime serves the device."""

from __future__ import annotations

from pathlib import Path

from fedi_safety.detectors.sessions.devices import DeviceChoice
from fedi_safety.detectors.sessions.network import Network
from fedi_safety.detectors.sessions.onnx import open_session
from fedi_safety.detectors.sessions.weights import read_weights


def load_session(
    path: Path, sha256_expected: str | None, device: DeviceChoice, threads: int, remedy: str = "reinstall its package"
) -> Network:
    """Load a small graph, from the very bytes whose SHA-256 was checked. `remedy` is what to do about a bad file.

    `threads` is the number of processor threads of one `run`. Raises `ModelError` or `DeviceError`.
    """
    data = read_weights(path, sha256_expected, remedy)
    if device.unit:
        from fedi_safety.detectors.sessions.openvino import OpenVino

        return OpenVino(data, device.unit, "fp32", threads, remedy, name=str(path))
    return open_session(data, device, threads, remedy, name=str(path))
