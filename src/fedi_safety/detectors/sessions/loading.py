"""Small graphs, loaded for whichever runtime serves the device: at once, or when they are first asked."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from fedi_safety.detectors.sessions.devices import CPU_PROVIDER, DeviceChoice
from fedi_safety.detectors.sessions.network import Floats, Network, Port
from fedi_safety.detectors.sessions.onnx import open_session
from fedi_safety.detectors.sessions.pinned import ordinary
from fedi_safety.detectors.sessions.resting import Resting
from fedi_safety.detectors.sessions.weights import check_weights, read_weights
from fedi_safety.service.heap import give_memory_back


class Deferred:
    """A network that is loaded when it is first asked, which in a scan of harmless pictures may be never.

    What it is loaded from was found to be as it should be before.
    """

    def __init__(self, load: Callable[[], Network]) -> None:
        """Load nothing yet."""
        self._network = Resting(load, 0, give_memory_back)

    @property
    def input(self) -> Port:
        """See `Network`."""
        with self._network.use() as network:
            return network.input

    @property
    def outputs(self) -> tuple[Port, ...]:
        """See `Network`."""
        with self._network.use() as network:
            return network.outputs

    @property
    def loaded(self) -> bool:
        """Whether it was asked."""
        return self._network.awake

    def room(self, shape: tuple[int, ...]) -> AbstractContextManager[Floats]:
        """See `Network`. A processor takes batches from any memory."""
        return ordinary(shape)

    def run(self, batch: NDArray[Any], output: str | None = None) -> Floats:
        """See `Network`. Raises `ModelError` where the file is gone since, or another one."""
        with self._network.use() as network:
            return network.run(batch, output)


def load_when_asked(path: Path, sha256_expected: str, device: DeviceChoice, threads: int, remedy: str) -> Network:
    """Check a small graph's bytes, and load it when it is first asked; see `load_session`.

    On anything but the processor that is done at once: whether a device can be used shows in loading alone.
    """
    if device.unit or device.providers != (CPU_PROVIDER,):
        return load_session(path, sha256_expected, device, threads, remedy)
    check_weights(path, sha256_expected, remedy)

    def load() -> Network:
        network = load_session(path, sha256_expected, device, threads, remedy)
        give_memory_back()  # of what was read and rearranged while it was loaded
        return network

    return Deferred(load)


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
